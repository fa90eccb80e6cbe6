"""Interaction graph over the time steps of several modalities.

Source: M2CI-Dubber (arXiv:2412.18748), section II-C. The nodes are G sequences of L steps: the
modalities of the context and, as the last sequence, the phonemes of the current utterance. Edges
are intra-modal (same sequence, different steps), inter-modal (two context sequences, same step) and
interaction (current phonemes and a context sequence, same step). There are no self-loops. Each kind
of edge has a learned score, as in later graphs of the same authors.

Only the G L (L + G) scores of pairs that can have an edge are computed, not an (N, N) or (N, N, D)
tensor over the N = G L nodes.

Letters: B batch, G sequences, L steps, D width, H heads, E width of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redub.model.layers.dropout import Dropout, dropout

INTRA, INTER, INTERACTION = range(3)
SLOPE = 0.2


class InteractionAttention(nn.Module):
    """Graph attention along these edges: leaky(a · Wh_i + b · Wh_j + kind), softmax over edges.

    ``query_weight`` is the query weight a, ``key_weight`` the key weight b.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.project = nn.Linear(width, width, bias=False)
        self.query_weight = nn.Parameter(torch.empty(heads, width // heads))
        self.key_weight = nn.Parameter(torch.empty(heads, width // heads))
        self.kind = nn.Parameter(torch.zeros(heads, 3))
        for score in (self.query_weight, self.key_weight):
            nn.init.xavier_uniform_(score, gain=1.414)

    def forward(
        self, nodes: Tensor, valid: Tensor, *, current: bool, current_intra: bool
    ) -> Tensor:
        """Compute the attention messages.

        Args:
            nodes: (B, G, L, D).
            valid: (B, L) bool, steps that are not padded.
            current: whether the last sequence is the phonemes of the current utterance.
            current_intra: whether that sequence has intra-modal edges.

        Returns:
            (B, G, L, D), 0 for a node without edges.
        """
        utterances, sequences, steps, _ = nodes.shape
        states = self.project(nodes).unflatten(-1, (self.heads, -1))  # (B, G, L, H, E)
        states = states.permute(0, 3, 1, 2, 4)  # (B, H, G, L, E)
        query_score = torch.einsum("bhgle,he->bhgl", states, self.query_weight)
        key_score = torch.einsum("bhgle,he->bhgl", states, self.key_weight)
        in_time = torch.ones(sequences, dtype=torch.bool, device=nodes.device)
        in_time[-1] = current_intra or not current
        edges = ~torch.eye(steps, dtype=torch.bool, device=nodes.device)
        edges = edges & valid[:, None, None, None, :] & in_time[:, None, None]  # (B, 1, G, L, L)
        kind = self.kind[:, INTRA].view(-1, 1, 1, 1)
        scores = F.leaky_relu(query_score.unsqueeze(-1) + key_score.unsqueeze(-2) + kind, SLOPE)
        scores = scores.masked_fill(~edges, float("-inf"))  # (B, H, G, L, L)
        same_step = self._same_step_scores(query_score, key_score, current=current)
        together = torch.cat((scores, same_step), dim=-1)  # (B, H, G, L, L + G)
        alone = together.isneginf().all(-1, keepdim=True)
        weights = together.masked_fill(alone, 0.0).softmax(-1).masked_fill(alone, 0.0)
        weights = dropout(weights, self.dropout, self.training)
        message = weights[..., :steps] @ states
        message = message + torch.einsum("bhglk,bhkle->bhgle", weights[..., steps:], states)
        gathered: Tensor = message.permute(0, 2, 3, 1, 4).reshape(utterances, sequences, steps, -1)
        return gathered

    def _same_step_scores(self, query_score: Tensor, key_score: Tensor, *, current: bool) -> Tensor:
        """Compute the scores of inter-modal and interaction edges, (B, H, G, L, G)."""
        sequences = query_score.size(2)
        kinds = torch.full((sequences, sequences), INTER, device=query_score.device)
        if current:
            kinds[-1], kinds[:, -1] = INTERACTION, INTERACTION
        scores = query_score.unsqueeze(-1) + key_score.transpose(2, 3).unsqueeze(2)
        scores = F.leaky_relu(scores + self.kind[:, kinds].unsqueeze(2), SLOPE)
        loops = torch.eye(sequences, dtype=torch.bool, device=query_score.device)
        return scores.masked_fill(loops.unsqueeze(1), float("-inf"))


class InteractionGraph(nn.Module):
    """Graph encoder that combines G sequences to one of shape (B, L, D).

    Attention, dropout, a linear layer, GELU, a residual and a norm; then the sequences are
    concatenated in width and combined by a convolution of kernel 1.
    """

    def __init__(self, width: int, heads: int, sequences: int, dropout: float) -> None:
        super().__init__()
        self.attention = InteractionAttention(width, heads, dropout)
        self.drop = Dropout(dropout)
        self.mix = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.join = nn.Linear(sequences * width, width)

    def forward(
        self, nodes: Tensor, valid: Tensor, *, current: bool, current_intra: bool
    ) -> Tensor:
        """Encode (B, G, L, D) and combine it to (B, L, D); padded steps are 0.

        Arguments as in :meth:`InteractionAttention.forward`.
        """
        message = self.attention(nodes, valid, current=current, current_intra=current_intra)
        encoded = self.norm(F.gelu(self.mix(self.drop(message))) + nodes)
        joined: Tensor = self.join(encoded.transpose(1, 2).flatten(2))
        return joined * valid.unsqueeze(-1)
