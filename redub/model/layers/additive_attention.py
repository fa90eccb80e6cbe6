"""Additive attention, computed without a tensor over all pairs of query and key.

Source: Bahdanau et al. (arXiv:1409.0473), equation 6; HPMDubbing (CVPR 2023) uses it to read the
face. The published form keeps tanh(query + key) for all pairs, twice: B Q M D values each. Here it
is computed for a few queries at a time, and recomputed in the backward pass.

Letters: B batch, Q queries, M memory, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

AT_ONCE = 2**20
"""Number of values of tanh(query + key) that are computed at a time; they fit into the cache."""


class AdditiveScores(torch.autograd.Function):
    """scores[b, q, m] = weight · tanh(query[b, q] + key[b, m])."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, weight: Tensor) -> Tensor:
        """Score query (B, Q, D) and key (B, M, D) with weight (D,); returns (B, Q, M)."""
        ctx.save_for_backward(query, key, weight)
        scores = query.new_empty(len(query), query.size(1), key.size(1))
        for part in _parts(query, key):
            scores[:, part] = (query[:, part, None] + key[:, None]).tanh_() @ weight
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the gradients of query, key and weight from that of the scores (B, Q, M)."""
        query, key, weight = ctx.saved_tensors
        of_query, of_key = torch.empty_like(query), torch.zeros_like(key)
        of_weight = torch.zeros_like(weight)
        for part in _parts(query, key):
            bent = (query[:, part, None] + key[:, None]).tanh_()  # (B, q, M, D)
            share = gradient[:, part]
            of_weight += bent.flatten(0, 2).T @ share.flatten()
            moved = bent.square_().neg_().add_(1).mul_(share.unsqueeze(-1))
            of_query[:, part] = moved.sum(2)
            of_key += moved.sum(1)
        return of_query * weight, of_key * weight, of_weight


class AdditiveAttention(nn.Module):
    """Additive attention whose output is the query plus the weighted memory.

    The published system averages query + key over the memory. Because the weights sum to one, this
    equals the query plus the weighted average of the keys.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_key = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.ones(width))
        self.to_score = nn.Linear(width, 1)

    def forward(self, query: Tensor, memory: Tensor, memory_valid: Tensor) -> Tensor:
        """Attend from query to memory.

        Args:
            query: (B, Q, D), already projected, because several memories share one query.
            memory: (B, M, D).
            memory_valid: (B, M) bool; an utterance without valid memory gets the query only.

        Returns:
            (B, Q, D).
        """
        key = self.to_key(memory)
        shifted = query + self.bias
        weight, offset = self.to_score.weight[0], self.to_score.bias
        kind = torch.promote_types(shifted.dtype, key.dtype)
        scores: Tensor = AdditiveScores.apply(  # type: ignore[no-untyped-call]
            shifted.to(kind), key.to(kind), weight.to(kind)
        )
        hidden = ~memory_valid.unsqueeze(1)  # (B, 1, M)
        weights = (scores + offset).masked_fill(hidden, float("-inf")).softmax(-1)
        weights = torch.where(hidden.all(-1, keepdim=True), 0.0, weights)
        read: Tensor = weights.to(key.dtype) @ key
        return shifted + read


def _parts(query: Tensor, key: Tensor) -> list[slice]:
    """Split the queries into slices that are computed at a time."""
    of_one = max(1, len(query) * key.size(1) * key.size(2))
    step = max(1, AT_ONCE // of_one)
    return [slice(start, start + step) for start in range(0, query.size(1), step)]
