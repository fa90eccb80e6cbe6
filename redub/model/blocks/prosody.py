"""Prediction and embedding of pitch, voicing and energy per mel frame.

Source: FastSpeech 2 (arXiv:2006.04558), variance adaptor, at frame level and without quantisation.
The released code of Authentic-Dubber loads pitch and energy but does not use them.

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

QUIETEST, LOUDEST = -4.0, 4.0  # standardised log-energy; values outside are very rare


class ProsodyPredictor(nn.Module):
    """Predicts prosody by convolutions over speech states plus speaker vector."""

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
        """Predict (B, T) values from (B, T, D) and (B, speaker); padded frames are arbitrary."""
        states = states + self.voice(speaker).unsqueeze(1)
        for convolve, norm in zip(self.convolutions, self.norms, strict=True):
            states = self.drop(norm(F.relu(convolve(states * valid.unsqueeze(-1)))))
        return ProsodyEstimate(*self.to_prosody(states).unbind(-1))


class ProsodyEmbedding(nn.Module):
    """Embeds prosody for the input of the decoder."""

    def __init__(self, width: int, mel_channels: int, *, kernel: int) -> None:
        super().__init__()
        self.convolve = TimeConv(3, width, kernel)
        self.from_harmonics = nn.Linear(mel_channels, width, bias=False)

    def forward(self, prosody: Prosody, harmonics: Tensor, valid: Tensor) -> Tensor:
        """Embed prosody and the harmonic template (B, T, C) to (B, T, D); padding is read as 0."""
        signals = torch.stack((prosody.pitch, prosody.voiced.float(), prosody.energy), dim=-1)
        real = valid.unsqueeze(-1)
        embedded: Tensor = self.convolve(signals * real) + self.from_harmonics(harmonics * real)
        return embedded


def on_phonemes(prosody: Prosody, durations: Tensor) -> Prosody:
    """Average prosody per phoneme: pitch over its voiced frames, energy over all its frames.

    A phoneme is voiced if at least one of its frames is.

    Args:
        prosody: (B, T) each.
        durations: (B, P) int64, sum at most T.

    Returns:
        (B, P) each; 0 for phonemes without frames; pitch 0 for unvoiced phonemes.
    """
    ends = durations.cumsum(1)
    starts = ends - durations
    voiced = prosody.voiced

    def total(values: Tensor) -> Tensor:
        """Sum values (B, T) over the frames of each phoneme, (B, P)."""
        sums = F.pad(values.double().cumsum(1), (1, 0))  # (B, T + 1): float32 would drift
        return sums.gather(1, ends) - sums.gather(1, starts)

    sounding = total(voiced)
    pitch = total(prosody.pitch * voiced) / sounding.clamp(min=1)
    energy = total(prosody.energy) / durations.clamp(min=1)
    return Prosody(pitch.float(), sounding > 0.5, energy.float())
