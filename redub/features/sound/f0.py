"""Fundamental frequency on the mel clock.

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
    """(T,) float32 in Hz, ``T = audio.frame_count(S)``; 0 says "unvoiced here".

    Frame ``t`` is measured at sample ``(t + 1/2) · hop``, the centre of mel frame ``t``. A clip
    without any voiced frame (a whisper, a noise) is all 0 and is no error.

    Raises:
        ClipError: another sample rate (E-IN-RATE), or a sample that is not finite (E-IN-NAN).
        FeatureAbsent: E-FEAT-SHORT, less than a frame's worth of sound; E-FEAT-SILENT.
    """
    samples = checked_samples(waveform, audio)
    refuse_silence(samples)
    frames = audio.frame_count(len(samples))
    # DIO measures at multiples of the hop: half a hop cut off in front puts those on the centres.
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
    """Voices outside the range are taken for unvoiced, or for an octave neighbour."""

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
    """Sound in, (T, 1) float32 F0 in Hz out, 0 where unvoiced."""

    media: ClassVar[frozenset[Media]] = frozenset({"waveform"})
    Config: ClassVar[type] = F0Config

    def __init__(self, config: F0Config) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="frames", width=1)

    def extract(self, media: ClipMedia) -> FloatArray:
        config = self.config
        track = f0_track(
            waveform_of(media),
            config.audio,
            floor_hz=config.floor_hz,
            ceiling_hz=config.ceiling_hz,
        )
        return track[:, None]
