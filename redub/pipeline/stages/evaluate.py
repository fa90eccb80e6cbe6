"""Stage 7 of 7: measure runs on a held-out split, together with ground truth and baselines.

Reads cached features and the runs' samples; opens no media. Writes ``evaluations/NNNNNNNN.json``
with the figures of every utterance; the report is drawn from that file.

Systems, always in this order: ground truth, vocoder resynthesis (the recorded mel through the
vocoder), the runs, and the training-mean mel (the mean mel frame of the training split, repeated).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from redub.core.errors import ClipError, ConfigError
from redub.core.progress import Progress
from redub.core.types import Clip
from redub.evaluation.emotion_recogniser import EmotionRecogniser, EmotionReport, emotion_report
from redub.evaluation.intervals import Interval, bootstrap_difference, bootstrap_mean, wilson
from redub.evaluation.lip_audio import MAX_SHIFT, LipAudioMeter
from redub.evaluation.pitch_errors import RATES, PitchErrors, pooled_difference, pooled_interval
from redub.evaluation.word_error import corpus_wer, normalise, pronunciations
from redub.features.sound.audio_emotion import DIMENSIONS
from redub.pipeline.stages.synthesize import unspoken
from redub.pipeline.store.index.builds import open_index
from redub.pipeline.store.index.neighbours import retrieval_key
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.evaluations import (
    GROUND_TRUTH,
    MEAN_MEL,
    RESYNTHESIS,
    Evaluation,
    LineFigures,
    SystemScores,
    commit_evaluation,
    inputs_of,
)
from redub.pipeline.store.runs.takes import read_samples, take_inputs
from redub.pipeline.store.tables import Store, commonest, lacking
from redub.pipeline.store.writing import writing
from redub.pipeline.work.executor import Failure, Scheduler
from redub.pipeline.work.measuring import LineOrder, measure_lines

LINES_PER_TASK = 4


def evaluate(
    project: Project,
    *,
    runs: Sequence[str],
    scheduler: Scheduler,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Measure runs on the split of ``[evaluate] split``.

    Args:
        runs: names of runs; empty for all runs of the project.
        progress: given the number of utterances measured, and of all.

    Raises:
        ConfigError: the project has no run, the split has no utterance that is recorded and
            spoken by every run, or a clip or the index changed since a run spoke.
        ClipError: E-EVAL, a worker failed on an utterance.
    """
    from redub.pipeline.store.runs.folders import list_runs

    split = project.config.evaluate.split
    names = list(runs) or [run.name for run in list_runs(project)]
    if not names:
        raise ConfigError("there is no run to evaluate; run `redub train`", code="E-STAGE-TRAIN")
    samples = {run: read_samples(project, run, split) for run in names}
    store = Store(project)
    of_split = [clip for clip in store.clips() if clip.split == split]
    left_out = _left_out(project, store, of_split, samples)
    clips = [clip for clip in of_split if clip.clip_id not in left_out]
    _check_takes(project, clips, samples)
    if not clips:
        raise ConfigError(
            f"split '{split}' has no line that was both recorded and spoken by "
            f"{', '.join(names)}; assign scenes to it in splits.csv"
            + (f" ({commonest(left_out.values())})" if left_out else ""),
            code="E-STAGE-SPLIT",
        )
    asr = project.config.evaluate.asr
    orders = [
        LineOrder(project, tuple(clips[i : i + LINES_PER_TASK]), tuple(names), split, asr)
        for i in range(0, len(clips), LINES_PER_TASK)
    ]
    lines: list[LineFigures] = []
    progress(0, len(clips))
    for order, result in zip(orders, scheduler.run(measure_lines, orders), strict=True):
        if isinstance(result, Failure):
            raise ClipError(
                f"measuring {order.clips[0].clip_id} failed: {result.message}", code="E-EVAL"
            )
        lines += result
        progress(min(len(lines) // (len(names) + 3), len(clips)), len(clips))
    evaluation = _summed_up(project, store, clips, names, split, lines)
    evaluation.left_out = left_out
    commit_evaluation(project, evaluation)
    return evaluation


def _check_takes(
    project: Project, clips: Sequence[Clip], samples: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuse takes of a clip or an index that changed after the run spoke.

    Raises:
        ConfigError: E-STAGE-SYNTHESIZE.
    """
    retrieval = retrieval_key(project, open_index(project))
    for clip in clips:
        inputs = take_inputs(clip, retrieval)
        for run, takes in samples.items():
            if takes[clip.clip_id].inputs != inputs:
                raise ConfigError(
                    f"{clip.clip_id} or the index changed since run '{run}' spoke it; "
                    f"run `redub synthesize {run}`",
                    code="E-STAGE-SYNTHESIZE",
                )


def _left_out(
    project: Project,
    store: Store,
    clips: Sequence[Clip],
    samples: Mapping[str, Mapping[str, Any]],
) -> dict[str, str]:
    """Clip id → why it cannot be measured: its recording or a run's take is missing."""
    found: dict[str, str] = {}
    for name in ("waveform", "mel", "f0"):
        rows = store.live_features(name)
        has = set(rows.filter(pl.col("valid"))["clip_id"])
        why = dict(rows.select("clip_id", "why_not").iter_rows())
        for clip in clips:
            if clip.clip_id not in has:
                found.setdefault(clip.clip_id, lacking(name, why.get(clip.clip_id)))
    for run, takes in samples.items():
        why = unspoken(project, run, project.config.evaluate.split)
        for clip in clips:
            if clip.clip_id not in takes:
                reason = f": {why[clip.clip_id]}" if clip.clip_id in why else ""
                found.setdefault(clip.clip_id, f"not spoken by {run}{reason}")
    return {clip.clip_id: found[clip.clip_id] for clip in clips if clip.clip_id in found}


# -- aggregation over utterances


def _summed_up(
    project: Project,
    store: Store,
    clips: Sequence[Clip],
    runs: list[str],
    split: str,
    lines: list[LineFigures],
) -> Evaluation:
    by_id = {clip.clip_id: clip for clip in clips}
    recogniser, on_all_dimensions = _emotion_recognisers(store)
    meter = _lip_meter(store)
    if recogniser is not None and on_all_dimensions is not None:
        _recognise_emotions(recogniser, on_all_dimensions, by_id, lines)
    if meter is not None:
        _measure_lips(project, store, meter, by_id, runs, split, lines)
    systems = [GROUND_TRUTH, RESYNTHESIS, *runs, MEAN_MEL]
    labels = [clip.emotion for clip in clips if clip.emotion]
    majority = max(map(labels.count, set(labels))) / len(labels) if labels else 0.0
    scores = [
        _scores(project, by_id, name, [x for x in lines if x.system == name]) for name in systems
    ]
    chosen = "none: too few labelled training lines"
    if recogniser is not None:
        chosen = f"{recogniser.chosen.kind} on prosody of audio_emotion, speaker-normalised"
    evaluation = Evaluation(split, runs, scores, lines, majority, recogniser=chosen)
    evaluation.comparisons = _comparisons(project, by_id, runs, lines, majority)
    evaluation.made_from = inputs_of(project, runs, split)
    if project.config.evaluate.asr:
        known = pronunciations()
        words = {word for clip in store.clips() for word in normalise(clip.text).split()}
        evaluation.unknown_words = sorted(words - set(known))
    return evaluation


PROSODY = ("f0_", "level_", "syllable", "spoken_", "pause", "voiced_", "unvoiced_")


HEARD_DIMENSIONS = [place for place, name in enumerate(DIMENSIONS) if name.startswith(PROSODY)]
"""Dimensions that the first emotion recogniser reads: pitch, level and timing. Spectral
statistics separate a smooth mel from a recording more than they separate emotions; see
docs/decisions/0005."""


def prosody_of(vectors: Any) -> Any:
    """The prosody dimensions of audio emotion vectors (N, D), as (N, d)."""
    return np.asarray(vectors)[:, HEARD_DIMENSIONS]


def _emotion_recognisers(
    store: Store,
) -> tuple[EmotionRecogniser | None, EmotionRecogniser | None]:
    """The emotion recogniser of prosody, and that of all dimensions.

    Both are fitted on recorded audio of the training split. Both are None with fewer than two
    emotions or 16 labelled clips.
    """
    training = [c for c in store.clips() if c.split == "train" and c.emotion]
    vectors = store.read("audio_emotion", [c.clip_id for c in training])
    training = [c for c in training if c.clip_id in vectors]
    if len({c.emotion for c in training}) < 2 or len(training) < 16:
        return None, None
    features = np.stack([np.asarray(vectors[c.clip_id]) for c in training])
    facts = (
        [c.emotion for c in training],
        [c.speaker for c in training],
        [f"{c.film}/{c.scene}" for c in training],
    )
    prosody = EmotionRecogniser.fit(prosody_of(features), *facts, seed=0)
    return prosody, EmotionRecogniser.fit(features, *facts, seed=0)


def _recognise_emotions(
    prosody: EmotionRecogniser,
    on_all_dimensions: EmotionRecogniser,
    clips: dict[str, Clip],
    lines: list[LineFigures],
) -> None:
    """Write the recognised emotions into the figures of all takes with an emotion vector."""
    audible = [line for line in lines if line.emotion_vector is not None]
    if not audible:
        return
    features = np.array([line.emotion_vector for line in audible])
    speakers = [clips[line.clip_id].speaker for line in audible]
    one, other = (
        prosody.predict(prosody_of(features), speakers),
        on_all_dimensions.predict(features, speakers),
    )
    for line, first, second in zip(audible, one, other, strict=True):
        line.recognised_emotion, line.recognised_by_all = first, second


def _lip_meter(store: Store) -> LipAudioMeter | None:
    ids = [c.clip_id for c in store.clips() if c.split == "train"]
    mels, mouths = store.read("mel", ids), store.read("mouth_crop", ids)
    both = [i for i in ids if i in mels and i in mouths]
    if len(both) < 10:
        return None
    return LipAudioMeter.fit(
        [np.asarray(mels[i]) for i in both], [np.asarray(mouths[i]) for i in both]
    )


def _measure_lips(
    project: Project,
    store: Store,
    meter: LipAudioMeter,
    clips: dict[str, Clip],
    runs: Sequence[str],
    split: str,
    lines: list[LineFigures],
) -> None:
    mouths = store.read("mouth_crop", list(clips))
    truth = store.read("mel", list(clips))
    takes = {run: read_samples(project, run, split) for run in runs}
    for line in lines:
        mouth = mouths.get(line.clip_id)
        if mouth is None or len(mouth) <= MAX_SHIFT or line.system in (MEAN_MEL, RESYNTHESIS):
            continue
        mel = truth[line.clip_id] if line.system == GROUND_TRUTH else None
        if mel is None:
            mel = takes[line.system][line.clip_id].mel
        report = meter.measure(np.asarray(mel), np.asarray(mouth))
        line.offset_frames = report.offset_frames


def _scores(
    project: Project, clips: dict[str, Clip], system: str, lines: list[LineFigures]
) -> SystemScores:
    draws = project.config.evaluate.bootstrap
    values: dict[str, tuple[float, float, float]] = {}

    def mean(name: str, numbers: list[float]) -> None:
        """Add the mean of the finite numbers, with its interval."""
        finite = [n for n in numbers if math.isfinite(n)]
        if finite:
            found = bootstrap_mean(finite, seed=0, resamples=draws)
            values[name] = (found.value, found.low, found.high)

    mean("mcd_dtw", [x.mcd_dtw for x in lines])
    mean("mcd_dtw_mel", [x.mcd_dtw_mel for x in lines] if system != RESYNTHESIS else [])
    mean("f0_correlation", [x.f0_correlation for x in lines])
    mean("slot_error_ms", [x.slot_error_ms for x in lines])
    mean("phoneme_error_ms", [x.phoneme_error_ms for x in lines])
    offsets = [abs(x.offset_frames) for x in lines if x.offset_frames is not None]
    mean("lip_offset", [float(o) for o in offsets])
    for name in ("gpe", "ffe"):
        values[name] = pooled_interval([*map(_errors, lines)], name, seed=0, resamples=draws)
    emotion = _emotion_scores(clips, lines, values)
    spoken = [x for x in lines if clips[x.clip_id].text]
    if project.config.evaluate.asr and system != MEAN_MEL and spoken:
        words = corpus_wer([clips[x.clip_id].text for x in spoken], [x.transcript for x in spoken])
        values["wer"] = (words.wer, words.wer_low, words.wer_high)
    return SystemScores(system, len(lines), values, emotion)


def _emotion_scores(
    clips: dict[str, Clip],
    lines: list[LineFigures],
    values: dict[str, tuple[float, float, float]],
) -> EmotionReport | None:
    """Add the emotion metrics; a take without an emotion vector counts as wrong."""
    labelled = [x for x in lines if clips[x.clip_id].emotion]
    if not any(x.recognised_emotion for x in lines) or not labelled:
        return None
    report = emotion_report(
        [clips[x.clip_id].emotion for x in labelled],
        [x.recognised_emotion or "not recognised" for x in labelled],
    )
    values["emo_acc"] = (report.accuracy, report.accuracy_low, report.accuracy_high)
    values["macro_f1"] = (report.macro_f1, float("nan"), float("nan"))
    right = sum(x.recognised_by_all == clips[x.clip_id].emotion for x in labelled)
    share = wilson(right, len(labelled))
    values["emo_acc_all"] = (share.value, share.low, share.high)
    return report


def _errors(line: LineFigures) -> PitchErrors:
    return PitchErrors(
        pairs=line.pairs,
        voiced_in_both=line.voiced_in_both,
        voicing_errors=line.voicing_errors,
        gross_errors=line.gross_errors,
    )


def _comparisons(
    project: Project,
    clips: dict[str, Clip],
    runs: Sequence[str],
    lines: list[LineFigures],
    majority: float,
) -> dict[str, tuple[float, float, float]]:
    """Paired differences over the same utterances, with 95 % bootstrap intervals."""
    draws = project.config.evaluate.bootstrap
    table = {(x.system, x.clip_id): x for x in lines}
    labelled = [c for c in clips if clips[c].emotion]
    found: dict[str, tuple[float, float, float]] = {}

    def right(system: str) -> list[float]:
        """1.0 for every labelled clip whose emotion was recognised in the system's take."""
        return [float(table[system, c].recognised_emotion == clips[c].emotion) for c in labelled]

    def keep(name: str, first: list[float], second: list[float]) -> None:
        """Add the paired difference of two systems, if there is any utterance."""
        if first:
            d: Interval = bootstrap_difference(first, second, seed=0, resamples=draws)
            found[name] = (d.value, d.low, d.high)

    for run in runs:
        constant = [majority] * len(labelled)
        if any(x.recognised_emotion for x in lines):
            keep(f"EMO-ACC of {run} above the majority", right(run), constant)
        keep(
            f"MCD-DTW (mel) of {run} below the training-mean mel",
            [table[MEAN_MEL, c].mcd_dtw_mel for c in clips],
            [table[run, c].mcd_dtw_mel for c in clips],
        )
    for other in runs[1:]:
        if any(x.recognised_emotion for x in lines):
            keep(f"EMO-ACC of {runs[0]} above {other}", right(runs[0]), right(other))
        ours, theirs = ([_errors(table[run, c]) for c in clips] for run in (runs[0], other))
        for name in RATES:
            found[f"{name.upper()} of {runs[0]} below {other}"] = pooled_difference(
                ours, theirs, name, seed=0, resamples=draws
            )
    return found


def run_evaluate(
    project: Project, scheduler: Scheduler, *, runs: Sequence[str] | None, progress: Progress
) -> Evaluation:
    """Run stage 7 under the project lock; see :func:`evaluate`."""
    with writing(project, "evaluate"):
        return evaluate(project, runs=list(runs or []), scheduler=scheduler, progress=progress)
