"""Learned states for utterances that lack a feature.

Letters: B batch, L length, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fill_missing(states: Tensor, valid: Tensor, instead: Tensor) -> tuple[Tensor, Tensor]:
    """Replace each row without valid states by one learned state.

    Args:
        states: (B, L, W), L >= 1; values at padding are ignored.
        valid: (B, L) bool.
        instead: (W,) the learned state.

    Returns:
        (B, L, W), 0 at padding, and (B, L) bool with at least one True per row.
    """
    first = torch.arange(valid.size(1), device=valid.device) == 0
    substitute = first & ~valid.any(1, keepdim=True)
    held = torch.where(valid.unsqueeze(-1), states, 0.0)
    return torch.where(substitute.unsqueeze(-1), instead, held), valid | substitute
