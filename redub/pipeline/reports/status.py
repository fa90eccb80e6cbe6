"""Where a project stands, read from its logs and commits; writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from redub.pipeline.store.index.builds import current_build
from redub.pipeline.store.index.neighbours import neighbours_of_build
from redub.pipeline.store.ledger import LedgerLine, ledger
from redub.pipeline.store.lock import Holder, holder
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.folders import list_runs, read_metrics, run_folder
from redub.pipeline.store.runs.takes import has_spoken
from redub.pipeline.store.runs.vocoders import vocoder_folder
from redub.pipeline.store.tables import Store
from redub.training.checkpoint import steps_in
from redub.training.run_files import CHECKPOINTS


@dataclass(frozen=True, slots=True)
class Busy:
    """The command that writes to the project now; ``step``: the last one in a training's metrics.

    ``step`` is None where nothing is trained, or no step was taken yet.
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
    """``lacking``: features whose weights are not recorded, with what to type.

    ``neighbours``: rows of the newest build under the settings of now. ``busy``: what writes to
    the project now. ``next_words``: the words of the next command, without ``redub`` and options;
    ``next_command``: the whole command, which the command line fills in.
    """

    sources: int
    clips: int
    splits: dict[str, int]
    quarantined: int
    ledger: list[LedgerLine]
    lacking: dict[str, str]
    index: str | None
    neighbours: int
    runs: list[str]
    busy: Busy | None
    next_words: list[str]
    next_command: str = ""


def project_status(project: Project) -> Status:
    """Count rows where they lie and say what to type next."""
    store = Store(project)
    clips = store.clip_frame()
    lines = ledger(store, store.keys.usable)
    build = current_build(project)
    asked = [] if build is None else neighbours_of_build(project, build["build"]).parts()
    runs = [run.name for run in list_runs(project)]
    busy = _busy(project)
    if busy is not None:
        trains = busy.holder.stage == "train" and busy.holder.run in runs
        following = ["runs", "show", busy.holder.run] if trains else ["status"]
    elif clips.is_empty():
        following = ["ingest"]
    elif store.keys.lacking:
        following = ["weights", "add", "KIND", "PATH"]
    elif any(line.pending for line in lines):
        following = ["extract"]
    elif build is None:
        following = ["index", "build"]
    elif not asked:
        following = ["retrieve"]
    elif not runs:
        following = ["train"]
    else:
        following = _of_runs(project, runs)
    splits = dict(clips["split"].value_counts().sort("split").iter_rows())
    return Status(
        sources=len(store.source_frame()),
        clips=len(clips),
        splits=splits,
        quarantined=len(store.quarantined()),
        ledger=lines,
        lacking={name: error.message for name, error in store.keys.lacking.items()},
        index=None if build is None else str(build["build"]),
        neighbours=sum(part.rows for part in asked),
        runs=runs,
        busy=busy,
        next_words=following,
    )


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
    return Busy(held, rows[-1]["step"] if rows else None)


def _of_runs(project: Project, runs: list[str]) -> list[str]:
    """What is next for the first run that is not finished, else for the first one."""
    split = project.config.evaluate.split
    saved = [run for run in runs if steps_in(run_folder(project, run) / CHECKPOINTS)]
    if not saved:
        return ["train", "--run", runs[0]]
    for run in saved:
        if not has_spoken(project, run, split):
            return ["synthesize", run, "--split", split] if split != "test" else ["synthesize", run]
    return ["evaluate", saved[0]]
