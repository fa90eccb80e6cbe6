"""A graph over time steps: dense in time within a sequence, step by step between sequences.

Source: M2CI-Dubber (arXiv:2412.18748), section II-C. The nodes are G sequences of L steps: the
context's modalities and, as the last one, the words of the current line. Edges are intra-modal (one
sequence, different steps), inter-modal (two context sequences, one step) and interaction (the
current words and a context sequence, one step); none is a loop. Each kind of edge has a
learned score, as in the same authors' later graphs.

No (N, N, D) tensor is made for the N = G L nodes, nor an (N, N) one: of the scores only the
G L (L + G) that have an edge are held.
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
    """Graph attention along those edges: leaky(a · Wh_i + b · Wh_j + kind), softmax over edges."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.project = nn.Linear(width, width, bias=False)
        self.looker = nn.Parameter(torch.empty(heads, width // heads))
        self.looked_at = nn.Parameter(torch.empty(heads, width // heads))
        self.kind = nn.Parameter(torch.zeros(heads, 3))
        for score in (self.looker, self.looked_at):
            nn.init.xavier_uniform_(score, gain=1.414)

    def forward(
        self, nodes: Tensor, valid: Tensor, *, current: bool, current_intra: bool
    ) -> Tensor:
        """Gather messages.

        Args:
            nodes: (B, G, L, D).
            valid: (B, L) bool, steps that are real.
            current: the last sequence is the current line's words.
            current_intra: whether that sequence has edges in time, too.

        Returns:
            (B, G, L, D), 0 for a node without neighbours.
        """
        lines, sequences, steps, _ = nodes.shape
        states = self.project(nodes).unflatten(-1, (self.heads, -1))  # (B, G, L, H, E)
        states = states.permute(0, 3, 1, 2, 4)  # (B, H, G, L, E)
        asks = torch.einsum("bhgle,he->bhgl", states, self.looker)
        answers = torch.einsum("bhgle,he->bhgl", states, self.looked_at)
        in_time = torch.ones(sequences, dtype=torch.bool, device=nodes.device)
        in_time[-1] = current_intra or not current
        edges = ~torch.eye(steps, dtype=torch.bool, device=nodes.device)
        edges = edges & valid[:, None, None, None, :] & in_time[:, None, None]  # (B, 1, G, L, L)
        kind = self.kind[:, INTRA].view(-1, 1, 1, 1)
        scores = F.leaky_relu(asks.unsqueeze(-1) + answers.unsqueeze(-2) + kind, SLOPE)
        scores = scores.masked_fill(~edges, float("-inf"))  # (B, H, G, L, L)
        beside = self._beside(asks, answers, current=current)  # (B, H, G, L, G)
        together = torch.cat((scores, beside), dim=-1)
        alone = together.isneginf().all(-1, keepdim=True)
        weights = together.masked_fill(alone, 0.0).softmax(-1).masked_fill(alone, 0.0)
        weights = dropout(weights, self.dropout, self.training)
        message = weights[..., :steps] @ states
        message = message + torch.einsum("bhglk,bhkle->bhgle", weights[..., steps:], states)
        gathered: Tensor = message.permute(0, 2, 3, 1, 4).reshape(lines, sequences, steps, -1)
        return gathered

    def _beside(self, asks: Tensor, answers: Tensor, *, current: bool) -> Tensor:
        """Scores of the edges of one step: (B, H, G, L, G)."""
        sequences = asks.size(2)
        kinds = torch.full((sequences, sequences), INTER, device=asks.device)
        if current:
            kinds[-1], kinds[:, -1] = INTERACTION, INTERACTION
        scores = asks.unsqueeze(-1) + answers.transpose(2, 3).unsqueeze(2)
        scores = F.leaky_relu(scores + self.kind[:, kinds].unsqueeze(2), SLOPE)
        loops = torch.eye(sequences, dtype=torch.bool, device=asks.device)
        return scores.masked_fill(loops.unsqueeze(1), float("-inf"))


class InteractionGraph(nn.Module):
    """The graph encoder and what it makes of its nodes: (B, L, D) of G sequences.

    Attention, dropout, a linear layer, GELU, a residual and a norm; then the sequences side by side
    through a convolution of one step.
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
        """Encode and join (B, G, L, D); padded steps come back as 0."""
        message = self.attention(nodes, valid, current=current, current_intra=current_intra)
        encoded = self.norm(F.gelu(self.mix(self.drop(message))) + nodes)
        joined: Tensor = self.join(encoded.transpose(1, 2).flatten(2))
        return joined * valid.unsqueeze(-1)
