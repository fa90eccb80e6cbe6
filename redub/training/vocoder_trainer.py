"""Train a HiFi-GAN on recordings; a stopped run resumes with the same results.

Reads arrays only. Writes ``checkpoints/`` (see ``checkpoint.py``) and ``metrics.jsonl`` under the
run's directory.

Source: HiFi-GAN (arXiv:2010.05646), sections 2.4 and 3.3: least-squares discriminators, feature
matching times 2, mel distance times 45, AdamW(0.8, 0.99), learning rate times 0.999 per epoch.
Letters: B batch, S samples.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import IO

import torch
from torch import Tensor, nn

from redub.core.config import settings_of
from redub.core.durable import remove_leftovers
from redub.core.errors import ConfigError, ModelRefusedError, RedubError
from redub.model.vocoder.discriminators import (
    Discriminators,
    discriminator_loss,
    feature_loss,
    generator_adversarial_loss,
)
from redub.model.vocoder.hifi_gan import HifiGanGenerator
from redub.model.vocoder.mel_spectrum import MelSpectrum
from redub.model.vocoder.weight_norm import with_weight_norm
from redub.training import checkpoint
from redub.training.data.recordings import Pieces, Recording, epoch_order, pieces, whole
from redub.training.run_files import (
    CHECKPOINTS,
    METRICS,
    Saver,
    VocoderRecord,
    append_row,
    cut_back,
    differences,
)
from redub.training.vocoder_job import (
    Progress,
    VocoderCallbacks,
    VocoderPlan,
    VocoderReport,
    VocoderStep,
)

log = logging.getLogger(__name__)

MOST_VALIDATED_FRAMES = 1000  # of one held-out recording: ten seconds at 16 kHz


HARMLESS = (
    "keep_last",
    "keep_best",
    "checkpoint_every",
)  # a run may be resumed with other values of these


def train_vocoder(
    recordings: Sequence[Recording],
    held_out: Sequence[Recording],
    plan: VocoderPlan,
    run_dir: Path,
    *,
    keys: Mapping[str, str],
    max_steps: int,
    resume: bool = True,
    device: str = "cpu",
    callbacks: VocoderCallbacks | None = None,
) -> VocoderReport:
    """Start or resume a run and train until ``max_steps`` in all; ends with a checkpoint.

    Args:
        held_out: recordings for validation, not for training.
        keys: feature keys of mels and sound; a run is not resumed under other keys.
        resume: go on from the newest intact checkpoint; False removes all checkpoints.

    Raises:
        ConfigError: no recording to train on, or the run has other settings or feature keys.
        RedubError: E-TRAIN-NAN, a loss is not finite (the message names the clips).
    """
    usable = [line for line in recordings if line.frames(plan.generator.audio)]
    if not usable:
        raise ConfigError("no training clip has both mel and sound", code="E-STAGE-LINES")
    callbacks = callbacks or VocoderCallbacks()
    devices = [torch.device(device)] if device != "cpu" else []
    with torch.random.fork_rng(devices=devices):  # leaves the caller's random state unchanged
        run = _Run(usable, held_out, plan, run_dir, keys, device)
        with run.saver:
            run.start(resume, callbacks.began)
            return run.until(max_steps, callbacks.progress, callbacks.stop)


class _Run:
    """One run: its networks, its optimisers, and its position in the data."""

    def __init__(
        self,
        recordings: Sequence[Recording],
        held_out: Sequence[Recording],
        plan: VocoderPlan,
        run_dir: Path,
        keys: Mapping[str, str],
        device: str,
    ) -> None:
        self.recordings, self.held_out, self.plan = recordings, held_out, plan
        self.run_dir, self.keys, self.device = run_dir, dict(keys), device
        training, audio = plan.training, plan.generator.audio
        torch.manual_seed(training.seed)
        self.generator = with_weight_norm(HifiGanGenerator(plan.generator)).to(device)
        self.discriminators = Discriminators(plan.discriminators).to(device)
        fmax = training.loss_fmax_hz or audio.sample_rate_hz / 2
        self.loss_mel = MelSpectrum(audio, fmax_hz=fmax).to(device)
        self.mel = MelSpectrum(audio).to(device)
        self.optimisers = {
            "generator": self._optimiser(self.generator),
            "discriminators": self._optimiser(self.discriminators),
        }
        self.step, self.epoch, self.batch_in_epoch = 0, 0, 0
        self.first_mel_l1, self.validated = math.nan, (-1, math.nan)
        self.saver = Saver()

    def _optimiser(self, network: nn.Module) -> torch.optim.AdamW:
        training = self.plan.training
        return torch.optim.AdamW(
            network.parameters(),
            lr=training.learning_rate,
            betas=(training.betas[0], training.betas[1]),
            weight_decay=training.weight_decay,
        )

    # -- start and end

    def start(self, resume: bool, began: Callable[[int], None]) -> None:
        """Resume from the newest checkpoint, or start a new run.

        Raises:
            ConfigError: E-RUN-CHANGED, the checkpoint has other settings or feature keys.
        """
        root = self.run_dir / CHECKPOINTS
        snapshot = checkpoint.newest(root) if resume else None
        if snapshot is not None:
            self._take_up(snapshot)
        self.first_step = self.step
        self.run_dir.mkdir(parents=True, exist_ok=True)
        began(self.step)
        if snapshot is None:
            for directory in checkpoint.steps_in(root):
                checkpoint.remove(directory)
            (self.run_dir / METRICS).unlink(missing_ok=True)
        else:
            cut_back(self.run_dir / METRICS, self.step)
        remove_leftovers(root)

    def _take_up(self, snapshot: checkpoint.Snapshot) -> None:
        if changed := differences(snapshot.record, self._record().settings, harmless=HARMLESS):
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise ConfigError(
                f"{self.run_dir.name} was trained with other settings: {'; '.join(changed[:3])}"
                f"{more}; give the run another name, or do not resume",
                code="E-RUN-CHANGED",
            )
        state = snapshot.state
        try:
            self.generator.load_state_dict(dict(snapshot.weights))
            self.discriminators.load_state_dict(state["discriminators"])
        except RuntimeError as error:
            raise ModelRefusedError(
                f"the checkpoint does not fit its own settings: {error}"
            ) from error
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.step, self.epoch = snapshot.step, state["epoch"]
        self.batch_in_epoch, self.first_mel_l1 = state["batch_in_epoch"], state["first_mel_l1"]
        if snapshot.validation_loss is not None:
            self.validated = (snapshot.step, snapshot.validation_loss)
        log.info("Training goes on from step %d", snapshot.step)

    def until(self, max_steps: int, progress: Progress, stop: Callable[[], bool]) -> VocoderReport:
        """Train until ``max_steps`` or ``stop``, then write a checkpoint."""
        began = time.monotonic()
        training, stopped = self.plan.training, False
        with (self.run_dir / METRICS).open("a", encoding="utf-8") as metrics:
            if self.step == 0:
                self._validate(metrics)
            while self.step < max_steps and not stopped:
                report = self._next_step(metrics)
                is_saved = self.step % training.checkpoint_every == 0
                if is_saved or self.step % training.validate_every == 0:
                    self._validate(metrics)
                if is_saved:
                    self._save()
                self.saver.check()
                progress(report)
                stopped = self.step < max_steps and stop()
            if self.validated[0] != self.step and not stopped:
                self._validate(metrics)
        root = self.run_dir / CHECKPOINTS
        place = checkpoint.directory_of(root, self.step)
        if self.step > self.first_step or not place.exists():
            place = self._save()
        self.saver.wait()
        return VocoderReport(
            first_step=self.first_step,
            last_step=self.step,
            seconds=time.monotonic() - began,
            lines=len(self.recordings),
            held_out=len(self.held_out),
            parameters=sum(value.numel() for value in self.generator.parameters()),
            first_mel_l1=self.first_mel_l1,
            last_mel_l1=self.validated[1],
            checkpoint=place,
            best_checkpoint=checkpoint.best(root) or place,
            stopped=stopped,
        )

    def _save(self) -> Path:
        weights = self.generator.state_dict()
        if bad := [name for name, value in weights.items() if not torch.isfinite(value).all()]:
            raise RedubError(
                f"{len(bad)} tensors of the generator are not finite after step {self.step} "
                f"({bad[0]}, …); nothing was saved. Lower training.learning_rate",
                code="E-TRAIN-NAN",
            )
        snapshot = checkpoint.Snapshot(
            step=self.step,
            weights=weights,
            state={
                "discriminators": self.discriminators.state_dict(),
                "optimisers": {name: own.state_dict() for name, own in self.optimisers.items()},
                "epoch": self.epoch,
                "batch_in_epoch": self.batch_in_epoch,
                "first_mel_l1": self.first_mel_l1,
            },
            record=self._record().to_json(),
            validation_loss=self._measured(),
        )
        root, training = self.run_dir / CHECKPOINTS, self.plan.training
        self.saver.write(root, snapshot, keep=training.keep_last, keep_best=training.keep_best)
        return checkpoint.directory_of(root, self.step)

    def _measured(self) -> float | None:
        """The held-out mel distance, if it was measured at the present step, else None."""
        step, mel_l1 = self.validated
        return mel_l1 if step == self.step and math.isfinite(mel_l1) else None

    def _record(self) -> VocoderRecord:
        plan = self.plan
        return VocoderRecord(
            generator=settings_of(plan.generator)["fields"],
            discriminators=settings_of(plan.discriminators)["fields"],
            training=settings_of(plan.training)["fields"],
            keys=self.keys,
            code_version=version("redub"),
        )

    # -- one step

    def _next_step(self, metrics: IO[str]) -> VocoderStep:
        batch = self._next_batch()
        rate = self.plan.training.learning_rate * self.plan.training.learning_rate_decay**self.epoch
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = rate
        report = self._learn(batch, rate)
        row = {"step": report.step, "epoch": self.epoch, "learning_rate": rate}
        row |= {"mel_l1": report.mel_l1, "features": report.features}
        append_row(
            metrics,
            row | {"adversarial": report.adversarial, "discriminators": report.discriminators},
        )
        self.batch_in_epoch += 1
        if self.batch_in_epoch * self.plan.training.batch >= len(self.recordings):
            self.epoch, self.batch_in_epoch = self.epoch + 1, 0
        return report

    def _next_batch(self) -> Pieces:
        training = self.plan.training
        order = epoch_order(len(self.recordings), seed=training.seed, epoch=self.epoch)
        start = self.batch_in_epoch * training.batch
        batch = pieces(
            self.recordings,
            order[start : start + training.batch].tolist(),
            self.plan.generator.audio,
            frames=self.plan.frames,
            seed=training.seed,
            epoch=self.epoch,
        )
        return Pieces(batch.mel.to(self.device), batch.samples.to(self.device), batch.clip_ids)

    def _learn(self, batch: Pieces, rate: float) -> VocoderStep:
        training, real = self.plan.training, batch.samples
        made = self.generator(batch.mel)  # (B, S)
        discriminators = discriminator_loss(
            self.discriminators(real), self.discriminators(made.detach())
        )
        self._check(discriminators, "discriminators", batch)
        self._descend("discriminators", discriminators)
        # Gradients of the discriminators are not needed in the generator's step.
        self.discriminators.requires_grad_(False)
        with torch.no_grad():
            true = self.discriminators(real)
        judged = self.discriminators(made)
        mel = (self.loss_mel(made) - self.loss_mel(real)).abs().mean()
        features, adversarial = feature_loss(true, judged), generator_adversarial_loss(judged)
        total = adversarial + training.feature_weight * features + training.mel_weight * mel
        self._check(total, "generator", batch)
        self._descend("generator", total)
        self.discriminators.requires_grad_(True)
        self.step += 1
        return VocoderStep(
            step=self.step,
            mel_l1=float(mel.detach()),
            features=float(features.detach()),
            adversarial=float(adversarial.detach()),
            discriminators=float(discriminators.detach()),
            learning_rate=rate,
        )

    def _descend(self, name: str, loss: Tensor) -> None:
        optimiser = self.optimisers[name]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    def _check(self, loss: Tensor, name: str, batch: Pieces) -> None:
        if not math.isfinite(float(loss.detach())):
            is_saved = checkpoint.newest(self.run_dir / CHECKPOINTS) is not None
            kept = "the last checkpoint is intact" if is_saved else "there is no checkpoint yet"
            raise RedubError(
                f"the {name} loss is {float(loss.detach())} in step {self.step + 1} (clips "
                f"{', '.join(batch.clip_ids[:3])}, …); {kept}. Lower "
                "training.learning_rate, or check these clips",
                code="E-TRAIN-NAN",
            )

    def _validate(self, metrics: IO[str]) -> None:
        """Measure the mean absolute log-mel difference over held-out recordings, one at a time."""
        audio, distances = self.plan.generator.audio, []
        lines = [
            line for line in self.held_out if line.frames(audio) * audio.hop_samples > audio.n_fft
        ]
        self.generator.eval()
        with torch.no_grad():
            for line in lines:
                piece = whole(line, audio, most_frames=MOST_VALIDATED_FRAMES)
                made = self.generator(piece.mel.to(self.device))
                true = self.mel(piece.samples.to(self.device))
                distances.append(float((self.mel(made) - true).abs().mean()))
        self.generator.train()
        mel_l1 = sum(distances) / len(distances) if distances else math.nan
        if self.step == 0:
            self.first_mel_l1 = mel_l1
        self.validated = (self.step, mel_l1)
        if distances:
            append_row(metrics, {"step": self.step, "validation_mel_l1": mel_l1})
