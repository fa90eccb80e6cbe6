"""Frame-level face context: motion and coarse appearance of the face in every frame.

The papers use EmoNet here; this builtin backend is signal processing, not a network.
Letters: V video frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from redub.core.types import ClipMedia, FloatArray
from redub.features.base import FeatureSchema, LocalExtractor, Media, frames_of
from redub.features.face.attributes import faces_of_clip
from redub.features.face.motion import DIMENSIONS, motion_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFaceConfig:
    """No settings: the measurements are fixed."""


class LocalFaceExtractor(LocalExtractor):
    """Compute one row per frame from frames and face boxes."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    reads: ClassVar[tuple[str, ...]] = ("face_track",)
    Config: ClassVar[type] = LocalFaceConfig

    def __init__(self, config: LocalFaceConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One row of ``len(DIMENSIONS)`` numbers per frame."""
        return FeatureSchema(kind="frames", width=len(DIMENSIONS))

    def extract(self, media: ClipMedia) -> FloatArray:
        """Measure the face in every frame of one clip.

        Returns:
            (V, 32) float32 in the order of ``face_motion.DIMENSIONS``.

        Raises:
            FeatureAbsent: E-FEAT-NOFACE, the clip has no frames.
        """
        faces = faces_of_clip(media)
        return media.once(motion_rows, faces, frames_of(media.features, "face_track"))
