"""Text states read the timbre of a reference, layer by layer.

Source: MulT (Tsai et al., ACL 2019), cross-modal transformer, as used in StyleDubber
(arXiv:2402.12636). Every layer reads the same reference stream; there is no future mask, and
padded reference frames are hidden.
Letters: B batch, P phonemes, R reference frames, D model width, E width inside.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from redub.model.attention import MultiHeadAttention
from redub.model.positions import count_up


class CrossModalLayer(nn.Module):
    """Pre-norm cross-attention and feed-forward, each with a residual."""

    def __init__(self, width: int, heads: int, filter_width: int, dropout: float) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, heads)
        self.before_filter = nn.LayerNorm(width)
        self.widen = nn.Linear(width, filter_width)
        self.narrow = nn.Linear(filter_width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, text: Tensor, reference: Tensor, reference_valid: Tensor) -> Tensor:
        """(B, P, E) text states that have read (B, R, E)."""
        norm = self.before_attention  # one norm for both streams, as published
        read = self.attention(norm(text), norm(reference), reference_valid)
        text = text + self.drop(read)
        hidden = self.drop(F.relu(self.widen(self.before_filter(text))))
        filtered: Tensor = self.drop(self.narrow(hidden))
        return text + filtered


class TextReadsTimbre(nn.Module):
    """Text states enriched by a reference; the result is averaged with the text itself."""

    def __init__(
        self,
        width: int,
        inner_width: int,
        *,
        layers: int,
        heads: int,
        filter_width: int,
        input_dropout: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.narrow_text = nn.Linear(width, inner_width, bias=False)
        self.narrow_reference = nn.Linear(width, inner_width, bias=False)
        self.input_drop = nn.Dropout(input_dropout)
        self.layers = nn.ModuleList(
            CrossModalLayer(inner_width, heads, filter_width, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(inner_width)
        self.widen = nn.Linear(inner_width, width)

    def forward(
        self, text: Tensor, text_valid: Tensor, reference: Tensor, reference_valid: Tensor
    ) -> Tensor:
        """Read the reference.

        Args:
            text: (B, P, D); padding may hold anything.
            reference: (B, R, D) timbre states.

        Returns:
            (B, P, D), 0 at padded phonemes.
        """
        query = self._scaled(self.narrow_text(self.input_drop(text)))  # (B, P, E)
        memory = self._scaled(self.narrow_reference(reference))  # (B, R, E)
        for layer in self.layers:
            query = layer(query, memory, reference_valid)
        enriched: Tensor = self.widen(self.norm(query))
        return (enriched + text) / 2 * text_valid.unsqueeze(-1)

    def _scaled(self, states: Tensor) -> Tensor:
        scaled = states * states.size(-1) ** 0.5
        dropped: Tensor = self.input_drop(scaled + count_up(scaled))
        return dropped
