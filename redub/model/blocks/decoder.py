"""Mel decoder with style-adaptive layer norms, and the post-net.

Source: StyleDubber (arXiv:2402.12636), mel decoder with style-adaptive layer norm; post-net of
Tacotron 2 (arXiv:1712.05884), section 2.2, with one style-adaptive norm shared by its layers.
Positional encodings are added, which the released decoder lacks (``positions`` False).

Letters: B batch, T mel frames, C mel channels, D model width, S style width.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from redub.model.layers.convolution import MaskedBatchNorm, TimeConv
from redub.model.layers.dropout import Dropout
from redub.model.layers.fft_block import FFTSizes, StyleAdaptiveNorm
from redub.model.layers.positions import count_up

QUIET = 0.1


class MelDecoder(nn.Module):
    """FFT blocks with style-adaptive norms, then one linear layer to mel."""

    def __init__(
        self,
        width: int,
        mel_channels: int,
        style_width: int,
        sizes: FFTSizes,
        *,
        harmonics: bool,
        positions: bool = True,
    ) -> None:
        super().__init__()
        self.positions = positions
        self.blocks = sizes.blocks(width, style_width=style_width)
        self.to_mel = nn.Linear(width, mel_channels)
        self.to_depth = nn.Linear(width, mel_channels) if harmonics else None

    def start_quietly(self) -> None:
        """Make what an untrained decoder says small: it is added to a mel that is nearly right."""
        for layer in (self.to_mel, self.to_depth):
            if layer is not None:
                with torch.no_grad():
                    layer.weight.mul_(QUIET)
                    layer.bias.mul_(QUIET)

    def forward(
        self, states: Tensor, valid: Tensor, style: Tensor, harmonics: Tensor | None
    ) -> Tensor:
        """Decode.

        Args:
            states: (B, T, D).
            style: (B, S), the speaker vector.
            harmonics: (B, T, C) harmonic template of the pitch; the decoder predicts its depth.

        Returns:
            (B, T, C); padded frames are 0.
        """
        if self.positions:
            states = states + count_up(states)
        for block in self.blocks:
            states = block(states, valid, style)
        mel: Tensor = self.to_mel(states)
        if self.to_depth is not None and harmonics is not None:
            mel = mel + self.to_depth(states) * harmonics
        return mel * valid.unsqueeze(-1)


class PostNet(nn.Module):
    """Convolutions whose output is added to the mel; style-adaptive norm if ``style_width``."""

    def __init__(
        self,
        mel_channels: int,
        channels: int,
        style_width: int | None,
        *,
        layers: int,
        kernel: int,
        dropout: float,
    ) -> None:
        super().__init__()
        widths = (mel_channels, *[channels] * (layers - 1), mel_channels)
        self.convolutions = nn.ModuleList(
            TimeConv(before, after, kernel) for before, after in pairwise(widths)
        )
        # The last gain is 0, so that an untrained post-net adds 0.
        gains = [1.0] * (layers - 1) + [0.0]
        pairs = zip(widths[1:], gains, strict=True)
        self.norms = nn.ModuleList(MaskedBatchNorm(after, gain=gain) for after, gain in pairs)
        self.style = None if style_width is None else StyleAdaptiveNorm(channels, style_width)
        self.drop = Dropout(dropout)

    def forward(self, mel: Tensor, valid: Tensor, style: Tensor | None = None) -> Tensor:
        """Compute the correction of a mel (B, T, C); padded frames are 0."""
        states = mel
        last = len(self.convolutions) - 1
        for layer, (convolve, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            states = norm(convolve(states), valid)
            if layer < last:
                states = states.tanh()
                if self.style is not None:
                    states = self.style(states, style)
            states = self.drop(states) * valid.unsqueeze(-1)
        return states
