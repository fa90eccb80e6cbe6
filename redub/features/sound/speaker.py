"""Speaker embedding of the builtin profile: long-term statistics of the voice.

Mel cepstra of voiced frames describe the vocal tract, F0 describes the larynx. It is a classical
replacement for a GE2E d-vector; it also depends on the microphone and partly on the emotion.
Source: long-term feature averaging, Markel, Oshika & Gray (1977).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from redub.core.types import AudioSpec, ClipMedia, FloatArray, Waveform
from redub.features.base import FeatureSchema, LocalExtractor, Media
from redub.features.sound.prosody import CEPSTRA, VoiceTracks, spoken_tracks, tracks_of_clip

CEPSTRUM_MEANS_DB = (
    (70, 25), (-17, 20), (11, 12), (-15, 14), (-10, 8), (-17, 8),
    (-12, 8), (-10, 8), (-5, 8), (-9, 8), (-5, 8), (-6, 8),
)  # fmt: skip
CEPSTRUM_SPREADS_DB = (
    (39, 8), (29, 5), (24, 4), (21, 4), (15, 3), (14, 3),
    (12, 2), (12, 3), (11, 3), (10, 3), (10, 4), (9, 4),
)  # fmt: skip
"""(centre, unit) of the mean and the standard deviation of each cepstrum, for 80 mel channels.

Rounded values of ordinary voices. They bring the numbers to one scale, so that two random voices
have a cosine of about 0. For other numbers of channels cepstra scale with the square root.
"""

PITCH = ((22.0, 7.0), (20.0, 7.0))  # F0 median and 10 % point, semitones above 55 Hz
FORMANTS = ((2.1, 0.2), (4.1, 0.1))  # octaves above 100 Hz
REFERENCE_CHANNELS = 80
WIDTH = len(CEPSTRUM_MEANS_DB) + len(CEPSTRUM_SPREADS_DB) + len(PITCH) + len(FORMANTS)


def long_term_voice(tracks: VoiceTracks, mel_channels: int) -> FloatArray:
    """Compute (WIDTH,) float32 with norm 1; ``tracks`` must have at least one voiced frame."""
    cepstra = tracks.cepstra[tracks.voiced, 1:CEPSTRA] * np.sqrt(REFERENCE_CHANNELS / mel_channels)
    pitch = tracks.f0_st[tracks.voiced]
    measured = [
        *cepstra.mean(axis=0),
        *cepstra.std(axis=0),
        *np.percentile(pitch, (50, 10)),
        tracks.first_oct[tracks.voiced].mean(),
        tracks.second_oct[tracks.voiced].mean(),
    ]
    scale = np.array([*CEPSTRUM_MEANS_DB, *CEPSTRUM_SPREADS_DB, *PITCH, *FORMANTS])  # (WIDTH, 2)
    voice = (np.array(measured) - scale[:, 0]) / scale[:, 1]
    length = max(float(np.linalg.norm(voice)), 1e-9)
    unit: FloatArray = (voice / length).astype(np.float32)
    return unit


def speaker_embedding(
    waveform: Waveform, audio: AudioSpec, mel: FloatArray, f0: FloatArray
) -> FloatArray:
    """Compute the embedding of one clip from its sound, (T, C) mel and (T,) F0 in Hz.

    Raises:
        ClipError: another sample rate, or a sample that is not finite.
        FeatureAbsent: E-FEAT-SHORT, E-FEAT-SILENT, or E-FEAT-UNVOICED (noise, a whisper).
    """
    return long_term_voice(spoken_tracks(waveform, audio, mel, f0), audio.mel_channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerConfig:
    """Settings of the builtin feature ``speaker``."""

    audio: AudioSpec


class SpeakerExtractor(LocalExtractor):
    """Compute a unit vector from sound, mel and F0."""

    media: ClassVar[frozenset[Media]] = frozenset({"waveform"})
    reads: ClassVar[tuple[str, ...]] = ("mel", "f0")
    Config: ClassVar[type] = SpeakerConfig

    def __init__(self, config: SpeakerConfig) -> None:
        self.audio = config.audio

    @property
    def schema(self) -> FeatureSchema:
        """One vector of ``WIDTH`` numbers."""
        return FeatureSchema(kind="vector", width=WIDTH)

    def extract(self, media: ClipMedia) -> FloatArray:
        """Compute the embedding of one clip; raises as :func:`speaker_embedding`."""
        return long_term_voice(tracks_of_clip(media, self.audio), self.audio.mel_channels)
