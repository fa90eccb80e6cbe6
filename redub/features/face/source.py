"""Who found the face: which detector of the chain, in how many pictures of the clip.

It is read off the score column of ``face_track``, so it also says it of rows made long ago.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from redub.core.types import ClipMedia, FloatArray
from redub.features.base import FeatureSchema, LocalExtractor, Media, frames_of
from redub.features.face.detector import detector_of


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceSourceConfig:
    """Nothing to set."""


class FaceSourceExtractor(LocalExtractor):
    """Face boxes in, one line of text out."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("face_track",)
    Config: ClassVar[type] = FaceSourceConfig

    def __init__(self, config: FaceSourceConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="text")

    def extract(self, media: ClipMedia) -> str:
        """``frontal 12, profile 2 of 70 frames, longest gap 9``: the commonest detector first.

        The numbers count pictures in which the face was found (or, ``user boxes``, given); in the
        others the box is interpolated or held. The gap is the longest row of such pictures.
        """
        track: FloatArray = frames_of(media.features, "face_track")
        by = Counter(filter(None, map(detector_of, track[:, 4].tolist())))
        found = ", ".join(f"{name} {count}" for name, count in by.most_common())
        return f"{found} of {len(track)} frames, longest gap {longest_gap(track)}"


def longest_gap(track: FloatArray) -> int:
    """The longest run of pictures without a found face in (V, 5) rows of ``face_track``."""
    found = np.flatnonzero(track[:, 4] > 0)
    edges = np.concatenate([[-1], found, [len(track)]])
    return int(np.diff(edges).max()) - 1
