"""Prosody of each frame: pitch, loudness, spectral balance, voice quality.

The features ``audio_emotion``, ``global_audio`` and ``speaker`` are statistics of these tracks.
Source: the choice of measures follows GeMAPS (Eyben et al. 2016, "The Geneva Minimalistic Acoustic
Parameter Set"); cepstral peak prominence after Hillenbrand et al. (1994); HNR after Boersma (1993).
Letters: S samples, T mel frames, F frequency bins, C mel channels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.ndimage import median_filter

from redub.core.errors import FeatureAbsent
from redub.core.types import AudioSpec, ClipMedia, FloatArray, Waveform
from redub.features.base import frames_of
from redub.features.sound.samples import refuse_silence, waveform_of
from redub.features.sound.spectrum import Spectrum, spectrum_of

Track = NDArray[np.float64]
Flags = NDArray[np.bool_]

ACTIVE_BELOW_PEAK_DB = 35.0  # frames this much below the 95th percentile of the level are pauses
LEVEL_FLOOR_DB = -100.0
LEAST_VOICED_FRAMES = 5  # fewer voiced frames give no meaningful prosody
CEPSTRA = 13
BANDS = 12
REFERENCE_HZ = 55.0  # semitones are counted from here (A1)
QUEFRENCY_HZ = (71.0, 500.0)  # search range of the pitch peak in the cepstrum


class VoiceTracks(NamedTuple):
    """Tracks of one clip, one value per mel frame, cut to the spoken span.

    (T,) unless noted; ``level_db`` is relative to full scale, ``f0_st`` is in semitones above
    55 Hz and meaningful only where ``voiced``.
    """

    level_db: Track
    active: Flags  # True in speech, False in pauses
    voiced: Flags
    f0_st: Track
    tilt: Track  # slope of the mel spectrum, dB per half of its channels
    alpha_db: Track  # level above 1 kHz minus level below
    hammarberg_db: Track  # maximum of 0–2 kHz minus maximum of 2–5 kHz
    centroid_oct: Track  # spectral centroid, octaves above 100 Hz
    flux: Track  # change of the spectral shape from frame to frame
    flatness_db: Track
    prominence_db: Track  # cepstral peak prominence: high for clear, low for breathy voice
    harmonicity_db: Track  # harmonics-to-noise ratio
    first_oct: Track  # centroid of 200–1000 Hz (first formant), octaves above 100 Hz
    second_oct: Track  # centroid of 1000–3000 Hz (second formant), octaves above 100 Hz
    cepstra: Track  # (T, 13) mel cepstra; the 0th is the level
    bands_db: Track  # (T, 12) levels of 12 mel bands minus the level of the frame
    frames_per_s: float


def voice_tracks(
    spectrum: Spectrum, audio: AudioSpec, mel: FloatArray, f0: FloatArray
) -> VoiceTracks:
    """Measure all tracks.

    Args:
        spectrum: (T, F) magnitudes of a clip that is not silent.
        mel: (T, C) natural-log mel of the same clip.
        f0: (T,) Hz, 0 where unvoiced.

    Returns:
        Tracks of the frames from the first to the last active one, at least one frame.
    """
    power = spectrum**2
    window_gain = audio.win_samples * 0.375 * audio.n_fft / 2.0  # Parseval, mean square of a Hann
    level_db = _decibel(power.sum(axis=1) / window_gain)
    active = level_db > np.percentile(level_db, 95) - ACTIVE_BELOW_PEAK_DB
    spoken = np.flatnonzero(active)
    span = slice(int(spoken[0]), int(spoken[-1]) + 1)
    spectrum, power, level_db, active = spectrum[span], power[span], level_db[span], active[span]
    mel_db = np.asarray(mel, dtype=np.float64)[span] * (20.0 / np.log(10.0))
    voiced = (np.asarray(f0, dtype=np.float64)[span] > 0) & active
    bins_hz: Track = np.fft.rfftfreq(audio.n_fft, 1.0 / audio.sample_rate_hz).astype(np.float64)
    lag_power = np.fft.irfft(power, axis=1)  # (T, n_fft) autocorrelation
    cepstra = dct(mel_db, type=2, norm="ortho", axis=1)[:, :CEPSTRA]
    return VoiceTracks(
        level_db=level_db,
        active=active,
        voiced=voiced,
        f0_st=_smooth_semitones(np.asarray(f0, dtype=np.float64)[span], voiced),
        tilt=_tilt(mel_db),
        alpha_db=_band_db(power, bins_hz, 1000, 5000) - _band_db(power, bins_hz, 50, 1000),
        hammarberg_db=_peak_db(power, bins_hz, 0, 2000) - _peak_db(power, bins_hz, 2000, 5000),
        centroid_oct=_centre_oct(power, bins_hz, 50, 5000),
        flux=_flux(spectrum),
        flatness_db=_flatness(power),
        prominence_db=_prominence(power, audio),
        harmonicity_db=_harmonicity(lag_power, audio, np.asarray(f0, dtype=np.float64)[span]),
        first_oct=_centre_oct(power, bins_hz, 200, 1000),
        second_oct=_centre_oct(power, bins_hz, 1000, 3000),
        cepstra=cepstra,
        bands_db=_bands(mel_db),
        frames_per_s=audio.sample_rate_hz / audio.hop_samples,
    )


def spoken_tracks(
    waveform: Waveform, audio: AudioSpec, mel: FloatArray, f0: FloatArray
) -> VoiceTracks:
    """Measure the tracks of a clip with speech; see :func:`voice_tracks`.

    Raises:
        ClipError: another sample rate, or a sample that is not finite.
        FeatureAbsent: E-FEAT-SHORT, E-FEAT-SILENT, or E-FEAT-UNVOICED (noise, a whisper).
    """
    return _spoken(waveform, spectrum_of(waveform, audio), audio, mel, f0)


def tracks_of_clip(media: ClipMedia, audio: AudioSpec) -> VoiceTracks:
    """Compute :func:`spoken_tracks` of a clip, with its ``mel`` and ``f0`` features."""
    waveform = waveform_of(media)
    spectrum = media.once(spectrum_of, waveform, audio)
    mel, f0 = frames_of(media.features, "mel"), frames_of(media.features, "f0")
    return media.once(_spoken, waveform, spectrum, audio, mel, f0)


def _spoken(
    waveform: Waveform, spectrum: Spectrum, audio: AudioSpec, mel: FloatArray, f0: FloatArray
) -> VoiceTracks:
    refuse_silence(waveform.samples)
    tracks = voice_tracks(spectrum, audio, mel, f0.reshape(-1))
    voiced = int(tracks.voiced.sum())
    if voiced < LEAST_VOICED_FRAMES:
        raise FeatureAbsent(
            f"{voiced} voiced frames, wanted at least {LEAST_VOICED_FRAMES}: there is no voice",
            code="E-FEAT-UNVOICED",
        )
    return tracks


def runs_of(flags: Flags) -> list[tuple[int, int]]:
    """Return the spans [start, end) of consecutive True values, in order."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def slope_of(values: Track, per_s: float) -> float:
    """Compute the least-squares slope per second; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    clock = (np.arange(len(values)) - (len(values) - 1) / 2.0) / per_s
    return float(clock @ values / (clock @ clock))


def slope_at(clock_s: Track, values: Track) -> float:
    """Compute the least-squares slope of values at given times; 0 if all times are equal."""
    centred = clock_s - clock_s.mean() if len(clock_s) else clock_s
    spread = float(centred @ centred)
    return float(centred @ values) / spread if spread > 1e-12 else 0.0


def _decibel(power: Any) -> Track:
    level: Track = np.maximum(10.0 * np.log10(np.maximum(power, 1e-20)), LEVEL_FLOOR_DB)
    return level


def _smooth_semitones(f0_hz: Track, voiced: Flags) -> Track:
    semitones = 12.0 * np.log2(np.maximum(f0_hz, REFERENCE_HZ / 2.0) / REFERENCE_HZ)
    for start, end in runs_of(voiced):
        # The median keeps the contour of a voiced run and removes single octave errors.
        semitones[start:end] = median_filter(semitones[start:end], size=5, mode="nearest")
    return semitones


def _tilt(mel_db: Track) -> Track:
    channels = mel_db.shape[1]
    ramp = np.linspace(-1.0, 1.0, channels)
    slope: Track = mel_db @ ramp / (ramp @ ramp)
    return slope


def _span_of(bins_hz: Track, low_hz: float, high_hz: float) -> slice:
    first, last = np.searchsorted(bins_hz, [low_hz, high_hz])
    return slice(int(first), max(int(last), int(first) + 1))


def _band_db(power: Spectrum, bins_hz: Track, low_hz: float, high_hz: float) -> Track:
    return _decibel(power[:, _span_of(bins_hz, low_hz, high_hz)].sum(axis=1) + 1e-10)


def _peak_db(power: Spectrum, bins_hz: Track, low_hz: float, high_hz: float) -> Track:
    return _decibel(power[:, _span_of(bins_hz, low_hz, high_hz)].max(axis=1) + 1e-10)


def _centre_oct(power: Spectrum, bins_hz: Track, low_hz: float, high_hz: float) -> Track:
    span = _span_of(bins_hz, low_hz, high_hz)
    band = power[:, span] + 1e-10
    centre_hz = band @ bins_hz[span] / band.sum(axis=1)
    octaves: Track = np.log2(np.maximum(centre_hz, 20.0) / 100.0)
    return octaves


def _flux(spectrum: Spectrum) -> Track:
    shape = spectrum / (np.linalg.norm(spectrum, axis=1, keepdims=True) + 1e-6)
    steps = np.linalg.norm(np.diff(shape, axis=0, prepend=shape[:1]), axis=1)
    flux: Track = steps
    return flux


def _flatness(power: Spectrum) -> Track:
    safe = power + 1e-10
    flatness: Track = 10.0 * (np.log10(safe).mean(axis=1) - np.log10(safe.mean(axis=1)))
    return flatness


def _prominence(power: Spectrum, audio: AudioSpec) -> Track:
    cepstrum = np.fft.irfft(10.0 * np.log10(power + 1e-8), axis=1)  # (T, n_fft)
    shortest = int(audio.sample_rate_hz / QUEFRENCY_HZ[1])
    longest = min(int(audio.sample_rate_hz / QUEFRENCY_HZ[0]), audio.n_fft // 2)
    window = cepstrum[:, shortest:longest]
    prominence = (window.max(axis=1) - window.mean(axis=1)) / (window.std(axis=1) + 1e-9)
    level: Track = 20.0 * np.log10(np.maximum(prominence, 1e-2))
    return level


def _harmonicity(lag_power: Track, audio: AudioSpec, f0_hz: Track) -> Track:
    window = np.zeros(audio.n_fft)
    phase = 2.0 * np.pi * np.arange(audio.win_samples) / audio.win_samples
    window[: audio.win_samples] = 0.5 - 0.5 * np.cos(phase)
    own = np.fft.irfft(np.abs(np.fft.rfft(window)) ** 2)
    longest = audio.n_fft - audio.win_samples  # for longer lags the circular correlation overlaps
    lags = np.rint(audio.sample_rate_hz / np.maximum(f0_hz, 1.0)).astype(np.int64)
    lags = np.clip(lags, 1, max(longest, 2) - 1)
    rows = np.arange(len(lags))
    near = np.stack([lag_power[rows, lags + step] / own[lags + step] for step in (-1, 0, 1)])
    share = near.max(axis=0) * own[0] / np.maximum(lag_power[:, 0], 1e-12)
    share = np.clip(share, 0.01, 0.999)
    harmonicity: Track = np.where(f0_hz > 0, 10.0 * np.log10(share / (1.0 - share)), -20.0)
    return harmonicity


def _bands(mel_db: Track) -> Track:
    groups = np.array_split(mel_db, BANDS, axis=1)
    levels = np.stack([group.mean(axis=1) for group in groups], axis=1)  # (T, 12)
    relative: Track = levels - levels.mean(axis=1, keepdims=True)
    return relative
