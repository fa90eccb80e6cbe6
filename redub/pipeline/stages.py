"""The seven stages as the command line calls them: locked, timed, cleaned up after a kill.

    1 ingest → 2 extract → 3 index → 4 retrieve → 5 train → 6 synthesize → 7 evaluate

:func:`run_all` is the whole story of the program; each stage is a file of this folder.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from redub.core.config import nearest
from redub.core.errors import ConfigError, RedubError, UsageError
from redub.core.stopping import Stopped
from redub.features.registry import EXTRACTORS
from redub.pipeline.executor import Failure, Scheduler
from redub.pipeline.files import remove_leftovers
from redub.pipeline.lock import project_lock
from redub.pipeline.project import Project
from redub.pipeline.timings import note_features, note_stage

if TYPE_CHECKING:  # each stage's imports are its own: `redub ingest` loads no torch
    from redub.pipeline.direction import Direction
    from redub.pipeline.dub import ContextChoice, DubSummary
    from redub.pipeline.estimate import Estimate
    from redub.pipeline.evaluate import Evaluation
    from redub.pipeline.extract import ExtractSummary
    from redub.pipeline.index import IndexSummary
    from redub.pipeline.ingest import IngestSummary
    from redub.pipeline.pack import PackSummary
    from redub.pipeline.retrieve import RetrieveSummary
    from redub.pipeline.synthesize import SynthesisSummary
    from redub.pipeline.train import TrainSummary
    from redub.pipeline.training_set import TrainingSet
    from redub.pipeline.vocoder import VocoderSummary

STAGES = ("ingest", "extract", "index", "retrieve", "train", "synthesize", "evaluate")
WRITTEN = (
    "sources",
    "clips",
    "features",
    "quarantine",
    "index",
    "neighbours",
    "packs",
    "runs",
    "vocoders",
    ".redub",
)

Result = TypeVar("Result")
Progress = Callable[[int, int], None]
Bar = Callable[..., AbstractContextManager[Progress]]
Say = Callable[[str], None]


@contextlib.contextmanager
def writing(project: Project, stage: str, run: str = "") -> Iterator[None]:
    """Hold the project, clear what a killed run left, and note how long the stage took.

    Args:
        run: the run that the stage is about, if it is about one.
    """
    with project_lock(project.root, stage=stage, run=run), stoppable(stage):
        for name in WRITTEN:
            remove_leftovers(project.root / name)
        began = time.perf_counter()
        yield
        note_stage(project, f"{stage} {run}".strip(), time.perf_counter() - began)


@contextlib.contextmanager
def stoppable(stage: str) -> Iterator[None]:
    """Name the stage in a :class:`Stopped` that passes."""
    try:
        yield
    except Stopped as stopped:
        stopped.stage = stopped.stage or stage
        raise


def check_features(names: Sequence[str] | None) -> list[str] | None:
    """Refuse unknown feature names before anything starts."""
    for name in names or ():
        if name not in EXTRACTORS:
            raise UsageError(f"unknown feature '{name}'; {nearest(name, EXTRACTORS)}")
    return list(names) if names else None


def run_ingest(project: Project, scheduler: Scheduler, progress: Progress) -> IngestSummary:
    """Stage 1."""
    from redub.pipeline.ingest import ingest

    with writing(project, "ingest"):
        return ingest(project, scheduler=scheduler, progress=progress)


def run_extract(
    project: Project, scheduler: Scheduler, features: Sequence[str] | None, progress: Progress
) -> ExtractSummary:
    """Stage 2; times per feature are kept for the estimates of `redub plan`."""
    from redub.pipeline.extract import extract

    with writing(project, "extract"):
        summary = extract(project, scheduler=scheduler, features=features, progress=progress)
        note_features(project, summary.seconds, summary.clips)
        return summary


def run_index(project: Project, *, compact: bool = False) -> IndexSummary:
    """Stage 3."""
    from redub.pipeline.index import build_index

    with writing(project, "index"):
        return build_index(project, compact=compact)


def run_retrieve(project: Project) -> RetrieveSummary:
    """Stage 4."""
    from redub.pipeline.retrieve import retrieve

    with writing(project, "retrieve"):
        return retrieve(project)


def run_pack(project: Project) -> tuple[PackSummary, TrainingSet]:
    """First half of stage 5, and what the project's model would be trained on."""
    from redub.pipeline.pack import build_pack, open_pack
    from redub.pipeline.train import project_training_set

    with writing(project, "pack"):
        summary = build_pack(project)
        # Every byte is checked, and made again where it is damaged.
        opened = open_pack(project, summary)
        return summary, project_training_set(project, opened)


def run_train(
    project: Project,
    *,
    run: str,
    model: str | None,
    max_steps: int | None,
    baseline: bool,
    resume: bool | Path,
    progress: Callable[..., None],
    overfit: int | None = None,
    start_from: Path | None = None,
    say: Say = lambda text: None,
) -> TrainSummary:
    """Stage 5; of several processes that ``torchrun`` started the first holds the project."""
    from redub.pipeline.train import train_run
    from redub.training.replicas import Replicas

    replicas = Replicas.joined(project.config.compute.torch_device().type)
    held = writing(project, "train", run) if replicas.is_first else contextlib.nullcontext()
    with held:
        return train_run(
            project,
            run=run,
            model=model,
            max_steps=max_steps,
            baseline=baseline,
            resume=resume,
            overfit=overfit,
            start_from=start_from,
            progress=progress,
            say=say,
            replicas=replicas,
        )


def run_estimate(
    project: Project,
    *,
    model: str | None,
    max_steps: int | None,
    baseline: bool,
    overfit: int | None,
) -> Estimate:
    """What stage 5 would take; it makes the pack, if there is none, and no run."""
    from redub.pipeline.train import estimate_run

    with writing(project, "estimate"):
        return estimate_run(
            project, model=model, max_steps=max_steps, baseline=baseline, overfit=overfit
        )


def run_vocoder_train(
    project: Project,
    *,
    run: str,
    preset: str,
    settings: Sequence[str],
    max_steps: int | None,
    resume: bool,
    progress: Callable[..., None],
) -> VocoderSummary:
    """Train a vocoder on the project's recorded lines."""
    from redub.pipeline.vocoder import train_project_vocoder

    with writing(project, "vocoder train", run):
        return train_project_vocoder(
            project,
            run=run,
            preset=preset,
            settings=settings,
            max_steps=max_steps,
            resume=resume,
            progress=progress,
        )


def run_train_beside(
    project: Project, runs: Mapping[str, bool], scheduler: Scheduler
) -> list[TrainSummary]:
    """Stage 5 for several runs at once (name → is it the baseline), one worker each."""
    from redub.pipeline.pack import build_pack
    from redub.pipeline.train import TrainOrder, train_order

    orders = [TrainOrder(project, run, baseline) for run, baseline in runs.items()]
    with writing(project, "train", " and ".join(runs)):
        build_pack(project)  # once, or every worker would
        return [_done(result) for result in scheduler.run(train_order, orders)]


def run_dub_beside(
    project: Project,
    videos: Mapping[Path, Path],
    *,
    run: str,
    scheduler: Scheduler,
    progress: Progress,
) -> list[DubSummary]:
    """Dub several videos (video → output), each with the script beside it, worker by worker."""
    from redub.pipeline.dub import DubOrder, dub_order

    orders = [
        DubOrder(project, video, video.with_suffix(".srt"), output, run)
        for video, output in videos.items()
    ]
    made = []
    progress(0, len(orders))
    for result in scheduler.run(dub_order, orders):
        made.append(_done(result))
        progress(len(made), len(orders))
    return made


def _done(result: Result | Failure[Any]) -> Result:
    """A task's result; a worker that died under it is an error here, nothing is set aside."""
    if isinstance(result, Failure):
        raise RedubError(f"a worker failed: {result.message}", code="E-WORKER-LOST")
    return result


def run_synthesize(
    project: Project, *, run: str, split: str, progress: Progress
) -> SynthesisSummary:
    """Stage 6."""
    from redub.pipeline.synthesize import synthesize

    with writing(project, "synthesize", run):
        return synthesize(project, run=run, split=split, progress=progress)


def run_evaluate(
    project: Project, scheduler: Scheduler, *, runs: Sequence[str] | None, progress: Progress
) -> Evaluation:
    """Stage 7."""
    from redub.pipeline.evaluate import evaluate

    with writing(project, "evaluate"):
        return evaluate(project, runs=list(runs or []), scheduler=scheduler, progress=progress)


def run_report(project: Project, output: Path | None) -> Path:
    """Write the page of the last evaluation."""
    from redub.pipeline.report import write_report

    with writing(project, "report"):
        return write_report(project, output or project.root / "report.html")


def run_dub(
    project: Project,
    *,
    video: Path,
    script: Path,
    output: Path,
    voice: str | None,
    run: str,
    direction: Direction,
    context: ContextChoice,
    progress: Progress,
) -> DubSummary:
    """Dub one video; reads the store and writes the output and the record beside it."""
    from redub.pipeline.dub import dub

    with stoppable("dub"):
        return dub(
            project,
            video=video,
            script=script,
            output=output,
            voice=voice,
            run=run,
            direction=direction,
            context=context,
            progress=progress,
        )


def run_release(project: Project, clip_ids: Sequence[str]) -> int:
    """Release quarantined clips for another try."""
    from redub.pipeline.bad import release

    with writing(project, "release"):
        return release(project, clip_ids)


def run_verify(project: Project) -> tuple[int, list[str]]:
    """Read every committed file again: how many there are, and what is wrong with which."""
    from redub.pipeline.verify import verify_store

    return verify_store(project)


def run_repair(project: Project) -> list[str]:
    """Take damaged tables out, so that the next run makes them again."""
    from redub.pipeline.verify import repair_store

    with writing(project, "repair"):
        return repair_store(project)


def run_all(
    project: Project,
    scheduler: Scheduler,
    *,
    start: str,
    stop: str,
    say: Say,
    bar: Bar,
    base: str = "authentic",
) -> int:
    """Walk the stages from ``start`` to ``stop``; returns how many rows are quarantined.

    A project that has nothing to train on or to test on is not an error: the walk says why it
    ends there.
    """
    for name in (start, stop):
        if name not in STAGES:
            raise UsageError(f"unknown stage '{name}'; {nearest(name, STAGES)}")
    first, last = STAGES.index(start), STAGES.index(stop)
    if last < first:
        raise UsageError(f"--from {start} comes after --to {stop}")
    run = base
    for stage in STAGES[first : last + 1]:
        try:
            if stage == "train" or (stage in STAGES[5:] and run == base):
                run = _run_name(project, base)
            _one_stage(project, scheduler, stage, run, say, bar)
        except ConfigError as error:
            if error.code not in ("E-STAGE-LINES", "E-STAGE-EXTRACT", "E-STAGE-SPLIT"):
                raise
            say(f"{STAGES.index(stage) + 1} {stage}: stopped here: {error.message}")
            break
    from redub.pipeline.store import Store

    return len(Store(project).quarantined())


def _run_name(project: Project, base: str) -> str:
    from redub.pipeline.train import next_run

    return next_run(project, base)


def _one_stage(
    project: Project, scheduler: Scheduler, stage: str, run: str, say: Say, bar: Bar
) -> None:
    number = STAGES.index(stage) + 1
    if stage == "ingest":
        with bar("ingest", "files") as progress:
            read = run_ingest(project, scheduler, progress)
        text = f"{read.sources} sources read, {read.unchanged} unchanged, {read.clips} clips"
    elif stage == "extract":
        with bar("extract") as progress:
            done = run_extract(project, scheduler, None, progress)
        text = f"{done.clips} clips, {done.rows} rows, {done.quarantined} clips set aside"
    elif stage == "index":
        text = "; ".join(run_index(project).lines())
    elif stage == "retrieve":
        found = run_retrieve(project)
        text = f"{found.queries} clips queried, {found.rows} neighbours"
    elif stage == "train":
        with bar("train", "steps") as progress:
            trained = run_train(
                project,
                run=run,
                model=None,
                max_steps=None,
                baseline=False,
                resume=True,
                progress=progress,
                say=lambda sentence: say(f"{number} train: {sentence}"),
            )
        text = "; ".join(trained.lines())
    elif stage == "synthesize":
        split = project.config.evaluate.split
        with bar("synthesize", "lines") as progress:
            spoken = run_synthesize(project, run=run, split=split, progress=progress)
        text = f"{spoken.lines} lines, RTF {spoken.rtf:.3f}" if spoken.lines else "up to date"
        text = "; ".join(filter(None, [text, spoken.without]))
    elif _is_evaluated(project, run):
        text = "up to date"
    else:
        with bar("evaluate", "lines") as progress:
            result = run_evaluate(project, scheduler, runs=[run], progress=progress)
        page = run_report(project, None)
        text = f"{len(result.systems)} systems measured"
        text = "; ".join(filter(None, [text, result.without(), f"report: {page}"]))
    say(f"{number} {stage}: {text}")


def _is_evaluated(project: Project, run: str) -> bool:
    from redub.pipeline.evaluate import is_evaluated

    return is_evaluated(project, [run])
