"""Reference mel encoder: frame states, and one speaker vector.

Source: StyleDubber (arXiv:2402.12636), reference encoder and downsampling by 16. The encoder is
Meta-StyleSpeech's mel-style encoder without the final pooling.

Letters: B batch, R frames of the reference mel, C mel channels, D model width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from redub.model.layers.attention import MultiHeadAttention
from redub.model.layers.convolution import MaskedBatchNorm, TimeConv
from redub.model.layers.dropout import Dropout


class GatedConv(nn.Module):
    """Convolution, gated linear unit, residual."""

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.convolve = TimeConv(width, 2 * width, kernel)
        self.drop = Dropout(dropout)

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """Transform (B, R, D) to the same shape; values at padding are ignored."""
        states = states * valid.unsqueeze(-1)
        gated: Tensor = self.drop(F.glu(self.convolve(states), dim=-1))
        return states + gated


class TimbreEncoder(nn.Module):
    """Encodes a reference mel to one state per frame."""

    def __init__(
        self, mel_channels: int, width: int, *, heads: int, kernel: int, dropout: float
    ) -> None:
        super().__init__()
        self.spectral = nn.Sequential(
            nn.Linear(mel_channels, width),
            nn.Mish(),
            Dropout(dropout),
            nn.Linear(width, width),
            nn.Mish(),
            Dropout(dropout),
        )
        self.temporal = nn.ModuleList(GatedConv(width, kernel, dropout) for _ in range(2))
        self.attention = MultiHeadAttention(width, heads)
        self.mix = nn.Linear(width, width)

    def forward(self, mel: Tensor, valid: Tensor) -> Tensor:
        """Encode (B, R, C) to (B, R, D); padded frames are 0."""
        states: Tensor = self.spectral(mel)
        for layer in self.temporal:
            states = layer(states, valid)
        states = states * valid.unsqueeze(-1)
        states = states + self.attention(states, states, valid)
        mixed: Tensor = self.mix(states)
        return mixed * valid.unsqueeze(-1)


class Downsample(nn.Module):
    """Convolutions that halve the frame rate each, then a linear layer and tanh (StyleDubber).

    L rows become floor(L / 2^n) steps with n convolutions; an odd last row is dropped.
    """

    def __init__(
        self, inputs: int, channels: tuple[int, ...], width: int, *, dropout: float
    ) -> None:
        super().__init__()
        wide = (inputs, *channels[:-1])
        self.convolutions = nn.ModuleList(
            TimeConv(before, after, 3) for before, after in zip(wide, channels, strict=True)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm(after) for after in channels)
        self.drop = Dropout(dropout)
        self.to_width = nn.Linear(channels[-1], width)

    def steps(self, states: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Convert (B, L, inputs) to (B, floor(L / 2^n), width) in (-1, 1), with its mask."""
        states, valid = self.halved(states, valid)
        return self.to_width(states).tanh(), valid

    def halved(self, states: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the convolutions only: (B, floor(L / 2^n), channels), with its mask."""
        for convolve, norm in zip(self.convolutions, self.norms, strict=True):
            states = norm(F.relu(convolve(states * valid.unsqueeze(-1))), valid)
            states = F.avg_pool1d(self.drop(states).transpose(1, 2), 2).transpose(1, 2)
            # A step is valid only if both of its rows are valid.
            valid = valid[:, 1::2]
        return states, valid

    @staticmethod
    def mean(steps: Tensor, valid: Tensor) -> Tensor:
        """Average the valid steps to (B, width); 0 without valid steps."""
        total = (steps * valid.unsqueeze(-1)).sum(1)
        return total / valid.sum(1, keepdim=True).clamp(min=1)


class VoiceSummary(Downsample):
    """Summarises reference states to one speaker vector: downsampling by 16, then the mean.

    A reference must have at least 16 frames, because R frames become floor(R / 16) steps.
    """

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """Convert (B, R, D) to (B, speaker width)."""
        return self.mean(*self.steps(states, valid))
