"""The learning rate of each step.

Source: Vaswani et al. (arXiv:1706.03762), section 5.3, as used by FastSpeech 2 and the dubbing
systems after it. Their "initial learning rate" 0.00625 is the multiplier of this curve, whose
peak with 4000 warm-up steps is 9.88e-5; it is not a learning rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from redub.core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class NoamSchedule:
    """Linear warm-up, then the inverse square root of the step, times ``cut`` per milestone."""

    multiplier: float = 0.00625
    warmup_steps: int = 4000
    milestones: tuple[int, ...] = (300_000, 400_000, 500_000)
    cut: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.multiplier < math.inf or self.warmup_steps < 1:
            raise ConfigError("the schedule needs a finite multiplier > 0 and warmup_steps >= 1")
        if not 0 < self.cut <= 1:
            raise ConfigError(f"the schedule's cut is {self.cut}; wanted above 0, at most 1")

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step; steps count from 1."""
        curve = min(step**-0.5, step * self.warmup_steps**-1.5)
        cuts = sum(step > milestone for milestone in self.milestones)
        return float(self.multiplier * curve * self.cut**cuts)
