"""The level of the speech band during each video frame.

The band is that of the telephone. It contains the rhythm of syllables, without rumble and hiss. It
lies below half of every usable sample rate, and the feature does not depend on settings of
``[audio]``. So video features can read it without a dependence on mel settings.
Letters: V video frames, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ClipError
from redub.core.types import ClipMedia, FloatArray, Waveform
from redub.features.base import FeatureSchema, LocalExtractor, Media
from redub.features.sound.samples import waveform_of

BAND_HZ = (150.0, 3400.0)
SILENT_DB = -100.0  # relative to full scale; the level of digital silence
VIDEO_FRAMES_PER_S = 25  # the only frame rate that VideoSpec allows


def speech_level_db(waveform: Waveform) -> FloatArray:
    """Compute (V,) float32 RMS levels of the speech band in each 1/25 s, in dB of full scale.

    Silence is -100. V is the length of the sound in video frames.

    Raises:
        ClipError: E-IN-NAN, a sample is not a finite number.
    """
    samples, rate = waveform.samples.astype(np.float64), waveform.sample_rate_hz
    if not np.isfinite(samples).all():
        raise ClipError("a sample is not a finite number", code="E-IN-NAN")
    if len(samples) == 0:
        return np.zeros(0, dtype=np.float32)
    spectrum = np.fft.rfft(samples)
    frequency = np.fft.rfftfreq(len(samples), 1 / rate)
    spectrum[(frequency < BAND_HZ[0]) | (frequency > BAND_HZ[1])] = 0
    band = np.fft.irfft(spectrum, len(samples))
    count = round(len(samples) * VIDEO_FRAMES_PER_S / rate)
    edges = np.arange(count + 1) * rate // VIDEO_FRAMES_PER_S
    energy = np.concatenate([[0.0], np.cumsum(band**2)])[np.minimum(edges, len(samples))]
    power: NDArray[np.float64] = np.diff(energy) / np.diff(edges)
    level: FloatArray = (10 * np.log10(power + 10 ** (SILENT_DB / 10))).astype(np.float32)
    return level


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechLevelConfig:
    """No settings."""


class SpeechLevelExtractor(LocalExtractor):
    """Compute (V, 1) float32 decibels from sound."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"waveform"})
    Config: ClassVar[type] = SpeechLevelConfig

    def __init__(self, config: SpeechLevelConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One number per video frame."""
        return FeatureSchema(kind="frames", width=1)

    def extract(self, media: ClipMedia) -> FloatArray:
        """Compute :func:`speech_level_db` of one clip.

        Raises:
            FeatureAbsent: E-FEAT-NOSOUND, the source has no sound.
            ClipError: E-IN-NAN, a sample is not a finite number.
        """
        return speech_level_db(waveform_of(media))[:, None]
