"""A number as one of so many learned vectors.

Source: FastSpeech 2 (arXiv:2006.04558), section 2.3: pitch and energy are quantised and embedded.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BinnedValue(nn.Module):
    """One learned vector per bin; bins are evenly spaced from ``lowest`` to ``highest``.

    ``kept`` stores the edges with the weights, for systems whose public checkpoints bring their
    own.
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
        """(B, L, D) of (B, L)."""
        embedded: Tensor = self.table(torch.bucketize(values.float().contiguous(), self.edges))
        return embedded
