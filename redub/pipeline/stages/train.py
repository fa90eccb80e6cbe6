"""Stage 5 of 7: train a dubbing model from cached features.

Reads a pack (:mod:`redub.pipeline.store.packs.build`); opens no media. Writes ``runs/<name>/``:
``config.toml``, ``metrics.jsonl``, ``lines.json``, ``checkpoints/``, ``progress/``, ``card.md``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from redub.core.durable import commit_json, read_json
from redub.core.errors import IntegrityError, MissingExtraError, UsageError
from redub.core.progress import Say
from redub.core.stopping import deferred
from redub.core.threads import torch_threads
from redub.pipeline.store.packs.build import open_pack
from redub.pipeline.store.packs.training_set import TrainingSet
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.folders import LINES, run_folder, sampled_steps, step_folder
from redub.pipeline.store.tables import Store
from redub.pipeline.store.writing import writing
from redub.pipeline.work.estimate import Estimate, estimate
from redub.pipeline.work.executor import Scheduler, done
from redub.pipeline.work.run_card import describe_run
from redub.pipeline.work.train_plan import TrainPlan
from redub.pipeline.work.training_events import Speed, event_files, raise_stopped
from redub.training.data.pack import Pack
from redub.training.data.pack_lines import PackedLines
from redub.training.job import Show, TrainCallbacks, TrainJob, TrainReport
from redub.training.pretrained import read_weights
from redub.training.replicas import ALONE, Replicas
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


def train_order(order: tuple[Project, RunRequest]) -> TrainSummary:
    """Train one run; runs in a worker."""
    return train_run(*order)


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
    steps = _steps(project, job.max_steps)
    plan = TrainPlan.of(project, model=job.model, baseline=job.baseline)
    folder, store = run_folder(project, job.run), Store(plan.project)
    pretrained = None if job.start_from is None else read_weights(job.start_from)
    pack = _opened_once(store, replicas)
    (lines, validation), used = plan.lines(pack, job.overfit), plan.training_set(pack, job.overfit)
    settings, speed, show = project.config.train, Speed(), None
    if replicas.is_first:
        show = _shown(project, pack, folder, settings.samples, job.overfit, plan.triples)
        for text in used.said():
            say(text)

    def began(step: int) -> None:
        """Show the first step, and note the clips that the run is trained on."""
        progress(step, steps)
        _note_lines(folder, step, lines, validation)

    events = event_files(folder, wanted=settings.tensorboard and replicas.is_first)
    with torch_threads(settings.threads), deferred() as signalled, events as observe:
        report = train(
            _train_job(plan, job, pack, lines, validation, replicas),
            max_steps=steps,
            resume=job.resume,
            start_from=pretrained,
            callbacks=TrainCallbacks(
                began=began,
                progress=lambda step: progress(step.step, steps, speed.after(step)),
                stop=lambda: bool(signalled()),
                show=show,
                observe=observe,
                guard=pack.check_unchanged,
            ),
            replicas=replicas,
        )
        if replicas.is_first and not report.stopped:
            describe_run(store, pack, folder, plan.model, plan.model_config, plan.config, report)
        raise_stopped(signalled(), report)
    return TrainSummary(folder, report, used)


def _train_job(
    plan: TrainPlan,
    job: RunRequest,
    pack: Pack,
    lines: PackedLines,
    validation: PackedLines,
    replicas: Replicas,
) -> TrainJob:
    """What the trainer is given; a checkpoint also keeps ``overfit`` where it is set."""
    overfit = {} if job.overfit is None else {"overfit": str(job.overfit)}
    return TrainJob(
        lines_train=lines,
        lines_validation=validation,
        config=plan.config,
        run_dir=run_folder(plan.project, job.run),
        model_config=plan.model_config,
        audio=plan.project.config.audio,
        keys={**pack.record.keys, **overfit},
        device=_device(plan.project, replicas),
    )


def _opened_once(store: Store, replicas: Replicas) -> Pack:
    """Open the pack; the first process does so before the others and makes it if need be."""
    if not replicas.is_first:
        replicas.wait()
    pack = open_pack(store)
    if replicas.is_first:
        replicas.wait()
    return pack


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
    plan = TrainPlan.of(project, model=model, baseline=baseline)
    lines, _ = plan.lines(open_pack(Store(plan.project)), overfit)
    with torch_threads(project.config.train.threads):
        return estimate(
            lines,
            plan.config,
            model_config=plan.model_config,
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


def run_train_parallel(
    project: Project, runs: Mapping[str, bool], scheduler: Scheduler
) -> list[TrainSummary]:
    """Run stage 5 for several runs at once (name → whether it is the baseline), one per worker."""
    from redub.pipeline.store.packs.build import build_pack

    orders = [(project, RunRequest(run=run, baseline=own)) for run, own in runs.items()]
    with writing(project, "train", " and ".join(runs)):
        build_pack(project)  # once, before the workers start
        return [done(result) for result in scheduler.run(train_order, orders)]
