"""Estimate the memory and time of a training run from a few steps; nothing is written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from redub.core.types import AudioSpec
from redub.model.batch import FeatureWidths
from redub.model.registry import system, system_spec
from redub.training.data.batching import collate, epoch_batches, recorded_frames, widths_of
from redub.training.data.lines import FeatureScaler, Utterance
from redub.training.prepare import Recorded, prepare
from redub.training.presets import TrainingConfig
from redub.training.step import Learner, train_step

TIMED = 3
# Utterances that scales and prepared values are fitted on; neither changes memory or time.
MEASURED_LINES = 200
MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Sizes in MiB, times in seconds.

    ``training_mib``: weights, gradients, optimiser and average. ``kept_mib``: activations that the
    largest batch keeps for the backward pass. ``largest_batch``: its utterances and most frames.
    ``step_s``: one optimiser step, from the fastest of three typical batches.
    """

    parameters: int
    lines: int
    weights_mib: float
    training_mib: float
    kept_mib: float
    largest_batch: tuple[int, int]
    steps_per_epoch: int
    step_s: float
    steps: int
    device: str

    @property
    def epoch_s(self) -> float:
        """Seconds of one epoch."""
        return self.step_s * self.steps_per_epoch

    @property
    def run_s(self) -> float:
        """Seconds of all steps."""
        return self.step_s * self.steps

    def text(self) -> list[str]:
        """The estimate as sentences: size, memory, time."""
        lines, frames = self.largest_batch
        total = self.training_mib + self.kept_mib
        return [
            f"{self.parameters / 1e6:.2f} M parameters, {self.weights_mib:.0f} MiB of weights",
            f"memory: {total:.0f} MiB = {self.training_mib:.0f} for weights, gradients, optimiser "
            f"and average + {self.kept_mib:.0f} for the largest batch "
            f"({lines} lines of at most {frames} frames), without the memory of torch itself",
            f"time on {self.device}: {self.step_s:.2f} s a step, {self.epoch_s:.0f} s an epoch "
            f"({self.steps_per_epoch} steps, {self.lines} lines), "
            f"{duration(self.run_s)} for {self.steps} steps",
        ]


def duration(seconds: float) -> str:
    """Format seconds as s, min or h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def estimate(
    lines: Sequence[Utterance],
    config: TrainingConfig,
    *,
    model_config: Any,
    audio: AudioSpec,
    steps: int,
    device: str,
) -> Estimate:
    """Build the model, train it for a few steps and measure them.

    The caller's random state stays as it is.

    Args:
        lines: the training set; utterances without a recording are left out.
        steps: planned steps of the run.
    """
    frames = recorded_frames(lines)
    numbers = [number for number, count in enumerate(frames) if count]
    counts = [frames[number] for number in numbers]
    planned = epoch_batches(counts, config.batching, seed=config.seed, epoch=0)
    padded = [len(batch) * max(counts[place] for place in batch) for batch in planned]
    some = numbers[:: -(-len(numbers) // MEASURED_LINES)]
    widths = widths_of((lines[number] for number in numbers), audio)
    scaler = FeatureScaler.fit(lines[number] for number in some)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = system(config.system)(model_config, widths).to(device).train()
        prepare(config.system, model, Recorded(lines, some), scaler, seed=config.seed)
        learner = Learner(
            model, config.optimiser, compiled=config.compile, recompute=config.recompute
        )

        def step(which: int) -> float:
            """Train on one planned batch; returns its seconds."""
            some = [lines[numbers[place]] for place in planned[which]]
            return _timed_step(learner, some, scaler, widths, config, device)

        largest = int(np.argmax(padded))
        kept = _Kept()
        with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
            step(largest)
        typical = int(np.argsort(padded)[len(padded) // 2])
        step_s = min(step(typical) for _ in range(TIMED)) * config.accumulate
    trained = sum(p.numel() * p.element_size() for p in learner.trained.values())
    weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    copies = 4 + bool(learner.average)  # weights, gradients, two moments, the average
    return Estimate(
        parameters=sum(parameter.numel() for parameter in learner.trained.values()),
        lines=len(numbers),
        weights_mib=weights / MIB,
        training_mib=(copies * trained + weights - trained) / MIB,
        kept_mib=kept.total / MIB,
        largest_batch=(len(planned[largest]), max(counts[place] for place in planned[largest])),
        steps_per_epoch=-(-len(planned) // config.accumulate),
        step_s=step_s,
        steps=steps,
        device=device,
    )


def _timed_step(
    learner: Learner,
    lines: Sequence[Utterance],
    scaler: FeatureScaler,
    widths: FeatureWidths,
    config: TrainingConfig,
    device: str,
) -> float:
    """Seconds to collate some utterances and take one step with them."""
    began = time.perf_counter()
    batch = collate(
        lines,
        scaler,
        widths,
        reference_frames=config.batching.reference_frames,
        context=system_spec(config.system).context,
    ).to(device)
    train_step(learner, [batch], config.losses, precision=config.precision)
    return time.perf_counter() - began


class _Kept:
    """Counts the bytes that a forward pass keeps for the backward pass."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.total = 0

    def pack(self, tensor: Tensor) -> Tensor:
        """Count a tensor's storage once; a ``saved_tensors_hooks`` function."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.seen:
            self.seen.add(storage.data_ptr())
            self.total += storage.nbytes()
        return tensor
