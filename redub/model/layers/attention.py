"""Multi-head attention with a key mask that is right for empty memories too.

Source: Vaswani et al. (arXiv:1706.03762), section 3.2.
Letters: B batch, Q query length, M memory length, D model width, H heads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redub.model.layers.dropout import dropout


class Attended(NamedTuple):
    """A context for every query, and what each head looked at."""

    context: Tensor  # (B, Q, D)
    weights: Tensor  # (B, H, Q, M), rows sum to 1, or to 0 where nothing is real


class MultiHeadAttention(nn.Module):
    """Queries read a memory that is both key and value."""

    def __init__(
        self, width: int, heads: int, *, memory_width: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        memory_width = memory_width or width
        self.heads, self.dropout = heads, dropout
        self.to_query = nn.Linear(width, width)
        self.to_key = nn.Linear(memory_width, width)
        self.to_value = nn.Linear(memory_width, width)
        self.to_output = nn.Linear(width, width)

    def forward(self, query: Tensor, memory: Tensor, memory_valid: Tensor) -> Tensor:
        """Read the memory without keeping the weights.

        Args:
            query: (B, Q, D).
            memory: (B, M, memory width).
            memory_valid: (B, M) bool, or (B, Q, M) where queries may read different parts; a query
                with nothing to read is given a context of zeros.

        Returns:
            (B, Q, D).
        """
        query_BHQd, key_BHMd, value_BHMd = self._projected(query, memory)
        anything, readable = _readable(memory_valid)
        context = F.scaled_dot_product_attention(
            query_BHQd,
            key_BHMd,
            value_BHMd,
            attn_mask=readable.unsqueeze(1),
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self._joined(context, anything)

    def with_weights(
        self,
        query: Tensor,
        memory: Tensor,
        memory_valid: Tensor,
        memory_bias: Tensor | None = None,
    ) -> Attended:
        """Like calling the module, but returns the attention weights as well.

        Args:
            memory_bias: (B, M) added to the scores of a memory, for every query and head.
        """
        query_BHQd, key_BHMd, value_BHMd = self._projected(query, memory)
        anything, readable = _readable(memory_valid)
        scores = query_BHQd @ key_BHMd.transpose(-1, -2) * query_BHQd.size(-1) ** -0.5
        if memory_bias is not None:
            scores = scores + memory_bias[:, None, None, :]
        scores = scores.masked_fill(~readable.unsqueeze(1), float("-inf"))
        weights = scores.softmax(-1) * anything.unsqueeze(1)  # (B, H, Q, M)
        context = dropout(weights, self.dropout, self.training) @ value_BHMd
        return Attended(self._joined(context, anything), weights)

    def _projected(self, query: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (
            self._split(self.to_query(query)),
            self._split(self.to_key(memory)),
            self._split(self.to_value(memory)),
        )

    def _split(self, states: Tensor) -> Tensor:
        return states.reshape(*states.shape[:-1], self.heads, -1).transpose(
            1, 2
        )  # (B, H, L, D / H)

    def _joined(self, context: Tensor, anything: Tensor) -> Tensor:
        joined = context.transpose(1, 2).flatten(-2) * anything
        output: Tensor = self.to_output(joined)
        return output


def _readable(memory_valid: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1 or Q, 1) who has anything to read, and a mask with a True in every row (no 0/0)."""
    mask = memory_valid.unsqueeze(1) if memory_valid.dim() == 2 else memory_valid
    anything = mask.any(-1, keepdim=True)
    return anything, torch.where(anything, mask, True)
