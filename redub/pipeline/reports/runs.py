"""`redub runs show`: everything that is known about a training run.

Reads ``runs/<name>/``: ``metrics.jsonl``, ``config.toml``, checkpoints, the lists of samples.
Damage becomes a sentence; what can be read is shown. Writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import safetensors

from redub.core.config import settings_of
from redub.core.durable import check_folder, read_json
from redub.core.errors import ConfigError, IntegrityError, RedubError
from redub.core.records import Json
from redub.model.registry import system
from redub.pipeline.store.index.builds import open_index
from redub.pipeline.store.packs.build import pack_keys
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.folders import (
    CARD,
    SAMPLES,
    MetricsRow,
    count_text,
    find_run,
    folder_size,
    is_figure,
    metrics_in,
    sampled_steps,
)
from redub.pipeline.store.runs.run_settings import RunSettings, dotted, settings_table
from redub.pipeline.store.runs.takes import INDEX, TakeIndex
from redub.pipeline.store.tables import Store
from redub.training import checkpoint
from redub.training.presets import TRAINING_PRESETS, training_preset
from redub.training.run_files import CHECKPOINTS

OWN_KEYS = ("overfit",)  # among a checkpoint's keys, but no key of a feature or the index
MOST_CHANGES = 8  # from a preset; a run with more is described without a preset


def model_of(project: Project, name: str) -> str:
    """The model of a run, from its ``config.toml`` or newest checkpoint, else of the settings.

    Raises:
        UsageError: there is no such run.
    """
    return RunSettings.read(find_run(project, name)).model or project.config.train.model


def free_name(project: Project, base: str) -> str:
    """The first of ``base-2``, ``base-3``, … that no run has."""
    number = 2
    while (project.root / "runs" / f"{base}-{number}").exists():
        number += 1
    return f"{base}-{number}"


# -- showing a run


class Point(NamedTuple):
    """A value at a training step."""

    step: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """First, best (lowest) and last value of a loss; all None without any value."""

    first: Point | None
    best: Point | None
    last: Point | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointLine:
    """One checkpoint: ``size`` in bytes; ``fault`` is empty where no byte is damaged."""

    step: int
    size_bytes: int
    validation_loss: float | None
    is_best: bool
    is_newest: bool
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenSplit:
    """How many utterances of a split were synthesised, and by which checkpoint."""

    split: str
    lines: int
    checkpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """Everything known about a run.

    ``preset``: the nearest preset with the settings that differ from it, empty where none is near.
    ``keys``: name → key of the features and the index that the run was trained on. ``changed``:
    keys that differ in the project now, name → present key (None: gone). ``unchecked``: names of
    keys that could not be compared. ``faults``: sentences about damage.
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
        """The facts in sentences, the run's name first."""
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
            "samples": f"at {count_text('step', len(self.sampled_steps))} {sampled}"
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
        return [[name, *map(point_text, (c.first, c.best, c.last))] for name, c in courses]

    def checkpoint_rows(self) -> list[list[str]]:
        """Step, MiB, validation loss, newest or best, and the fault or "whole"."""
        rows = []
        for place in self.checkpoints:
            marks = [
                word for word, so in (("newest", place.is_newest), ("best", place.is_best)) if so
            ]
            loss = "–" if place.validation_loss is None else f"{place.validation_loss:.4f}"
            size = f"{place.size_bytes / 2**20:.1f}"
            rows.append([str(place.step), size, loss, ", ".join(marks), place.fault or "whole"])
        return rows


def point_text(point: Point | None) -> str:
    """A point as ``VALUE at STEP``; a dash without one."""
    return "–" if point is None else f"{point.value:.4f} at {point.step}"


def show_run(project: Project, name: str) -> RunFacts:
    """Read everything about a run; damage becomes a sentence in ``faults``.

    Raises:
        UsageError: there is no such run.
    """
    folder = find_run(project, name)
    metrics, settings = metrics_in(folder), RunSettings.read(folder)
    faults = [metrics.fault, settings.fault]
    places = _checkpoints(folder / CHECKPOINTS)
    keys, trained_parameters = _from_newest_whole(folder / CHECKPOINTS, places)
    now, unchecked, fault = _present_keys(project, keys)
    faults.append(fault)
    spoken, unread = _spoken(folder)
    return RunFacts(
        name=name,
        folder=folder,
        model=settings.model or "not known",
        preset=_preset(settings),
        steps=max((*(int(row["step"]) for row in metrics.rows), *(p.step for p in places), 0)),
        trained_parameters=trained_parameters,
        loss=course_of(metrics.rows, "loss"),
        validation_loss=course_of(metrics.rows, "validation_loss"),
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
    """The project's keys of the same names (None: gone), names not compared, and why not."""
    trained = {name: key for name, key in trained.items() if name not in OWN_KEYS}
    if not trained:
        return {}, (), ""
    store = Store(project)
    now = {name: key.key for name, key in store.keys.by_name.items() if name in trained}
    fault = ""
    unchecked: tuple[str, ...] = ()
    try:
        now |= pack_keys(store, open_index(store))
    except RedubError as error:
        unchecked = tuple(name for name in trained if name not in now)
        fault = f"whether {', '.join(unchecked)} changed since is not known: {error.message}"
    return {n: now.get(n) for n in trained if n not in unchecked}, unchecked, fault


def course_of(rows: Iterable[MetricsRow], name: str) -> Course:
    """First, best and last value of a metric; NaN values are never the best."""
    points = [Point(int(row["step"]), float(row[name])) for row in rows if name in row]
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
                size_bytes=folder_size(place),
                validation_loss=loss,
                is_best=place == best,
                is_newest=place == places[0],
                fault=fault,
            )
        )
    return found


def _checked(place: Path) -> tuple[float | None, str]:
    """A checkpoint's validation loss, and a sentence about damage; empty without damage."""
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
    return (float(loss) if is_figure(loss) else None), ""


def _from_newest_whole(
    root: Path, places: Sequence[CheckpointLine]
) -> tuple[dict[str, str], int | None]:
    """Keys and the number of trained parameters, from the newest checkpoint without damage."""
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
        keys = {str(name): str(key) for name, key in settings_table(record, "keys").items()}
        return keys, _parameters(place, record.get("trained_parameters"))
    return {}, None


def _parameters(place: Path, trained: object) -> int | None:
    """The number of trained parameters, from the headers of the weights file."""
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


def _preset(settings: RunSettings) -> str:
    """The nearest preset and the settings that differ; empty with more than MOST_CHANGES."""
    try:
        presets = system(settings.model).PRESETS
    except ConfigError:
        return ""
    values = settings.values
    chosen = {"model.name", "training.system", "training.seed"}  # not part of a preset
    found = []
    for name in sorted(presets.keys() & TRAINING_PRESETS.keys()):
        preset = dotted(
            {
                "model": settings_of(presets[name])["fields"],
                "training": settings_of(training_preset(settings.model, name))["fields"],
            }
        )
        own = values.keys() - chosen  # an older run may lack newer settings
        found.append((sorted(key for key in own if preset.get(key) != values[key]), name))
    changes, name = min(found, key=lambda pair: len(pair[0]), default=([], ""))
    if len(changes) > MOST_CHANGES:
        return ""
    changed = ", ".join(f"{key} = {value_text(values[key])}" for key in changes)
    return f"{name} with {changed}" if changed else name


def value_text(value: Json) -> str:
    """A setting as JSON; a dash for None."""
    return "–" if value is None else json.dumps(value, ensure_ascii=False)


def _spoken(folder: Path) -> tuple[tuple[SpokenSplit, ...], list[str]]:
    found, unread = [], []
    for path in sorted((folder / SAMPLES).glob(f"*/{INDEX}")):
        try:
            index = TakeIndex.read(path)
        except IntegrityError as error:
            unread.append(error.message)
            continue
        made_by = index.checkpoint.partition(" ")[0]
        split = SpokenSplit(split=path.parent.name, lines=len(index.lines), checkpoint=made_by)
        found.append(split)
    return tuple(found), unread
