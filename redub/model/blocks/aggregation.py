"""Aggregation of emotion graphs: speech states attend to the nodes of each graph.

Source: Authentic-Dubber (arXiv:2511.14249), emotion-knowledge-based speech synthesiser:
E = Conv1D([q ; CrossAttention(q, graph, graph)]), applied once per graph.

Letters: B batch, T mel frames, N nodes, D model width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from redub.model.blocks.emotion_graph import EncodedGraph
from redub.model.layers.attention import MultiHeadAttention
from redub.model.output import GraphReading


class Aggregator(nn.Module):
    """Cross-attention to nodes, whose result is combined with the query by a k = 1 convolution."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, 1, dropout=dropout)
        self.join = nn.Linear(2 * width, width, bias=False)

    def forward(
        self, query: Tensor, nodes: Tensor, valid: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Attend from speech states to nodes.

        Args:
            query: (B, T, D).
            nodes: (B, N, D). valid: (B, N) bool.
            bias: (B, N), added to the attention scores; negative for less similar hits.

        Returns:
            New states (B, T, D) and the attention weights (B, T, N).
        """
        read = self.attention.with_weights(query, nodes, valid, bias)
        joined: Tensor = self.join(torch.cat((query, read.context), dim=-1))
        return joined, read.weights[:, 0]


class Knowledge(NamedTuple):
    """Speech states with emotion, and the attention weights to each graph."""

    states: Tensor  # (B, T, D)
    readings: tuple[GraphReading, ...]


class HierarchicalAggregation(nn.Module):
    """One aggregator per graph, in the order of the graphs."""

    def __init__(self, width: int, graphs: int, dropout: float) -> None:
        super().__init__()
        self.levels = nn.ModuleList(Aggregator(width, dropout) for _ in range(graphs))

    def forward(self, states: Tensor, graphs: Mapping[str, EncodedGraph]) -> Knowledge:
        """Add the graphs to states (B, T, D) one after another; padded frames are not masked."""
        readings = []
        for level, (name, graph) in zip(self.levels, graphs.items(), strict=True):
            states, weights = level(states, graph.nodes, graph.valid, graph.bias)
            readings.append(_reading(name, graph, weights))
        return Knowledge(states, tuple(readings))


class FlatAggregation(nn.Module):
    """One aggregator that reads the nodes of all graphs at once (ablation row 12).

    The attention weights sum to 1 over the nodes of all graphs, not over those of one graph.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.level = Aggregator(width, dropout)

    def forward(self, states: Tensor, graphs: Mapping[str, EncodedGraph]) -> Knowledge:
        """Add all graphs to states (B, T, D) at once; padded frames are not masked."""
        nodes = torch.cat([graph.nodes for graph in graphs.values()], dim=1)
        valid = torch.cat([graph.valid for graph in graphs.values()], dim=1)
        bias = torch.cat([graph.bias for graph in graphs.values()], dim=1)
        states, weights = self.level(states, nodes, valid, bias)
        shares = weights.split([graph.nodes.size(1) for graph in graphs.values()], dim=2)
        readings = [
            _reading(name, graph, share)
            for (name, graph), share in zip(graphs.items(), shares, strict=True)
        ]
        return Knowledge(states, tuple(readings))


def _reading(name: str, graph: EncodedGraph, from_frames: Tensor) -> GraphReading:
    return GraphReading(name, graph.nodes, graph.valid, graph.attention, from_frames)
