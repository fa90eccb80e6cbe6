"""Lip aligner: cross-attention from phonemes to lip states.

Source: StyleDubber (arXiv:2402.12636), phoneme-guided lip aligner. In the released code it is plain
multi-head attention; the diagonal loss keeps it monotonic.

Letters: B batch, P phonemes, V video frames, D model width, H heads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from redub.model.blocks.lip_encoder import LipStates
from redub.model.layers.attention import MultiHeadAttention
from redub.model.layers.dropout import Dropout
from redub.model.layers.positions import count_up, on_the_video


class AlignedLips(NamedTuple):
    """Result of the lip aligner."""

    states: Tensor  # (B, P, D), 0 at padded phonemes
    attention: Tensor  # (B, P, V) of the head with the highest focus rate


class LipAligner(nn.Module):
    """Attention from phonemes to lips, with positional encodings in video frames for both.

    The position of a phoneme assumes that all phonemes have equal duration, so that the attention
    is close to diagonal from the first training step.
    """

    def __init__(self, width: int, *, heads: int, dropout: float, positions: bool = True) -> None:
        super().__init__()
        self.positions = positions
        self.attention = MultiHeadAttention(width, heads)
        self.mix = nn.Linear(width, width)
        self.drop = Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, text: Tensor, text_valid: Tensor, lips: LipStates) -> AlignedLips:
        """Align (B, P, D) phoneme states with lip states."""
        query, memory = text, lips.states
        if self.positions:
            query = query + on_the_video(text, text_valid, lips.valid)
            memory = memory + count_up(memory)
        read = self.attention.with_weights(query, memory, lips.valid)
        states = self.norm(self.drop(self.mix(read.context))) * text_valid.unsqueeze(-1)
        weights = read.weights * text_valid[:, None, :, None]  # (B, H, P, V)
        focus = weights.amax(2).sum(-1)  # (B, H): per frame the largest weight, summed over frames
        sharpest = focus.argmax(1)  # (B,)
        rows = torch.arange(len(sharpest), device=text.device)
        return AlignedLips(states, weights[rows, sharpest])
