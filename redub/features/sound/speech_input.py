"""Speech input of the networks (checked, 16 kHz), and the conversion of their rows to mel frames.

Letters: S samples, R rows of a network, T mel frames.
"""

from __future__ import annotations

import numpy as np
import soxr

from redub.core.errors import FeatureAbsent
from redub.core.types import AudioSpec, ClipMedia, FloatArray, Waveform
from redub.features.sound.samples import checked_samples, refuse_silence, waveform_of

RATE_HZ = 16_000
WINDOW = 400  # samples per row of fbank and per frame of emotion2vec
SHIFT = 160  # samples between rows, 10 ms


def speech_of(media: ClipMedia, audio: AudioSpec, *, least: int = WINDOW) -> FloatArray:
    """Return the (S,) float32 samples of a clip at 16 kHz; all networks of the clip share them.

    Raises:
        ClipError: another sample rate than the run (E-IN-RATE), a sample that is not finite
            (E-IN-NAN).
        FeatureAbsent: E-FEAT-NOSOUND, E-FEAT-SILENT, or E-FEAT-SHORT (fewer than ``least``
            samples).
    """
    speech = media.once(_at_16_khz, waveform_of(media), audio)
    if len(speech) < least:
        raise FeatureAbsent(
            f"{len(speech)} samples of sound at 16 kHz, wanted at least {least}",
            code="E-FEAT-SHORT",
        )
    return speech


def _at_16_khz(waveform: Waveform, audio: AudioSpec) -> FloatArray:
    samples = checked_samples(waveform, audio)
    refuse_silence(samples)
    if waveform.sample_rate_hz != RATE_HZ:
        samples = soxr.resample(samples, waveform.sample_rate_hz, RATE_HZ, quality="HQ")
    speech: FloatArray = np.asarray(samples, dtype=np.float32)
    return speech


def on_mel_clock(
    rows: FloatArray, frames: int, audio: AudioSpec, *, shift: int = SHIFT, window: int = WINDOW
) -> FloatArray:
    """Select for each mel frame the row whose middle is nearest to the middle of the frame.

    With a hop of 10 ms, row ``r`` becomes frame ``r + 1``. The first and last rows are repeated at
    the edges, where a whole window does not fit: 2 s have 198 rows and 200 frames.

    Args:
        rows: (R, n); row ``r`` comes from the samples ``[r · shift, r · shift + window)`` at
            16 kHz.
        frames: T; frame ``t`` is centred on ``(t + 1/2) · hop`` samples at the run's rate.

    Returns:
        (T, n) float32.
    """
    middles = (np.arange(frames) + 0.5) * audio.hop_samples * (RATE_HZ / audio.sample_rate_hz)
    nearest = np.rint((middles - window / 2) / shift).astype(np.int64)
    aligned: FloatArray = rows[np.clip(nearest, 0, len(rows) - 1)]
    return aligned
