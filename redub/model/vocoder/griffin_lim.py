"""Griffin-Lim vocoder: mel to waveform without trained weights.

The mel is inverted to linear-frequency magnitudes by non-negative least squares; then the fast
Griffin-Lim algorithm estimates a phase for these magnitudes.

Source: fast Griffin-Lim (Perraudin, Balazs and Søndergaard, WASPAA 2013), algorithm 2;
multiplicative update of Lee and Seung (NIPS 2000), equation 4; framing of HiFi-GAN
(arXiv:2010.05646): reflect padding of (n_fft - hop) / 2 and no centring.

Letters: T mel frames, C mel channels, F linear frequencies, S samples, W window samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.fft
from librosa.filters import mel as mel_filters
from numpy.typing import NDArray

from redub.core.errors import ConfigError
from redub.core.types import AudioSpec, FloatArray, Waveform

Spectrum = NDArray[np.complex64]

MEL_FLOOR = 1e-5
"""Smallest magnitude that the mel extractor gives; channels at this value are treated as 0."""

TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class GriffinLimConfig:
    """Settings. ``spreading``: iterations of the mel inversion. ``iterations``: of the phase.

    ``momentum``: of the fast algorithm, 0 to below 1. ``seed``: of the initial phase.
    """

    audio: AudioSpec
    iterations: int = 32
    momentum: float = 0.99
    spreading: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.spreading < 1 or not 0 <= self.momentum < 1:
            raise ConfigError(
                "griffin_lim needs iterations >= 1, spreading >= 1 and 0 <= momentum < 1"
            )


class GriffinLim:
    """Converts log-mel to a waveform; the same mel gives the same samples."""

    Config: ClassVar[type[GriffinLimConfig]] = GriffinLimConfig

    def __init__(self, config: GriffinLimConfig) -> None:
        self.config, self.audio = config, config.audio
        audio = config.audio
        self.filters: FloatArray = mel_filters(
            sr=audio.sample_rate_hz,
            n_fft=audio.n_fft,
            n_mels=audio.mel_channels,
            fmin=audio.fmin_hz,
            fmax=audio.fmax_hz,
        ).astype(np.float32)  # (C, F)
        # Frames have the length of the window, not n_fft: samples outside the window have weight 0.
        turns = np.arange(audio.win_samples) / audio.win_samples
        self.window = (0.5 - 0.5 * np.cos(2 * np.pi * turns)).astype(np.float32)  # (W,) periodic

    def vocode(self, mel: FloatArray) -> Waveform:
        """Convert (T, C) natural log-mel to exactly T hops of samples in [-1, 1].

        Samples with a peak above 1 are scaled down to a peak of 1.
        """
        magnitude = self.linear_magnitude(mel)  # (T, F)
        samples = self._with_phase(magnitude)
        peak = float(np.abs(samples).max(initial=0.0))
        if peak > 1.0:
            samples = samples / peak
        return Waveform(samples.astype(np.float32), self.audio.sample_rate_hz)

    def linear_magnitude(self, mel: FloatArray) -> FloatArray:
        """Invert a log-mel (T, C) to linear-frequency magnitudes (T, F), >= 0.

        Frequencies that no filter covers are 0.
        """
        target = np.exp(mel.astype(np.float32))
        target = np.where(target <= 1.5 * MEL_FLOOR, 0.0, target).astype(np.float32)
        reach = target @ self.filters  # (T, F)
        gram = self.filters.T @ self.filters  # (F, F), banded: only overlapping filters
        magnitude: FloatArray = reach / np.maximum(gram.sum(0), TINY)
        for _ in range(self.config.spreading):
            magnitude *= reach / np.maximum(magnitude @ self.filters.T @ self.filters, TINY)
        return magnitude

    def _with_phase(self, magnitude: FloatArray) -> FloatArray:
        random = np.random.default_rng(self.config.seed)
        turns = random.uniform(0, 2 * np.pi, magnitude.shape).astype(np.float32)
        spectrum: Spectrum = magnitude * np.exp(1j * turns)
        overlap = self._overlap(len(magnitude))
        before = np.zeros_like(spectrum)
        for _ in range(self.config.iterations):
            consistent = self._analyse(self._overlap_add(spectrum, overlap), len(magnitude))
            ahead = np.multiply(before, -self.config.momentum)
            ahead += (1 + self.config.momentum) * consistent
            before = consistent
            length = np.square(ahead.real)
            length += np.square(ahead.imag)
            np.sqrt(length, out=length)
            np.maximum(length, TINY, out=length)
            np.divide(magnitude, length, out=length)
            spectrum = np.multiply(ahead, length, out=ahead)
        samples = self._overlap_add(spectrum, overlap)
        # The first window starts (n_fft - hop) / 2 samples before the clip, minus the zeros that
        # n_fft has on the left of the window.
        audio = self.audio
        lead = (audio.n_fft - audio.hop_samples) // 2 - (audio.n_fft - audio.win_samples) // 2
        return samples[lead : lead + len(magnitude) * audio.hop_samples]

    def _analyse(self, samples: FloatArray, frames: int) -> Spectrum:
        audio = self.audio
        views = np.lib.stride_tricks.sliding_window_view(samples, audio.win_samples)
        cut = views[:: audio.hop_samples][:frames] * self.window  # (T, W)
        spectrum: Spectrum = scipy.fft.rfft(cut, n=audio.n_fft, axis=-1)
        return spectrum

    def _overlap(self, frames: int) -> FloatArray:
        """Sum the squared windows over each sample, at least 1e-3 (it is small at both ends)."""
        squared = np.broadcast_to(np.square(self.window), (frames, self.audio.win_samples))
        return np.maximum(self._summed(squared), 1e-3)

    def _overlap_add(self, spectrum: Spectrum, overlap: FloatArray) -> FloatArray:
        """Compute the samples whose windowed frames are closest to the given spectrum."""
        frames = scipy.fft.irfft(spectrum, n=self.audio.n_fft, axis=-1)
        summed = self._summed(frames[:, : self.audio.win_samples] * self.window)
        samples: FloatArray = summed / overlap
        return samples

    def _summed(self, frames: NDArray[Any]) -> FloatArray:
        """Overlap-add frames (T, W), one strip of hop width of all frames at a time."""
        count, hop = len(frames), self.audio.hop_samples
        strips = -(-self.audio.win_samples // hop)
        padded = np.pad(frames, ((0, 0), (0, strips * hop - self.audio.win_samples)))
        total = np.zeros((count + strips - 1, hop), np.float32)
        for strip in range(strips):
            total[strip : strip + count] += padded[:, strip * hop : (strip + 1) * hop]
        return total.reshape(-1)[: (count - 1) * hop + self.audio.win_samples]
