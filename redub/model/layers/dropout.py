"""Dropout that keeps one byte per number for the backward pass, not four.

Source: Srivastava et al., "Dropout" (2014). ``torch.nn.Dropout`` on a processor draws and keeps a
mask of floats.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from redub.core.errors import ConfigError


class Dropout(nn.Module):
    """Zeroes each number with probability ``p``, and scales the others by 1 / (1 - p)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ConfigError(f"a dropout of {p}; wanted from 0 to below 1", code="E-CFG-VALUE")
        self.p = p

    def forward(self, states: Tensor) -> Tensor:
        return dropout(states, self.p, self.training)


def dropout(states: Tensor, p: float, training: bool) -> Tensor:
    """As ``torch.nn.functional.dropout``; the numbers drawn differ."""
    if not training or p == 0:
        return states
    kept: Tensor = torch.native_dropout(states, p, True)[0]
    return kept
