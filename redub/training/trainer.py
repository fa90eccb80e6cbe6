"""Train a system on utterances; a stopped run resumes with the same results.

Reads arrays only. Writes ``checkpoints/`` (see ``checkpoint.py``) and ``metrics.jsonl``, one row
per step and per validation, under the run's directory.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, cast

import torch

from redub.core.config import from_mapping, settings_of
from redub.core.durable import remove_leftovers
from redub.core.errors import ConfigError, ModelRefusedError, RedubError
from redub.model.batch import FeatureWidths
from redub.model.registry import system, system_spec
from redub.training import checkpoint
from redub.training.data.batching import chosen, collate, recorded_frames, widths_of
from redub.training.data.lines import FeatureScaler
from redub.training.drift import drift
from redub.training.epoch_plan import EpochPlan, PlanState, batch_seed
from redub.training.job import TrainCallbacks, TrainJob, TrainReport
from redub.training.losses import Losses
from redub.training.prepare import Recorded, prepare
from redub.training.presets import check_replicas
from redub.training.pretrained import Pretrained
from redub.training.replicas import ALONE, Replicas
from redub.training.run_files import (
    CHECKPOINTS,
    HARMLESS,
    METRICS,
    RunRecord,
    Saver,
    append_row,
    cut_back,
    differences,
)
from redub.training.step import Learner, OutOfMemoryError, StepReport, train_step
from redub.training.synthesis import TrainedDubber
from redub.training.validation import validation_losses

log = logging.getLogger(__name__)

MOST_MEASURED = 20_000  # utterances for fitting the scales, spread evenly
MOST_COMPARED = 500  # utterances for the check of drift


def train(
    job: TrainJob,
    *,
    max_steps: int | None = None,
    max_seconds: float | None = None,
    resume: bool | Path = True,
    start_from: Pretrained | None = None,
    callbacks: TrainCallbacks | None = None,
    replicas: Replicas = ALONE,
) -> TrainReport:
    """Train until a number of steps or seconds is reached, whichever comes first.

    Args:
        max_steps: total steps, those before a resume included.
        max_seconds: wall time of this call.
        resume: True: go on from the newest intact checkpoint. False: remove all checkpoints and
            start over. A checkpoint's folder: go on from it and remove later checkpoints of the
            run.
        start_from: weights of another run, for a new run.
        replicas: the processes that train together; only the first writes.

    Raises:
        ConfigError: no recorded utterance, no limit, a run with other settings or features, or
            ``start_from`` for a resumed run.
        RedubError: a loss is not finite (the message names the clips).
    """
    if max_steps is None and max_seconds is None:
        raise ConfigError("training needs max_steps or max_seconds, or it would never end")
    check_replicas(job.config, replicas.count)
    # A run depends on its seed alone; the caller's random state stays unchanged.
    devices = [torch.device(job.device)] if job.device != "cpu" else []
    with torch.random.fork_rng(devices=devices):
        run = _Run(job, callbacks or TrainCallbacks(), replicas)
        try:
            with run.saver:
                run.start(resume=resume, start_from=start_from)
                return run.until(max_steps, max_seconds)
        except (
            torch.OutOfMemoryError
        ) as error:  # outside of a step; a step is repeated with smaller batches
            raise OutOfMemoryError(
                f"no memory left: {error}; set training.batching.frames_per_batch lower"
            ) from error


class _Run:
    """One training run: its utterances, its learner, and its position in the data."""

    def __init__(self, job: TrainJob, callbacks: TrainCallbacks, replicas: Replicas) -> None:
        self.job, self.callbacks, self.replicas = job, callbacks, replicas
        self.lines, self.config, self.device = job.lines_train, job.config, job.device
        self.run_dir, self.keys = job.run_dir, dict(job.keys)
        frames = recorded_frames(job.lines_train)
        self.numbers = [number for number, count in enumerate(frames) if count]
        if not self.numbers:
            raise ConfigError(
                f"none of {len(job.lines_train)} training utterances has both a mel and durations"
            )
        self.recorded = Recorded(self.lines, self.numbers)
        self.plan = EpochPlan(
            [frames[number] for number in self.numbers],
            job.config.batching,
            seed=job.config.seed,
            guard=callbacks.guard,
        )
        self.saver = Saver()
        self.started_from = ""
        self.validation_losses: dict[str, float] = {}
        self.validation_loss: float | None = None
        self.validated_step = -1

    def start(self, *, resume: bool | Path, start_from: Pretrained | None) -> None:
        """Build the model, or load a checkpoint; then remove the files that it replaces."""
        snapshot = self._snapshot(resume, start_from)
        torch.manual_seed(self.config.seed)
        if snapshot is None:
            self.widths = widths_of((self.lines[number] for number in self.numbers), self.job.audio)
            self.scaler = self._fitted()
        else:
            record = RunRecord.from_json(snapshot.record, self.run_dir / CHECKPOINTS)
            self.widths = from_mapping(FeatureWidths, record.widths)
            self.scaler = FeatureScaler.from_json(record.scaler)
            self.started_from = record.started_from
            self.validation_loss = snapshot.validation_loss
        if snapshot is None and start_from is not None:
            self.started_from = start_from.name
            start_from.check(self.config.system, self.job.model_config, self.widths, self.keys)
            self.scaler = start_from.scaler
            if start_from.grows_into(self.config.system):  # the new parts read more
                self.scaler = start_from.scaler.with_new(self._fitted(), start_from.system)
            self._warn_of_drift(f"the weights of {start_from.name}")
        if snapshot is not None:
            self._warn_of_drift(f"step {snapshot.step} of this run")
        model = system(self.config.system)(self.job.model_config, self.widths).to(self.device)
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
            new = start_from.new_parameters(self.config.system, model)
            self.learner.load(start_from.weights, new=new)
        else:
            prepare(self.config.system, model, self.recorded, self.scaler, seed=self.config.seed)
        self.first_step = self.learner.step
        # Nothing can be refused any more, so old checkpoints may be removed now.
        self.replicas.wait()  # all processes have read the checkpoint before one writes
        if self.replicas.is_first:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            if resume is not True:
                self._give_up(-1 if snapshot is None else snapshot.step, resume)
            remove_leftovers(self.run_dir / CHECKPOINTS)
            cut_back(self.run_dir / METRICS, self.learner.step)
            self.callbacks.began(self.learner.step)

    def _snapshot(
        self, resume: bool | Path, start_from: Pretrained | None
    ) -> checkpoint.Snapshot | None:
        """The checkpoint to resume from; None for a new run."""
        root = self.run_dir / CHECKPOINTS
        if resume is False:
            return None
        snapshot = checkpoint.newest(root) if resume is True else checkpoint.read(Path(resume))
        if snapshot is not None and start_from is not None:
            raise ConfigError(
                f"{self.run_dir.name} was trained for {snapshot.step} steps already; weights of "
                "another run are for a new one. Give it another name, or do not resume",
                code="E-RUN-STARTED",
            )
        return snapshot

    def _give_up(self, step: int, kept: bool | Path) -> None:
        """Remove the checkpoints from a step on, except ``kept``, from which the run is resumed."""
        for directory in checkpoint.steps_in(self.run_dir / CHECKPOINTS):
            is_kept = isinstance(kept, Path) and directory.samefile(kept)
            if not is_kept and checkpoint.step_of(directory) >= step:
                checkpoint.remove(directory)

    def _fitted(self, most: int = MOST_MEASURED) -> FeatureScaler:
        """The scales of the training set, fitted on at most ``most`` utterances, spread evenly."""
        return FeatureScaler.fit(self.recorded.spread(most))

    def _warn_of_drift(self, trained: str) -> None:
        for sentence in drift(self.scaler, self._fitted(MOST_COMPARED)):
            log.warning("%s, against %s", sentence, trained)

    def until(self, max_steps: int | None, max_seconds: float | None) -> TrainReport:
        """Train until a limit or a stop, then write a checkpoint."""
        began = time.monotonic()
        report: StepReport | None = None
        stopped = False  # after a stop, a checkpoint is written but no validation is run
        with self._metrics() as metrics:
            while not self._done(began, max_steps, max_seconds):
                report = self._next_step()
                row = {"step": report.step, "epoch": self.plan.planned_epoch, "loss": report.loss}
                row |= {"learning_rate": report.learning_rate, "frames": report.frames}
                row |= {"gradient_norm": report.gradient_norm, **report.terms}
                self._note(metrics, row)
                if report.step % self.config.validate_every == 0:
                    self._note(metrics, self._validate())
                if report.step % self.config.checkpoint_every == 0:
                    self._save()
                if self.callbacks.progress is not None:
                    self.callbacks.progress(report)
                self.saver.check()
                # A stop in the last step is ignored: the run is complete and is validated.
                is_last = self._done(began, max_steps, max_seconds)
                if stopped := not is_last and self.replicas.any_(self.callbacks.stop()):
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
        """The open metrics file; the null device in all processes but the first."""
        path = self.run_dir / METRICS if self.replicas.is_first else Path(os.devnull)
        return path.open("a", encoding="utf-8")

    def _note(self, metrics: IO[str], row: Mapping[str, Any]) -> None:
        append_row(metrics, row)
        if self.callbacks.observe is not None and self.replicas.is_first:
            self.callbacks.observe(row)

    def _next_step(self) -> StepReport:
        try:
            return self._step()
        except OutOfMemoryError as error:
            self._halve(error)
            return self._step()

    def _step(self) -> StepReport:
        config, plan = self.config, self.plan
        some = plan.next(config.accumulate)
        own = self.replicas.own(len(some))
        batches = [
            collate(
                chosen(self.lines, [self.numbers[place] for place in some[number]]),
                self.scaler,
                self.widths,
                reference_frames=config.batching.reference_frames,
                epoch=plan.epoch,
                context=system_spec(config.system).context,
            ).to(self.device)
            for number in own
        ]
        report = train_step(
            self.learner,
            batches,
            config.losses,
            precision=config.precision,
            seeds=[batch_seed(config.seed, plan.epoch, plan.batch + number) for number in own],
            share=len(some),
            replicas=self.replicas,
        )
        plan.advance(len(some))
        return report

    def _halve(self, error: OutOfMemoryError) -> None:
        """Halve all later batches, also after a resume; raise ``error`` the second time."""
        if not self.plan.halve():
            raise error
        budget = self.config.batching.frames_per_batch
        log.warning(
            "%s. From here on a batch holds at most %d frames instead of %d; set "
            "training.batching.frames_per_batch to start with that",
            error.message,
            budget // 2,
            budget,
        )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _validate(self) -> dict[str, float]:
        """Mean losses on the validation utterances, with averaged weights, as a metrics row."""
        step = self.validated_step = self.learner.step
        if not self.replicas.is_first:
            return {}
        self._show()
        sums = validation_losses(
            self.learner,
            self.job.lines_validation,
            self.config,
            scaler=self.scaler,
            widths=self.widths,
            device=self.device,
        )
        if not sums:
            return {"step": step, "validation_lines": 0}
        if not math.isfinite(sums["loss"]):
            raise RedubError(
                f"the validation loss is {sums['loss']} after step {step}; the last checkpoint is "
                "intact. Lower the schedule's multiplier",
                code="E-TRAIN-NAN",
            )
        self.validation_loss = sums["loss"]
        self.validation_losses = {name: sums[name] for name in Losses._fields}
        return {"step": step, **{f"validation_{name}": value for name, value in sums.items()}}

    def _show(self) -> None:
        if self.callbacks.show is None:
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
            self.callbacks.show(self.learner.step, dubber)
        checkpoint.restore_random_states(kept)

    def _save(self) -> Path:
        self.callbacks.guard()
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
                **self.plan.state(),
            },
            record=self._record().to_json(),
            validation_loss=self.validation_loss
            if self.validated_step == self.learner.step
            else None,
        )
        root, config = self.run_dir / CHECKPOINTS, self.config
        self.saver.write(root, snapshot, keep=config.keep_last, keep_best=config.keep_best)
        return checkpoint.directory_of(root, snapshot.step)

    def _record(self) -> RunRecord:
        return RunRecord(
            system=self.config.system,
            model=settings_of(self.job.model_config)["fields"],
            training=settings_of(self.config)["fields"],
            widths=settings_of(self.widths)["fields"],
            keys=self.keys,
            scaler={
                name: {part: tuple(numbers) for part, numbers in own.items()}
                for name, own in self.scaler.to_json().items()
            },
            trained_parameters=tuple(self.learner.trained),
            started_from=self.started_from,
            code_version=version("redub"),
        )

    def _take_up(self, snapshot: checkpoint.Snapshot) -> None:
        if changed := differences(snapshot.record, self._record().settings, harmless=HARMLESS):
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
        self.plan.restore(cast(PlanState, snapshot.state))
        checkpoint.restore_random_states(snapshot.state["random"])
        log.info("Training goes on from step %d", snapshot.step)
