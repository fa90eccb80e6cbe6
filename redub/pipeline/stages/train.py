"""Stage 5 of 7: train a dubbing model from cached features.

Reads a pack (:mod:`redub.pipeline.store.packs.build`); opens no media. Writes ``runs/<name>/``:
``config.toml``, ``metrics.jsonl``, ``lines.json``, ``checkpoints/``, ``progress/``, ``card.md``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from redub.core.config import settings_of
from redub.core.durable import commit_json, read_json
from redub.core.errors import ConfigError, IntegrityError, MissingExtraError, UsageError
from redub.core.progress import Say
from redub.core.stopping import deferred
from redub.core.threads import torch_threads
from redub.model.registry import system_spec
from redub.pipeline.store.index.builds import open_index
from redub.pipeline.store.packs.build import open_pack, pack_keys
from redub.pipeline.store.packs.training_set import (
    TrainingSet,
    context_triples,
    said_reasons,
    training_set,
)
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.folders import LINES, run_folder, sampled_steps, step_folder
from redub.pipeline.store.tables import Store
from redub.pipeline.store.writing import writing
from redub.pipeline.work.estimate import Estimate, estimate
from redub.pipeline.work.executor import Scheduler, done
from redub.pipeline.work.run_card import describe_run
from redub.pipeline.work.run_settings import training_settings, with_model
from redub.pipeline.work.training_events import Speed, event_files, raise_stopped
from redub.training.data.pack import Pack
from redub.training.data.pack_lines import PackedLines
from redub.training.job import Show, TrainCallbacks, TrainJob, TrainReport
from redub.training.presets import TrainingConfig
from redub.training.pretrained import read_weights
from redub.training.replicas import ALONE, Replicas
from redub.training.run_files import differing
from redub.training.trainer import train

log = logging.getLogger(__name__)


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
    project = with_model(project, name)
    steps = _steps(project, job.max_steps)
    pretrained = None if job.start_from is None else read_weights(job.start_from)
    pack = _opened_once(project, replicas)
    used = _training_set(project, pack, config, model_config, job.overfit)
    for text in used.said() if replicas.is_first else ():
        say(text)
    lines = _lines(pack, job.overfit, name, model_config)
    settings, speed = project.config.train, Speed()

    def began(step: int) -> None:
        progress(step, steps)
        _note_lines(folder, step, lines)

    with (
        torch_threads(settings.threads),
        deferred() as signalled,
        event_files(folder, wanted=settings.tensorboard and replicas.is_first) as observe,
    ):
        report = train(
            _train_job(project, job, pack, lines, model_config, config, replicas),
            max_steps=steps,
            resume=job.resume,
            start_from=pretrained,
            callbacks=TrainCallbacks(
                began=began,
                progress=lambda step: progress(step.step, steps, speed.after(step)),
                stop=lambda: bool(signalled()),
                show=_shown(project, pack, job, model_config) if replicas.is_first else None,
                observe=observe,
                guard=pack.check_unchanged,
            ),
            replicas=replicas,
        )
        if replicas.is_first and not report.stopped:
            describe_run(project, pack, folder, name, model_config, config, report)
        raise_stopped(signalled(), report)
    return TrainSummary(folder, report, used)


def _train_job(
    project: Project,
    job: RunRequest,
    pack: Pack,
    lines: tuple[PackedLines, PackedLines],
    model_config: Any,
    config: TrainingConfig,
    replicas: Replicas,
) -> TrainJob:
    """The data and settings of the run, for the trainer."""
    return TrainJob(
        lines_train=lines[0],
        lines_validation=lines[1],
        config=config,
        run_dir=run_folder(project, job.run),
        model_config=model_config,
        audio=project.config.audio,
        keys=_keys(pack, job),
        device=_device(project, replicas),
    )


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


def _note_lines(folder: Path, step: int, lines: tuple[PackedLines, PackedLines]) -> None:
    """Write which clips a run sees, and delete samples of steps that will be repeated.

    Clips of earlier training stay in the list, because the weights still depend on them.
    """
    for sampled in sampled_steps(folder):
        if sampled > step:
            shutil.rmtree(step_folder(folder, sampled), ignore_errors=True)
    seen = {"train": lines[0].clip_ids, "validation": lines[1].clip_ids}
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
    project = with_model(project, name)
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
        pack.lines(split, context=system_spec(name).context, triples=triples)
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


def _shown(project: Project, pack: Pack, job: RunRequest, model_config: Any) -> Show | None:
    """The writer of samples; None where the settings want no sample."""
    count = project.config.train.samples
    if not count:
        return None
    from redub.pipeline.work.training_samples import sample_writer  # loads the plotting code

    try:
        return sample_writer(
            project,
            pack,
            run_folder(project, job.run),
            count=count,
            overfit=job.overfit,
            triples=context_triples(model_config),
        )
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


def run_train_parallel(
    project: Project, runs: Mapping[str, bool], scheduler: Scheduler
) -> list[TrainSummary]:
    """Run stage 5 for several runs at once (name → whether it is the baseline), one per worker."""
    from redub.pipeline.store.packs.build import build_pack

    orders = [TrainOrder(project, run, baseline) for run, baseline in runs.items()]
    with writing(project, "train", " and ".join(runs)):
        build_pack(project)  # once, before the workers start
        return [done(result) for result in scheduler.run(train_order, orders)]
