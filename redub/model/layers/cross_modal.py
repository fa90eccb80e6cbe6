"""Cross-modal transformer: phoneme states attend to the states of a reference.

Source: MulT (Tsai et al., ACL 2019), cross-modal transformer, as used in StyleDubber
(arXiv:2402.12636). All layers read the same reference states. Padded reference frames are masked;
later frames are masked only with ``causal``.

Letters: B batch, P phonemes, R reference frames, D model width, E inner width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redub.model.layers.attention import MultiHeadAttention
from redub.model.layers.dropout import Dropout
from redub.model.layers.positions import count_up


class CrossModalLayer(nn.Module):
    """Pre-norm cross-attention and feed-forward, each with a residual."""

    def __init__(self, width: int, heads: int, filter_width: int, dropout: float) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, heads)
        self.before_filter = nn.LayerNorm(width)
        self.widen = nn.Linear(width, filter_width)
        self.narrow = nn.Linear(filter_width, width)
        self.drop = Dropout(dropout)

    def forward(self, text: Tensor, reference: Tensor, reference_valid: Tensor) -> Tensor:
        """Attend from text (B, P, E) to the reference (B, R, E); returns (B, P, E)."""
        norm = self.before_attention  # one norm for both streams, as published
        read = self.attention(norm(text), norm(reference), reference_valid)
        text = text + self.drop(read)
        hidden = self.drop(F.relu(self.widen(self.before_filter(text))))
        filtered: Tensor = self.drop(self.narrow(hidden))
        return text + filtered


class CrossModalStream(nn.Module):
    """Cross-modal layers at the inner width, with a final norm."""

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
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.causal = causal
        self.narrow_text = nn.Linear(width, inner_width, bias=False)
        self.narrow_reference = nn.Linear(width, inner_width, bias=False)
        self.input_drop = Dropout(input_dropout)
        self.layers = nn.ModuleList(
            CrossModalLayer(inner_width, heads, filter_width, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(inner_width)

    def forward(
        self, text: Tensor, text_valid: Tensor, reference: Tensor, reference_valid: Tensor
    ) -> Tensor:
        """Attend from text (B, P, D) to the reference (B, R, D); returns (B, P, E).

        Values of the text at padding are ignored.
        """
        query = _with_positions(self.narrow_text(self.input_drop(text)), self.input_drop)
        memory = _with_positions(self.narrow_reference(reference), self.input_drop)  # (B, R, E)
        readable = reference_valid
        if self.causal:
            readable = _not_ahead(text_valid, reference_valid)  # (B, P, R)
        for layer in self.layers:
            query = layer(query, memory, readable)
        normed: Tensor = self.norm(query)
        return normed


class TextReadsTimbre(nn.Module):
    """Adds reference information to phoneme states: the mean of the attention result and the text.

    ``causal`` is a defect of the released code: phoneme p does not attend to reference frames
    beyond p + |R - P|.
    """

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
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.stream = CrossModalStream(
            width,
            inner_width,
            layers=layers,
            heads=heads,
            filter_width=filter_width,
            input_dropout=input_dropout,
            dropout=dropout,
            causal=causal,
        )
        self.widen = nn.Linear(inner_width, width)

    def forward(
        self, text: Tensor, text_valid: Tensor, reference: Tensor, reference_valid: Tensor
    ) -> Tensor:
        """Attend from the text to the reference.

        Args:
            text: (B, P, D); values at padding are ignored.
            reference: (B, R, D) reference states.

        Returns:
            (B, P, D), 0 at padded phonemes.
        """
        enriched = self.widen(self.stream(text, text_valid, reference, reference_valid))
        averaged: Tensor = (enriched + text) / 2 * text_valid.unsqueeze(-1)
        return averaged


class TextReadsTimbreAndFace(nn.Module):
    """Attends from text to reference mel and to face separately, then combines both results.

    Source: StyleDubber (arXiv:2402.12636), phoneme-level multimodal style. The two streams of width
    E are concatenated to 2 E = D and processed by a self-attention transformer.
    """

    def __init__(
        self,
        width: int,
        *,
        layers: int,
        heads: int,
        filter_width: int,
        input_dropout: float,
        dropout: float,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.timbre, self.face = (
            CrossModalStream(
                width,
                width // 2,
                layers=layers,
                heads=heads,
                filter_width=filter_width,
                input_dropout=input_dropout,
                dropout=dropout,
                causal=causal,
            )
            for _ in range(2)
        )
        self.drop = Dropout(input_dropout)
        self.layers = nn.ModuleList(
            CrossModalLayer(width, heads, 2 * filter_width, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        text: Tensor,
        text_valid: Tensor,
        timbre: tuple[Tensor, Tensor],
        face: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Attend from the text (B, P, D) to both references.

        Args:
            timbre, face: states (B, R, D) and their mask (B, R); R differs between the two.

        Returns:
            (B, P, D), 0 at padded phonemes.
        """
        both = (self.face(text, text_valid, *face), self.timbre(text, text_valid, *timbre))
        states = _with_positions(torch.cat(both, dim=-1), self.drop)
        for layer in self.layers:
            states = layer(states, states, text_valid)
        averaged: Tensor = (self.norm(states) + text) / 2 * text_valid.unsqueeze(-1)
        return averaged


def _with_positions(states: Tensor, drop: Dropout) -> Tensor:
    """Scale states by the root of their width and add positional encodings."""
    scaled = states * states.size(-1) ** 0.5
    dropped: Tensor = drop(scaled + count_up(scaled))
    return dropped


def _not_ahead(text_valid: Tensor, reference_valid: Tensor) -> Tensor:
    """Return (B, P, R) bool, True where phoneme p may attend to frame r: r <= p + |R - P|.

    R and P are the lengths without padding.
    """
    apart = (reference_valid.sum(1) - text_valid.sum(1)).abs()  # (B,)
    rank = torch.arange(text_valid.size(1), device=text_valid.device)[None, :, None]
    frame = torch.arange(reference_valid.size(1), device=text_valid.device)[None, None, :]
    return reference_valid.unsqueeze(1) & (frame <= rank + apart[:, None, None])
