"""The sound of a clip as 16-bit samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from redub.core.types import AudioSpec, ClipMedia
from redub.features.base import FeatureSchema, LocalExtractor, Media
from redub.features.sound.samples import checked_samples, waveform_of

FULL_SCALE = 32768.0


def to_int16(samples: NDArray[np.floating]) -> NDArray[np.int16]:
    """Convert (S,) samples in [-1, 1] to int16, rounded and clipped; 16-bit sound is unchanged."""
    steps = np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
    stored: NDArray[np.int16] = steps.astype(np.int16)
    return stored


def from_int16(stored: NDArray[np.int16]) -> NDArray[np.float32]:
    """Convert stored samples, (S,) or (S, 1), to (S,) float32 in [−1, 1)."""
    return (stored.reshape(-1) / np.float32(FULL_SCALE)).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveformConfig:
    """Settings of the feature ``waveform``."""

    audio: AudioSpec


class WaveformExtractor(LocalExtractor):
    """Convert sound to (S, 1) int16."""

    media: ClassVar[frozenset[Media]] = frozenset({"waveform"})
    Config: ClassVar[type] = WaveformConfig

    def __init__(self, config: WaveformConfig) -> None:
        self.audio = config.audio

    @property
    def schema(self) -> FeatureSchema:
        """One int16 per sample."""
        return FeatureSchema(kind="frames", width=1, dtype="int16")

    def extract(self, media: ClipMedia) -> NDArray[np.int16]:
        """Return the samples of one clip; raises as ``sound.checked_samples``."""
        return to_int16(checked_samples(waveform_of(media), self.audio))[:, None]
