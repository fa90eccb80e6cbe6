"""Harmonic templates: the mel spectrum of a pulse train at a given pitch.

With the pitch as a number only, a decoder must learn the position of every harmonic of every pitch.
A template gives it these positions. The idea comes from neural source-filter models (Wang, Takaki
and Yamagishi, ICASSP 2019), transferred from waveforms to mels: the source is given, the decoder
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
"""Frequency of pitch 0; systems measure pitch in octaves above it."""

LOWEST_OCTAVE, HIGHEST_OCTAVE, ROWS_PER_OCTAVE = -1.75, 2.25, 96  # 48 to 761 Hz
DEEPEST = -3.0  # natural log; lower limit for channels between two low harmonics


def harmonic_row(f0_hz: float, audio: AudioSpec) -> FloatArray:
    """Compute the log-mel (C,) of a flat pulse train, relative to flat noise of equal energy.

    Natural logarithm, at least -3. About 0 in channels that are wider than the pitch, where
    harmonics are not resolved.
    """
    frequency = np.arange(audio.n_fft // 2 + 1) * audio.sample_rate_hz / audio.n_fft  # (F,)
    harmonic = np.arange(1, int(audio.sample_rate_hz / 2 / f0_hz) + 1) * f0_hz
    window_s = audio.win_samples / audio.sample_rate_hz
    power = np.square(_hann_spectrum(np.subtract.outer(frequency, harmonic) * window_s))
    density = np.sqrt(np.square(_hann_spectrum(np.arange(-6, 6, 0.01))).sum() * 0.01)
    # Magnitude of every bin if the energy of 1 / f0 harmonics per hertz were spread evenly.
    even = density / np.sqrt(window_s * f0_hz)
    filters = _filters(audio)  # (C, F)
    covered = filters.sum(1)
    measured = filters @ np.sqrt(power.sum(1))
    ratio = np.where(covered > 0, measured / np.maximum(covered * even, 1e-12), 1.0)
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
    """Compute the magnitude spectrum of a Hann window, 1 at its centre.

    ``turns``: frequency in hertz times window length in seconds.
    """
    # sinc(x) / (1 - x^2) has a removable singularity at x = 1, where its value is 1 / 2.
    gap = np.abs(np.abs(turns) - 1) < 1e-6
    safe = np.where(gap, 0.0, turns)
    spectrum: NDArray[np.floating[Any]] = np.where(
        gap, 0.5, np.abs(np.sinc(safe) / (1 - np.square(safe)))
    )
    return spectrum


@cache
def _table(audio: AudioSpec) -> FloatArray:
    """Compute the (G, C) templates of all pitches; read-only and cached, it takes half a second."""
    count = round((HIGHEST_OCTAVE - LOWEST_OCTAVE) * ROWS_PER_OCTAVE) + 1
    octaves = LOWEST_OCTAVE + np.arange(count) / ROWS_PER_OCTAVE
    templates = np.stack([harmonic_row(PITCH_CENTRE_HZ * 2.0**octave, audio) for octave in octaves])
    templates.flags.writeable = False
    return templates


class HarmonicTemplate(nn.Module):
    """Converts pitch tracks to harmonic templates, by interpolation in a table."""

    table: Tensor

    def __init__(self, audio: AudioSpec) -> None:
        super().__init__()
        # Computed from the AudioSpec, so it is not saved with the weights.
        table = torch.tensor(_table(audio))  # (G, C)
        self.register_buffer("table", table, persistent=False)

    def forward(self, pitch: Tensor, voiced: Tensor) -> Tensor:
        """Convert (B, T) pitch in octaves to templates (B, T, C); 0 where unvoiced.

        Pitch outside 48 to 761 Hz is clamped to this range.
        """
        place = (pitch - LOWEST_OCTAVE) * ROWS_PER_OCTAVE
        place = place.clamp(0, len(self.table) - 1.001)
        row = place.floor()
        between = (place - row).unsqueeze(-1)
        below = self.table[row.long()]
        drawn = below + between * (self.table[row.long() + 1] - below)
        return drawn * voiced.unsqueeze(-1)
