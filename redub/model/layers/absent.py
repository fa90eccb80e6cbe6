"""What stands where a line has nothing to read.

Letters: B batch, L length, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def never_empty(states: Tensor, valid: Tensor, instead: Tensor) -> tuple[Tensor, Tensor]:
    """States of which a line without any has one learned one.

    Args:
        states: (B, L, W), L >= 1; what padding holds does not matter.
        valid: (B, L) bool.
        instead: (W,).

    Returns:
        (B, L, W), 0 at padding, and (B, L) bool with at least one True per row.
    """
    first = torch.arange(valid.size(1), device=valid.device) == 0
    substitute = first & ~valid.any(1, keepdim=True)
    held = torch.where(valid.unsqueeze(-1), states, 0.0)
    return torch.where(substitute.unsqueeze(-1), instead, held), valid | substitute
