"""Training runs on disk: find, read, export and remove them.

Reads ``runs/<run>/``: ``config.toml``, ``lines.json``, ``metrics.jsonl``, ``checkpoints/`` and
``progress/``. Writes exported weights; removes runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from redub.core.config import nearest
from redub.core.durable import TEMP_PREFIX, commit_file, read_json, storage_errors, sync_folder
from redub.core.errors import ConfigError, IntegrityError, StorageError, UsageError
from redub.pipeline.store.lock import project_lock
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.run_settings import CONFIG, RunSettings
from redub.training import checkpoint
from redub.training.checkpoint import steps_in
from redub.training.pretrained import export_weights
from redub.training.run_files import CHECKPOINTS, METRICS

LINES, PROGRESS = "lines.json", "progress"


def run_folder(project: Project, name: str) -> Path:
    """The folder of a run, which need not exist.

    Raises:
        ConfigError: the name is not a plain folder name.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}", name):
        raise ConfigError(f"'{name}' cannot name a run; use letters, digits, - and _")
    return project.root / "runs" / name


def trained_on(project: Project, run: str) -> set[str]:
    """Ids of the clips that a run was trained or validated on.

    Raises:
        IntegrityError: the list is gone or damaged.
    """
    folder = run_folder(project, run)
    path = folder / LINES
    if not path.is_file():
        if not steps_in(folder / CHECKPOINTS):
            return set()
        raise IntegrityError(
            f"{path} is gone, so the training clips of '{run}' are not known; "
            f"`redub train --run {run}` writes it again",
            code="E-INT-GONE",
        )
    try:
        seen = read_json(path)
        return {*seen["train"], *seen["validation"]}
    except (KeyError, TypeError) as error:
        raise IntegrityError(
            f"{path} is damaged ({error!r}); `redub train --run {run}` writes it again",
            code="E-INT-JSON",
        ) from error


def step_folder(folder: Path, step: int) -> Path:
    """The folder of a run that holds the samples of a step."""
    return folder / PROGRESS / f"step_{step:08d}"


def sampled_steps(folder: Path) -> list[int]:
    """Steps of a run that have samples, ascending; only folder names are read."""
    names = (path.name for path in (folder / PROGRESS).glob("step_*"))
    return sorted(int(name[5:]) for name in names if re.fullmatch(r"step_\d{8}", name))


def spoken_checkpoint(project: Project, run: str) -> Path:
    """The checkpoint that synthesis uses: lowest validation loss, else the newest.

    Raises:
        ConfigError: the run has no checkpoint.
    """
    root = run_folder(project, run) / CHECKPOINTS
    place = checkpoint.best(root) if root.is_dir() else None
    if place is None:
        raise ConfigError(
            f"run '{run}' has no checkpoint; run `redub train --run {run}` first",
            code="E-STAGE-TRAIN",
        )
    return place


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedRun:
    """A run's weights in one file; ``checkpoint`` is the name of the checkpoint's folder."""

    run: str
    checkpoint: str
    file: Path
    size_bytes: int

    def __str__(self) -> str:
        size = f"{self.size_bytes / 2**20:.1f} MiB"
        return f"{self.file}: {self.run} {self.checkpoint}, {size}"


def export_run(project: Project, run: str, target: Path) -> ExportedRun:
    """Write the weights of a run's best checkpoint as one file.

    Raises:
        ConfigError: the run has no checkpoint.
        UsageError: the file exists already.
    """
    place = spoken_checkpoint(project, run)
    if target.exists():
        raise UsageError(f"{target} exists already; choose another name")
    card = run_folder(project, run) / "card.md"
    said = card.read_text(encoding="utf-8") if card.is_file() else ""
    commit_file(target, lambda temp: export_weights(place, temp, card=said))
    size = target.stat().st_size
    return ExportedRun(run=run, checkpoint=place.name, file=target, size_bytes=size)


CARD, SAMPLES = "card.md", "samples"


# -- listing


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run of a list; ``loss`` is the last validation loss, ``–`` before the first."""

    name: str
    model: str
    step: int
    loss: str


@dataclass(frozen=True, slots=True)
class RunList:
    """All runs of a project, by name."""

    runs: list[RunLine]


def list_runs(project: Project) -> list[RunLine]:
    """All runs of a project, sorted by name."""
    lines = []
    for folder in _run_folders(project):
        if not (folder / METRICS).is_file():
            continue
        rows = read_metrics(folder)
        steps = [row["step"] for row in rows] or [0]
        losses = [row["validation_loss"] for row in rows if "validation_loss" in row]
        loss = f"{losses[-1]:.4f}" if losses else "–"
        lines.append(RunLine(folder.name, _model(folder), int(steps[-1]), loss))
    return lines


def _run_folders(project: Project) -> list[Path]:
    """Folders (or links to folders) that hold a file of a training run."""
    root = project.root / "runs"
    signs = (METRICS, CHECKPOINTS, CONFIG, LINES)
    found = [
        path
        for path in (root.iterdir() if root.is_dir() else ())
        if not path.name.startswith(TEMP_PREFIX) and any((path / sign).exists() for sign in signs)
    ]
    return sorted(found)


def _model(folder: Path) -> str:
    if not (folder / CONFIG).is_file():
        return "unfinished"
    return RunSettings.read(folder).model or "damaged"


def find_run(project: Project, name: str) -> Path:
    """The folder of an existing run.

    Raises:
        UsageError: no such run; the message names the nearest one.
    """
    known = {folder.name: folder for folder in _run_folders(project)}
    if name not in known:
        hint = nearest(name, known) if known else "there is none yet; `redub train` makes one"
        raise UsageError(f"no run '{name}'; {hint}")
    return known[name]


# -- reading metrics


MetricsRow = dict[str, float]
"""One row of ``metrics.jsonl``: ``step``, and losses or other figures by name."""


class Metrics(NamedTuple):
    """Rows of ``metrics.jsonl``, and a sentence if it is damaged.

    An incomplete last row is no damage: a killed run leaves one.
    """

    rows: list[MetricsRow]
    fault: str


def read_metrics(folder: Path) -> list[MetricsRow]:
    """Rows of ``metrics.jsonl`` up to the first unreadable row."""
    return metrics_in(folder).rows


def metrics_in(folder: Path) -> Metrics:
    """:func:`read_metrics`, with a sentence about the fault, if any."""
    path = folder / METRICS
    if not path.is_file():
        return Metrics([], "")
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    rows: list[MetricsRow] = []
    for number, line in enumerate(lines, start=1):
        row = _row(line)
        if row is None:
            is_cut_off = number == len(lines) and not text.endswith("\n")
            fault = f"{METRICS} is damaged at line {number}; what follows is not shown"
            return Metrics(rows, "" if is_cut_off else fault)
        rows.append(row)
    return Metrics(rows, "")


def _row(line: str) -> MetricsRow | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or type(row.get("step")) is not int:
        return None
    return row if all(is_figure(value) for value in row.values()) else None


def is_figure(value: object) -> bool:
    """Whether a JSON value is a number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def count_text(word: str, count: int) -> str:
    """The word in the singular or plural, without the number."""
    return word if count == 1 else f"{word}s"


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; links are not followed."""
    size = 0
    for here, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # a training run removes old checkpoints
                size += os.lstat(os.path.join(here, name)).st_size
    return size


# -- removing


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A run to remove: its folder, bytes, and number of checkpoints."""

    name: str
    folder: Path
    size_bytes: int
    checkpoints: int

    def __str__(self) -> str:
        counted = count_text("checkpoint", self.checkpoints)
        return (
            f"run '{self.name}' ({self.checkpoints} {counted}, {self.size_bytes / 2**20:.1f} MiB)"
        )


def removal_of(project: Project, name: str) -> Removal:
    """Find out what the removal of a run deletes; removes nothing.

    Raises:
        UsageError: there is no such run.
        StorageError: the run's folder is a link; what it points to is not the project's.
    """
    folder = find_run(project, name)
    if folder.is_symlink():
        raise StorageError(
            f"{folder} is a link to {os.readlink(folder)}; nothing was removed. Remove the link "
            "yourself, and the folder it points to if you no longer need it",
            code="E-STORE-TARGET",
        )
    return Removal(
        name=name,
        folder=folder,
        size_bytes=folder_size(folder),
        checkpoints=len(checkpoint.steps_in(folder / CHECKPOINTS)),
    )


def remove_run(project: Project, removal: Removal) -> None:
    """Rename the run's folder, then delete it.

    If the process is killed in between, the next writing command deletes the renamed folder.

    Raises:
        LockedError: the project is being written to, perhaps by this run's training.
        StorageError: the disk refused.
    """
    temp = removal.folder.with_name(f"{TEMP_PREFIX}{removal.name}")
    with project_lock(project.root), storage_errors(removal.folder):
        shutil.rmtree(temp, ignore_errors=True)
        removal.folder.rename(temp)
        sync_folder(temp.parent)
        shutil.rmtree(temp)
