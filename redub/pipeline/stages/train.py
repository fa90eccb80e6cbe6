"""Stage 5 of 7: train a dubbing model from cached features.

Reads a pack (:mod:`redub.pipeline.store.packs.build`); opens no media. Writes ``runs/<name>/``:
``config.toml``, ``metrics.jsonl``, ``lines.json``, ``checkpoints/``, ``progress/``, ``card.md``.
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
from typing import Any

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
from redub.training.data.pack import Pack
from redub.training.data.pack_lines import PackedLines
from redub.training.job import Show, TrainCallbacks, TrainJob, TrainReport
from redub.training.presets import TrainingConfig, training_preset
from redub.training.pretrained import read_weights
from redub.training.replicas import ALONE, Replicas
from redub.training.run_files import differing
from redub.training.trainer import train
from redub.training.vocoder_job import VocoderReport

log = logging.getLogger(__name__)

BASELINE = {"graph": "none", "retrieve": ()}
"""Settings of ``--baseline``: no retrieval and no graphs, rows 7 and 10 of Authentic-Dubber's
ablation table (arXiv:2511.14249) together."""


@dataclasses.dataclass(frozen=True, slots=True)
class TrainSummary:
    """A trained run: its folder, the trainer's report, and what it was trained on."""

    run: Path
    report: TrainReport
    training: TrainingSet

    def lines(self) -> list[str]:
        """The summary in sentences."""
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
    """One run to train in a worker."""

    project: Project
    run: str
    baseline: bool


def train_order(order: TrainOrder) -> TrainSummary:
    """Train one run; runs in a worker."""
    return train_run(order.project, RunRequest(run=order.run, baseline=order.baseline))


def next_run(project: Project, base: str, *, baseline: bool = False) -> str:
    """The name of the run for the project's present footage and settings.

    It is ``base`` as long as that run can continue. After a change of footage, index or settings
    it is ``base-2``, ``base-3``, …; earlier runs are not changed.
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
    """The model's name, its config and the training config, with all overrides.

    Raises:
        UsageError: ``baseline`` for a model without retrieval and graphs.
        ConfigError: an unknown model or key, or a value out of range.
    """
    settings = project.config.train
    name = model or settings.model
    known = {own.name for own in dataclasses.fields(system(name).Config)}
    if baseline and not BASELINE.keys() <= known:
        raise UsageError(f"--baseline leaves out retrieval and graphs; {name} has neither")
    overrides = {**settings.model_settings, **(BASELINE if baseline else {})}
    model_config = configured(name, settings.preset, overrides)
    preset = training_preset(name, settings.preset)
    values = {**dataclasses.asdict(preset), "seed": settings.seed}
    config = from_mapping(TrainingConfig, merged(values, settings.training), where="train.training")
    return name, model_config, config


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What to train.

    ``model``: None for that of the project's settings. ``max_steps``: None for the settings'
    value. ``resume``: see :func:`redub.training.trainer.train`. ``overfit``: train and validate on
    the first so many utterances only. ``start_from``: weights that ``redub runs export`` wrote,
    for a new run.
    """

    run: str
    model: str | None = None
    baseline: bool = False
    max_steps: int | None = None
    resume: bool | Path = True
    overfit: int | None = None
    start_from: Path | None = None


def train_run(
    project: Project,
    job: RunRequest,
    *,
    progress: Callable[..., None] = lambda done, total, note="": None,
    say: Callable[[str], None] = lambda text: None,
    replicas: Replicas = ALONE,
) -> TrainSummary:
    """Train a run, or continue it.

    Args:
        progress: given the step, the number of steps, and words about loss and speed.
        say: given sentences about the training set, before the first step.
        replicas: the processes that train together.

    Raises:
        ConfigError: no index yet, nothing to train on, or the run was made with other settings.
        ModelRefusedError: ``job.start_from`` is of another model or other features.
        Stopped: SIGINT or SIGTERM arrived; a checkpoint of the current step was saved.
    """
    folder = run_folder(project, job.run)
    name, model_config, config = training_settings(project, model=job.model, baseline=job.baseline)
    project = _of_model(project, name)
    steps = _steps(project, job.max_steps)
    pretrained = None if job.start_from is None else read_weights(job.start_from)
    pack = _opened_once(project, replicas)
    lines, validation = _lines(pack, job.overfit, name, model_config)
    used = _training_set(project, pack, config, model_config, job.overfit)
    for text in used.said() if replicas.is_first else ():
        say(text)
    settings, speed = project.config.train, Speed()
    samples = settings.samples if replicas.is_first else 0

    def began(step: int) -> None:
        """Show the first step, and note the clips that the run is trained on."""
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
                keys=_keys(pack, job),
                device=_device(project, replicas),
            ),
            max_steps=steps,
            resume=job.resume,
            start_from=pretrained,
            callbacks=TrainCallbacks(
                began=began,
                progress=lambda step: progress(step.step, steps, speed.after(step)),
                stop=lambda: bool(signalled()),
                show=_shown(
                    project, pack, folder, samples, job.overfit, context_triples(model_config)
                ),
                observe=observe,
                guard=pack.check_unchanged,
            ),
            replicas=replicas,
        )
        if replicas.is_first and not report.stopped:
            describe_run(project, pack, folder, name, model_config, config, report)
        raise_stopped(signalled(), report)
    return TrainSummary(folder, report, used)


def _keys(pack: Pack, job: RunRequest) -> dict[str, str]:
    """The keys that a checkpoint keeps: those of the pack, and ``overfit`` where it is set."""
    overfit = {} if job.overfit is None else {"overfit": str(job.overfit)}
    return {**pack.record.keys, **overfit}


def _opened_once(project: Project, replicas: Replicas) -> Pack:
    """Open the pack; the first process does so before the others and makes it if need be."""
    if not replicas.is_first:
        replicas.wait()
    pack = open_pack(project)
    if replicas.is_first:
        replicas.wait()
    return pack


def raise_stopped(signum: int, report: TrainReport | VocoderReport) -> None:
    """Raise the signal that ended a training, or that arrived in its last step.

    Args:
        signum: the signal that this process received; 0 where another process of the run did.

    Raises:
        Stopped: a signal arrived; names the step and checkpoint that were saved.
    """
    if signum or report.stopped:
        raise Stopped(
            signum or signal.SIGTERM,
            step=report.last_step,
            checkpoint=report.checkpoint,
            is_complete=not report.stopped,
        )


def project_training_set(project: Project, pack: Pack) -> TrainingSet:
    """The utterances of a pack that the project's configured model would be trained on."""
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
    """Write which clips a run sees, and delete samples of steps that will be repeated.

    Clips of earlier training stay in the list, because the weights still depend on them.
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
    """Size, memory and time that :func:`train_run` would take.

    Writes a pack if there is none; writes no run.

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
    """The project with another model, since a pack depends on the model that reads it."""
    train = dataclasses.replace(project.config.train, model=name)
    return dataclasses.replace(project, config=dataclasses.replace(project.config, train=train))


def _steps(project: Project, max_steps: int | None) -> int:
    steps = project.config.train.max_steps if max_steps is None else max_steps
    if steps < 1:
        raise UsageError(f"--max-steps is {steps}; wanted at least 1")
    return steps


def _device(project: Project, replicas: Replicas) -> str:
    """The torch device to train on; each of several processes has its own."""
    return replicas.device if replicas.count > 1 else str(project.config.compute.torch_device())


def _lines(
    pack: Pack, overfit: int | None, name: str, model_config: Any
) -> tuple[PackedLines, PackedLines]:
    """Utterances to train on and to validate on."""
    triples = context_triples(model_config)
    lines, validation = (
        pack.lines(split, context=reads_context(name), triples=triples)
        for split in ("train", "validation")
    )
    if not len(lines):
        left_out = Counter(pack.record.left_out.get("train", {}).values())
        reasons = said_reasons(dict(left_out.most_common())) or "the training split is empty"
        if triples and len(pack.lines("train")):
            reasons = "no line has both a previous and a following line in its scene"
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
    from redub.pipeline.work.training_samples import sample_writer  # loads the plotting code

    try:
        return sample_writer(project, pack, folder, count=count, overfit=overfit, triples=triples)
    except MissingExtraError as error:  # samples do not change the training
        log.warning("The run has no samples. %s, or set train.samples = 0", error.message)
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
    """Run stage 5 under the project lock; see :class:`RunRequest` for the arguments.

    Where ``torchrun`` started several processes, the first one takes the lock.
    """
    replicas = Replicas.joined(project.config.compute.torch_device().type)
    held = writing(project, "train", run) if replicas.is_first else contextlib.nullcontext()
    with held:
        job = RunRequest(
            run=run,
            model=model,
            max_steps=max_steps,
            baseline=baseline,
            resume=resume,
            overfit=overfit,
            start_from=start_from,
        )
        return train_run(project, job, progress=progress, say=say, replicas=replicas)


def run_estimate(
    project: Project,
    *,
    model: str | None,
    max_steps: int | None,
    baseline: bool,
    overfit: int | None,
) -> Estimate:
    """Estimate stage 5 under the project lock; see :func:`estimate_run`."""
    with writing(project, "estimate"):
        return estimate_run(
            project, model=model, max_steps=max_steps, baseline=baseline, overfit=overfit
        )


def run_train_beside(
    project: Project, runs: Mapping[str, bool], scheduler: Scheduler
) -> list[TrainSummary]:
    """Run stage 5 for several runs at once (name → whether it is the baseline), one per worker."""
    from redub.pipeline.store.packs.build import build_pack

    orders = [TrainOrder(project, run, baseline) for run, baseline in runs.items()]
    with writing(project, "train", " and ".join(runs)):
        build_pack(project)  # once, before the workers start
        return [done(result) for result in scheduler.run(train_order, orders)]
