"""One optimiser step, over one list of trained parameters.

The parameters that are optimised, clipped and averaged are the same mapping, ``Learner.trained``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from redub.core.errors import ConfigError, RedubError
from redub.model.batch import DubbingBatch
from redub.training.losses import Losses, LossWeights, losses_of
from redub.training.schedule import NoamSchedule


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserConfig:
    """AdamW (Adam where ``weight_decay`` is 0) under a Noam schedule; defaults as published.

    ``average_decay``: decay of the running average of the weights that validation and synthesis
    use; 0 turns it off.
    """

    schedule: NoamSchedule = field(default_factory=NoamSchedule)
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-9
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    average_decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.average_decay < 1 or self.clip_norm <= 0:
            raise ConfigError("the optimiser wants 0 <= average_decay < 1 and clip_norm > 0")


Precision = Literal["float32", "bfloat16"]


class StepReport(NamedTuple):
    """What one step did; the losses are unweighted, ``loss`` is their weighted sum."""

    step: int
    loss: float
    terms: dict[str, float]
    gradient_norm: float
    learning_rate: float
    frames: int


class Learner:
    """A model together with everything that training changes about it."""

    def __init__(self, model: nn.Module, config: OptimiserConfig) -> None:
        self.model, self.config, self.step = model, config, 0
        self.trained = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        self.optimizer = torch.optim.AdamW(
            list(self.trained.values()),
            lr=config.schedule.learning_rate(1),
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.average: dict[str, Tensor] = _copied(self.trained) if config.average_decay else {}

    def apply_gradients(self) -> tuple[float, float]:
        """Clip, step, average; returns the gradient norm before clipping and the rate used."""
        norm = torch.nn.utils.clip_grad_norm_(self.trained.values(), self.config.clip_norm)
        if not math.isfinite(float(norm)):
            return float(norm), 0.0
        self.step += 1
        rate = self.config.schedule.learning_rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self._update_average()
        return float(norm), rate

    def _update_average(self) -> None:
        if not self.average:
            return
        # Early on the average follows closely, or it would remember the random start.
        decay = min(self.config.average_decay, (1 + self.step) / (10 + self.step))
        current = [parameter.detach() for parameter in self.trained.values()]
        torch._foreach_lerp_(list(self.average.values()), current, 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """The model in evaluation mode with the averaged weights, put back on leaving."""
        kept = _copied(self.trained) if self.average else {}
        self.model.load_state_dict(self.average, strict=False)
        self.model.eval()
        try:
            yield self.model
        finally:
            self.model.load_state_dict(kept, strict=False)
            self.model.train()


def train_step(
    learner: Learner,
    batches: Sequence[DubbingBatch],
    weights: LossWeights,
    *,
    precision: Precision = "float32",
) -> StepReport:
    """Learn from one or several batches: their gradients are averaged, then applied once.

    Args:
        precision: of the network; losses, gradients and parameters are float32 in any case.

    Raises:
        RedubError: a loss or a gradient is not finite; the message names the clips, and the
            parameters are as they were.
    """
    learner.optimizer.zero_grad(set_to_none=True)
    sums: list[float] = [0.0] * (1 + len(Losses._fields))
    for batch in batches:
        device = batch.mel_frames.device.type
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            output = learner.model(batch)
        losses: Losses = losses_of(in_float32(output), batch, weights)
        total = losses.total(weights)
        values = torch.stack((total, *losses)).tolist()
        if not math.isfinite(values[0]):
            named = zip(Losses._fields, values[1:], strict=True)
            bad = ", ".join(name for name, value in named if not math.isfinite(value))
            raise _diverged(f"the loss is {values[0]} ({bad})", learner, [batch])
        (total / len(batches)).backward()  # type: ignore[no-untyped-call]
        sums = [old + value / len(batches) for old, value in zip(sums, values, strict=True)]
    norm, rate = learner.apply_gradients()
    if not math.isfinite(norm):
        raise _diverged(f"the gradient norm is {norm}", learner, batches)
    terms = dict(zip(Losses._fields, sums[1:], strict=True))
    frames = sum(int(batch.mel_frames.sum()) for batch in batches)
    return StepReport(learner.step, sums[0], terms, norm, rate, frames)


def in_float32(output: Any) -> Any:
    """A system's output with every number in float32, however deep it lies."""
    if isinstance(output, Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, tuple):
        parts = [in_float32(part) for part in output]
        return type(output)._make(parts) if hasattr(output, "_make") else tuple(parts)
    return output


def _diverged(what: str, learner: Learner, batches: Sequence[DubbingBatch]) -> RedubError:
    clips = ", ".join(clip_id for batch in batches for clip_id in batch.clip_ids)
    return RedubError(
        f"{what} after step {learner.step}; clips of the batch: {clips}; "
        "look at their features, or lower the schedule's multiplier",
        code="E-TRAIN-NAN",
    )


def _copied(parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}
