"""Feed-forward transformer (FFT) block, plain or conditioned on a style vector.

Source: FastSpeech (arXiv:1905.09263), "Feed-Forward Transformer"; style-adaptive layer norm:
Meta-StyleSpeech (arXiv:2106.03153), equation 2, used as in StyleDubber's decoder.

Letters: B batch, L length, D model width, S style width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from redub.model.layers.attention import MultiHeadAttention
from redub.model.layers.convolution import TimeConv
from redub.model.layers.dropout import Dropout


class StyleAdaptiveNorm(nn.Module):
    """Layer norm whose gain and offset are a linear function of a style vector."""

    def __init__(self, width: int, style_width: int) -> None:
        super().__init__()
        self.width = width
        self.to_affine = nn.Linear(style_width, 2 * width)
        with torch.no_grad():
            self.to_affine.bias[:width] = 1.0
            self.to_affine.bias[width:] = 0.0

    def forward(self, states: Tensor, style: Tensor) -> Tensor:
        """Normalise (B, L, D) and apply gain and offset from ``style`` (B, S)."""
        gain, offset = self.to_affine(style).unsqueeze(1).chunk(2, dim=-1)  # (B, 1, D) each
        styled: Tensor = F.layer_norm(states, (self.width,)) * gain + offset
        return styled


class FFTBlock(nn.Module):
    """Self-attention, then a two-layer convolution; a residual and a norm after each.

    With ``style_width`` the norms are style-adaptive. The published decoder applies the adaptive
    norm after a plain one; because normalising twice changes nothing, the plain norm is omitted.

    ``recompute`` saves memory in training: attention, norms and dropout are recomputed in the
    backward pass; only the inputs of both parts and the output of ``widen`` are kept.
    """

    recompute = False

    def __init__(
        self,
        width: int,
        heads: int,
        filter_width: int,
        kernel: int,
        dropout: float,
        *,
        style_width: int | None = None,
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, heads)
        self.widen = TimeConv(width, filter_width, kernel)
        self.narrow = nn.Linear(filter_width, width)
        self.drop = Dropout(dropout)
        self.norms = nn.ModuleList(
            nn.LayerNorm(width) if style_width is None else StyleAdaptiveNorm(width, style_width)
            for _ in range(2)
        )

    def forward(self, states: Tensor, valid: Tensor, style: Tensor | None = None) -> Tensor:
        """Transform (B, L, D); padded positions are ignored and 0 in the output."""
        read = self._kept(self._read, states, valid, style)
        filtered = self.narrow(F.relu(self.widen(read)))
        return self._kept(self._joined, read, filtered, valid, style)

    def _read(self, states: Tensor, valid: Tensor, style: Tensor | None) -> Tensor:
        states = states * valid.unsqueeze(-1)
        attended = self.drop(self.attention(states, states, valid))
        return self._normed(0, states + attended, style) * valid.unsqueeze(-1)

    def _joined(
        self, states: Tensor, filtered: Tensor, valid: Tensor, style: Tensor | None
    ) -> Tensor:
        return self._normed(1, states + self.drop(filtered), style) * valid.unsqueeze(-1)

    def _kept(self, part: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
        """Run a part of the block; with ``recompute``, keep only its inputs and recompute it."""
        if self.recompute and self.training and torch.is_grad_enabled():
            again: Tensor = checkpoint(part, *inputs, use_reentrant=False)
            return again
        return part(*inputs)

    def _normed(self, which: int, states: Tensor, style: Tensor | None) -> Tensor:
        norm = self.norms[which]
        normed: Tensor = norm(states) if style is None else norm(states, style)
        return normed


class FFTSettings(Protocol):
    """The settings of a config that all its FFT blocks share."""

    @property
    def filter_width(self) -> int:
        """Channels of the first convolution."""

    @property
    def kernel(self) -> int:
        """Frames of the first convolution, odd."""

    @property
    def dropout(self) -> float:
        """Share of states that is dropped in training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FFTSizes:
    """Number and sizes of the FFT blocks of an encoder or decoder."""

    layers: int
    heads: int
    filter_width: int
    kernel: int
    dropout: float

    @classmethod
    def of(cls, config: FFTSettings, layers: int, heads: int) -> FFTSizes:
        """The sizes of one encoder or decoder of a system with these settings."""
        return cls(
            layers=layers,
            heads=heads,
            filter_width=config.filter_width,
            kernel=config.kernel,
            dropout=config.dropout,
        )

    def blocks(self, width: int, *, style_width: int | None = None) -> nn.ModuleList:
        """Make the blocks; see :class:`FFTBlock` for the widths."""
        return nn.ModuleList(
            FFTBlock(
                width,
                self.heads,
                self.filter_width,
                self.kernel,
                self.dropout,
                style_width=style_width,
            )
            for _ in range(self.layers)
        )
