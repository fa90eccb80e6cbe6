"""Log-mel spectrogram, as HiFi-GAN and the dubbing papers compute it.

Source: HiFi-GAN (arXiv:2010.05646), public code: sqrt(power + 1e-9), Slaney filters, natural
logarithm, floor 1e-5. Letters: T mel frames, C mel channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from redub.core.types import AudioSpec, ClipMedia, FloatArray, Waveform
from redub.features.base import FeatureSchema, LocalExtractor, Media
from redub.features.sound.samples import waveform_of
from redub.features.sound.spectrum import Spectrum, mel_filters, spectrum_of

FLOOR = 1e-5
LOG_FLOOR = float(np.log(FLOOR))  # the value of silence


def log_mel(waveform: Waveform, audio: AudioSpec) -> FloatArray:
    """Compute (T, C) float32 mel magnitudes in natural log, at least log 1e-5.

    ``T = audio.frame_count(S)``.

    Raises:
        ClipError: another sample rate (E-IN-RATE), or a sample that is not finite (E-IN-NAN).
        FeatureAbsent: E-FEAT-SHORT, too short for the reflected edges of one frame.
    """
    return mel_of(spectrum_of(waveform, audio), audio)


def mel_of(spectrum: Spectrum, audio: AudioSpec) -> FloatArray:
    """Compute (T, C) float32 log-mel from (T, F) magnitudes."""
    softened = np.sqrt(spectrum**2 + 1e-9)
    mel: FloatArray = np.log(np.maximum(softened @ mel_filters(audio).T, FLOOR)).astype(np.float32)
    return mel


@dataclass(frozen=True, slots=True, kw_only=True)
class MelConfig:
    """Settings of the feature ``mel``."""

    audio: AudioSpec


class MelExtractor(LocalExtractor):
    """Compute (T, C) float32 log-mel from sound."""

    media: ClassVar[frozenset[Media]] = frozenset({"waveform"})
    Config: ClassVar[type] = MelConfig

    def __init__(self, config: MelConfig) -> None:
        self.audio = config.audio

    @property
    def schema(self) -> FeatureSchema:
        """One row of mel channels per frame."""
        return FeatureSchema(kind="frames", width=self.audio.mel_channels)

    def extract(self, media: ClipMedia) -> FloatArray:
        """Compute the mel of one clip; raises as :func:`log_mel`."""
        return mel_of(media.once(spectrum_of, waveform_of(media), self.audio), self.audio)
