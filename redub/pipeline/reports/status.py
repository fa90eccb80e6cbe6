"""`redub status`: what a project has and what is missing, read from its commits.

Writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from redub.core.durable import read_json
from redub.pipeline.reports.lines import line_uses
from redub.pipeline.store.index.build_record import current_build
from redub.pipeline.store.index.builds import is_fresh
from redub.pipeline.store.index.neighbours import neighbours_of_build
from redub.pipeline.store.key_document import is_of_redub_01
from redub.pipeline.store.ledger import LedgerLine, ledger
from redub.pipeline.store.lock import Holder, holder
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.evaluations import evaluated_runs
from redub.pipeline.store.runs.folders import list_runs, read_metrics, run_folder
from redub.pipeline.store.runs.requests import UnfinishedRun, unfinished_run
from redub.pipeline.store.runs.takes import has_spoken
from redub.pipeline.store.runs.vocoders import vocoder_folder
from redub.pipeline.store.tables import Store
from redub.training.checkpoint import steps_in
from redub.training.run_files import CHECKPOINTS


@dataclass(frozen=True, slots=True)
class Busy:
    """The command that writes to the project now.

    ``step``: the last training step; None where it is no training, or before the first step.
    """

    holder: Holder
    step: int | None

    def sentence(self) -> str:
        """``train mine is at work, at step 120: pid 4711 on host``."""
        held = self.holder
        at_work = f"{held.stage or 'another command'} {held.run}".strip()
        at = "" if self.step is None else f", at step {self.step}"
        return f"{at_work} is at work{at}: pid {held.pid} on {held.host}"


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a project.

    ``ledger``: row counts per feature. ``null_clip``: the clip with most null values, None without
    any. ``lacking``: features whose weights are not recorded, with the command to type.
    ``fallbacks``: features that the builtin backend computes instead of the profile's, with the
    reason. ``old_rows``: redub 0.1 wrote rows that are not read and are to be computed again.
    ``neighbours``: rows of the newest index build under the present settings. ``unfinished``: runs
    that stopped before their last step. ``busy``: the command that writes to the project now.
    ``next_words``: the words of the next command, without ``redub`` and options; ``next_command``:
    the whole command, which the command line fills in.
    """

    sources: int
    clips: int
    splits: dict[str, int]
    quarantined: int
    ledger: list[LedgerLine]
    null_clip: str | None
    lacking: dict[str, str]
    fallbacks: dict[str, str]
    index: str | None
    neighbours: int
    runs: list[str]
    unfinished: list[UnfinishedRun]
    busy: Busy | None
    old_rows: bool
    next_words: list[str]
    next_command: str = ""


def project_status(project: Project) -> Status:
    """Count the rows of every stage and choose the next command.

    Raises:
        IntegrityError: the index of takes or the request of a run is damaged.
    """
    store = Store(project)
    clips = store.clip_frame()
    lines = ledger(store, store.keys.usable)
    build = current_build(project)
    neighbours = [] if build is None else neighbours_of_build(project, build.build).parts()
    runs = [run.name for run in list_runs(project)]
    unfinished = [found for run in runs if (found := unfinished_run(project, run))]
    busy = _busy(project)
    if busy is not None:
        trains = busy.holder.stage == "train" and busy.holder.run in runs
        following = ["runs", "show", busy.holder.run] if trains else ["status"]
    elif clips.is_empty():
        following = ["ingest"]
    elif store.keys.lacking:
        packaged = all("`redub weights get" in str(error) for error in store.keys.lacking.values())
        following = ["weights", "get", "all"] if packaged else ["weights", "kinds"]
    elif any(line.pending for line in lines):
        following = ["extract"]
    elif build is None or not is_fresh(store, build):
        following = ["index", "build"]
    elif not neighbours:
        following = ["retrieve"]
    elif not runs:
        can_train = line_uses(store).uses["train"].usable
        following = ["train"] if can_train else ["lines", "--why"]
    else:
        following = _of_runs(project, runs)
    nulls = Counter(clip_id for line in lines if line.nulls for clip_id in _null(store, line))
    splits = dict(clips["split"].value_counts().sort("split").iter_rows())
    old_rows = any(line.pending for line in lines) and any(
        is_of_redub_01(read_json(path)) for path in project.root.glob("features/*/*/key.json")
    )
    return Status(
        sources=len(store.source_frame()),
        clips=len(clips),
        splits=splits,
        quarantined=len(store.quarantined()),
        ledger=lines,
        null_clip=nulls.most_common(1)[0][0] if nulls else None,
        lacking={name: error.message for name, error in store.keys.lacking.items()},
        fallbacks=store.keys.fallbacks,
        index=None if build is None else build.build,
        neighbours=sum(part.rows for part in neighbours),
        runs=runs,
        unfinished=unfinished,
        busy=busy,
        old_rows=old_rows,
        next_words=following,
    )


def _null(store: Store, line: LedgerLine) -> list[str]:
    """Ids of the clips whose value of a feature is null, sorted."""
    rows = store.live_features(line.feature).filter(~pl.col("valid"))
    return sorted(rows["clip_id"])


def _of_runs(project: Project, runs: Sequence[str]) -> list[str]:
    """The next command for the first run that is not ready, or `evaluate`, or `report`."""
    saved = [run for run in runs if steps_in(run_folder(project, run) / CHECKPOINTS)]
    for run in saved or runs[:1]:
        if words := next_of_run(project, run):
            return words
    return ["report"] if set(saved) <= set(evaluated_runs(project)) else ["evaluate", *saved]


def next_of_run(project: Project, run: str) -> list[str]:
    """The words of the command that continues a run; empty if the run has takes to evaluate.

    A run that stopped before its last step, and that has no takes of its present checkpoint, is
    trained further.

    Raises:
        IntegrityError: the index of its takes or its request is damaged.
    """
    split = project.config.evaluate.split
    has_checkpoint = bool(steps_in(run_folder(project, run) / CHECKPOINTS))
    if has_checkpoint and has_spoken(project, run, split):
        return []
    if unfinished := unfinished_run(project, run):
        return unfinished.next_words
    if not has_checkpoint:
        return ["train", "--run", run]
    return ["synthesize", run, *(() if split == "test" else ("--split", split))]


def _busy(project: Project) -> Busy | None:
    held = holder(project.root)
    if held is None:
        return None
    folder: Path | None = None
    if held.stage == "train":
        folder = run_folder(project, held.run.partition(" ")[0])
    elif held.stage == "vocoder train":
        folder = vocoder_folder(project, held.run)
    rows = [] if folder is None else read_metrics(folder)
    return Busy(held, int(rows[-1]["step"]) if rows else None)
