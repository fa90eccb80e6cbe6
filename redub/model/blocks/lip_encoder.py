"""Lip encoder: mouth features to lip states.

Source: StyleDubber (arXiv:2402.12636), lip encoder. An utterance without a face gets one learned
"no lips" state, so that a model can also dub off-screen speech.

Letters: B batch, V video frames, D model width, E inner width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from redub.model.layers.absent import fill_missing
from redub.model.layers.fft_block import FFTSizes
from redub.model.layers.positions import count_up


class LipStates(NamedTuple):
    """Lip states and their mask."""

    states: Tensor  # (B, V, D)
    valid: Tensor  # (B, V) bool; without lips one True, for the learned state
    present: Tensor  # (B,) bool, False where the utterance has no lips


class LipEncoder(nn.Module):
    """FFT blocks at the inner width, then a linear layer to the model width."""

    def __init__(
        self,
        lip_features: int,
        inner_width: int,
        width: int,
        sizes: FFTSizes,
        *,
        normed: bool = True,
    ) -> None:
        super().__init__()
        # The published encoder has the width of its features; other features are projected to it.
        self.fit = (
            nn.Identity() if lip_features == inner_width else nn.Linear(lip_features, inner_width)
        )
        # HPMDubbing, from which StyleDubber took this encoder, does not normalise its features.
        self.norm = nn.LayerNorm(inner_width) if normed else nn.Identity()
        self.blocks = sizes.blocks(inner_width)
        self.to_width = nn.Linear(inner_width, width)
        self.no_lips = nn.Parameter(torch.zeros(width))

    def forward(self, lips: Tensor, valid: Tensor) -> LipStates:
        """Encode (B, V, features) to (B, V, D)."""
        states: Tensor = self.norm(self.fit(lips))
        states = states + count_up(states)
        for block in self.blocks:
            states = block(states, valid)
        present = valid.any(1)  # (B,)
        states, valid = fill_missing(self.to_width(states), valid, self.no_lips)
        return LipStates(states, valid, present)
