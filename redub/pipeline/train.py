"""Stage 5 of 7: train a dubber from cached features.

Reads a pack (:mod:`redub.pipeline.pack`), never media. Writes ``runs/<name>/``: ``config.toml``,
``metrics.jsonl``, ``checkpoints/``, ``card.md``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import logging
import re
import shutil
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from redub.core.config import from_mapping, settings_of
from redub.core.errors import ConfigError, IntegrityError, MissingExtraError, UsageError
from redub.core.extras import optional
from redub.core.stopping import Stopped, deferred
from redub.core.threads import torch_threads
from redub.model.registry import configured, reads_context, system
from redub.pipeline.estimate import Estimate, estimate
from redub.pipeline.files import commit_bytes, commit_json, read_json
from redub.pipeline.index import features_of, open_index
from redub.pipeline.pack import open_pack, pack_keys
from redub.pipeline.project import Project, merged
from redub.pipeline.store import Store
from redub.pipeline.training_set import (
    TrainingSet,
    context_triples,
    said_reasons,
    training_set,
)
from redub.training.checkpoint import steps_in
from redub.training.pack import Pack, PackedLines
from redub.training.pretrained import read_weights
from redub.training.replicas import ALONE, Replicas
from redub.training.step import StepReport
from redub.training.trainer import (
    CHECKPOINTS,
    Show,
    TrainingConfig,
    TrainReport,
    differing,
    train,
    training_preset,
)
from redub.training.vocoder_trainer import VocoderReport

log = logging.getLogger(__name__)

LINES, PROGRESS = "lines.json", "progress"
BASELINE = {"graph": "none", "retrieve": ()}
"""The same model without retrieval and graphs: rows 7 and 10 of paper 1's ablation, together."""


@dataclasses.dataclass(frozen=True, slots=True)
class TrainSummary:
    run: Path
    report: TrainReport
    training: TrainingSet

    def lines(self) -> list[str]:
        r = self.report
        speed = (r.last_step - r.first_step) / max(r.seconds, 1e-9)
        said = [
            f"{self.run.name}: {r.trained_parameters / 1e6:.2f} M parameters, {r.lines} lines, "
            f"steps {r.first_step}–{r.last_step} in {r.seconds:.0f} s ({speed:.2f} steps/s)"
        ]
        if r.validation_loss is not None:
            said.append(f"validation loss {r.validation_loss:.4f}")
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
    folder = run_folder(project, run)
    path = folder / LINES
    if not path.is_file():
        if not steps_in(folder / CHECKPOINTS):
            return set()
        raise IntegrityError(
            f"{path} is gone: which lines '{run}' has seen is not known; `redub train --run {run}` "
            "writes it again",
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


def training_settings(
    project: Project, *, model: str | None = None, baseline: bool = False
) -> tuple[str, Any, TrainingConfig]:
    """The model's name, its config and the training config, every override checked."""
    settings = project.config.train
    name = model or settings.model
    known = {own.name for own in dataclasses.fields(system(name).Config)}
    if baseline and not BASELINE.keys() <= known:
        raise UsageError(f"--baseline leaves out retrieval and graphs, which {name} has none of")
    overrides = {**settings.system, **(BASELINE if baseline else {})}
    model_config = configured(name, settings.preset, overrides)
    preset = training_preset(name, settings.preset)
    values = {**dataclasses.asdict(preset), "seed": settings.seed}
    config = from_mapping(TrainingConfig, merged(values, settings.training), where="train.training")
    return name, model_config, config


def train_run(
    project: Project,
    *,
    run: str,
    model: str | None = None,
    baseline: bool = False,
    max_steps: int | None = None,
    resume: bool | Path = True,
    overfit: int | None = None,
    start_from: Path | None = None,
    progress: Callable[..., None] = lambda done, total, note="": None,
    say: Callable[[str], None] = lambda text: None,
    replicas: Replicas = ALONE,
) -> TrainSummary:
    """Train or go on training one run.

    Args:
        resume: see :func:`redub.training.trainer.train`.
        overfit: learn the first so many lines by heart, and validate on them.
        start_from: weights that ``redub runs export`` wrote, for a new run.
        progress: given step, steps wanted, and words about loss and speed.
        say: given sentences about what is trained on, before the first step.
        replicas: the processes that train together.

    Raises:
        ConfigError: no index yet, nothing to train on, or the run was made with other settings.
        ModelRefusedError: ``start_from`` is of another model or other features.
        Stopped: SIGINT or SIGTERM arrived; a checkpoint of the step at hand was saved.
    """
    folder = run_folder(project, run)
    name, model_config, config = training_settings(project, model=model, baseline=baseline)
    project = _of_model(project, name)
    steps = _steps(project, max_steps)
    pretrained = None if start_from is None else read_weights(start_from)
    if not replicas.is_first:
        replicas.wait()  # the first has packed by then
    pack = open_pack(project)
    if replicas.is_first:
        replicas.wait()
    lines, validation = _lines(pack, overfit, name, model_config)
    used = _training_set(project, pack, config, model_config, overfit)
    if replicas.is_first:
        for text in used.said():
            say(text)
    settings, speed = project.config.train, Speed()
    samples = settings.samples if replicas.is_first else 0
    keys = dict(pack.record.keys)
    if overfit is not None:
        keys["overfit"] = str(overfit)

    def began(step: int) -> None:
        progress(step, steps)
        _note_lines(folder, step, lines, validation)

    with (
        torch_threads(settings.threads),
        deferred() as signalled,
        event_files(folder, wanted=settings.tensorboard and replicas.is_first) as observe,
    ):
        report = train(
            lines,
            validation,
            config,
            folder,
            model_config=model_config,
            audio=project.config.audio,
            keys=keys,
            max_steps=steps,
            progress=lambda step: progress(step.step, steps, speed.after(step)),
            resume=resume,
            device=_device(project, replicas),
            guard=pack.check_unchanged,
            stop=lambda: bool(signalled()),
            show=_shown(project, pack, folder, samples, overfit, context_triples(model_config)),
            observe=observe,
            began=began,
            replicas=replicas,
            start_from=pretrained,
        )
        if replicas.is_first and not report.stopped:
            _describe(project, pack, folder, name, model_config, config, report)
        raise_stopped(signalled(), report)
    return TrainSummary(folder, report, used)


def raise_stopped(signum: int, report: TrainReport | VocoderReport) -> None:
    """Pass on what ended a training, or what arrived in its last step, with what was saved.

    Args:
        signum: the signal that arrived here; 0 where another process of the run had it.

    Raises:
        Stopped: if anything arrived.
    """
    if signum or report.stopped:
        raise Stopped(
            signum or signal.SIGTERM,
            step=report.last_step,
            checkpoint=report.checkpoint,
            is_complete=not report.stopped,
        )


def project_training_set(project: Project, pack: Pack) -> TrainingSet:
    """What the project's own model would be trained on from its pack."""
    _, model_config, config = training_settings(project)
    return _training_set(project, pack, config, model_config, None)


def _training_set(
    project: Project, pack: Pack, config: TrainingConfig, model_config: Any, overfit: int | None
) -> TrainingSet:
    return training_set(
        pack,
        config,
        preset=project.config.train.preset,
        triples=context_triples(model_config),
        overfit=overfit,
    )


def step_folder(folder: Path, step: int) -> Path:
    """Where a run keeps the samples of a step."""
    return folder / PROGRESS / f"step_{step:08d}"


def sampled_steps(folder: Path) -> list[int]:
    """Steps of a run that have samples, in order; nothing is opened."""
    names = (path.name for path in (folder / PROGRESS).glob("step_*"))
    return sorted(int(name[5:]) for name in names if re.fullmatch(r"step_\d{8}", name))


def _note_lines(folder: Path, step: int, lines: PackedLines, validation: PackedLines) -> None:
    """Keep which clips a run sees, and drop samples of steps that are done again.

    Those that it saw before stay noted: what was learnt is not unlearnt.
    """
    for sampled in sampled_steps(folder):
        if sampled > step:
            shutil.rmtree(step_folder(folder, sampled), ignore_errors=True)
    seen = {"train": lines.clip_ids, "validation": validation.clip_ids}
    if step:
        with contextlib.suppress(OSError, IntegrityError, KeyError, TypeError):
            before = read_json(folder / LINES)
            seen = {name: sorted({*seen[name], *before[name]}) for name in seen}
    commit_json(folder / LINES, seen)


def estimate_run(
    project: Project,
    *,
    model: str | None = None,
    baseline: bool = False,
    max_steps: int | None = None,
    overfit: int | None = None,
) -> Estimate:
    """What :func:`train_run` would take; a pack is made where there is none, but no run.

    Raises:
        ConfigError: no index yet, or nothing to train on.
    """
    name, model_config, config = training_settings(project, model=model, baseline=baseline)
    project = _of_model(project, name)
    lines, _ = _lines(open_pack(project), overfit, name, model_config)
    with torch_threads(project.config.train.threads):
        return estimate(
            lines,
            config,
            model_config=model_config,
            audio=project.config.audio,
            steps=_steps(project, max_steps),
            device=_device(project, ALONE),
        )


def _of_model(project: Project, name: str) -> Project:
    """The project with another model: a pack holds what that one reads."""
    train = dataclasses.replace(project.config.train, model=name)
    return dataclasses.replace(project, config=dataclasses.replace(project.config, train=train))


def _steps(project: Project, max_steps: int | None) -> int:
    steps = project.config.train.max_steps if max_steps is None else max_steps
    if steps < 1:
        raise UsageError(f"--max-steps is {steps}; wanted at least 1")
    return steps


def _device(project: Project, replicas: Replicas) -> str:
    """Where to train; of several processes each has its own GPU."""
    return replicas.device if replicas.count > 1 else str(project.config.compute.torch_device())


def _lines(
    pack: Pack, overfit: int | None, name: str, model_config: Any
) -> tuple[PackedLines, PackedLines]:
    """Lines to learn and lines to validate on."""
    triples = context_triples(model_config)
    lines, validation = (
        pack.lines(split, context=reads_context(name), triples=triples)
        for split in ("train", "validation")
    )
    if not len(lines):
        left_out = Counter(pack.record.left_out.get("train", {}).values())
        reasons = said_reasons(dict(left_out.most_common())) or "the training split is empty"
        if triples and len(pack.lines("train")):
            reasons = "none of its scene has a line before and one after it"
        raise ConfigError(f"no line can be trained on: {reasons}", code="E-STAGE-LINES")
    if overfit is None:
        return lines, validation
    if overfit < 1:
        raise UsageError(f"--overfit is {overfit}; wanted at least 1")
    return lines[:overfit], lines[:overfit]


def _shown(
    project: Project, pack: Pack, folder: Path, count: int, overfit: int | None, triples: bool
) -> Show | None:
    if not count:
        return None
    from redub.pipeline.progress import sample_writer  # draws: `redub runs ls` need not load that

    try:
        return sample_writer(project, pack, folder, count=count, overfit=overfit, triples=triples)
    except MissingExtraError as error:  # a run without pictures is the same run
        log.warning(
            "No samples while this run trains (or set train.samples = 0): %s", error.message
        )
        return None


class Speed:
    """Loss and lines per second over the last steps, in words."""

    def __init__(self) -> None:
        self.recent: deque[tuple[float, int]] = deque(maxlen=20)

    def after(self, step: StepReport) -> str:
        self.recent.append((time.monotonic(), step.lines))
        seconds = self.recent[-1][0] - self.recent[0][0]
        done = sum(lines for _, lines in itertools.islice(self.recent, 1, None))
        speed = f", {done / seconds:.0f} lines/s" if seconds > 0 else ""
        return f"loss {step.loss:.3f}{speed}"


@contextlib.contextmanager
def event_files(
    folder: Path, *, wanted: bool
) -> Iterator[Callable[[Mapping[str, Any]], None] | None]:
    """What writes rows of the metrics as TensorBoard's event files, where that is wanted.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """
    if not wanted:
        yield None
        return
    optional("tensorboard", extra="tensorboard", purpose="train.tensorboard = true")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder / "tensorboard") as writer:  # type: ignore[no-untyped-call]

        def observe(row: Mapping[str, Any]) -> None:
            for name, value in row.items():
                if name not in ("step", "epoch") and isinstance(value, int | float):
                    kind = "validation" if name.startswith("validation_") else "train"
                    tag = f"{kind}/{name.removeprefix('validation_')}"
                    writer.add_scalar(tag, value, row["step"])  # type: ignore[no-untyped-call]

        yield observe


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
        f"| started from | {report.started_from or 'random weights'} |",
        f"| validation loss | {report.validation_loss} |",
        "",
        "## Features",
        "",
        "| feature | key | made by | licence |",
        "| --- | --- | --- | --- |",
    ]
    for feature in sorted(pack.record.features.keys() | {features_of(store)["audio"]}):
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
