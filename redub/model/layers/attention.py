"""Multi-head attention that handles queries without any valid key.

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
    """Context of every query, and the attention weights of every head."""

    context: Tensor  # (B, Q, D)
    weights: Tensor  # (B, H, Q, M), rows sum to 1, or to 0 without valid memory


class MultiHeadAttention(nn.Module):
    """Multi-head attention; keys and values come from the same memory."""

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
        """Attend from query to memory; the weights are not returned.

        Args:
            query: (B, Q, D).
            memory: (B, M, memory width).
            memory_valid: (B, M) bool, or (B, Q, M) if the mask differs between queries. The context
                of a query without valid memory is zero (before the output layer).

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
        """Attend from query to memory, and also return the attention weights.

        Args:
            query, memory, memory_valid: as in :meth:`forward`.
            memory_bias: (B, M), added to the scores, for all queries and heads.
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
    """Return (B, 1 or Q, 1) bool, True for queries with valid memory, and a mask for softmax.

    In the mask, rows without any True are replaced by all True, to avoid 0/0.
    """
    mask = memory_valid.unsqueeze(1) if memory_valid.dim() == 2 else memory_valid
    anything = mask.any(-1, keepdim=True)
    return anything, torch.where(anything, mask, True)
