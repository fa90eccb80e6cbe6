"""Pitch, voicing and energy of every frame, predicted and given to the decoder.

Source: FastSpeech 2 (arXiv:2006.04558), variance adaptor, at frame level and without quantising.
Authentic-Dubber's released code loads pitch and energy but uses neither.
Letters: B batch, T mel frames, D model width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redub.model.batch import Prosody
from redub.model.layers.convolution import TimeConv
from redub.model.layers.dropout import Dropout
from redub.model.output import ProsodyEstimate

QUIETEST, LOUDEST = -4.0, 4.0  # standardised log-energy; beyond lies next to nothing


class ProsodyPredictor(nn.Module):
    """Convolutions over the speech states, coloured by the voice."""

    def __init__(
        self, width: int, speaker_width: int, *, layers: int, kernel: int, dropout: float
    ) -> None:
        super().__init__()
        self.voice = nn.Linear(speaker_width, width)
        self.convolutions = nn.ModuleList(TimeConv(width, width, kernel) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.drop = Dropout(dropout)
        self.to_prosody = nn.Linear(width, 3)

    def forward(self, states: Tensor, valid: Tensor, speaker: Tensor) -> ProsodyEstimate:
        """Predict from (B, T, D) and (B, speaker); padded frames mean nothing."""
        states = states + self.voice(speaker).unsqueeze(1)
        for convolve, norm in zip(self.convolutions, self.norms, strict=True):
            states = self.drop(norm(F.relu(convolve(states * valid.unsqueeze(-1)))))
        return ProsodyEstimate(*self.to_prosody(states).unbind(-1))


class ProsodyEmbedding(nn.Module):
    """Prosody as a contribution to the decoder's input."""

    def __init__(self, width: int, mel_channels: int, *, kernel: int) -> None:
        super().__init__()
        self.convolve = TimeConv(3, width, kernel)
        self.from_harmonics = nn.Linear(mel_channels, width, bias=False)

    def forward(self, prosody: Prosody, harmonics: Tensor, valid: Tensor) -> Tensor:
        """(B, T, D) from pitch, voicing, energy and the comb (B, T, C); padding is read as 0."""
        signals = torch.stack((prosody.pitch, prosody.voiced.float(), prosody.energy), dim=-1)
        real = valid.unsqueeze(-1)
        embedded: Tensor = self.convolve(signals * real) + self.from_harmonics(harmonics * real)
        return embedded


def on_phonemes(prosody: Prosody, durations: Tensor) -> Prosody:
    """Prosody of every phoneme: mean pitch of its voiced frames, mean energy of all.

    Args:
        prosody: (B, T) each.
        durations: (B, P) int64, summing to at most T.

    Returns:
        (B, P) each; 0 for a phoneme of no frames, and the pitch of one without voice is 0.
    """
    ends = durations.cumsum(1)
    starts = ends - durations
    voiced = prosody.voiced

    def total(values: Tensor) -> Tensor:
        sums = F.pad(values.double().cumsum(1), (1, 0))  # (B, T + 1): float32 would drift
        return sums.gather(1, ends) - sums.gather(1, starts)

    sounding = total(voiced)
    pitch = total(prosody.pitch * voiced) / sounding.clamp(min=1)
    energy = total(prosody.energy) / durations.clamp(min=1)
    return Prosody(pitch.float(), sounding > 0.5, energy.float())
