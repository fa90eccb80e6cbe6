"""Sinusoidal positions, for any clock.

Source: Vaswani et al. (arXiv:1706.03762), section 3.5, in the interleaved sin/cos layout.
Letters: B batch, L length, D model width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Encode positions, which need not be whole numbers.

    Args:
        positions: (..., L) of any number type.
        width: D, even.

    Returns:
        (..., L, D) float32.
    """
    octave = torch.arange(width // 2, device=positions.device, dtype=torch.float32)
    angle = positions.unsqueeze(-1).float() * torch.exp(octave * (-9.210340371976184 * 2 / width))
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-2)  # ln 10000 = 9.2103…


def count_up(states: Tensor) -> Tensor:
    """Positions 0, 1, 2, … of a padded batch (B, L, D), encoded: (1, L, D)."""
    return sinusoids(
        torch.arange(states.size(1), device=states.device).unsqueeze(0), states.size(2)
    )
