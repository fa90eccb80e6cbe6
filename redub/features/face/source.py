"""Report which detectors found the face, and in how many frames of the clip.

The report is computed from the score column of ``face_track``, so it also works for old rows.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from redub.core.types import ClipMedia, FloatArray
from redub.features.base import FeatureSchema, LocalExtractor, Media, frames_of
from redub.features.face.detector import Detector, detector_of


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceSourceConfig:
    """No settings."""


class FaceSourceExtractor(LocalExtractor):
    """Compute a line of text about the detectors from the face boxes."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("face_track",)
    Config: ClassVar[type] = FaceSourceConfig

    def __init__(self, config: FaceSourceConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One text."""
        return FeatureSchema(kind="text")

    def extract(self, media: ClipMedia) -> str:
        """Write a text like ``frontal 12, profile 2 of 70 frames, longest gap 9``.

        The most frequent detector comes first. The numbers count frames in which a detector found
        the face, or the user gave a box (``user boxes``). In other frames the box is interpolated
        or repeated; the gap is the longest run of such frames.
        """
        track: FloatArray = frames_of(media.features, "face_track")
        found = said_detectors(detectors_in(track))
        return f"{found} of {len(track)} frames, longest gap {longest_gap(track)}"


def detectors_in(track: FloatArray) -> Counter[Detector]:
    """Count the frames in which each detector found the face, in (V, 5) rows of ``face_track``."""
    return Counter(filter(None, map(detector_of, track[:, 4].tolist())))


def said_detectors(found: Counter[Detector]) -> str:
    """Counts of detectors as text, the most frequent first: ``frontal 12, profile 2``."""
    return ", ".join(f"{name} {count}" for name, count in found.most_common())


def longest_gap(track: FloatArray) -> int:
    """Count the longest run of frames without a found face in (V, 5) rows of ``face_track``."""
    found = np.flatnonzero(track[:, 4] > 0)
    edges = np.concatenate([[-1], found, [len(track)]])
    return int(np.diff(edges).max()) - 1
