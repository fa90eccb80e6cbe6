"""Embedding of a quantised number.

Source: FastSpeech 2 (arXiv:2006.04558), section 2.3: pitch and energy are quantised and embedded.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BinnedValue(nn.Module):
    """One learned vector per bin; bins are evenly spaced from ``lowest`` to ``highest``.

    Values outside the range use the first or the last bin. ``kept``: store the bin edges with the
    weights, for systems whose public checkpoints contain other edges.
    """

    edges: Tensor

    def __init__(
        self, width: int, bins: int, lowest: float, highest: float, *, kept: bool = False
    ) -> None:
        super().__init__()
        self.register_buffer(
            "edges", torch.linspace(lowest, highest, bins - 1), persistent=kept
        )  # (bins - 1,)
        self.table = nn.Embedding(bins, width)

    def forward(self, values: Tensor) -> Tensor:
        """Embed values (B, L) to (B, L, D)."""
        embedded: Tensor = self.table(torch.bucketize(values.float().contiguous(), self.edges))
        return embedded
