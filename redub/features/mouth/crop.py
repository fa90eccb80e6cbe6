"""96 x 96 grey pictures of the mouth, one per frame.

With ``landmarks`` the mouth is turned upright, scaled and centred by 68 points; without (or where
the points make no face) its place is the geometric fallback, x 25–75 %, y 62–95 % of the face box.
The fallback follows the smoothed box, so a turned or tilted head puts the mouth off the centre, and
its picture is stretched to a square. ``mouth_source`` records which of the two a clip had.
Letters: V video frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from redub.core.errors import FeatureAbsent
from redub.core.types import ByteArray, ClipMedia, Value
from redub.features.base import FeatureSchema, LocalExtractor, Media, frames_of
from redub.features.face.crops import MOUTH, grey_crops
from redub.features.mouth.warp import SIDE as SIDE
from redub.features.mouth.warp import make_a_face, upright_mouths


@dataclass(frozen=True, slots=True, kw_only=True)
class MouthCropConfig:
    """Nothing to set: lip readers expect this size and place."""


class MouthCropExtractor(LocalExtractor):
    """Frames, face boxes and perhaps landmarks in, one mouth picture per frame out."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    reads: ClassVar[tuple[str, ...]] = ("face_track", "landmarks")
    optional: ClassVar[frozenset[str]] = frozenset({"landmarks"})
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
        if placed_by(media.features) == "landmarks":
            crops = upright_mouths(media.frames, frames_of(media.features, "landmarks"))
        else:
            crops = grey_crops(media.frames, frames_of(media.features, "face_track"), MOUTH, SIDE)
        return crops.reshape(-1, SIDE * SIDE)


def placed_by(features: Mapping[str, Value]) -> Literal["landmarks", "geometry"]:
    """Which of a clip's features decides where its mouth is: landmarks, if they make a face."""
    if "landmarks" in features and make_a_face(frames_of(features, "landmarks")):
        return "landmarks"
    return "geometry"
