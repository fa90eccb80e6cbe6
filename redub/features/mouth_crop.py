"""96 x 96 grey pictures of the mouth, one per frame.

The place is the geometric fallback: x 25–75 %, y 62–95 % of the face box. It follows the smoothed
box, not landmarks, so a turned or tilted head puts the mouth off the centre.
Letters: V video frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from redub.core.errors import FeatureAbsent
from redub.core.types import ByteArray, ClipMedia
from redub.features.base import FeatureSchema, LocalExtractor, Media, frames_of
from redub.features.face_crops import MOUTH, grey_crops

SIDE = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class MouthCropConfig:
    """Nothing to set: lip readers expect this size and place."""


class MouthCropExtractor(LocalExtractor):
    """Frames and face boxes in, one mouth picture per frame out."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    reads: ClassVar[tuple[str, ...]] = ("face_track",)
    Config: ClassVar[type] = MouthCropConfig

    def __init__(self, config: MouthCropConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="frames", width=SIDE * SIDE, dtype="uint8")

    def extract(self, media: ClipMedia) -> ByteArray:
        """Crop every frame.

        Returns:
            (V, 9216) uint8, each row a 96 x 96 picture in row order.

        Raises:
            FeatureAbsent: E-FEAT-NOFACE, the clip has no picture.
        """
        if media.frames is None:
            raise FeatureAbsent("the clip has no picture to crop", code="E-FEAT-NOFACE")
        track = frames_of(media.features, "face_track")
        return grey_crops(media.frames, track, MOUTH, SIDE).reshape(-1, SIDE * SIDE)
