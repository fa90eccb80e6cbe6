"""Speech states take up emotion knowledge, from the basic graph to the direct one.

Source: Authentic-Dubber (arXiv:2511.14249), emotion-knowledge-based speech synthesiser:
E = Conv1D([q ; CrossAttention(q, graph, graph)]), applied three times.
Letters: B batch, T mel frames, N nodes, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from redub.model.attention import MultiHeadAttention
from redub.model.emotion_graph import EncodedGraph
from redub.model.output import GraphReading


class Aggregator(nn.Module):
    """One cross-attention to a graph, joined with its query by a k = 1 convolution."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, 1, dropout=dropout)
        self.join = nn.Linear(2 * width, width, bias=False)

    def forward(self, query: Tensor, graph: EncodedGraph) -> tuple[Tensor, GraphReading]:
        """(B, T, D) speech states that have read the graph's nodes."""
        read = self.attention.with_weights(query, graph.nodes, graph.valid)
        joined: Tensor = self.join(torch.cat((query, read.context), dim=-1))
        return joined, GraphReading(*graph, from_frames=read.weights[:, 0])


class Knowledge(NamedTuple):
    """Speech states with emotion, and how each graph was read on the way."""

    states: Tensor  # (B, T, D)
    readings: tuple[GraphReading, ...]


class HierarchicalAggregation(nn.Module):
    """The aggregators in the order of the graphs."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.levels = nn.ModuleList(Aggregator(width, dropout) for _ in range(3))

    def forward(self, states: Tensor, graphs: Sequence[EncodedGraph]) -> Knowledge:
        """Take up three graphs; padded frames are computed too and mean nothing."""
        readings = []
        for level, graph in zip(self.levels, graphs, strict=True):
            states, reading = level(states, graph)
            readings.append(reading)
        return Knowledge(states, tuple(readings))
