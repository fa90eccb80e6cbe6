"""A reference mel to frame states and to one voice vector.

Source: StyleDubber (arXiv:2402.12636), reference encoder and its times-16 downsampling; the
encoder is Meta-StyleSpeech's mel-style encoder without its final pooling.
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
        """(B, R, D) in and out; what padding holds does not matter."""
        states = states * valid.unsqueeze(-1)
        gated: Tensor = self.drop(F.glu(self.convolve(states), dim=-1))
        return states + gated


class TimbreEncoder(nn.Module):
    """Reference mel to one state per frame."""

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
        """Encode (B, R, C) to (B, R, D); padding comes back as 0."""
        states: Tensor = self.spectral(mel)
        for layer in self.temporal:
            states = layer(states, valid)
        states = states * valid.unsqueeze(-1)
        states = states + self.attention(states, states, valid)
        mixed: Tensor = self.mix(states)
        return mixed * valid.unsqueeze(-1)


class Downsample(nn.Module):
    """Convolutions that halve the clock each, then one layer and a tanh (StyleDubber).

    L rows become floor(L / 2^n) steps; an odd last row is dropped.
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
        """(B, L, inputs) to (B, floor(L / 2^n), width) in (-1, 1), and which steps are real."""
        states, valid = self.halved(states, valid)
        return self.to_width(states).tanh(), valid

    def halved(self, states: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """The convolutions alone: (B, floor(L / 2^n), channels), and which steps are real."""
        for convolve, norm in zip(self.convolutions, self.norms, strict=True):
            states = norm(F.relu(convolve(states * valid.unsqueeze(-1))), valid)
            states = F.avg_pool1d(self.drop(states).transpose(1, 2), 2).transpose(1, 2)
            # A pair counts only if both of its rows are real.
            valid = valid[:, 1::2]
        return states, valid

    @staticmethod
    def mean(steps: Tensor, valid: Tensor) -> Tensor:
        """(B, width): the mean of the real steps, 0 where none is."""
        total = (steps * valid.unsqueeze(-1)).sum(1)
        return total / valid.sum(1, keepdim=True).clamp(min=1)


class VoiceSummary(Downsample):
    """Timbre states to one voice vector: halve the clock four times, then average.

    R frames become floor(R / 16) steps, so a reference must have at least 16 frames.
    """

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """(B, R, D) to (B, voice width): the mean of the real steps."""
        return self.mean(*self.steps(states, valid))
