"""Variance predictor (one number per phoneme or frame) and duration predictor.

Source: FastSpeech 2 (arXiv:2006.04558), variance predictor; StyleDubber (arXiv:2402.12636) predicts
durations from the aligned lips with the same network.

Letters: B batch, P phonemes, D model width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from redub.model.layers.convolution import TimeConv
from redub.model.layers.dropout import Dropout


class VariancePredictor(nn.Module):
    """Two convolutions and a linear layer to one number per phoneme or frame."""

    def __init__(self, width: int, *, kernel: int, dropout: float) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(TimeConv(width, width, kernel) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.drop = Dropout(dropout)
        self.to_value = nn.Linear(width, 1)

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """Predict from (B, P, D); returns (B, P), 0 at padded phonemes."""
        for convolve, norm in zip(self.convolutions, self.norms, strict=True):
            states = self.drop(norm(F.relu(convolve(states * valid.unsqueeze(-1)))))
        values: Tensor = self.to_value(states).squeeze(-1)
        return values * valid


class DurationPredictor(VariancePredictor):
    """Variance predictor with a non-negative output: log(frames + 1)."""

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """Predict from (B, P, D); returns (B, P), >= 0, and 0 at padded phonemes."""
        return F.softplus(super().forward(states, valid)) * valid
