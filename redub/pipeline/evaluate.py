"""Stage 7 of 7: measure runs on a held-out split, beside ground truth and honest baselines.

Reads cached features and the runs' samples; opens no media. Writes ``evaluations/NNNNNNNN.json``
with every line's figures, from which the report is drawn.

Systems, always in this order: ground truth, vocoder resynthesis (the recorded mel through the
vocoder), the runs, and the training-mean mel (the mean frame of the training split, held).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from redub.core.config import digest_of
from redub.core.errors import ClipError, ConfigError, IntegrityError
from redub.core.phonemes import id_of
from redub.core.types import Clip, ClipMedia, FloatArray, Value, Waveform
from redub.evaluation.duration_error import phoneme_error_ms, slot_error_ms
from redub.evaluation.emotion_recogniser import EmotionRecogniser, EmotionReport, emotion_report
from redub.evaluation.f0_correlation import f0_correlation
from redub.evaluation.intervals import Interval, bootstrap_difference, bootstrap_mean, wilson
from redub.evaluation.lip_audio import MAX_SHIFT, LipAudioMeter
from redub.evaluation.mcd import mel_distortion
from redub.evaluation.pitch_errors import (
    RATES,
    PitchErrors,
    pitch_errors,
    pooled_difference,
    pooled_interval,
)
from redub.evaluation.word_error import (
    SpeechRecogniser,
    corpus_wer,
    normalise,
    pronunciations,
)
from redub.features.audio_emotion import DIMENSIONS
from redub.pipeline.executor import Failure, Scheduler
from redub.pipeline.files import commit_json, file_digest, read_json
from redub.pipeline.index import open_index
from redub.pipeline.keys import FeatureKeys
from redub.pipeline.ledger import with_reads
from redub.pipeline.project import Project
from redub.pipeline.retrieve import retrieval_key
from redub.pipeline.store import Store, commonest, lacking
from redub.pipeline.synthesize import make_vocoder, read_samples, take_inputs, unspoken
from redub.pipeline.train import run_folder
from redub.pipeline.vocoder_weights import vocoder_key

GROUND_TRUTH, RESYNTHESIS, MEAN_MEL = "ground truth", "vocoder resynthesis", "training-mean mel"
LINES_PER_TASK = 4
HEARD = ("mel", "f0", "audio_emotion")


@dataclass(frozen=True, slots=True)
class LineOrder:
    """One task: measure some lines of every system."""

    project: Project
    clips: tuple[Clip, ...]
    runs: tuple[str, ...]
    split: str
    asr: bool


@dataclass(slots=True)
class LineFigures:
    """What was measured of one line of one system; NaN where it is not defined.

    ``heard_emotion`` is what the judge of prosody hears, ``heard_by_all`` what one that hears every
    dimension does. ``emotion_vector`` is the audio emotion vector of the take, None where it has
    no speech.
    ``mcd_dtw`` compares the sound, ``mcd_dtw_mel`` the mel before the vocoder.
    """

    clip_id: str
    system: str
    slot_error_ms: float
    mcd_dtw: float
    mcd_dtw_mel: float
    pairs: int
    voiced_in_both: int
    voicing_errors: int
    gross_errors: int
    f0_correlation: float
    phoneme_error_ms: float
    transcript: str
    emotion_vector: list[float] | None
    heard_emotion: str = ""
    heard_by_all: str = ""
    offset_frames: int | None = None


@dataclass(frozen=True, slots=True)
class SystemScores:
    """One row of the table: ``values`` by metric are (value, low, high) at 95 %."""

    system: str
    lines: int
    values: dict[str, tuple[float, float, float]]
    emotion: EmotionReport | None


@dataclass(slots=True)
class Evaluation:
    """Everything a table and a report need."""

    split: str
    runs: list[str]
    systems: list[SystemScores]
    lines: list[LineFigures]
    majority: float
    comparisons: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    recogniser: str = ""
    unknown_words: list[str] = field(default_factory=list)
    made_from: str = ""
    left_out: dict[str, str] = field(default_factory=dict)

    def without(self) -> str:
        """The sentence about the split's lines that are not measured; empty where all are."""
        if not self.left_out:
            return ""
        reasons = commonest(self.left_out.values())
        return f"lines of split '{self.split}' not measured: {len(self.left_out)} ({reasons})"

    def columns(self) -> list[str]:
        return ["system", *METRIC_TITLES.values()]

    def text_rows(self) -> list[list[str]]:
        return [
            [s.system, *(said(s.values.get(name), name) for name in METRIC_TITLES)]
            for s in self.systems
        ]

    def scores(self, system: str) -> SystemScores:
        return next(s for s in self.systems if s.system == system)

    def headlines(self) -> list[str]:
        """The comparisons that decide whether the run is worth anything, in words."""
        lines = [f"EMO-ACC of always answering the commonest emotion: {self.majority:.1%}"]
        lines += [
            f"{s.system}: EMO-ACC {said(s.values.get('emo_acc'), 'emo_acc')}, "
            f"MCD-DTW (mel) {said(s.values.get('mcd_dtw_mel'), 'mcd_dtw_mel')}, "
            f"slot error {said(s.values.get('slot_error_ms'), 'slot_error_ms')}"
            for s in self.systems
        ]
        lines += [
            f"{name}: {value:+.3f} [{low:+.3f}, {high:+.3f}]"
            for name, (value, low, high) in self.comparisons.items()
        ]
        return [*lines, self.without()] if self.left_out else lines


METRIC_TITLES = {
    "emo_acc": "EMO-ACC %",
    "emo_acc_all": "EMO-ACC, all dims %",
    "macro_f1": "macro-F1 %",
    "mcd_dtw": "MCD-DTW dB",
    "mcd_dtw_mel": "MCD-DTW (mel) dB",
    "gpe": "GPE %",
    "ffe": "FFE %",
    "f0_correlation": "F0 r",
    "slot_error_ms": "slot ms",
    "phoneme_error_ms": "phoneme ms",
    "wer": "WER %",
    "lip_offset": "|lip offset| frames",
}
SHARES = ("emo_acc", "emo_acc_all", "macro_f1", "gpe", "ffe", "wer")


def said(value: tuple[float, float, float] | None, metric: str) -> str:
    """A figure with its interval as text; a dash where there is none."""
    if value is None or not math.isfinite(value[0]):
        return "–"
    scale, digits = (100.0, 1) if metric in SHARES else (1.0, 2)
    text = f"{value[0] * scale:.{digits}f}"
    if math.isfinite(value[1]) and math.isfinite(value[2]):
        text += f" [{value[1] * scale:.{digits}f}, {value[2] * scale:.{digits}f}]"
    return text


def evaluate(
    project: Project,
    *,
    runs: Sequence[str],
    scheduler: Scheduler,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Measure runs on the configured split.

    Raises:
        ConfigError: no run named and none there, or no recorded line in the split.
    """
    from redub.pipeline.runs import list_runs

    split = project.config.evaluate.split
    names = list(runs) or [run.name for run in list_runs(project)]
    if not names:
        raise ConfigError("there is no run to evaluate; run `redub train`", code="E-STAGE-TRAIN")
    samples = {run: read_samples(project, run, split) for run in names}
    store = Store(project)
    asked = [clip for clip in store.clips() if clip.split == split]
    left_out = _left_out(project, store, asked, samples)
    clips = [clip for clip in asked if clip.clip_id not in left_out]
    retrieval = retrieval_key(project, open_index(project))
    for clip in clips:
        inputs = take_inputs(clip, retrieval)
        for run in names:
            if samples[run][clip.clip_id].inputs != inputs:
                raise ConfigError(
                    f"{clip.clip_id} or the index changed since run '{run}' spoke it; "
                    f"run `redub synthesize {run}`",
                    code="E-STAGE-SYNTHESIZE",
                )
    if not clips:
        raise ConfigError(
            f"split '{split}' has no line that was both recorded and spoken by "
            f"{', '.join(names)}; give it some in splits.csv"
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
    _commit(project, evaluation)
    return evaluation


def _left_out(
    project: Project,
    store: Store,
    clips: Sequence[Clip],
    samples: Mapping[str, Mapping[str, Any]],
) -> dict[str, str]:
    """Clip id to why it cannot be measured: a recording or a run's take of it is missing."""
    found = {}
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


# -- one task


def measure_lines(order: LineOrder) -> list[LineFigures]:
    """Measure every system's take of some lines; runs in a worker."""
    tools = _tools(order.project, order.split, order.asr)
    ids = [clip.clip_id for clip in order.clips]
    runs = {run: read_samples(order.project, run, order.split, ids) for run in order.runs}
    recorded = {
        name: tools.store.read(name, ids)
        for name in ("waveform", "mel", "f0", "durations", "audio_emotion")
    }
    figures = []
    for clip in order.clips:
        truth = {
            n: values[clip.clip_id] for n, values in recorded.items() if clip.clip_id in values
        }
        mel = np.asarray(truth["mel"])
        takes: list[tuple[str, Waveform, FloatArray, Any]] = [
            (GROUND_TRUTH, _sound(order.project, truth["waveform"]), mel, truth.get("durations")),
            (RESYNTHESIS, tools.vocoder.vocode(mel), mel, truth.get("durations")),
        ]
        for run in order.runs:
            sample = runs[run][clip.clip_id]
            durations = _with_ids(tools, clip, sample.durations)
            takes.append((run, sample.waveform, sample.mel, durations))
        held = np.repeat(tools.mean_mel[None], len(mel), axis=0)
        takes.append((MEAN_MEL, tools.vocoder.vocode(held), held, None))
        figures += [_measure(tools, clip, truth, *take, asr=order.asr) for take in takes]
    return figures


class _Tools:
    """What a worker needs to measure: store, vocoder, extractors, recogniser, the mean mel."""

    def __init__(self, project: Project, split: str, asr: bool) -> None:
        self.project = project
        self.store = Store(project)
        self.keys: FeatureKeys = self.store.keys
        self.vocoder = make_vocoder(project)
        self.names = with_reads(self.keys, HEARD)
        self.extractors = {name: self.keys.make(name) for name in self.names}
        clips = self.store.clips()
        training = [clip for clip in clips if clip.split == "train"]
        mels = self.store.read("mel", [clip.clip_id for clip in training])
        if not mels:
            raise ConfigError("no training line has a mel; run `redub extract`")
        frames = np.concatenate([np.asarray(m) for m in mels.values()])
        self.mean_mel = frames.mean(axis=0).astype(np.float32)
        self.recogniser: SpeechRecogniser | None = None
        sentences = [clip.text for clip in training if clip.text]
        if asr and sentences:
            self.recogniser = SpeechRecogniser(sentences, [clip.text for clip in clips])


@lru_cache(maxsize=1)
def _tools_of(root: Path, config: str, split: str, asr: bool) -> _Tools:
    from redub.pipeline.project import open_project

    return _Tools(open_project(root), split, asr)


def _tools(project: Project, split: str, asr: bool) -> _Tools:
    return _tools_of(project.root, repr(project.config), split, asr)


def _sound(project: Project, stored: Value) -> Waveform:
    samples = np.asarray(stored)[:, 0].astype(np.float32) / 32768.0
    return Waveform(samples, project.config.audio.sample_rate_hz)


def _with_ids(tools: _Tools, clip: Clip, durations: Any) -> Any:
    from redub.pipeline.lines import silenced

    stored = tools.store.read("phonemes", [clip.clip_id]).get(clip.clip_id)
    if stored is None:
        return None
    ids = silenced(np.asarray(stored)[:, 0])
    return np.stack([ids, np.asarray(durations)], axis=1) if len(ids) == len(durations) else None


def _measure(
    tools: _Tools,
    clip: Clip,
    truth: dict[str, Value],
    system: str,
    waveform: Waveform,
    mel: FloatArray,
    durations: Any,
    *,
    asr: bool,
) -> LineFigures:
    audio = tools.project.config.audio
    heard = heard_features(tools, clip, waveform)
    true_f0 = np.asarray(truth["f0"])[:, 0]
    own_f0 = np.asarray(heard["f0"])[:, 0] if "f0" in heard else np.zeros_like(true_f0)
    errors = pitch_errors(true_f0, own_f0)
    true_mel = np.asarray(truth["mel"])
    sounded = np.asarray(heard["mel"]) if "mel" in heard else mel
    vector = heard.get("audio_emotion")
    slot = audio.sample_count(clip.video_frames, tools.project.config.video)
    transcript = ""
    if asr and tools.recogniser is not None and system != MEAN_MEL:
        transcript = tools.recogniser.transcribe(waveform)
    return LineFigures(
        clip_id=clip.clip_id,
        system=system,
        slot_error_ms=abs(
            slot_error_ms(len(waveform.samples), slot, sample_rate_hz=waveform.sample_rate_hz)
        ),
        mcd_dtw=mel_distortion(true_mel, sounded).mcd_dtw,
        mcd_dtw_mel=mel_distortion(true_mel, mel).mcd_dtw,
        pairs=errors.pairs,
        voiced_in_both=errors.voiced_in_both,
        voicing_errors=errors.voicing_errors,
        gross_errors=errors.gross_errors,
        f0_correlation=f0_correlation(true_f0, own_f0),
        phoneme_error_ms=_phoneme_error(tools, truth.get("durations"), durations),
        transcript=transcript,
        emotion_vector=None if vector is None else [float(v) for v in np.asarray(vector)],
    )


def heard_features(tools: _Tools, clip: Clip, waveform: Waveform) -> dict[str, Value]:
    """Mel, F0 and audio emotion vector of a take, by the very extractors that read the footage."""
    values: dict[str, Value] = {}
    for name in tools.names:
        reads = tools.extractors[name].reads
        if any(r not in values and r not in tools.extractors[name].optional for r in reads):
            continue
        given = {read: values[read] for read in reads if read in values}
        media = ClipMedia(clip=clip, waveform=waveform, features=given)
        try:
            values[name] = tools.extractors[name].extract(media)
        except ClipError:
            continue  # a take without speech has no F0 and no emotion: that is its figure
    return values


def _phoneme_error(tools: _Tools, true: Value | None, own: Any) -> float:
    if true is None or own is None:
        return float("nan")
    audio = tools.project.config.audio
    try:
        return phoneme_error_ms(
            np.asarray(true),
            np.asarray(own),
            frame_ms=1000 * audio.hop_samples / audio.sample_rate_hz,
            pauses={id_of("sil"), id_of("sp"), id_of("spn")},
        )
    except ClipError:
        return float("nan")  # the aligner heard another pronunciation than the dictionary's first


# -- adding up


def _summed_up(
    project: Project,
    store: Store,
    clips: Sequence[Clip],
    runs: list[str],
    split: str,
    lines: list[LineFigures],
) -> Evaluation:
    by_id = {clip.clip_id: clip for clip in clips}
    recogniser, hears_all = _emotion_recognisers(store)
    meter = _lip_meter(store)
    if recogniser is not None and hears_all is not None:
        _hear_emotions(recogniser, hears_all, by_id, lines)
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
"""The judge hears prosody only (pitch, level, timing). Spectral statistics tell an averaged mel
from a recording before they tell any emotion: see docs/decisions/0005."""


def prosody_of(vectors: Any) -> Any:
    """The dimensions of audio emotion vectors (N, D) that the judge hears."""
    return np.asarray(vectors)[:, HEARD_DIMENSIONS]


def _emotion_recognisers(
    store: Store,
) -> tuple[EmotionRecogniser | None, EmotionRecogniser | None]:
    """The judge of prosody and the judge of all dimensions.

    Fitted on ground-truth audio of the training split; None without enough labels.
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


def _hear_emotions(
    prosody: EmotionRecogniser,
    hears_all: EmotionRecogniser,
    clips: dict[str, Clip],
    lines: list[LineFigures],
) -> None:
    audible = [line for line in lines if line.emotion_vector is not None]
    if not audible:
        return
    features = np.array([line.emotion_vector for line in audible])
    speakers = [clips[line.clip_id].speaker for line in audible]
    one, other = (
        prosody.predict(prosody_of(features), speakers),
        hears_all.predict(features, speakers),
    )
    for line, first, second in zip(audible, one, other, strict=True):
        line.heard_emotion, line.heard_by_all = first, second


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
    """A take without an emotion vector counts as wrong, never as absent."""
    labelled = [x for x in lines if clips[x.clip_id].emotion]
    if not any(x.heard_emotion for x in lines) or not labelled:
        return None
    report = emotion_report(
        [clips[x.clip_id].emotion for x in labelled],
        [x.heard_emotion or "nothing heard" for x in labelled],
    )
    values["emo_acc"] = (report.accuracy, report.accuracy_low, report.accuracy_high)
    values["macro_f1"] = (report.macro_f1, float("nan"), float("nan"))
    right = sum(x.heard_by_all == clips[x.clip_id].emotion for x in labelled)
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
    """Paired differences, line by line, with 95 % bootstrap intervals."""
    draws = project.config.evaluate.bootstrap
    table = {(x.system, x.clip_id): x for x in lines}
    labelled = [c for c in clips if clips[c].emotion]
    found: dict[str, tuple[float, float, float]] = {}

    def right(system: str) -> list[float]:
        return [float(table[system, c].heard_emotion == clips[c].emotion) for c in labelled]

    def keep(name: str, first: list[float], second: list[float]) -> None:
        if first:
            d: Interval = bootstrap_difference(first, second, seed=0, resamples=draws)
            found[name] = (d.value, d.low, d.high)

    for run in runs:
        constant = [majority] * len(labelled)
        if any(x.heard_emotion for x in lines):
            keep(f"EMO-ACC of {run} above the majority", right(run), constant)
        keep(
            f"MCD-DTW (mel) of {run} below the training-mean mel",
            [table[MEAN_MEL, c].mcd_dtw_mel for c in clips],
            [table[run, c].mcd_dtw_mel for c in clips],
        )
    for other in runs[1:]:
        if any(x.heard_emotion for x in lines):
            keep(f"EMO-ACC of {runs[0]} above {other}", right(runs[0]), right(other))
        ours, theirs = ([_errors(table[run, c]) for c in clips] for run in (runs[0], other))
        for name in RATES:
            found[f"{name.upper()} of {runs[0]} below {other}"] = pooled_difference(
                ours, theirs, name, seed=0, resamples=draws
            )
    return found


# -- on disk


def inputs_of(project: Project, runs: Sequence[str], split: str) -> str:
    """Everything an evaluation depends on: the takes, the recorded features, the settings."""
    takes = [
        file_digest(run_folder(project, run) / "samples" / split / "index.json") for run in runs
    ]
    store = Store(project)
    keys = {name: store.keys.by_name[name].key for name in store.keys.usable}
    clips = [asdict(clip) for clip in store.clips()]
    settings = [asdict(project.config.evaluate), list(runs)]
    if project.config.vocoder.name != "griffin_lim":  # which was the only one: old digests stand
        settings.append(vocoder_key(project))
    return digest_of([takes, keys, clips, *settings])


def is_evaluated(project: Project, runs: Sequence[str]) -> bool:
    """Whether the last evaluation is of exactly these takes, features and settings."""
    split = project.config.evaluate.split
    paths = _records(project)
    if not paths:
        return False
    made_from = read_json(paths[-1]).get("made_from")
    return bool(made_from == inputs_of(project, runs, split))


def _records(project: Project) -> list[Path]:
    folder = project.root / "evaluations"
    return sorted(folder.glob("[0-9]*.json")) if folder.is_dir() else []


def _commit(project: Project, evaluation: Evaluation) -> None:
    paths = _records(project)
    number = int(paths[-1].stem) + 1 if paths else 1
    path = project.root / "evaluations" / f"{number:08d}.json"
    commit_json(path, _finite(asdict(evaluation)))


def _finite(value: Any) -> Any:
    """NaN as null: JSON has no NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def last_evaluation(project: Project) -> dict[str, Any]:
    """The newest evaluation as JSON values.

    Raises:
        ConfigError: there is none yet (names the stage to run).
    """
    paths = _records(project)
    if not paths:
        raise ConfigError(
            "nothing was evaluated yet; run `redub evaluate`", code="E-STAGE-EVALUATE"
        )
    found: Any = read_json(paths[-1])
    wanted = {"runs", "lines", "systems", "comparisons", "majority", "split"}
    if not isinstance(found, dict) or wanted - set(found):
        raise IntegrityError(
            f"{paths[-1]} is damaged; run `redub evaluate` again", code="E-INT-JSON"
        )
    return found
