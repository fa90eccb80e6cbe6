"""Train a system on lines, stop at any moment, go on as if nothing had happened.

Reads arrays only. Writes ``checkpoints/`` (see ``checkpoint.py``) and ``metrics.jsonl``, one row
per step and per validation, under the run's directory.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from redub.core.config import from_mapping, settings_of
from redub.core.errors import ConfigError, IntegrityError, ModelRefusedError, RedubError
from redub.core.registry import load
from redub.core.types import AudioSpec
from redub.model.batch import FeatureWidths
from redub.model.blocks.mel_base import MelBase
from redub.model.registry import LIPS_READ_TEXT, SYSTEMS, reads_context, system
from redub.model.systems.dsu_avo import DSUAVO
from redub.training import checkpoint
from redub.training.batching import (
    BatchingConfig,
    chosen,
    collate,
    epoch_batches,
    plain_batches,
    recorded_frames,
    widths_of,
)
from redub.training.lines import DubbingLine, FeatureScaler
from redub.training.losses import Losses, LossWeights, losses_of
from redub.training.mel_base import MOST_LINES, fit_mel_base
from redub.training.pretrained import Pretrained
from redub.training.replicas import ALONE, Replicas
from redub.training.run_files import append_row, cut_back, differences
from redub.training.schedule import NoamSchedule
from redub.training.step import (
    Learner,
    OptimiserConfig,
    OutOfMemoryError,
    Precision,
    StepReport,
    train_step,
)
from redub.training.synthesis import TrainedDubber
from redub.training.units import fit_units

log = logging.getLogger(__name__)

CHECKPOINTS, METRICS = "checkpoints", "metrics.jsonl"
MOST_MEASURED = 20_000  # lines that the scales are fitted on, spread evenly
MOST_COMPARED = 500  # lines that are looked at for drift
MOST_SHIFT, MOST_SPREAD = 0.5, 2.0  # beyond these a feature has drifted
HARMLESS = (
    "keep_last",
    "keep_best",
    "checkpoint_every",
    "recompute",
)  # a run goes on when these change


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How a system is trained; the defaults are the published ones.

    ``accumulate``: batches whose gradients are averaged into one step, over all processes.
    ``precision``: in which the network computes; losses and parameters are float32. ``compile``:
    let torch compile the network. ``recompute``: hold about half as much between the forward and
    the backward pass and compute the rest twice; the numbers stay the same. ``validate_every`` and
    ``checkpoint_every`` count steps; the newest ``keep_last`` and the best ``keep_best``
    checkpoints are kept.
    """

    system: str = "authentic_dubber"
    seed: int = 0
    batching: BatchingConfig = field(default_factory=BatchingConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    accumulate: int = 1
    precision: Precision = "float32"
    compile: bool = False
    recompute: bool = False
    validate_every: int = 5000
    checkpoint_every: int = 5000
    keep_last: int = 3
    keep_best: int = 1

    def __post_init__(self) -> None:
        if self.system not in SYSTEMS:
            load(SYSTEMS, self.system, kind="system")  # answers with the nearest known name
        counts = ("accumulate", "validate_every", "checkpoint_every", "keep_last", "keep_best")
        if min(getattr(self, name) for name in counts) < 1:
            raise ConfigError(f"{', '.join(counts)} want >= 1")
        if self.losses.alignment and self.system not in LIPS_READ_TEXT:
            raise ConfigError(
                f"losses.alignment is for systems whose pictures look at the words "
                f"({', '.join(LIPS_READ_TEXT)}); set it to 0 for {self.system}",
                code="E-CFG-VALUE",
            )
        if self.seed < 0:
            raise ConfigError(f"train.seed is {self.seed}; wanted 0 or more", code="E-CFG-VALUE")


TRAINING_PRESETS = {
    "paper": TrainingConfig(),
    "tiny": TrainingConfig(
        batching=BatchingConfig(frames_per_batch=2400, lines_per_batch=12, timbre_frames=160),
        optimiser=OptimiserConfig(
            schedule=NoamSchedule(multiplier=0.02, warmup_steps=60, milestones=()),
            weight_decay=0.01,
            average_decay=0.98,
        ),
        losses=LossWeights(
            mel=1.0, mel_post=1.0, duration=1.0, diagonal=0.2, speaker=0.2, emotion=0.2
        ),
        validate_every=100,
        checkpoint_every=100,
        keep_last=2,
    ),
}


HPM_LOSSES = LossWeights(
    mel=1.0,
    mel_post=1.0,
    duration=0.0,
    diagonal=0.0,
    speaker=0.0,
    emotion=0.05,
    mel_squared=1.0,
    prosody_distance=1.0,
    ctc=0.01,
)
# The published system finds its alignment by CTC alone in 900,000 steps; some hundreds need a hint,
# and CTC, which begins some hundreds of times larger than all else, must not be what is clipped.
HPM_TINY_LOSSES = replace(HPM_LOSSES, emotion=0.2, mel_squared=0.0, alignment=0.5, ctc=0.001)
OF_A_SYSTEM: dict[tuple[str, str], dict[str, Any]] = {
    ("style_dubber", "paper"): {"losses": LossWeights(emotion=0.1)},
    ("fastspeech2", "paper"): {
        "batching": BatchingConfig(lines_per_batch=16),
        "optimiser": OptimiserConfig(schedule=NoamSchedule(multiplier=0.0625)),
        "losses": LossWeights(mel=1.0, mel_post=1.0, duration=1.0),
    },
    ("dsu_avo", "paper"): {
        "batching": BatchingConfig(lines_per_batch=16),
        "optimiser": OptimiserConfig(schedule=NoamSchedule(multiplier=0.0625)),
        "losses": LossWeights(mel=1.0, mel_post=1.0, diagonal=1.0, units=1.0),
    },
    ("dsu_avo", "tiny"): {
        "losses": LossWeights(mel=1.0, mel_post=1.0, diagonal=0.0, alignment=0.5, units=0.2),
    },
    **{
        (name, "paper"): {
            "batching": BatchingConfig(lines_per_batch=8),
            "optimiser": OptimiserConfig(weight_decay=1e-6),
            "losses": HPM_LOSSES,
        }
        for name in ("hpm_dubbing", "mc_dubber", "m2ci_dubber")
    },
    **{
        (name, "tiny"): {"losses": HPM_TINY_LOSSES}
        for name in ("hpm_dubbing", "mc_dubber", "m2ci_dubber")
    },
}
"""What the publications of a system set otherwise than Authentic-Dubber's."""


def training_preset(system: str, preset: str) -> TrainingConfig:
    """How a system is trained at a size; ``preset`` is a key of ``TRAINING_PRESETS``."""
    own = OF_A_SYSTEM.get((system, preset), {})
    return replace(TRAINING_PRESETS[preset], system=system, **own)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """What a call of :func:`train` did; ``first_step`` is 0 unless it went on from a checkpoint.

    ``stopped``: ``stop`` ended it before a limit did.
    ``losses`` are the unweighted terms of the last step, ``validation_losses`` those of the last
    validation (empty without validation lines).
    """

    first_step: int
    last_step: int
    seconds: float
    lines: int
    lines_without_recording: int
    trained_parameters: int
    loss: float
    losses: Mapping[str, float]
    validation_loss: float | None
    validation_losses: Mapping[str, float]
    started_from: str
    checkpoint: Path
    best_checkpoint: Path
    stopped: bool = False


Progress = Callable[[StepReport], None]
Show = Callable[[int, TrainedDubber], None]


def train(
    lines_train: Sequence[DubbingLine],
    lines_validation: Sequence[DubbingLine],
    config: TrainingConfig,
    run_dir: Path,
    *,
    model_config: Any,
    audio: AudioSpec,
    keys: Mapping[str, str] | None = None,
    max_steps: int | None = None,
    max_seconds: float | None = None,
    progress: Progress | None = None,
    resume: bool | Path = True,
    device: str = "cpu",
    guard: Callable[[], None] = lambda: None,
    stop: Callable[[], bool] = lambda: False,
    show: Show | None = None,
    observe: Callable[[Mapping[str, Any]], None] | None = None,
    began: Callable[[int], None] = lambda step: None,
    replicas: Replicas = ALONE,
    start_from: Pretrained | None = None,
) -> TrainReport:
    """Train until a number of steps or seconds is reached, whichever comes first.

    Args:
        lines_train: lines; those without a recording are counted and left out.
        model_config: the config of ``config.system``.
        audio: how the mels were made.
        keys: what the features were made with, by feature; kept in every checkpoint.
        max_steps: total steps, those before a resume included.
        max_seconds: wall time of this call.
        progress: called after every step.
        resume: go on from the newest whole checkpoint; False removes what is there; a checkpoint's
            folder goes on from that one, and what came later in this run is removed.
        stop: asked after every step; True ends the call with a checkpoint, as a limit does.
        show: called at each validation with the step and the averaged model; changes nothing.
        began: called once with the step it goes on from, when nothing can be refused any more.
        observe: given every row that goes into ``metrics.jsonl``.
        guard: called before each epoch and each checkpoint; raises where the data changed.
        replicas: the processes that train together; only the first writes.
        start_from: weights of another run that a new one starts with; no part in a resumed one.

    Raises:
        ConfigError: nothing to train on, no limit, or ``run_dir`` belongs to another config.
        RedubError: the loss stopped being finite (the message names the clips).
    """
    if max_steps is None and max_seconds is None:
        raise ConfigError("training wants max_steps or max_seconds, or it would never end")
    check_replicas(config, replicas.count)
    # The caller's random state is left as it was: a run depends on its seed and nothing else.
    devices = [torch.device(device)] if device != "cpu" else []
    with torch.random.fork_rng(devices=devices):
        run = _Run(
            lines_train,
            lines_validation,
            config,
            run_dir,
            device,
            keys or {},
            guard,
            show,
            observe,
            replicas,
            began,
        )
        try:
            with run.saver:
                run.start(model_config, audio, resume=resume, start_from=start_from)
                return run.until(max_steps, max_seconds, progress, stop)
        except torch.OutOfMemoryError as error:  # elsewhere than in a step, which tries again
            raise OutOfMemoryError(
                f"no memory left: {error}; set training.batching.frames_per_batch lower"
            ) from error


def check_replicas(config: TrainingConfig, count: int) -> None:
    """Refuse more processes than a step has batches.

    Raises:
        ConfigError: E-TRAIN-REPLICAS.
    """
    if config.accumulate < count:
        raise ConfigError(
            f"training.accumulate is {config.accumulate}, with {count} processes it must be at "
            f"least {count} (--set training.accumulate={count}): each learns from one or more of a "
            "step's batches",
            code="E-TRAIN-REPLICAS",
        )


class _Run:
    """One training run: its lines, its learner, and where in the data it is."""

    def __init__(
        self,
        lines_train: Sequence[DubbingLine],
        lines_validation: Sequence[DubbingLine],
        config: TrainingConfig,
        run_dir: Path,
        device: str,
        keys: Mapping[str, str],
        guard: Callable[[], None],
        show: Show | None,
        observe: Callable[[Mapping[str, Any]], None] | None,
        replicas: Replicas,
        began: Callable[[int], None],
    ) -> None:
        frames = recorded_frames(lines_train)
        self.guard, self.show, self.observe, self.replicas = guard, show, observe, replicas
        self.began = began
        self.numbers = [number for number, count in enumerate(frames) if count]
        self.frames = [frames[number] for number in self.numbers]
        self.lines, self.config, self.device = lines_train, config, device
        spoken = recorded_frames(lines_validation)
        self.validation = [number for number, count in enumerate(spoken) if count]
        self.lines_validation = lines_validation
        self.run_dir, self.keys = run_dir, dict(keys)
        if not self.numbers:
            raise ConfigError(
                f"none of {len(lines_train)} training lines has both a mel and durations"
            )
        self.epoch, self.batch_in_epoch = 0, 0
        self.planned: list[list[int]] = []
        self.planned_epoch = -1
        self.saver = checkpoint.Saver()
        self.halved_at: tuple[int, int] | None = None  # (epoch, batch), where memory ran out
        self.validation_losses: dict[str, float] = {}
        self.validation_loss: float | None = None
        self.validated_step = -1

    def start(
        self,
        model_config: Any,
        audio: AudioSpec,
        *,
        resume: bool | Path,
        start_from: Pretrained | None,
    ) -> None:
        """Build the model, or take up a checkpoint."""
        self.model_config = model_config
        snapshot = self._snapshot(resume, start_from)
        torch.manual_seed(self.config.seed)
        if snapshot is None:
            self.widths = widths_of((self.lines[number] for number in self.numbers), audio)
            self.scaler = self._fitted()
        else:
            self.widths = from_mapping(FeatureWidths, snapshot.record["widths"])
            self.scaler = FeatureScaler.from_json(snapshot.record["scaler"])
        self.started_from = "" if start_from is None else start_from.name
        if snapshot is not None:
            self.started_from = snapshot.record["started_from"]
            self.validation_loss = snapshot.validation_loss
        if snapshot is None and start_from is not None:
            start_from.check(self.config.system, self.model_config, self.widths, self.keys)
            self.scaler = start_from.scaler
            if start_from.grows_into(self.config.system):  # the new parts read more
                self.scaler = start_from.scaler.with_new(self._fitted(), start_from.system)
            self._warn_of_drift(f"the weights of {start_from.name}")
        if snapshot is not None:
            self._warn_of_drift(f"step {snapshot.step} of this run")
        model = system(self.config.system)(self.model_config, self.widths).to(self.device)
        model.train()
        self.learner = Learner(
            model,
            self.config.optimiser,
            compiled=self.config.compile,
            recompute=self.config.recompute,
        )
        if snapshot is not None:
            self._take_up(snapshot)
        elif start_from is not None:
            new = self._grown(start_from, model)
            self.learner.load(start_from.weights, new=new)
        else:
            self._fit(model)
        self.first_step = self.learner.step
        # All that could be refused was: from here on what is given up may go.
        self.replicas.wait()  # nobody writes before everybody has read
        if self.replicas.is_first:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            if resume is not True:
                self._give_up(-1 if snapshot is None else snapshot.step, resume)
            checkpoint.remove_partial(self.run_dir / CHECKPOINTS)
            cut_back(self.run_dir / METRICS, self.learner.step)
            self.began(self.learner.step)

    def _snapshot(
        self, resume: bool | Path, start_from: Pretrained | None
    ) -> checkpoint.Snapshot | None:
        """The checkpoint to go on from."""
        root = self.run_dir / CHECKPOINTS
        if resume is False:
            return None
        snapshot = checkpoint.newest(root) if resume is True else checkpoint.read(Path(resume))
        if snapshot is not None and start_from is not None:
            raise ConfigError(
                f"{self.run_dir.name} has learnt for {snapshot.step} steps already; weights of "
                "another run are for a new one. Give it another name, or do not resume",
                code="E-RUN-STARTED",
            )
        return snapshot

    def _give_up(self, step: int, kept: bool | Path) -> None:
        """Remove what came after a step; ``kept`` is the checkpoint that the run goes on from."""
        for directory in checkpoint.steps_in(self.run_dir / CHECKPOINTS):
            is_kept = isinstance(kept, Path) and directory.samefile(kept)
            if not is_kept and checkpoint.step_of(directory) >= step:
                checkpoint.remove(directory)

    def _fitted(self, most: int = MOST_MEASURED) -> FeatureScaler:
        """The scale of the training lines, measured on at most so many, spread evenly."""
        return FeatureScaler.fit(self.lines[number] for number in self._spread(most))

    def _spread(self, most: int) -> Sequence[int]:
        """At most so many of the training lines, evenly."""
        return self.numbers[:: -(-len(self.numbers) // most)]

    def _warn_of_drift(self, trained: str) -> None:
        for sentence in drift(self.scaler, self._fitted(MOST_COMPARED)):
            log.warning("%s, against %s", sentence, trained)

    def until(
        self,
        max_steps: int | None,
        max_seconds: float | None,
        progress: Progress | None,
        stop: Callable[[], bool],
    ) -> TrainReport:
        """Step until a limit is reached, then leave a checkpoint."""
        began = time.monotonic()
        report: StepReport | None = None
        stopped = False  # whoever ends us waits for the checkpoint, not for a validation
        with self._metrics() as metrics:
            while not self._done(began, max_steps, max_seconds):
                report = self._next_step()
                row = {"step": report.step, "epoch": self.planned_epoch, "loss": report.loss}
                row |= {"learning_rate": report.learning_rate, "frames": report.frames}
                row |= {"gradient_norm": report.gradient_norm, **report.terms}
                self._note(metrics, row)
                if report.step % self.config.validate_every == 0:
                    self._note(metrics, self._validate())
                if report.step % self.config.checkpoint_every == 0:
                    self._save()
                if progress is not None:
                    progress(report)
                self.saver.check()
                # Not after the last step: that is validated, and the run is complete.
                is_last = self._done(began, max_steps, max_seconds)
                if stopped := not is_last and self.replicas.any_(stop()):
                    break
            if report is not None and self.validated_step != report.step and not stopped:
                self._note(metrics, self._validate())
        root = self.run_dir / CHECKPOINTS
        last = checkpoint.directory_of(root, self.learner.step)
        if report is not None or not last.exists():
            last = self._save()
        self.saver.wait()
        self.replicas.wait()
        return TrainReport(
            first_step=self.first_step,
            last_step=self.learner.step,
            seconds=time.monotonic() - began,
            lines=len(self.numbers),
            lines_without_recording=len(self.lines) - len(self.numbers),
            trained_parameters=sum(p.numel() for p in self.learner.trained.values()),
            loss=float("nan") if report is None else report.loss,
            losses={} if report is None else report.terms,
            validation_loss=self.validation_loss,
            validation_losses=self.validation_losses,
            started_from=self.started_from,
            checkpoint=last,
            best_checkpoint=checkpoint.best(root) or last,
            stopped=stopped,
        )

    def _done(self, began: float, max_steps: int | None, max_seconds: float | None) -> bool:
        if max_steps is not None and self.learner.step >= max_steps:
            return True
        if max_seconds is None:
            return False
        return self.replicas.any_(time.monotonic() - began >= max_seconds)

    def _metrics(self) -> IO[str]:
        """Where rows go; the first process alone keeps them."""
        path = self.run_dir / METRICS if self.replicas.is_first else Path(os.devnull)
        return path.open("a", encoding="utf-8")

    def _note(self, metrics: IO[str], row: Mapping[str, Any]) -> None:
        append_row(metrics, row)
        if self.observe is not None and self.replicas.is_first:
            self.observe(row)

    def _next_step(self) -> StepReport:
        try:
            return self._step()
        except OutOfMemoryError as error:
            self._halve(error)
            return self._step()

    def _grown(self, start_from: Pretrained, model: torch.nn.Module) -> set[str]:
        """Names of the tensors that a model has and the one that it was grown from has not."""
        if not start_from.grows_into(self.config.system):
            return set()
        kind = system(start_from.system)
        with torch.device("meta"):
            base = kind(
                from_mapping(kind.Config, start_from.model),
                from_mapping(FeatureWidths, start_from.widths),
            )
        return set(model.state_dict()) - set(base.state_dict())

    def _fit(self, model: torch.nn.Module) -> None:
        """Solve for what is not learnt by steps, once: it stays so for the life of a run."""
        if isinstance(model, DSUAVO):
            lines = [self.lines[number] for number in self._spread(MOST_MEASURED)]
            units = fit_units(lines, self.scaler, model.config.units, seed=self.config.seed)
            model.centroids.copy_(units)
        if isinstance(base := getattr(model, "mel_base", None), MelBase):
            fit_mel_base(base, [self.lines[n] for n in self._spread(MOST_LINES)], self.scaler)

    def _step(self) -> StepReport:
        config, planned = self.config, self._batches_of_epoch()
        start = self.batch_in_epoch
        some = planned[start : start + config.accumulate]
        if not some:
            raise IntegrityError(
                f"batch {start} of an epoch of {len(planned)} does not exist: the lines are not "
                "those that the checkpoint was trained on",
                code="E-RUN-CHANGED",
            )
        own = self.replicas.own(len(some))
        batches = [
            collate(
                chosen(self.lines, [self.numbers[place] for place in some[number]]),
                self.scaler,
                self.widths,
                timbre_frames=config.batching.timbre_frames,
                epoch=self.epoch,
                context=reads_context(config.system),
            ).to(self.device)
            for number in own
        ]
        report = train_step(
            self.learner,
            batches,
            config.losses,
            precision=config.precision,
            seeds=[batch_seed(config.seed, self.epoch, start + number) for number in own],
            share=len(some),
            replicas=self.replicas,
        )
        self.batch_in_epoch += len(some)
        if self.batch_in_epoch == len(planned):
            self.epoch, self.batch_in_epoch = self.epoch + 1, 0
        return report

    def _halve(self, error: OutOfMemoryError) -> None:
        """From here on, and after every resume, batches have half the frames and lines."""
        if self.halved_at is not None:
            raise error
        budget = self.config.batching.frames_per_batch
        log.warning(
            "%s. From here on a batch holds at most %d frames instead of %d; set "
            "training.batching.frames_per_batch to start with that",
            error.message,
            budget // 2,
            budget,
        )
        self.halved_at = (self.epoch, self.batch_in_epoch)
        self.planned_epoch = -1
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _batches_of_epoch(self) -> list[list[int]]:
        if self.planned_epoch != self.epoch:
            self.guard()
            config = self.config
            batching = config.batching
            halved, place = self.halved_at or (self.epoch, None)
            if halved < self.epoch:
                batching = replace(
                    batching,
                    frames_per_batch=max(1, batching.frames_per_batch // 2),
                    lines_per_batch=max(1, batching.lines_per_batch // 2),
                )
            planned = epoch_batches(self.frames, batching, seed=config.seed, epoch=self.epoch)
            if halved == self.epoch and place is not None:
                planned = planned[:place] + [
                    half for batch in planned[place:] for half in halves(batch)
                ]
            self.planned, self.planned_epoch = planned, self.epoch
        return self.planned

    def _validate(self) -> dict[str, Any]:
        """Mean losses over the validation lines, with the averaged weights."""
        self.validated_step = self.learner.step
        if not self.replicas.is_first:
            return {}
        self._show()
        if not self.validation:
            return {"step": self.learner.step, "validation_lines": 0}
        config, sums = self.config, dict.fromkeys(("loss", *Losses._fields), 0.0)
        frames = recorded_frames(self.lines_validation)
        frames = [frames[number] for number in self.validation]
        with self.learner.averaged() as model, torch.no_grad():
            for numbers in plain_batches(frames, config.batching):
                batch = collate(
                    chosen(self.lines_validation, [self.validation[n] for n in numbers]),
                    self.scaler,
                    self.widths,
                    timbre_frames=config.batching.timbre_frames,
                    context=reads_context(config.system),
                ).to(self.device)
                losses = losses_of(model(batch), batch, config.losses)
                values = {"loss": losses.total(config.losses), **losses._asdict()}
                for name, value in values.items():
                    sums[name] += float(value) * len(numbers) / len(frames)
        if not math.isfinite(sums["loss"]):
            raise RedubError(
                f"the validation loss is {sums['loss']} after step {self.learner.step}; the last "
                "checkpoint is as it was. Lower the schedule's multiplier",
                code="E-TRAIN-NAN",
            )
        self.validation_loss = sums["loss"]
        self.validation_losses = {name: sums[name] for name in Losses._fields}
        measured = {f"validation_{name}": value for name, value in sums.items()}
        return {"step": self.learner.step, **measured}

    def _show(self) -> None:
        if self.show is None:
            return
        kept = checkpoint.random_states()
        with self.learner.averaged() as model:
            dubber = TrainedDubber(
                model=model,
                scaler=self.scaler,
                widths=self.widths,
                system=self.config.system,
                step=self.learner.step,
                batching=self.config.batching,
                keys=self.keys,
            )
            self.show(self.learner.step, dubber)
        checkpoint.restore_random_states(kept)

    def _save(self) -> Path:
        self.guard()
        if not self.replicas.is_first:
            return checkpoint.directory_of(self.run_dir / CHECKPOINTS, self.learner.step)
        raw = self.learner.model.state_dict()
        if bad := [n for n, value in raw.items() if not bool(torch.isfinite(value).all())]:
            raise RedubError(
                f"{len(bad)} tensors of the model are not finite after step {self.learner.step} "
                f"({bad[0]}, …); nothing was saved. Lower the schedule's multiplier",
                code="E-TRAIN-NAN",
            )
        weights = {**raw, **self.learner.average}
        snapshot = checkpoint.Snapshot(
            step=self.learner.step,
            weights=weights,
            state={
                "optimizer": self.learner.optimizer.state_dict(),
                "raw_weights": dict(raw) if self.learner.average else {},
                "random": checkpoint.random_states(),
                "epoch": self.epoch,
                "batch_in_epoch": self.batch_in_epoch,
                "halved_at": list(self.halved_at or ()),
            },
            record={
                **self._settings(),
                "scaler": self.scaler.to_json(),
                "trained_parameters": list(self.learner.trained),
                "started_from": self.started_from,
                "code_version": version("redub"),
            },
            validation_loss=self.validation_loss
            if self.validated_step == self.learner.step
            else None,
        )
        root, config = self.run_dir / CHECKPOINTS, self.config
        self.saver.write(root, snapshot, keep=config.keep_last, keep_best=config.keep_best)
        return checkpoint.directory_of(root, snapshot.step)

    def _settings(self) -> dict[str, Any]:
        widths = settings_of(self.widths)["fields"]
        return {
            "system": self.config.system,
            "model": settings_of(self.model_config)["fields"],
            "training": settings_of(self.config)["fields"],
            "widths": widths,
            "keys": self.keys,
        }

    def _take_up(self, snapshot: checkpoint.Snapshot) -> None:
        if changed := differences(snapshot.record, self._settings(), harmless=HARMLESS):
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise ConfigError(
                f"{self.run_dir.name} was trained with other settings: {'; '.join(changed[:3])}"
                f"{more}; give the run another name, or do not resume",
                code="E-RUN-CHANGED",
            )
        raw = snapshot.state["raw_weights"] or snapshot.weights
        try:
            self.learner.model.load_state_dict(raw)
        except RuntimeError as error:
            raise ModelRefusedError(
                f"the checkpoint does not fit its own config: {error}"
            ) from error
        self.learner.optimizer.load_state_dict(snapshot.state["optimizer"])
        for name, value in self.learner.average.items():
            value.copy_(snapshot.weights[name])
        self.learner.step = snapshot.step
        self.epoch = snapshot.state["epoch"]
        self.batch_in_epoch = snapshot.state["batch_in_epoch"]
        if halved_at := snapshot.state["halved_at"]:
            self.halved_at = (halved_at[0], halved_at[1])
        checkpoint.restore_random_states(snapshot.state["random"])
        log.info("Training goes on from step %d", snapshot.step)


def differing(run_dir: Path, wanted: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a run's newest checkpoint was trained with that is not so now: ``keys.retrieval a → b``.

    Args:
        wanted: settings by section (``model``, ``training``, ``keys``); sections that are left
            out are not compared.
    """
    snapshot = checkpoint.newest(run_dir / CHECKPOINTS)
    if snapshot is None:
        return []
    return differences(snapshot.record, wanted, harmless=HARMLESS)


def batch_seed(seed: int, epoch: int, batch: int) -> int:
    """What a model's random numbers start from in one batch of one epoch.

    So they depend neither on the process that has the batch nor on what was drawn before.
    """
    words = np.random.SeedSequence((seed, epoch, batch)).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def halves(batch: list[int]) -> list[list[int]]:
    """A batch in two; of one line there is no half."""
    middle = (len(batch) + 1) // 2
    return [half for half in (batch[:middle], batch[middle:]) if half]


def drift(trained: FeatureScaler, now: FeatureScaler) -> list[str]:
    """Sentences about features that lie or spread otherwise than those a model was trained on.

    A shift is counted in trained deviations per dimension, a spread as the ratio of deviations; the
    median over the dimensions is judged.
    """
    found = []
    for name in sorted(trained.scales.keys() & now.scales.keys()):
        old, new = trained.scales[name], now.scales[name]
        shift = float(np.median(np.abs(new.mean - old.mean) / old.deviation))
        spread = float(np.median(new.deviation / old.deviation))
        if shift > MOST_SHIFT or not 1 / MOST_SPREAD <= spread <= MOST_SPREAD:
            found.append(
                f"feature '{name}' drifted: its values lie {shift:.2f} deviations off and spread "
                f"{spread:.2f} times as far"
            )
    missing = sorted(trained.scales.keys() - now.scales.keys())
    return found + [f"feature '{name}' is missing now" for name in missing]
