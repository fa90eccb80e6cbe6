"""What a pitch looks like in a mel: the comb of its harmonics.

A decoder that is only told the pitch as a number must learn where every harmonic of every pitch
falls; here it is shown. The idea is that of neural source-filter models (Wang, Takaki and
Yamagishi, ICASSP 2019), carried over from waveforms to mels: the source is known, the decoder
learns the filter.
Letters: B batch, T mel frames, C mel channels, G rows of the table, F linear frequencies.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from librosa.filters import mel as mel_filters
from numpy.typing import NDArray
from torch import Tensor, nn

from redub.core.types import AudioSpec, FloatArray

PITCH_CENTRE_HZ = 160.0
"""Pitch 0; systems count pitch in octaves from here."""

LOWEST_OCTAVE, HIGHEST_OCTAVE, ROWS_PER_OCTAVE = -1.75, 2.25, 96  # 48 to 761 Hz
DEEPEST = -3.0  # natural log; between low harmonics a channel would fall without end


def comb(f0_hz: float, audio: AudioSpec) -> FloatArray:
    """Log-mel (C,) of a flat pulse train, relative to the same energy without harmonics.

    Channels that are wider than the pitch are 0: there the harmonics cannot be told apart.
    """
    frequency = np.arange(audio.n_fft // 2 + 1) * audio.sample_rate_hz / audio.n_fft  # (F,)
    harmonic = np.arange(1, int(audio.sample_rate_hz / 2 / f0_hz) + 1) * f0_hz
    window_s = audio.win_samples / audio.sample_rate_hz
    power = np.square(_hann_spectrum(np.subtract.outer(frequency, harmonic) * window_s))
    density = np.sqrt(np.square(_hann_spectrum(np.arange(-6, 6, 0.01))).sum() * 0.01)
    # Harmonics f0 apart carry 1 / f0 of them per hertz; without harmonics all bins had this much.
    even = density / np.sqrt(window_s * f0_hz)
    filters = _filters(audio)  # (C, F)
    covered = filters.sum(1)
    heard = filters @ np.sqrt(power.sum(1))
    ratio = np.where(covered > 0, heard / np.maximum(covered * even, 1e-12), 1.0)
    logarithm: FloatArray = np.log(np.maximum(ratio, np.exp(DEEPEST))).astype(np.float32)
    return logarithm


@cache
def _filters(audio: AudioSpec) -> FloatArray:
    filters: FloatArray = mel_filters(
        sr=audio.sample_rate_hz,
        n_fft=audio.n_fft,
        n_mels=audio.mel_channels,
        fmin=audio.fmin_hz,
        fmax=audio.fmax_hz,
    ).astype(np.float32)
    return filters


def _hann_spectrum(turns: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Magnitude of a Hann window's spectrum, 1 at its centre; ``turns`` = hertz times seconds."""
    # sinc(x) / (1 - x^2) has a removable gap at x = 1, where it is 1 / 2.
    gap = np.abs(np.abs(turns) - 1) < 1e-6
    safe = np.where(gap, 0.0, turns)
    spectrum: NDArray[np.floating[Any]] = np.where(
        gap, 0.5, np.abs(np.sinc(safe) / (1 - np.square(safe)))
    )
    return spectrum


@cache
def _table(audio: AudioSpec) -> FloatArray:
    """(G, C): it takes half a second, and nobody writes to it."""
    count = round((HIGHEST_OCTAVE - LOWEST_OCTAVE) * ROWS_PER_OCTAVE) + 1
    octaves = LOWEST_OCTAVE + np.arange(count) / ROWS_PER_OCTAVE
    combs = np.stack([comb(PITCH_CENTRE_HZ * 2.0**octave, audio) for octave in octaves])
    combs.flags.writeable = False
    return combs


class HarmonicPicture(nn.Module):
    """Pitch tracks to combs, by interpolation in a table made once."""

    table: Tensor

    def __init__(self, audio: AudioSpec) -> None:
        super().__init__()
        # Made from the AudioSpec, so there is nothing to save.
        table = torch.tensor(_table(audio))  # (G, C)
        self.register_buffer("table", table, persistent=False)

    def forward(self, pitch: Tensor, voiced: Tensor) -> Tensor:
        """Draw (B, T) pitch in octaves as (B, T, C); 0 where unvoiced."""
        place = (pitch - LOWEST_OCTAVE) * ROWS_PER_OCTAVE
        place = place.clamp(0, len(self.table) - 1.001)
        row = place.floor()
        between = (place - row).unsqueeze(-1)
        below = self.table[row.long()]
        drawn = below + between * (self.table[row.long() + 1] - below)
        return drawn * voiced.unsqueeze(-1)
