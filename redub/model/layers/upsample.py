"""Upsampling from video frames to mel frames.

Source: HPMDubbing (CVPR 2023), two transposed convolutions that double the frame rate each. At 25
video frames and 100 mel frames per second this gives exactly the mel frame rate. For other mel
frame rates the upsampled states are resampled by index.

Letters: B batch, V video frames, T mel frames, D model width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from redub.model.blocks.lip_encoder import LipStates

MEL_FRAMES_PER_VIDEO_FRAME = 4
SLOPE = 0.1


class Upsample(nn.Module):
    """Upsamples (B, V, D) to (B, 4 V, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.doubling = nn.ModuleList(
            weight_norm(nn.ConvTranspose1d(width, width, 4, 2, padding=1)) for _ in range(2)
        )

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """Upsample by four; padded frames are read as 0 and are 0 in the output."""
        for double in self.doubling:
            states = F.leaky_relu(states * valid.unsqueeze(-1), SLOPE)
            states = double(states.transpose(1, 2)).transpose(1, 2)
            valid = valid.repeat_interleave(2, dim=1)
        return states * valid.unsqueeze(-1)


def on_mel_clock(states: Tensor, steps: Tensor, mel_frames: Tensor, frames_valid: Tensor) -> Tensor:
    """Select for each mel frame the state of that time, (B, T, D); padded frames are 0.

    The steps of an utterance are spread evenly over its mel frames; with equal numbers of both they
    correspond one to one.

    Args:
        states: (B, L, D).
        steps: (B,) number of valid states per utterance.
        mel_frames: (B,) number of mel frames per utterance.
        frames_valid: (B, T) bool.
    """
    clock = torch.arange(frames_valid.size(1), device=states.device)
    place = clock * steps.unsqueeze(1) // mel_frames.unsqueeze(1)  # (B, T)
    place = torch.minimum(place, steps.unsqueeze(1) - 1).clamp(min=0)
    shown = states.gather(1, place.unsqueeze(-1).expand(-1, -1, states.size(-1)))
    return shown * frames_valid.unsqueeze(-1)


def as_long_as_the_video(lips: LipStates, mel_frames: Tensor) -> LipStates:
    """Repeat the learned state of utterances without lips over the length of the utterance."""
    video_frames = -(-mel_frames // MEL_FRAMES_PER_VIDEO_FRAME)  # (B,)
    longest = max(lips.states.size(1), int(torch.where(lips.present, 0, video_frames).max()))
    more = longest - lips.states.size(1)
    states = F.pad(lips.states, (0, 0, 0, more))
    valid = F.pad(lips.valid, (0, more))
    clock = torch.arange(longest, device=valid.device)
    shown = ~lips.present.unsqueeze(1) & (clock < video_frames.unsqueeze(1))
    states = torch.where(shown.unsqueeze(-1), states[:, :1], states)
    return LipStates(states, valid | shown, lips.present)
