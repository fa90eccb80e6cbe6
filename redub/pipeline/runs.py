"""Training runs on disk: listed, shown, compared, removed.

Reads ``runs/<name>/``: ``metrics.jsonl``, ``config.toml``, checkpoints, the lists of samples. What
is damaged becomes a sentence beside what could be read. Writes nothing; :func:`remove_run` removes
a run as a whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import safetensors

from redub.core.config import nearest, settings_of
from redub.core.errors import ConfigError, IntegrityError, RedubError, StorageError, UsageError
from redub.model.registry import system
from redub.pipeline.files import (
    TEMP_PREFIX,
    check_folder,
    read_json,
    storage_errors,
    sync_folder,
)
from redub.pipeline.index import open_index
from redub.pipeline.lock import project_lock
from redub.pipeline.pack import pack_keys
from redub.pipeline.project import Project
from redub.pipeline.store import Store
from redub.pipeline.synthesize import read_index
from redub.pipeline.train import LINES, sampled_steps
from redub.training import checkpoint
from redub.training.losses import Losses
from redub.training.trainer import CHECKPOINTS, METRICS, TRAINING_PRESETS, training_preset

CONFIG, CARD, SAMPLES = "config.toml", "card.md", "samples"
OWN_KEYS = ("overfit",)  # kept among a checkpoint's keys, though no feature and no index
MOST_CHANGES = 8  # of a preset; with more a run is better described without one


# -- what there is


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run; ``loss`` is the last validation loss, ``–`` before the first."""

    name: str
    model: str
    step: int
    loss: str


def list_runs(project: Project) -> list[RunLine]:
    """All runs of a project by name."""
    lines = []
    for folder in _run_folders(project):
        if not (folder / METRICS).is_file():
            continue
        rows = read_metrics(folder)
        steps = [row["step"] for row in rows] or [0]
        losses = [row["validation_loss"] for row in rows if "validation_loss" in row]
        loss = f"{losses[-1]:.4f}" if losses else "–"
        lines.append(RunLine(folder.name, _model(folder), steps[-1], loss))
    return lines


def _run_folders(project: Project) -> list[Path]:
    """Folders (or links to folders) that hold something a training run writes."""
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
    name = settings_in(folder).values.get("model.name")
    return name if isinstance(name, str) else "damaged"


def model_of(project: Project, name: str) -> str:
    """The model of a run that exists, as ``config.toml`` or its newest checkpoint names it.

    Raises:
        UsageError: there is no such run.
    """
    found = settings_in(find_run(project, name)).values.get("model.name")
    return found if isinstance(found, str) else project.config.train.model


def free_name(project: Project, base: str) -> str:
    """``base-2``, or the next of these names that no run has."""
    number = 2
    while (project.root / "runs" / f"{base}-{number}").exists():
        number += 1
    return f"{base}-{number}"


def find_run(project: Project, name: str) -> Path:
    """The folder of a run that exists.

    Raises:
        UsageError: it does not, with the nearest name that does.
    """
    known = {folder.name: folder for folder in _run_folders(project)}
    if name not in known:
        hint = nearest(name, known) if known else "there is none yet; `redub train` makes one"
        raise UsageError(f"no run '{name}'; {hint}")
    return known[name]


# -- reading metrics and settings


class Metrics(NamedTuple):
    """Rows of ``metrics.jsonl``, and a sentence where it is damaged (a killed last row is not)."""

    rows: list[dict[str, Any]]
    fault: str


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Rows of ``metrics.jsonl`` up to the first that cannot be read."""
    return metrics_in(folder).rows


def metrics_in(folder: Path) -> Metrics:
    """The same, with what was wrong."""
    path = folder / METRICS
    if not path.is_file():
        return Metrics([], "")
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        row = _row(line)
        if row is None:
            is_cut_off = number == len(lines) and not text.endswith("\n")
            fault = f"{METRICS} is damaged at line {number}; what follows is not shown"
            return Metrics(rows, "" if is_cut_off else fault)
        rows.append(row)
    return Metrics(rows, "")


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or type(row.get("step")) is not int:
        return None
    losses = (row[name] for name in ("loss", "validation_loss") if name in row)
    return row if all(_is_figure(value) for value in losses) else None


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Settings(NamedTuple):
    """What a run was trained with by dotted name, and a sentence on what could not be read."""

    values: dict[str, Any]
    fault: str


def settings_in(folder: Path) -> Settings:
    """From ``config.toml``; from the newest checkpoint where that is not there yet or damaged."""
    fault = ""
    path = folder / CONFIG
    if path.is_file():
        try:
            values = dotted(tomllib.loads(path.read_text(encoding="utf-8")))
            if isinstance(values.get("model.name"), str):
                return Settings(values, "")
            fault = f"{CONFIG} names no model"
        except ValueError as error:  # of TOML and of UTF-8
            fault = f"{CONFIG} is damaged: {error}"
    record = _newest_record(folder / CHECKPOINTS)
    if record is not None:
        model = {"name": record.get("system"), **_table(record, "model")}
        known = {"model": model, "training": _table(record, "training")}
        return Settings(dotted(known), fault and f"{fault}; the newest checkpoint's is shown")
    return Settings({}, fault or "its settings are not known: no step was finished yet")


def dotted(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, by dotted name; None, which TOML cannot say, is left out."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= dotted(value, f"{prefix}{name}.")
        elif value is not None:
            flat[f"{prefix}{name}"] = value
    return flat


def _table(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = record.get(name)
    return found if isinstance(found, Mapping) else {}


def _newest_record(root: Path) -> dict[str, Any] | None:
    """``config.json`` of the newest checkpoint whose own can be read."""
    for place in checkpoint.steps_in(root):
        try:
            record = read_json(place / checkpoint.RECORD)
        except (OSError, IntegrityError):
            continue
        if isinstance(record, dict):
            return record
    return None


# -- showing one


class Point(NamedTuple):
    step: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a loss went; all None before the first value."""

    first: Point | None
    best: Point | None
    last: Point | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointLine:
    """One checkpoint; ``fault`` is empty where every byte is what was written."""

    step: int
    size: int
    validation_loss: float | None
    is_best: bool
    is_newest: bool
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenSplit:
    """Lines of a split that were synthesised, and by which checkpoint."""

    split: str
    lines: int
    checkpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """Everything known about a run.

    preset: with the settings that differ from it, empty where none is near. keys: what the lines
    were made from, name → key. changed: those that the project has otherwise now (None: not at
    all). unchecked: those of which that cannot be said. faults: sentences on what is damaged or
    not known.
    """

    name: str
    folder: Path
    model: str
    preset: str
    steps: int
    trained_parameters: int | None
    loss: Course
    validation_loss: Course
    checkpoints: tuple[CheckpointLine, ...]
    keys: Mapping[str, str]
    changed: Mapping[str, str | None]
    unchecked: tuple[str, ...]
    spoken: tuple[SpokenSplit, ...]
    sampled_steps: tuple[int, ...]
    card: Path | None
    faults: tuple[str, ...]

    def lines(self) -> list[str]:
        parameters = (
            "" if self.trained_parameters is None else f"{self.trained_parameters:,} parameters"
        )
        spoken = ", ".join(f"{s.split} {s.lines} lines by {s.checkpoint}" for s in self.spoken)
        sampled = ", ".join(map(str, self.sampled_steps))
        facts = {
            "model": ", preset ".join(filter(None, (self.model, self.preset))),
            "steps": str(self.steps),
            "trained": parameters or "–",
            "spoken": spoken or "nothing yet",
            "samples": f"at {_counted('step', len(self.sampled_steps))} {sampled}"
            if sampled
            else "none",
            "card": str(self.card or "–"),
            "trained on": self._trained_on(),
        }
        return [f"{self.name}:", *(f"  {name:12}{value}" for name, value in facts.items())]

    def _trained_on(self) -> str:
        if not self.keys:
            return "–"
        now = [f"{name} {self.keys[name]} → {key or 'gone'}" for name, key in self.changed.items()]
        said = [f"changed since: {', '.join(now)}"] if now else []
        if self.unchecked:
            said.append(f"not known of {', '.join(self.unchecked)}")
        if not now:
            said.insert(0, "the others are" if self.unchecked else "all are")
            said[0] += " the project's present ones"
        return f"{len(self.keys)} keys; {'; '.join(said)}"

    def loss_rows(self) -> list[list[str]]:
        """First, best and last value of the losses, each with its step."""
        courses = (("loss", self.loss), ("validation loss", self.validation_loss))
        return [[name, *map(_point_text, (c.first, c.best, c.last))] for name, c in courses]

    def checkpoint_rows(self) -> list[list[str]]:
        """Step, MiB, validation loss, what it is, and whether it is whole."""
        rows = []
        for place in self.checkpoints:
            marks = [
                word for word, so in (("newest", place.is_newest), ("best", place.is_best)) if so
            ]
            loss = "–" if place.validation_loss is None else f"{place.validation_loss:.4f}"
            size = f"{place.size / 2**20:.1f}"
            rows.append([str(place.step), size, loss, ", ".join(marks), place.fault or "whole"])
        return rows


def _counted(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _point_text(point: Point | None) -> str:
    return "–" if point is None else f"{point.value:.4f} at {point.step}"


def show_run(project: Project, name: str) -> RunFacts:
    """Read everything about a run; damage becomes a sentence.

    Raises:
        UsageError: there is no such run.
    """
    folder = find_run(project, name)
    metrics, settings = metrics_in(folder), settings_in(folder)
    faults = [metrics.fault, settings.fault]
    places = _checkpoints(folder / CHECKPOINTS)
    keys, trained_parameters = _from_newest_whole(folder / CHECKPOINTS, places)
    now, unchecked, fault = _present_keys(project, keys)
    faults.append(fault)
    spoken, unread = _spoken(folder)
    model = settings.values.get("model.name")
    return RunFacts(
        name=name,
        folder=folder,
        model=model if isinstance(model, str) else "not known",
        preset=_preset(settings.values),
        steps=max((*(row["step"] for row in metrics.rows), *(p.step for p in places), 0)),
        trained_parameters=trained_parameters,
        loss=_course(metrics.rows, "loss"),
        validation_loss=_course(metrics.rows, "validation_loss"),
        checkpoints=tuple(places),
        keys=keys,
        changed={name: now[name] for name, key in keys.items() if now.get(name, key) != key},
        unchecked=unchecked,
        spoken=spoken,
        sampled_steps=tuple(sampled_steps(folder)),
        card=folder / CARD if (folder / CARD).is_file() else None,
        faults=tuple(filter(None, [*faults, *unread])),
    )


def _present_keys(
    project: Project, trained: Mapping[str, str]
) -> tuple[dict[str, str | None], tuple[str, ...], str]:
    """The project's keys of the same names (None: gone), names not known, and why."""
    trained = {name: key for name, key in trained.items() if name not in OWN_KEYS}
    if not trained:
        return {}, (), ""
    store = Store(project)
    now = {name: key.key for name, key in store.keys.by_name.items() if name in trained}
    fault = ""
    unchecked: tuple[str, ...] = ()
    try:
        now |= pack_keys(store, open_index(project))
    except RedubError as error:
        unchecked = tuple(name for name in trained if name not in now)
        fault = f"whether {', '.join(unchecked)} changed since is not known: {error.message}"
    return {n: now.get(n) for n in trained if n not in unchecked}, unchecked, fault


def _course(rows: Iterable[Mapping[str, Any]], name: str) -> Course:
    points = [Point(row["step"], float(row[name])) for row in rows if name in row]
    if not points:
        return Course(first=None, best=None, last=None)
    best = min((p for p in points if p.value == p.value), key=lambda p: p.value, default=None)
    return Course(first=points[0], best=best, last=points[-1])


def _checkpoints(root: Path) -> list[CheckpointLine]:
    places = checkpoint.steps_in(root)
    best = checkpoint.best(root) if places else None
    found = []
    for place in places:
        loss, fault = _checked(place)
        step = place.name.removeprefix("step_")
        found.append(
            CheckpointLine(
                step=int(step) if step.isdigit() else 0,
                size=_size(place),
                validation_loss=loss,
                is_best=place == best,
                is_newest=place == places[0],
                fault=fault,
            )
        )
    return found


def _checked(place: Path) -> tuple[float | None, str]:
    """A checkpoint's validation loss, and what is wrong with its bytes."""
    try:
        manifest = read_json(place / checkpoint.MANIFEST)
        sums, loss = manifest["sha256"], manifest["validation_loss"]
        if not {checkpoint.WEIGHTS, checkpoint.RECORD} <= set(sums):
            return None, f"{checkpoint.MANIFEST} does not list the files of a checkpoint"
        check_folder(place, sums)
    except (OSError, KeyError, TypeError, AttributeError):
        return None, f"{checkpoint.MANIFEST} is gone or damaged"
    except IntegrityError as error:
        return None, error.message
    return (float(loss) if _is_figure(loss) else None), ""


def _from_newest_whole(
    root: Path, places: Sequence[CheckpointLine]
) -> tuple[dict[str, str], int | None]:
    """Keys and the number of trained parameters, as the newest whole checkpoint has them."""
    for line in places:
        if line.fault:
            continue
        place = checkpoint.directory_of(root, line.step)
        try:
            record = read_json(place / checkpoint.RECORD)
        except (OSError, IntegrityError):
            continue
        if not isinstance(record, dict):
            continue
        keys = {str(name): str(key) for name, key in _table(record, "keys").items()}
        return keys, _parameters(place, record.get("trained_parameters"))
    return {}, None


def _parameters(place: Path, trained: object) -> int | None:
    """Numbers in the tensors that were trained; only the file's header is read."""
    if not isinstance(trained, list):
        return None
    count = 0
    try:
        with safetensors.safe_open(place / checkpoint.WEIGHTS, framework="numpy") as weights:
            for name in trained:
                shape = weights.get_slice(name).get_shape()
                size = 1
                for side in shape:
                    size *= side
                count += size
    except (safetensors.SafetensorError, OSError, TypeError):
        return None
    return count


def _preset(values: Mapping[str, Any]) -> str:
    """The nearest preset and the settings that differ from it; empty where none is near."""
    try:
        presets = system(str(values.get("model.name"))).PRESETS
    except ConfigError:
        return ""
    chosen = {"model.name", "training.system", "training.seed"}  # a preset does not say these
    found = []
    for name in sorted(presets.keys() & TRAINING_PRESETS.keys()):
        preset = dotted(
            {
                "model": settings_of(presets[name])["fields"],
                "training": settings_of(training_preset(str(values.get("model.name")), name))[
                    "fields"
                ],
            }
        )
        own = values.keys() - chosen  # an older run lacks settings that came later
        found.append((sorted(key for key in own if preset.get(key) != values[key]), name))
    changes, name = min(found, key=lambda pair: len(pair[0]), default=([], ""))
    if len(changes) > MOST_CHANGES:
        return ""
    changed = ", ".join(f"{key} = {_value_text(values[key])}" for key in changes)
    return f"{name} with {changed}" if changed else name


def _value_text(value: Any) -> str:
    return "–" if value is None else json.dumps(value, ensure_ascii=False)


def _spoken(folder: Path) -> tuple[tuple[SpokenSplit, ...], list[str]]:
    found, unread = [], []
    for path in sorted((folder / SAMPLES).glob("*/index.json")):
        try:
            index = read_index(path.parent)
        except IntegrityError as error:
            unread.append(error.message)
            continue
        except TypeError:
            unread.append(f"{path} is damaged; run `redub synthesize` again")
            continue
        made_by = str(index["checkpoint"]).partition(" ")[0]
        split = SpokenSplit(split=path.parent.name, lines=len(index["lines"]), checkpoint=made_by)
        found.append(split)
    return tuple(found), unread


def _size(folder: Path) -> int:
    """Bytes of the files below a folder; links are not followed."""
    size = 0
    for here, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # a training run thins out its own
                size += os.lstat(os.path.join(here, name)).st_size
    return size


# -- comparing


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Several runs side by side; every tuple has one value per run, in the order of ``runs``.

    settings: dotted name → values, only where they differ (None: not set). step: the greatest at
    which all were measured. losses: name → values at that step; validation figures where all were
    validated there, else those of the training batch. faults: sentences, the run's name first.
    """

    runs: tuple[str, ...]
    settings: Mapping[str, tuple[Any, ...]]
    step: int | None
    losses: Mapping[str, tuple[float | None, ...]]
    best: tuple[Point | None, ...]
    last: tuple[Point | None, ...]
    faults: tuple[str, ...]

    def setting_rows(self) -> list[list[str]]:
        return [[name, *map(_value_text, values)] for name, values in self.settings.items()]

    def loss_rows(self) -> list[list[str]]:
        rows = [
            ["best validation", *map(_point_text, self.best)],
            ["last validation", *map(_point_text, self.last)],
        ]
        for name, values in self.losses.items():
            texts = ("–" if value is None else f"{value:.4f}" for value in values)
            rows.append([f"{name} at {self.step}", *texts])
        return rows


def compare_runs(project: Project, names: Sequence[str]) -> Comparison:
    """What differs between runs, and their losses at equal steps.

    Raises:
        UsageError: an unknown run, or fewer than two.
    """
    folders = [find_run(project, name) for name in dict.fromkeys(names)]
    if len(folders) < 2:
        raise UsageError(f"nothing to compare: {len(folders)} run named, wanted two or more")
    metrics = [metrics_in(folder) for folder in folders]
    settings = [settings_in(folder) for folder in folders]
    every = sorted({name for own in settings for name in own.values})
    values = {name: tuple(own.values.get(name) for own in settings) for name in every}
    courses = [_course(own.rows, "validation_loss") for own in metrics]
    step, losses = _at_equal_steps([own.rows for own in metrics])
    faults = [
        f"{folder.name}: {fault}"
        for folder, rows, own in zip(folders, metrics, settings, strict=True)
        for fault in (rows.fault, own.fault)
        if fault
    ]
    return Comparison(
        runs=tuple(folder.name for folder in folders),
        settings={n: v for n, v in values.items() if any(other != v[0] for other in v)},
        step=step,
        losses=losses,
        best=tuple(course.best for course in courses),
        last=tuple(course.last for course in courses),
        faults=tuple(faults),
    )


def _at_equal_steps(
    runs: Sequence[Sequence[Mapping[str, Any]]],
) -> tuple[int | None, dict[str, tuple[float | None, ...]]]:
    for sign, prefix in (("validation_loss", "validation_"), ("loss", "")):
        by_step = [{row["step"]: row for row in rows if sign in row} for rows in runs]
        common = set.intersection(*(set(rows) for rows in by_step))
        if not common:
            continue
        step = max(common)
        names = [f"{prefix}{name}" for name in ("loss", *Losses._fields)]
        columns = {name: tuple(_term(own, step, name) for own in by_step) for name in names}
        return step, {name: values for name, values in columns.items() if set(values) != {None}}
    return None, {}


def _term(rows: Mapping[int, Mapping[str, Any]], step: int, name: str) -> float | None:
    """A loss at a step; none where it is 0 at all steps, as of a system without that term."""
    value = rows[step].get(name)
    if value is None or not _is_figure(value) or not any(row.get(name) for row in rows.values()):
        return None
    return float(value)


# -- removing


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A run that may be removed, and what goes with it."""

    name: str
    folder: Path
    size: int
    checkpoints: int

    def __str__(self) -> str:
        counted = _counted("checkpoint", self.checkpoints)
        return f"run '{self.name}' ({self.checkpoints} {counted}, {self.size / 2**20:.1f} MiB)"


def removal_of(project: Project, name: str) -> Removal:
    """What removing a run would remove.

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
        size=_size(folder),
        checkpoints=len(checkpoint.steps_in(folder / CHECKPOINTS)),
    )


def remove_run(project: Project, removal: Removal) -> None:
    """Take the run's folder away at once, then delete it.

    What a kill leaves has a name that the next writing command clears.

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
