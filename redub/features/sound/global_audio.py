"""Sentence-level sound vector of the builtin profile: prosody in thirds of the spoken span.

``audio_emotion`` describes the whole utterance; this vector describes its beginning, middle and
end separately.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from redub.core.types import AudioSpec, ClipMedia, FloatArray, Waveform
from redub.features.base import FeatureSchema, LocalExtractor, Media
from redub.features.sound.prosody import VoiceTracks, spoken_tracks, tracks_of_clip

PARTS = 3
SCALED_TRACKS: dict[str, float] = {
    "f0_st": 12.0, "level_db": 20.0, "tilt": 20.0, "alpha_db": 20.0, "hammarberg_db": 20.0,
    "centroid_oct": 1.0, "flux": 0.5, "flatness_db": 20.0, "prominence_db": 10.0,
    "harmonicity_db": 10.0, "first_oct": 1.0, "second_oct": 1.0,
}  # fmt: skip
"""Track → its unit here (an octave, 20 dB, …), so that no track dominates the vector."""

CEPSTRA_KEPT = 8
CEPSTRUM_UNIT_DB = 40.0
DIMENSIONS: tuple[str, ...] = (
    *(
        f"{part}_{name}"
        for part in ("begin", "middle", "end")
        for name in (
            *(f"{track}_{kind}" for track in SCALED_TRACKS for kind in ("mean", "spread")),
            *(f"cepstrum_{k}" for k in range(1, CEPSTRA_KEPT + 1)),
            "voiced_share",
            "active_share",
        )
    ),
    "spoken_log_s",
)


def prosody_of_thirds(tracks: VoiceTracks) -> FloatArray:
    """Compute the vector, (len(DIMENSIONS),) float32.

    A third without a voiced frame gets the statistics of all voiced frames of the clip.
    """
    frames = len(tracks.level_db)
    borders = [round(frames * part / PARTS) for part in range(PARTS + 1)]
    numbers: list[float] = []
    for first, end in pairwise(borders):
        inside = np.zeros(frames, dtype=bool)
        inside[first:end] = True
        voiced = tracks.voiced & inside
        if not voiced.any():
            voiced = tracks.voiced
        for name, unit in SCALED_TRACKS.items():
            values = getattr(tracks, name)[voiced]
            numbers += [float(values.mean()) / unit, float(values.std()) / unit]
        cepstra = tracks.cepstra[voiced, 1 : CEPSTRA_KEPT + 1].mean(axis=0) / CEPSTRUM_UNIT_DB
        numbers += [float(value) for value in cepstra]
        numbers.append(float(tracks.voiced[first:end].sum()) / max(end - first, 1))
        numbers.append(float(tracks.active[first:end].sum()) / max(end - first, 1))
    numbers.append(float(np.log(frames / tracks.frames_per_s)))
    return np.array(numbers, dtype=np.float32)


def sentence_prosody(
    waveform: Waveform, audio: AudioSpec, mel: FloatArray, f0: FloatArray
) -> FloatArray:
    """Compute the vector of one clip from its sound, (T, C) mel and (T,) F0 in Hz.

    Raises:
        ClipError: another sample rate, or a sample that is not finite.
        FeatureAbsent: E-FEAT-SHORT, E-FEAT-SILENT, or E-FEAT-UNVOICED (noise, a whisper).
    """
    return prosody_of_thirds(spoken_tracks(waveform, audio, mel, f0))


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalAudioConfig:
    """Settings of the builtin feature ``global_audio``."""

    audio: AudioSpec


class GlobalAudioExtractor(LocalExtractor):
    """Compute the prosody of beginning, middle and end from sound, mel and F0."""

    media: ClassVar[frozenset[Media]] = frozenset({"waveform"})
    reads: ClassVar[tuple[str, ...]] = ("mel", "f0")
    Config: ClassVar[type] = GlobalAudioConfig

    def __init__(self, config: GlobalAudioConfig) -> None:
        self.audio = config.audio

    @property
    def schema(self) -> FeatureSchema:
        """One vector of ``len(DIMENSIONS)`` numbers."""
        return FeatureSchema(kind="vector", width=len(DIMENSIONS))

    def extract(self, media: ClipMedia) -> FloatArray:
        """Compute the vector of one clip; raises as :func:`sentence_prosody`."""
        return prosody_of_thirds(tracks_of_clip(media, self.audio))
