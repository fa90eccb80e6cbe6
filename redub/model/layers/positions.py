"""Sinusoidal positional encodings for integer or fractional positions.

Source: Vaswani et al. (arXiv:1706.03762), section 3.5, in the interleaved sin/cos layout.
Letters: B batch, L length, D model width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Encode positions, which may be fractional.

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
    """Encode the positions 0, 1, 2, … of a batch (B, L, D); returns (1, L, D)."""
    return sinusoids(
        torch.arange(states.size(1), device=states.device).unsqueeze(0), states.size(2)
    )


def on_the_video(text: Tensor, text_valid: Tensor, video_valid: Tensor) -> Tensor:
    """Encode phoneme positions in units of video frames; returns (B, P, D).

    Phoneme p of P gets the position (p + 1/2) V / P, as if all phonemes had equal duration.

    Args:
        text: (B, P, D); used for its shape only. text_valid: (B, P) bool.
        video_valid: (B, V) bool.
    """
    rank = torch.arange(text.size(1), device=text.device)  # (P,)
    spacing = video_valid.sum(1, keepdim=True) / text_valid.sum(1, keepdim=True).clamp(min=1)
    return sinusoids((rank + 0.5) * spacing, text.size(2))
