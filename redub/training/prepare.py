"""Set what a system does not learn by gradients, before the first step of a new run.

The row of a system (:class:`redub.model.registry.SystemSpec`) names its function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from redub.core.registry import load
from redub.model.registry import system_spec
from redub.training.data.lines import FeatureScaler, Utterance


@dataclass(frozen=True, slots=True)
class Recorded:
    """The recorded training utterances, built lazily: ``lines[number]`` for each of ``numbers``."""

    lines: Sequence[Utterance]
    numbers: Sequence[int]

    def spread(self, most: int) -> list[Utterance]:
        """At most ``most`` of the utterances, spread evenly."""
        chosen = self.numbers[:: -(-len(self.numbers) // most)]
        return [self.lines[number] for number in chosen]


Prepare = Callable[[Any, Recorded, FeatureScaler, int], None]
"""Called with the model, the training utterances, the feature scales and the run's seed."""


def prepare(
    system: str, model: nn.Module, recorded: Recorded, scaler: FeatureScaler, *, seed: int
) -> None:
    """Call the ``prepare`` function of a system's row, if it has one.

    Raises:
        ConfigError: unknown system, or the utterances lack a feature that the function needs.
    """
    if target := system_spec(system).prepare:
        found: Prepare = load({system: target}, system, kind="prepare function")
        found(model, recorded, scaler, seed)
