"""Stage 5 of 7: train a dubber from cached features.

Reads a pack (:mod:`redub.pipeline.store.packs.build`), never media. Writes ``runs/<name>/``:
``config.toml``,
``metrics.jsonl``, ``checkpoints/``, ``card.md``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redub.core.config import from_mapping, settings_of
from redub.core.durable import commit_json, read_json
from redub.core.errors import ConfigError, IntegrityError, MissingExtraError, UsageError
from redub.core.progress import Say
from redub.core.stopping import Stopped, deferred
from redub.core.threads import torch_threads
from redub.model.registry import configured, reads_context, system
from redub.pipeline.store.index.builds import open_index
from redub.pipeline.store.packs.build import open_pack, pack_keys
from redub.pipeline.store.packs.training_set import (
    TrainingSet,
    context_triples,
    said_reasons,
    training_set,
)
from redub.pipeline.store.project import Project, merged
from redub.pipeline.store.runs.folders import LINES, run_folder, sampled_steps, step_folder
from redub.pipeline.store.tables import Store
from redub.pipeline.store.writing import writing
from redub.pipeline.work.estimate import Estimate, estimate
from redub.pipeline.work.executor import Scheduler, done
from redub.pipeline.work.run_card import describe_run
from redub.pipeline.work.training_events import Speed, event_files
from redub.training.job import Show, TrainCallbacks, TrainJob, TrainReport
from redub.training.pack import Pack
from redub.training.pack_lines import PackedLines
from redub.training.presets import TrainingConfig, training_preset
from redub.training.pretrained import read_weights
from redub.training.replicas import ALONE, Replicas
from redub.training.run_files import differing
from redub.training.trainer import train
from redub.training.vocoder_trainer import VocoderReport

if TYPE_CHECKING:  # each stage's imports are its own: `redub ingest` loads no torch
    from redub.pipeline.store.packs.training_set import TrainingSet
    from redub.pipeline.work.estimate import Estimate

log = logging.getLogger(__name__)

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
            TrainJob(
                lines_train=lines,
                lines_validation=validation,
                config=config,
                run_dir=folder,
                model_config=model_config,
                audio=project.config.audio,
                keys=keys,
                device=_device(project, replicas),
            ),
            max_steps=steps,
            resume=resume,
            start_from=pretrained,
            callbacks=TrainCallbacks(
                began=began,
                progress=lambda step: progress(step.step, steps, speed.after(step)),
                stop=lambda: bool(signalled()),
                show=_shown(project, pack, folder, samples, overfit, context_triples(model_config)),
                observe=observe,
                guard=pack.check_unchanged,
            ),
            replicas=replicas,
        )
        if replicas.is_first and not report.stopped:
            describe_run(project, pack, folder, name, model_config, config, report)
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
    from redub.pipeline.work.training_samples import (
        sample_writer,
    )  # draws: `redub runs ls` need not load that

    try:
        return sample_writer(project, pack, folder, count=count, overfit=overfit, triples=triples)
    except MissingExtraError as error:  # a run without pictures is the same run
        log.warning(
            "No samples while this run trains (or set train.samples = 0): %s", error.message
        )
        return None


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

    with writing(project, "estimate"):
        return estimate_run(
            project, model=model, max_steps=max_steps, baseline=baseline, overfit=overfit
        )


def run_train_beside(
    project: Project, runs: Mapping[str, bool], scheduler: Scheduler
) -> list[TrainSummary]:
    """Stage 5 for several runs at once (name → is it the baseline), one worker each."""
    from redub.pipeline.store.packs.build import build_pack

    orders = [TrainOrder(project, run, baseline) for run, baseline in runs.items()]
    with writing(project, "train", " and ".join(runs)):
        build_pack(project)  # once, or every worker would
        return [done(result) for result in scheduler.run(train_order, orders)]
