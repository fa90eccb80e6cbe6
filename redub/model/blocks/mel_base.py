"""A base mel: the average mel of each phoneme in a voice, computed without training a network.

A mel frame is predicted from its phoneme, its position in the phoneme, the adjacent phonemes and
the voice, as a sum of rows of one table. With prosody, each channel also gets a linear function of
energy, voicing, pitch and harmonic template, with coefficients per phoneme.
:mod:`redub.training.mel_base` solves for both tables in closed form; a network learns the residual.

The idea is that of state means in HMM synthesis (Zen, Tokuda and Black, Speech Communication 51,
2009), with the positions inside a phoneme as states and ridge regression in place of trees.
Letters: B batch, P phonemes, T mel frames, C mel channels, S speaker width, K positions inside a
phoneme, Z numbers of a voice, J rows that a frame adds up, R rows of the table.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redub.model.batch import FeatureWidths, Prosody

POSITIONS = 3
"""K: the beginning, the middle and the end of a phoneme."""

VOICE_NUMBERS = 3
"""Z: a voice is described by so many principal components of the training voices' vectors."""

SIGNALS = 4
"""Energy, voicing, pitch and the harmonic template: the signals of a channel."""

MOST_VOICE = 3.0  # beyond the training voices nothing was measured, so the guess stays near them


class MelBase(nn.Module):
    """The tables and the sum; all zeros until fitted. Buffers, so a checkpoint holds them."""

    table: Tensor
    by_signal: Tensor
    voice_mean: Tensor
    voice_axes: Tensor

    def __init__(self, widths: FeatureWidths, positions: int = POSITIONS) -> None:
        super().__init__()
        self.phonemes, self.positions = widths.phonemes, positions
        self.register_buffer("table", torch.zeros(self.rows, widths.mel))
        self.register_buffer("by_signal", torch.zeros(self.phonemes, SIGNALS, widths.mel))
        self.register_buffer("voice_mean", torch.zeros(widths.speaker))
        self.register_buffer("voice_axes", torch.zeros(widths.speaker, VOICE_NUMBERS))

    @property
    def rows(self) -> int:
        """R: by voice, phoneme, and phoneme and position; then by adjacent phoneme and position."""
        placed = self.phonemes * self.positions
        return (1 + VOICE_NUMBERS) * (1 + self.phonemes + placed) + 2 * placed

    def voice(self, speaker: Tensor) -> Tensor:
        """(B, 1 + Z): 1, then the numbers of each voice (B, S)."""
        numbers = ((speaker - self.voice_mean) @ self.voice_axes).clamp(-MOST_VOICE, MOST_VOICE)
        return F.pad(numbers, (1, 0), value=1.0)

    def terms(
        self, phonemes: Tensor, durations: Tensor, speaker: Tensor, frames: int
    ) -> tuple[Tensor, Tensor]:
        """Which rows a frame adds up, and how much of each.

        Args:
            phonemes: (B, P) int64, 0 = pad.
            durations: (B, P) int64, 0 at padding.
            speaker: (B, S), standardised.
            frames: T, at least the longest total.

        Returns:
            (B, T, J) int64 and (B, T, J) weights; past a line's end all weights are 0.
        """
        count, places = self.phonemes, self.phonemes * self.positions
        ends = durations.cumsum(1)  # (B, P)
        clock = torch.arange(frames, device=phonemes.device)
        owner, inside = owners(durations, frames)
        length = durations.gather(1, owner)
        since = clock - (ends.gather(1, owner) - length)
        # Between the middles of two positions both count; before the first and after the last, one.
        at = (since + 0.5) / length.clamp(min=1) * self.positions - 0.5
        at = at.clamp(0, self.positions - 1)
        low = at.floor().long()
        high = (low + 1).clamp(max=self.positions - 1)
        share = at - low
        own = phonemes.gather(1, owner)
        before = F.pad(phonemes, (1, 0))[:, :-1].gather(1, owner)
        after = F.pad(phonemes, (0, 1))[:, 1:].gather(1, owner)

        def two(ids: Tensor) -> Tensor:  # (B, T, 2) places of a phoneme's two positions
            return torch.stack((ids * self.positions + low, ids * self.positions + high), -1)

        pair = torch.stack((1 - share, share), -1)  # (B, T, 2)
        by_voice = torch.cat((torch.zeros_like(own).unsqueeze(-1), 1 + own.unsqueeze(-1)), -1)
        by_voice = torch.cat((by_voice, 1 + count + two(own)), -1)  # (B, T, 4)
        amounts = torch.cat((torch.ones_like(pair), pair), -1)
        block = 1 + count + places
        blocks = torch.arange(1 + VOICE_NUMBERS, device=phonemes.device) * block
        index = (by_voice.unsqueeze(-2) + blocks.unsqueeze(-1)).flatten(2)
        weight = (amounts.unsqueeze(-2) * self.voice(speaker)[:, None, :, None]).flatten(2)
        around = (1 + VOICE_NUMBERS) * block
        index = torch.cat((index, around + two(before), around + places + two(after)), -1)
        weight = torch.cat((weight, pair, pair), -1)
        return index, weight * inside.unsqueeze(-1)

    def forward(
        self,
        phonemes: Tensor,
        durations: Tensor,
        speaker: Tensor,
        frames: int,
        prosody: Prosody | None = None,
        harmonics: Tensor | None = None,
    ) -> Tensor:
        """The guessed mel (B, T, C), standardised; 0 past a line's end. See :meth:`terms`.

        Args:
            prosody: (B, T) each, with ``harmonics`` (B, T, C), the harmonic template of its pitch.
        """
        index, weight = self.terms(phonemes, durations, speaker, frames)
        summed = F.embedding_bag(
            index.flatten(0, 1),
            self.table,
            per_sample_weights=weight.flatten(0, 1).to(self.table.dtype),
            mode="sum",
        )
        mel = summed.view(*index.shape[:2], -1)
        if prosody is None or harmonics is None:
            return mel
        owner, inside = owners(durations, frames)
        numbers = self.by_signal[phonemes.gather(1, owner)]  # (B, T, 4, C)
        signals = signals_of(prosody, harmonics) * inside[..., None, None]
        return mel + (numbers * signals).sum(2)


def owners(durations: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Which phoneme each frame lies in (B, T), 0 past a line's end, and whether it is before it.

    Args:
        durations: (B, P) int64, 0 at padding.
        frames: T.
    """
    ends = durations.cumsum(1)  # (B, P)
    clock = torch.arange(frames, device=durations.device)
    owner = torch.searchsorted(ends, clock.expand(len(ends), -1).contiguous(), right=True)
    inside = clock < ends[:, -1:]
    return owner.masked_fill(~inside, 0), inside


def signals_of(prosody: Prosody, harmonics: Tensor) -> Tensor:
    """(B, T, 4, C): what every channel of a frame moves with; the first three are alike for all."""
    alike = torch.stack((prosody.energy, prosody.voiced.to(harmonics.dtype), prosody.pitch), 2)
    shared = alike.unsqueeze(-1).expand(-1, -1, -1, harmonics.size(-1))
    return torch.cat((shared, harmonics.unsqueeze(2)), 2)
