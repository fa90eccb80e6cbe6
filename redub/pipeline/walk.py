"""`redub run`: the seven stages in their order.

    1 ingest → 2 extract → 3 index → 4 retrieve → 5 train → 6 synthesize → 7 evaluate

Each stage is a file of :mod:`redub.pipeline.stages`. Each stage takes the project lock itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from redub.core.config import nearest
from redub.core.errors import ConfigError, UsageError
from redub.core.progress import Bar, Say
from redub.pipeline.reports.evaluation import run_report
from redub.pipeline.reports.lines import said_uses
from redub.pipeline.stages.evaluate import run_evaluate
from redub.pipeline.stages.extract import run_extract
from redub.pipeline.stages.index import run_index
from redub.pipeline.stages.ingest import run_ingest
from redub.pipeline.stages.retrieve import run_retrieve
from redub.pipeline.stages.synthesize import run_synthesize
from redub.pipeline.stages.train import run_train
from redub.pipeline.store.project import Project
from redub.pipeline.store.tables import Store
from redub.pipeline.work.executor import Scheduler

STAGES = ("ingest", "extract", "index", "retrieve", "train", "synthesize", "evaluate")


@dataclass(frozen=True, slots=True)
class StageLine:
    """What one stage of a walk did, as a sentence."""

    stage: str
    text: str


@dataclass(frozen=True, slots=True)
class Walk:
    """The stages that were walked, and how many rows are quarantined after the last one.

    ``stopped``: why the walk ended before its last stage; empty where it did not.
    """

    stages: list[StageLine]
    stopped: str
    quarantined: int


def run_all(
    project: Project,
    scheduler: Scheduler,
    *,
    start: str,
    stop: str,
    say: Say,
    bar: Bar,
    base: str = "authentic",
) -> Walk:
    """Walk the stages from ``start`` to ``stop``.

    A project without lines to train on or to test on is not an error: the run says why it stops
    at that stage.

    Args:
        say: given one sentence per stage.
        bar: makes the progress bar of a stage.
        base: name of the run to train; see :func:`redub.pipeline.work.train_plan.next_run`.

    Returns:
        What each stage did, and the number of quarantined rows of the project.

    Raises:
        UsageError: an unknown stage, or ``stop`` comes before ``start``.
    """
    for name in (start, stop):
        if name not in STAGES:
            raise UsageError(f"unknown stage '{name}'; {nearest(name, STAGES)}")
    first, last = STAGES.index(start), STAGES.index(stop)
    if last < first:
        raise UsageError(f"--from {start} comes after --to {stop}")
    run, done, stopped = base, [], ""
    for stage in STAGES[first : last + 1]:
        try:
            if stage == "train" or (stage in STAGES[5:] and run == base):
                run = _run_name(project, base)
            text = _one_stage(project, scheduler, stage, run, say, bar)
            say(f"{STAGES.index(stage) + 1} {stage}: {text}")
            done.append(StageLine(stage, text))
        except ConfigError as error:
            if error.code not in ("E-STAGE-LINES", "E-STAGE-EXTRACT", "E-STAGE-SPLIT"):
                raise
            stopped = f"{stage}: {error.message}"
            say(f"{STAGES.index(stage) + 1} {stage}: stopped here: {error.message}")
            break
    return Walk(done, stopped, len(Store(project).quarantined()))


def _run_name(project: Project, base: str) -> str:
    from redub.pipeline.work.train_plan import next_run

    return next_run(project, base)


def _one_stage(
    project: Project, scheduler: Scheduler, stage: str, run: str, say: Say, bar: Bar
) -> str:
    """Run one stage; returns a sentence about what it did."""
    number = STAGES.index(stage) + 1
    if stage == "ingest":
        with bar("ingest", "files") as progress:
            read = run_ingest(project, scheduler, progress)
        text = (
            f"{read.sources} sources read, {read.unchanged} unchanged, {read.clips} clips, "
            f"{read.quarantined} files and lines quarantined"
        )
        for remark in read.remarks():
            say(f"{number} ingest: {remark}")
    elif stage == "extract":
        with bar("extract") as progress:
            done = run_extract(project, scheduler, None, progress)
        text = f"{done.clips} clips, {done.rows} rows, {done.quarantined} clips quarantined"
        for sentence in said_uses(project):
            say(f"{number} extract: {sentence}")
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
    return text


def _is_evaluated(project: Project, run: str) -> bool:
    from redub.pipeline.store.runs.evaluations import is_evaluated

    return is_evaluated(project, [run])
