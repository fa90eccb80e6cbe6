"""Fundamental frequency (F0) of each mel frame.

Source: WORLD (Morise 2016), DIO and StoneMask, as the dubbing papers use them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyworld

from redub.core.errors import ConfigError
from redub.core.types import AudioSpec, ClipMedia, FloatArray, Waveform
from redub.features.base import FeatureSchema, LocalExtractor, Media
from redub.features.sound.samples import checked_samples, refuse_silence, waveform_of

FLOOR_HZ, CEILING_HZ = 71.0, 800.0  # WORLD's own defaults


def f0_track(
    waveform: Waveform,
    audio: AudioSpec,
    *,
    floor_hz: float = FLOOR_HZ,
    ceiling_hz: float = CEILING_HZ,
) -> FloatArray:
    """Measure F0: (T,) float32 in Hz, ``T = audio.frame_count(S)``; 0 where unvoiced.

    Frame ``t`` is measured at sample ``(t + 1/2) · hop``, the centre of mel frame ``t``. A clip
    without a voiced frame (a whisper, noise) gives all 0 and no error.

    Raises:
        ClipError: another sample rate (E-IN-RATE), or a sample that is not finite (E-IN-NAN).
        FeatureAbsent: E-FEAT-SHORT, less sound than one frame; E-FEAT-SILENT.
    """
    samples = checked_samples(waveform, audio)
    refuse_silence(samples)
    frames = audio.frame_count(len(samples))
    # DIO measures at multiples of the hop. Cutting half a hop off the start moves these to the
    # centres of the mel frames.
    shifted = np.ascontiguousarray(samples[audio.hop_samples // 2 :])
    rough, seconds = pyworld.dio(
        shifted,
        audio.sample_rate_hz,
        f0_floor=floor_hz,
        f0_ceil=ceiling_hz,
        frame_period=1000.0 * audio.hop_samples / audio.sample_rate_hz,
    )
    refined = pyworld.stonemask(shifted, rough, seconds, audio.sample_rate_hz)
    track: FloatArray = np.zeros(frames, dtype=np.float32)
    track[: len(refined)] = refined[:frames]
    return track


@dataclass(frozen=True, slots=True, kw_only=True)
class F0Config:
    """Settings of the feature ``f0``.

    Attributes:
        floor_hz, ceiling_hz: search range, 40 <= floor < ceiling <= 1200. Pitch outside of it is
            reported as unvoiced, or an octave too high or too low.
    """

    audio: AudioSpec
    floor_hz: float = FLOOR_HZ
    ceiling_hz: float = CEILING_HZ

    def __post_init__(self) -> None:
        if not 40.0 <= self.floor_hz < self.ceiling_hz <= 1200.0:
            raise ConfigError(
                f"f0: floor {self.floor_hz}, ceiling {self.ceiling_hz} Hz; "
                "wanted 40 <= floor < ceiling <= 1200",
                code="E-CFG-VALUE",
            )


class F0Extractor(LocalExtractor):
    """Compute (T, 1) float32 F0 in Hz from sound, 0 where unvoiced."""

    media: ClassVar[frozenset[Media]] = frozenset({"waveform"})
    Config: ClassVar[type] = F0Config

    def __init__(self, config: F0Config) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One number per mel frame."""
        return FeatureSchema(kind="frames", width=1)

    def extract(self, media: ClipMedia) -> FloatArray:
        """Measure F0 of one clip; raises as :func:`f0_track`."""
        config = self.config
        track = f0_track(
            waveform_of(media),
            config.audio,
            floor_hz=config.floor_hz,
            ceiling_hz=config.ceiling_hz,
        )
        return track[:, None]
