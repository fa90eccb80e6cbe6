"""Pictures to mel frames: four of each, exactly.

Source: HPMDubbing (CVPR 2023), two transposed convolutions that double the clock; at 25 pictures
and 100 mel frames a second that is the whole way. Other clocks are read off the quadrupled one.
Letters: B batch, V pictures, T mel frames, D model width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from redub.model.blocks.lip_encoder import LipStates

FRAMES_PER_PICTURE = 4
SLOPE = 0.1


class Upsample(nn.Module):
    """(B, V, D) to (B, 4 V, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.doubling = nn.ModuleList(
            weight_norm(nn.ConvTranspose1d(width, width, 4, 2, padding=1)) for _ in range(2)
        )

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """Quadruple; what lies behind the end of a line is read as silence and comes back as 0."""
        for double in self.doubling:
            states = F.leaky_relu(states * valid.unsqueeze(-1), SLOPE)
            states = double(states.transpose(1, 2)).transpose(1, 2)
            valid = valid.repeat_interleave(2, dim=1)
        return states * valid.unsqueeze(-1)


def on_mel_clock(states: Tensor, steps: Tensor, mel_frames: Tensor, frames_valid: Tensor) -> Tensor:
    """(B, T, D): for each mel frame the state of that moment, 0 past the end of a line.

    A line's steps are spread evenly over its mel frames: with as many of both, each has its own.

    Args:
        states: (B, L, D).
        steps: (B,) how many of a line's states are real.
    """
    clock = torch.arange(frames_valid.size(1), device=states.device)
    place = clock * steps.unsqueeze(1) // mel_frames.unsqueeze(1)  # (B, T)
    place = torch.minimum(place, steps.unsqueeze(1) - 1).clamp(min=0)
    shown = states.gather(1, place.unsqueeze(-1).expand(-1, -1, states.size(-1)))
    return shown * frames_valid.unsqueeze(-1)


def as_long_as_the_picture(lips: LipStates, mel_frames: Tensor) -> LipStates:
    """A line without lips has one learned state; it is shown for as long as the line lasts."""
    pictures = -(-mel_frames // FRAMES_PER_PICTURE)  # (B,)
    longest = max(lips.states.size(1), int(torch.where(lips.present, 0, pictures).max()))
    more = longest - lips.states.size(1)
    states = F.pad(lips.states, (0, 0, 0, more))
    valid = F.pad(lips.valid, (0, more))
    clock = torch.arange(longest, device=valid.device)
    shown = ~lips.present.unsqueeze(1) & (clock < pictures.unsqueeze(1))
    states = torch.where(shown.unsqueeze(-1), states[:, :1], states)
    return LipStates(states, valid | shown, lips.present)
