"""One optimiser step, with one list of trained parameters.

Optimiser, gradient clipping and weight averaging use the same mapping, ``Learner.trained``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from redub.core.errors import AnotherFailed, ConfigError, ModelRefusedError, RedubError
from redub.model.batch import DubbingBatch
from redub.model.layers.fft_block import FFTBlock
from redub.training.losses import Losses, LossWeights, losses_of
from redub.training.replicas import ALONE, Replicas
from redub.training.schedule import NoamSchedule


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserConfig:
    """AdamW (Adam if ``weight_decay`` is 0) under a Noam schedule; defaults as published.

    ``ema_decay``: decay of the exponential moving average of the weights; validation and
    synthesis use the average. 0: no average.
    """

    schedule: NoamSchedule = field(default_factory=NoamSchedule)
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-9
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.ema_decay < 1 or not 0 < self.clip_norm < math.inf:
            raise ConfigError("the optimiser needs 0 <= ema_decay < 1, finite clip_norm > 0")
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ConfigError("the optimiser needs 0 <= beta1, beta2 < 1")
        if not (0 < self.epsilon < 1 and 0 <= self.weight_decay < math.inf):
            raise ConfigError("the optimiser needs 0 < epsilon < 1 and a finite weight_decay >= 0")


Precision = Literal["float32", "bfloat16"]
NO_ROOM = "can't allocate memory"  # torch's words if the CPU's memory is full
RUNNING = ("running_mean", "running_var")
BAD = 1000.0  # code of a loss that is not finite; more than the number of processes


class OutOfMemoryError(RedubError):
    """A batch does not fit into memory."""

    default_code = "E-TRAIN-MEMORY"


class StepReport(NamedTuple):
    """Figures of one step; ``terms`` are unweighted, ``loss`` is their weighted sum."""

    step: int
    loss: float
    terms: dict[str, float]
    gradient_norm: float
    learning_rate: float
    frames: int
    lines: int


class Learner:
    """A model, its optimiser and the average of its weights."""

    def __init__(
        self,
        model: nn.Module,
        config: OptimiserConfig,
        *,
        compiled: bool = False,
        recompute: bool = False,
    ) -> None:
        self.model, self.config, self.step = model, config, 0
        for module in model.modules():
            if isinstance(module, FFTBlock):
                module.recompute = recompute
        self.forward: Any = torch.compile(model, dynamic=True) if compiled else model
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
        self.average: dict[str, Tensor] = _copied(self.trained) if config.ema_decay else {}

    def load(self, weights: Mapping[str, Tensor], *, new: Collection[str] = ()) -> None:
        """Load weights, also into the average.

        Args:
            new: tensors that the weights lack; they keep their random values.

        Raises:
            ModelRefusedError: E-MODEL-KEYS, names or shapes differ otherwise.
        """
        try:
            missing, unknown = self.model.load_state_dict(weights, strict=not new)
            if lost := [*set(missing).symmetric_difference(new), *unknown]:
                raise RuntimeError(f"missing or unknown: {', '.join(sorted(lost)[:3])}")
        except RuntimeError as error:
            raise ModelRefusedError(
                f"the weights do not fit: {error}", code="E-MODEL-KEYS"
            ) from error
        for name, value in self.average.items():
            value.copy_(weights.get(name, self.trained[name].detach()))

    def apply_gradients(self) -> tuple[float, float]:
        """Clip the gradients, take an optimiser step, update the average.

        Returns:
            The gradient norm before clipping, and the learning rate. If the norm is not finite, no
            step is taken and the rate is 0.
        """
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
        # A smaller decay in early steps, so that the random start does not remain in the average.
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        current = [parameter.detach() for parameter in self.trained.values()]
        torch._foreach_lerp_(list(self.average.values()), current, 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """The model in evaluation mode with the averaged weights; undone on leaving."""
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
    seeds: Sequence[int] = (),
    share: int | None = None,
    replicas: Replicas = ALONE,
) -> StepReport:
    """Take one step with the average of several batches' gradients.

    Every batch starts from the same running statistics of the model's batch normalisations. These
    are averaged like the gradients, so neither the order of the batches nor their process matters.

    Args:
        batches: the batches of this process; may be empty.
        precision: of the network; losses, gradients and parameters are always float32.
        seeds: random seed of each batch; without seeds, the random state goes on.
        share: number of batches of the step in all processes.

    Raises:
        RedubError: a loss or a gradient is not finite; the message names the clips. The parameters
            are unchanged.
        OutOfMemoryError: E-TRAIN-MEMORY, a batch does not fit. The parameters are unchanged.
    """
    share = len(batches) if share is None else share
    learner.optimizer.zero_grad(set_to_none=True)
    statistics = _Statistics(learner.model, share)
    sums = torch.zeros(4 + len(Losses._fields), dtype=torch.float64)
    trouble: RedubError | None = None
    try:
        for place, batch in enumerate(batches):
            if seeds:
                torch.manual_seed(seeds[place])
            values = _learn(learner, batch, weights, precision, share)
            statistics.add()
            sums[4:] += torch.tensor(values[1:], dtype=torch.float64) / share
            sums[3] += values[0] / share
            sums[2] += len(batch.clip_ids)
            sums[1] += int(batch.mel_frames.sum())
    except RedubError as error:
        trouble = error
    except RuntimeError as error:  # torch.OutOfMemoryError is a RuntimeError
        if not isinstance(error, torch.OutOfMemoryError) and NO_ROOM not in str(error):
            raise
        trouble = OutOfMemoryError(f"no memory for a batch of {_named(batches)}: {error}")
    sums[0] = 0 if trouble is None else 1 if isinstance(trouble, OutOfMemoryError) else BAD
    sums = replicas.sum_(sums.to(replicas.device, torch.float64)).cpu()
    if float(sums[0]):
        statistics.undo()
        raise trouble or _of_another(float(sums[0]))
    replicas.sum_gradients(list(learner.trained.values()))
    norm, rate = learner.apply_gradients()
    if not math.isfinite(norm):
        raise _diverged(f"the gradient norm is {norm}", learner, batches)
    statistics.apply(replicas)
    terms = dict(zip(Losses._fields, sums[4:].tolist(), strict=True))
    frames, lines = int(sums[1]), int(sums[2])
    return StepReport(learner.step, float(sums[3]), terms, norm, rate, frames, lines)


def _learn(
    learner: Learner, batch: DubbingBatch, weights: LossWeights, precision: Precision, share: int
) -> list[float]:
    """Add a batch's gradients, divided by ``share``; returns its loss and the unweighted terms."""
    device = batch.mel_frames.device.type
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
        output = learner.forward(batch)
    losses: Losses = losses_of(in_float32(output), batch, weights)
    total = losses.total(weights)
    values: list[float] = torch.stack((total, *losses)).tolist()
    if not math.isfinite(values[0]):
        named = zip(Losses._fields, values[1:], strict=True)
        bad = ", ".join(name for name, value in named if not math.isfinite(value))
        raise _diverged(f"the loss is {values[0]} ({bad})", learner, [batch])
    (total / share).backward()  # type: ignore[no-untyped-call]
    return values


class _Statistics:
    """Averages the running statistics of a model's batch normalisations over a step's batches."""

    def __init__(self, model: nn.Module, share: int) -> None:
        named = model.named_buffers()
        self.buffers = [buffer for name, buffer in named if name.endswith(RUNNING)]
        self.before = [buffer.clone() for buffer in self.buffers]
        self.sums = [torch.zeros_like(buffer) for buffer in self.buffers]
        self.share = share

    def add(self) -> None:
        """Add the statistics after a batch to the sum; put the initial ones back."""
        for buffer, before, total in zip(self.buffers, self.before, self.sums, strict=True):
            total += buffer / self.share
            buffer.copy_(before)

    def undo(self) -> None:
        """Put the initial statistics back."""
        for buffer, before in zip(self.buffers, self.before, strict=True):
            buffer.copy_(before)

    def apply(self, replicas: Replicas) -> None:
        """Set the statistics to their average over all batches of all processes."""
        for buffer, total in zip(self.buffers, self.sums, strict=True):
            buffer.copy_(replicas.sum_(total))


def in_float32(output: Any) -> Any:
    """Convert all floating-point tensors in nested tuples to float32."""
    if isinstance(output, Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, tuple):
        parts = [in_float32(part) for part in output]
        return type(output)._make(parts) if hasattr(output, "_make") else tuple(parts)
    return output


def _diverged(what: str, learner: Learner, batches: Sequence[DubbingBatch]) -> RedubError:
    return RedubError(
        f"{what} after step {learner.step}; clips of the batch: {_named(batches)}; "
        "check their features, or lower the schedule's multiplier",
        code="E-TRAIN-NAN",
    )


def _of_another(codes: float) -> RedubError:
    """An error that another process has already reported in detail."""
    if codes >= BAD:
        return AnotherFailed("the loss of another process is not finite", code="E-TRAIN-NAN")
    return OutOfMemoryError("another process has no memory for its batch")


def _named(batches: Sequence[DubbingBatch]) -> str:
    return ", ".join(clip_id for batch in batches for clip_id in batch.clip_ids)


def _copied(parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}
