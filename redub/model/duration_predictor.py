"""How long each phoneme lasts.

Source: StyleDubber (arXiv:2402.12636), duration predictor on the aligned lips.
Letters: B batch, P phonemes, D model width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from redub.model.convolution import TimeConv


class DurationPredictor(nn.Module):
    """Two convolutions and a positive output: log(frames + 1)."""

    def __init__(self, width: int, *, kernel: int, dropout: float) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(TimeConv(width, width, kernel) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.drop = nn.Dropout(dropout)
        self.to_log_duration = nn.Linear(width, 1)

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """Predict from (B, P, D); returns (B, P), >= 0, and 0 at padded phonemes."""
        for convolve, norm in zip(self.convolutions, self.norms, strict=True):
            states = self.drop(norm(F.relu(convolve(states * valid.unsqueeze(-1)))))
        predicted: Tensor = F.softplus(self.to_log_duration(states).squeeze(-1))
        return predicted * valid
