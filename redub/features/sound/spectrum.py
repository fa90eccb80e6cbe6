"""Short-time spectra of mel frames, and the mel filterbank.

Source: HiFi-GAN (arXiv:2010.05646), the mel recipe of its public code: reflect padding of
(n_fft − hop)/2, no centring, periodic Hann window. Filters: Slaney, Auditory Toolbox (1998).
Letters: S samples, T mel frames, F frequency bins, C mel channels.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from redub.core.types import AudioSpec, Waveform
from redub.features.sound.samples import Samples, checked_samples

Spectrum = NDArray[np.float64]

HZ_PER_MEL = 200.0 / 3.0  # Slaney's scale is linear below 1 kHz …
LOG_START_HZ = 1000.0
LOG_STEP = np.log(6.4) / 27.0  # … and takes 27 logarithmic steps from 1 to 6.4 kHz above


@functools.cache
def window_of(audio: AudioSpec) -> Spectrum:
    """Return the (n_fft,) periodic Hann window of ``win_samples``, zero-padded on both sides."""
    phase = 2.0 * np.pi * np.arange(audio.win_samples) / audio.win_samples
    left = (audio.n_fft - audio.win_samples) // 2
    window = np.zeros(audio.n_fft)
    window[left : left + audio.win_samples] = 0.5 - 0.5 * np.cos(phase)
    return window


def magnitudes(samples: Samples, audio: AudioSpec) -> Spectrum:
    """Compute (T, F) magnitudes, ``T = audio.frame_count(S)``, ``F = n_fft // 2 + 1``.

    Frame ``t`` is centred on sample ``(t + 1/2) · hop``. S must be at least
    ``sound.shortest(audio)``.
    """
    edge = audio.n_fft - audio.hop_samples
    padded = np.pad(samples, (edge // 2, edge - edge // 2), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, audio.n_fft)
    frames = windows[:: audio.hop_samples] * window_of(audio)  # (T, n_fft)
    spectrum: Spectrum = np.abs(np.fft.rfft(frames, axis=-1))  # (T, F)
    return spectrum


def spectrum_of(waveform: Waveform, audio: AudioSpec) -> Spectrum:
    """Check a waveform and compute its (T, F) magnitudes.

    Raises:
        ClipError: another sample rate (E-IN-RATE), or a sample that is not finite (E-IN-NAN).
        FeatureAbsent: E-FEAT-SHORT, too short for the reflected edges of one frame.
    """
    return magnitudes(checked_samples(waveform, audio), audio)


@functools.cache
def mel_filters(audio: AudioSpec) -> Spectrum:
    """Return (C, F) triangular filters of equal area on Slaney's mel scale."""
    bins_hz = np.fft.rfftfreq(audio.n_fft, 1.0 / audio.sample_rate_hz)  # (F,)
    low, high = _mel_of(audio.fmin_hz), _mel_of(audio.fmax_hz)
    edges_hz = _hz_of(np.linspace(low, high, audio.mel_channels + 2))
    left, centre, right = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    rising = (bins_hz - left) / (centre - left)
    falling = (right - bins_hz) / (right - centre)
    filters: Spectrum = np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (right - left)
    return filters


def _mel_of(hz: float) -> float:
    if hz < LOG_START_HZ:
        return hz / HZ_PER_MEL
    return float(LOG_START_HZ / HZ_PER_MEL + np.log(hz / LOG_START_HZ) / LOG_STEP)


def _hz_of(mel: Spectrum) -> Spectrum:
    start = LOG_START_HZ / HZ_PER_MEL
    logarithmic = LOG_START_HZ * np.exp(LOG_STEP * np.maximum(mel - start, 0.0))
    hz: Spectrum = np.where(mel < start, HZ_PER_MEL * mel, logarithmic)
    return hz
