"""Stage 7 of 7: measure runs on a held-out split, together with ground truth and baselines.

Reads cached features and the runs' samples; opens no media. Writes ``evaluations/NNNNNNNN.json``
with the figures of every utterance; the report is drawn from that file.

Systems, always in this order: ground truth, vocoder resynthesis (the recorded mel through the
vocoder), the runs, and the training-mean mel (the mean mel frame of the training split, repeated).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from redub.core.errors import ClipError, ConfigError
from redub.core.metric import Absent
from redub.core.progress import Progress
from redub.core.types import Clip
from redub.evaluation.emotion_accuracy import emotion_report_of
from redub.evaluation.summary import (
    baseline_values,
    comparisons,
    measured_metrics,
    system_values,
)
from redub.evaluation.takes import GROUND_TRUTH, MEAN_MEL, RESYNTHESIS, LineFigures
from redub.evaluation.word_error import normalise, pronunciations
from redub.pipeline.stages.synthesize import unspoken
from redub.pipeline.store.index.builds import open_index
from redub.pipeline.store.index.neighbours import retrieval_key
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.evaluations import (
    Evaluation,
    SystemScores,
    commit_evaluation,
    inputs_of,
)
from redub.pipeline.store.runs.takes import Sample, read_samples, take_inputs
from redub.pipeline.store.tables import Store, commonest, lacking
from redub.pipeline.store.writing import writing
from redub.pipeline.work.executor import Failure, Scheduler
from redub.pipeline.work.judging import measure_lips, recognise_emotions
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
            + (
                f" ({commonest(absent.message for absent in left_out.values())})"
                if left_out
                else ""
            ),
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
    evaluation = _summed_up(project, store, clips, names, lines)
    evaluation.left_out = left_out
    commit_evaluation(project, evaluation)
    return evaluation


def _check_takes(
    project: Project, clips: Sequence[Clip], samples: Mapping[str, Mapping[str, Sample]]
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
    samples: Mapping[str, Mapping[str, Sample]],
) -> dict[str, Absent]:
    """Clip id → why it cannot be measured: its recording or a run's take is missing."""
    found: dict[str, Absent] = {}
    for name in ("waveform", "mel", "f0"):
        rows = store.live_features(name)
        has = set(rows.filter(pl.col("valid"))["clip_id"])
        why = dict(rows.select("clip_id", "why_not").iter_rows())
        for clip in clips:
            if clip.clip_id not in has:
                reason = lacking(name, why.get(clip.clip_id))
                found.setdefault(clip.clip_id, Absent("E-EVAL-FEATURE", reason))
    for run, takes in samples.items():
        why = unspoken(project, run, project.config.evaluate.split)
        for clip in clips:
            if clip.clip_id not in takes:
                reason = f": {why[clip.clip_id]}" if clip.clip_id in why else ""
                absent = Absent("E-EVAL-UNSPOKEN", f"not spoken by {run}{reason}")
                found.setdefault(clip.clip_id, absent)
    return {clip.clip_id: found[clip.clip_id] for clip in clips if clip.clip_id in found}


# -- aggregation over utterances


def _summed_up(
    project: Project,
    store: Store,
    clips: Sequence[Clip],
    runs: list[str],
    lines: list[LineFigures],
) -> Evaluation:
    split, draws = project.config.evaluate.split, project.config.evaluate.bootstrap
    by_id = {clip.clip_id: clip for clip in clips}
    recogniser = recognise_emotions(store, by_id, lines)
    measure_lips(project, store, by_id, runs, split, lines)
    systems = [GROUND_TRUTH, RESYNTHESIS, *runs, MEAN_MEL]
    takes = {name: [line for line in lines if line.system == name] for name in systems}
    return Evaluation(
        split=split,
        runs=runs,
        metrics=measured_metrics(),
        systems=[_scores(name, takes[name], draws) for name in systems],
        lines=lines,
        baselines=baseline_values(takes),
        comparisons=comparisons(runs, takes, draws),
        recogniser=recogniser,
        unknown_words=_unknown_words(store) if project.config.evaluate.asr else [],
        made_from=inputs_of(project, runs, split),
    )


def _scores(system: str, takes: Sequence[LineFigures], draws: int) -> SystemScores:
    report = emotion_report_of(takes)
    return SystemScores(
        system=system,
        lines=len(takes),
        values=system_values(takes, draws),
        emotion=None if isinstance(report, Absent) else report,
    )


def _unknown_words(store: Store) -> list[str]:
    """Words of the footage that the speech recogniser's dictionary does not have."""
    words = {word for clip in store.clips() for word in normalise(clip.text).split()}
    return sorted(words - set(pronunciations()))


def run_evaluate(
    project: Project, scheduler: Scheduler, *, runs: Sequence[str] | None, progress: Progress
) -> Evaluation:
    """Run stage 7 under the project lock; see :func:`evaluate`."""
    with writing(project, "evaluate"):
        return evaluate(project, runs=list(runs or []), scheduler=scheduler, progress=progress)
