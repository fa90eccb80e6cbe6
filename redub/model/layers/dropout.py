"""Dropout that keeps one byte per value for the backward pass instead of four.

Source: Srivastava et al., "Dropout" (2014). On a CPU, ``torch.nn.Dropout`` keeps a mask of floats.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from redub.core.errors import ConfigError


class Dropout(nn.Module):
    """Zeroes each value with probability ``p`` and scales the others by 1 / (1 - p).

    Raises:
        ConfigError: E-CFG-VALUE, ``p`` is not in [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ConfigError(f"a dropout of {p}; wanted from 0 to below 1", code="E-CFG-VALUE")
        self.p = p

    def forward(self, states: Tensor) -> Tensor:
        """Apply dropout in training; otherwise return the input."""
        return dropout(states, self.p, self.training)


def dropout(states: Tensor, p: float, training: bool) -> Tensor:
    """Apply dropout like ``torch.nn.functional.dropout``; the same seed gives another mask."""
    if not training or p == 0:
        return states
    kept: Tensor = torch.native_dropout(states, p, True)[0]
    return kept
