"""Phoneme encoder: phoneme ids to text states.

Source: StyleDubber (arXiv:2402.12636), phoneme encoder. Positional encodings are added, which the
released code lacks.

Letters: B batch, P phonemes, D model width.
"""

from __future__ import annotations

from torch import Tensor, nn

from redub.model.layers.fft_block import FFTSizes
from redub.model.layers.positions import count_up


class PhonemeEncoder(nn.Module):
    """Embedding, one linear layer (``mixed``; only in StyleDubber), then FFT blocks.

    ``table``: number of embeddings, including the padding id 0. ``positions``: whether positional
    encodings are added.
    """

    def __init__(
        self,
        table: int,
        width: int,
        sizes: FFTSizes,
        *,
        positions: bool = True,
        mixed: bool = True,
    ) -> None:
        super().__init__()
        self.positions = positions
        self.embedding = nn.Embedding(table, width, padding_idx=0)
        self.mix = nn.Linear(width, width, bias=False) if mixed else nn.Identity()
        self.blocks = sizes.blocks(width)

    def forward(self, phonemes: Tensor, valid: Tensor) -> Tensor:
        """Encode (B, P) ids to (B, P, D); padded positions are 0."""
        states: Tensor = self.mix(self.embedding(phonemes))
        if self.positions:
            states = states + count_up(states)
        for block in self.blocks:
            states = block(states, valid)
        return states * valid.unsqueeze(-1)
