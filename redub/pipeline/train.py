"""Stage 5 of 7: train a dubber from cached features.

Reads a pack (:mod:`redub.pipeline.pack`), never media. Writes ``runs/<name>/``: ``config.toml``,
``metrics.jsonl``, ``checkpoints/``, ``card.md``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from redub.core.config import from_mapping, settings_of
from redub.core.errors import ConfigError, IntegrityError, UsageError
from redub.core.threads import torch_threads
from redub.model.registry import configured
from redub.pipeline.files import commit_bytes, commit_json, read_json
from redub.pipeline.index import FEATURE_OF, open_index
from redub.pipeline.pack import open_pack, pack_keys
from redub.pipeline.project import Project
from redub.pipeline.store import Store
from redub.training.pack import Pack
from redub.training.trainer import (
    TRAINING_PRESETS,
    TrainingConfig,
    TrainReport,
    differing,
    train,
)

LINES = "lines.json"
BASELINE = {"graph": "none", "retrieval": False}
"""The same model without retrieval and graphs: rows 7 and 10 of paper 1's ablation, together."""


@dataclasses.dataclass(frozen=True, slots=True)
class TrainSummary:
    run: Path
    report: TrainReport
    left_out: int
    reasons: str

    def lines(self) -> list[str]:
        r = self.report
        speed = (r.last_step - r.first_step) / max(r.seconds, 1e-9)
        said = [
            f"{self.run.name}: {r.trained_parameters / 1e6:.2f} M parameters, {r.lines} lines, "
            f"steps {r.first_step}–{r.last_step} in {r.seconds:.0f} s ({speed:.2f} steps/s)"
        ]
        if r.validation_loss is not None:
            said.append(f"validation loss {r.validation_loss:.4f}")
        if self.left_out:
            said.append(f"{self.left_out} lines left out: {self.reasons}")
        return said


@dataclasses.dataclass(frozen=True, slots=True)
class TrainOrder:
    """One run to train in a worker, beside others."""

    project: Project
    run: str
    baseline: bool


def train_order(order: TrainOrder) -> TrainSummary:
    """Train one run; for a worker."""
    return train_run(order.project, run=order.run, baseline=order.baseline)


def run_folder(project: Project, name: str) -> Path:
    """Where a run lives; a name is one plain folder name."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}", name):
        raise ConfigError(f"'{name}' is no name for a run; use letters, digits, - and _")
    return project.root / "runs" / name


def next_run(project: Project, base: str, *, baseline: bool = False) -> str:
    """The name of the run that the project's present footage and settings belong to.

    ``base`` itself as long as it can go on; after a change of footage, index or settings
    ``base-2``, ``base-3``, …: what was trained before stays as it is.
    """
    _, model_config, config = training_settings(project, baseline=baseline)
    wanted = {
        "model": settings_of(model_config)["fields"],
        "training": settings_of(config)["fields"],
        "keys": pack_keys(Store(project), open_index(project)),
    }
    name, number = base, 1
    while differing(run_folder(project, name), wanted):
        number += 1
        name = f"{base}-{number}"
    return name


def trained_on(project: Project, run: str) -> set[str]:
    """The clips a run has seen, in training or in choosing its checkpoint."""
    path = run_folder(project, run) / LINES
    if not path.is_file():
        return set()
    try:
        seen = read_json(path)
        return {*seen["train"], *seen["validation"]}
    except (KeyError, TypeError) as error:
        raise IntegrityError(f"{path} is damaged: {error!r}", code="E-INT-JSON") from error


def training_settings(
    project: Project, *, model: str | None = None, baseline: bool = False
) -> tuple[str, Any, TrainingConfig]:
    """The model's name, its config and the training config, every override checked."""
    settings = project.config.train
    name = model or settings.model
    overrides = {**settings.system, **(BASELINE if baseline else {})}
    model_config = configured(name, settings.preset, overrides)
    preset = TRAINING_PRESETS[settings.preset]
    values = {**dataclasses.asdict(preset), "system": name, "seed": settings.seed}
    config = from_mapping(
        TrainingConfig, _merged(values, settings.training), where="train.training"
    )
    return name, model_config, config


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, change in changes.items():
        old = merged.get(key)
        is_table = isinstance(old, Mapping) and isinstance(change, Mapping)
        merged[key] = _merged(old, change) if is_table else change  # type: ignore[arg-type]
    return merged


def train_run(
    project: Project,
    *,
    run: str,
    model: str | None = None,
    baseline: bool = False,
    max_steps: int | None = None,
    resume: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrainSummary:
    """Train or go on training one run.

    Raises:
        ConfigError: no index yet, nothing to train on, or the run was made with other settings.
    """

    folder = run_folder(project, run)
    name, model_config, config = training_settings(project, model=model, baseline=baseline)
    steps = project.config.train.max_steps if max_steps is None else max_steps
    if steps < 1:
        raise UsageError(f"--max-steps is {steps}; wanted at least 1")
    pack = open_pack(project)
    lines, validation = pack.lines("train"), pack.lines("validation")
    left_out = pack.record.left_out
    if not len(lines):
        raise ConfigError(
            f"no line can be trained on: {_reasons(left_out) or 'the training split is empty'}",
            code="E-STAGE-LINES",
        )
    seen = {"train": lines.clip_ids, "validation": validation.clip_ids}
    if not (folder / LINES).is_file() or not resume:
        commit_json(folder / LINES, seen)
    with torch_threads(project.config.train.threads), stopping() as stop:
        report = train(
            lines,
            validation,
            config,
            folder,
            model_config=model_config,
            audio=project.config.audio,
            keys=pack.record.keys,
            max_steps=steps,
            progress=lambda step: progress(step.step, steps),
            resume=resume,
            guard=pack.check_unchanged,
            stop=stop,
        )
    _describe(project, pack, folder, name, model_config, config, report)
    missing = sum(len(left_out.get(split, ())) for split in ("train", "validation"))
    return TrainSummary(folder, report, missing, _reasons(left_out))


@contextlib.contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """SIGTERM asks for an end after the step at hand; it is delivered again on leaving.

    Training then leaves a checkpoint first. In a worker's thread signals are not ours to take.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGTERM, before)
    if asked:
        signal.raise_signal(signal.SIGTERM)


def _reasons(left_out: Mapping[str, Mapping[str, str]]) -> str:
    """The three commonest reasons why training clips are no lines."""
    counts = Counter(left_out.get("train", {}).values()).most_common(3)
    return "; ".join(f"{count} × {why}" for why, count in counts)


def _describe(
    project: Project,
    pack: Pack,
    folder: Path,
    name: str,
    model_config: Any,
    config: TrainingConfig,
    report: TrainReport,
) -> None:
    """Write ``config.toml`` and the run's card: data, splits, licences, features, figures."""
    settings = {"model": {"name": name, **dataclasses.asdict(model_config)}}
    settings["training"] = dataclasses.asdict(config)
    commit_bytes(folder / "config.toml", (toml_text(settings) + "\n").encode())
    store = Store(project)
    clips = store.clips()
    rights = Counter(clip.rights or "not stated" for clip in clips)
    splits = Counter(clip.split for clip in clips)
    voices = sorted({line.speaker for line in pack.lines("train")})
    card = [
        f"# {folder.name}",
        "",
        f"A {name} with {report.trained_parameters:,} trained parameters, trained by redub for "
        f"{report.last_step} steps on {report.lines} lines.",
        "",
        "| | |",
        "| --- | --- |",
        f"| project | {project.config.name} |",
        f"| clips by split | {', '.join(f'{k} {v}' for k, v in sorted(splits.items()))} |",
        f"| rights of the footage | {', '.join(f'{k}: {v}' for k, v in sorted(rights.items()))} |",
        f"| voices | {', '.join(voices)} |",
        f"| pack | {pack.record.pack} |",
        f"| validation loss | {report.validation_loss} |",
        "",
        "## Features",
        "",
        "| feature | key | made by | licence |",
        "| --- | --- | --- | --- |",
    ]
    for feature in sorted(pack.record.features.keys() | {FEATURE_OF["audio"]}):
        key = store.keys.by_name[feature]
        made_by = f"{key.document['maker']} {key.document['settings']['config']}"
        card.append(f"| {feature} | `{key.key}` | {made_by} | {key.document['licence']} |")
    card += [
        "",
        "Speech made with this run imitates the voices above; use it only as their owners allow, "
        "and mark it as synthetic.",
        "",
    ]
    commit_bytes(folder / "card.md", "\n".join(card).encode())


def toml_text(values: Mapping[str, Any], *, prefix: str = "") -> str:
    """Nested settings as TOML; None, which TOML cannot say, is left out."""
    plain = {k: v for k, v in values.items() if not isinstance(v, Mapping) and v is not None}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for key, value in values.items():
        if isinstance(value, Mapping):
            name = f"{prefix}{key}"
            lines += ["", f"[{name}]", toml_text(value, prefix=f"{name}.")]
    return "\n".join(lines)
