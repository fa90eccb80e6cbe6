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


def on_the_picture(text: Tensor, text_valid: Tensor, pictures_valid: Tensor) -> Tensor:
    """Positions (B, P, D) of phonemes on the clock of the pictures.

    Phoneme p of P is placed at (p + 1/2) V / P, where it would be if all lasted equally long.

    Args:
        text: (B, P, D).
        pictures_valid: (B, V) bool.
    """
    rank = torch.arange(text.size(1), device=text.device)  # (P,)
    spacing = pictures_valid.sum(1, keepdim=True) / text_valid.sum(1, keepdim=True).clamp(min=1)
    return sinusoids((rank + 0.5) * spacing, text.size(2))
