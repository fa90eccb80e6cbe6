"""Frame energy of each mel frame.

Source: FastSpeech 2 (arXiv:2006.04558), "Variance Adaptor": the L2 norm of a frame's magnitudes.
Energy and mel use the same window and padding, so their frames coincide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from redub.core.types import AudioSpec, ClipMedia, FloatArray, Waveform
from redub.features.base import FeatureSchema, LocalExtractor, Media
from redub.features.sound.samples import waveform_of
from redub.features.sound.spectrum import Spectrum, spectrum_of


def frame_energy(waveform: Waveform, audio: AudioSpec) -> FloatArray:
    """Compute (T,) float32 linear energy, ``T = audio.frame_count(S)``; silence is exactly 0.

    Raises:
        ClipError, FeatureAbsent: as :func:`redub.features.sound.mel.log_mel`.
    """
    return energy_of(spectrum_of(waveform, audio))


def energy_of(spectrum: Spectrum) -> FloatArray:
    """Compute the (T,) float32 L2 norms of (T, F) magnitudes."""
    energy: FloatArray = np.linalg.norm(spectrum, axis=-1).astype(np.float32)
    return energy


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyConfig:
    """Settings of the feature ``energy``."""

    audio: AudioSpec


class EnergyExtractor(LocalExtractor):
    """Compute (T, 1) float32 energy from sound."""

    media: ClassVar[frozenset[Media]] = frozenset({"waveform"})
    Config: ClassVar[type] = EnergyConfig

    def __init__(self, config: EnergyConfig) -> None:
        self.audio = config.audio

    @property
    def schema(self) -> FeatureSchema:
        """One number per mel frame."""
        return FeatureSchema(kind="frames", width=1)

    def extract(self, media: ClipMedia) -> FloatArray:
        """Compute the energy of one clip; raises as :func:`frame_energy`."""
        return energy_of(media.once(spectrum_of, waveform_of(media), self.audio))[:, None]
