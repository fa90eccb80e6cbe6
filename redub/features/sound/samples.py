"""Check the samples of a clip: sample rate, finite values, level and length.

All sound features use these checks, so they refuse the same clips for the same reasons.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ClipError, FeatureAbsent
from redub.core.types import AudioSpec, ClipMedia, FloatArray, Waveform

Samples = NDArray[np.float64]

SILENCE_PEAK = 2.0**-11
"""Below this peak (−66 dBFS, 16 steps of 16-bit sound) a clip counts as silent: dither, hum."""


def waveform_of(media: ClipMedia) -> Waveform:
    """Return the sound of a clip.

    Raises:
        FeatureAbsent: E-FEAT-NOSOUND, the source has no sound.
    """
    if media.waveform is None:
        raise FeatureAbsent(f"{media.clip.clip_id}: the source has no sound", code="E-FEAT-NOSOUND")
    return media.waveform


def checked_samples(waveform: Waveform, audio: AudioSpec) -> Samples:
    """Check a waveform and return its (S,) float64 samples.

    Raises:
        ClipError: E-IN-RATE, another sample rate than the run; E-IN-NAN, a sample is not finite.
        FeatureAbsent: E-FEAT-SHORT, fewer samples than :func:`shortest`.
    """
    samples = np.asarray(waveform.samples, dtype=np.float64)
    if waveform.sample_rate_hz != audio.sample_rate_hz:
        raise ClipError(
            f"sound at {waveform.sample_rate_hz} Hz, wanted {audio.sample_rate_hz} Hz; "
            "resample it when reading",
            code="E-IN-RATE",
        )
    if not np.isfinite(samples).all():
        bad = int(np.flatnonzero(~np.isfinite(samples))[0])
        raise ClipError(f"sample {bad} is not a finite number", code="E-IN-NAN")
    if len(samples) < shortest(audio):
        raise FeatureAbsent(
            f"{len(samples)} samples of sound, wanted at least {shortest(audio)}",
            code="E-FEAT-SHORT",
        )
    return samples


def shortest(audio: AudioSpec) -> int:
    """Return the least number of samples for one mel frame with its reflected edges."""
    return max(audio.hop_samples, -(-(audio.n_fft - audio.hop_samples) // 2) + 1)


def is_silent(samples: Samples | FloatArray) -> bool:
    """Return whether the peak is below :data:`SILENCE_PEAK`."""
    return bool(np.abs(samples).max(initial=0.0) < SILENCE_PEAK)


def refuse_silence(samples: Samples | FloatArray) -> None:
    """Check that samples are not silent.

    Raises:
        FeatureAbsent: E-FEAT-SILENT.
    """
    if is_silent(samples):
        raise FeatureAbsent(
            f"silence: no sample above {SILENCE_PEAK:.5f} of full scale", code="E-FEAT-SILENT"
        )
