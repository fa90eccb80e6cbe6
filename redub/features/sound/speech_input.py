"""Speech as the networks want it, 16 kHz and checked, and their rows on the mel clock.

Letters: S samples, R rows of a network, T mel frames.
"""

from __future__ import annotations

import numpy as np
import soxr

from redub.core.errors import FeatureAbsent
from redub.core.types import AudioSpec, ClipMedia, FloatArray, Waveform
from redub.features.sound.samples import checked_samples, refuse_silence, waveform_of

RATE_HZ = 16_000
WINDOW = 400  # samples that one row of fbank, and one frame of emotion2vec, is made from
SHIFT = 160  # samples between rows: 10 ms


def speech_of(media: ClipMedia, audio: AudioSpec, *, least: int = WINDOW) -> FloatArray:
    """(S,) float32 samples at 16 kHz, shared by all networks that listen to the clip.

    Raises:
        ClipError: another sample rate than the run's (E-IN-RATE), a sample that is not finite
            (E-IN-NAN).
        FeatureAbsent: E-FEAT-NOSOUND, E-FEAT-SILENT, or E-FEAT-SHORT: fewer than ``least`` samples.
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
    """For each mel frame the row whose middle is nearest to the frame's middle.

    With a hop of 10 ms, row ``r`` becomes frame ``r + 1`` and the first and last rows are repeated
    at the edges, where a whole window does not fit: 2 s are 198 rows and 200 frames.

    Args:
        rows: (R, n), row ``r`` made from the samples ``[r · shift, r · shift + window)`` at 16 kHz.
        frames: T; frame ``t`` is centred on ``(t + 1/2) · hop`` samples at the run's rate.

    Returns:
        (T, n) float32.
    """
    middles = (np.arange(frames) + 0.5) * audio.hop_samples * (RATE_HZ / audio.sample_rate_hz)
    nearest = np.rint((middles - window / 2) / shift).astype(np.int64)
    aligned: FloatArray = rows[np.clip(nearest, 0, len(rows) - 1)]
    return aligned
