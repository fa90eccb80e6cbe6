"""Grey mouth crops of 96 x 96 pixels, one per frame.

With ``landmarks`` the mouth is rotated upright, scaled and centred by 68 points. Without landmarks,
or if the points are not a face, the crop is a fixed part of the face box: x 25–75 %, y 62–95 %,
scaled to a square. If the head is turned or tilted, the mouth is then not in the centre.
``mouth_source`` records which of the two ways was used for a clip.
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
from redub.features.face.landmarks import as_68
from redub.features.mouth.warp import SIDE as SIDE
from redub.features.mouth.warp import make_a_face, upright_mouths
from redub.features.picture.shots import shot_starts
from redub.features.picture.small_frames import small_frames


@dataclass(frozen=True, slots=True, kw_only=True)
class MouthCropConfig:
    """No settings: lip readers expect this size and position."""


class MouthCropExtractor(LocalExtractor):
    """Compute one mouth crop per frame from frames, face boxes and, if present, landmarks."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    reads: ClassVar[tuple[str, ...]] = ("face_track", "landmarks")
    optional: ClassVar[frozenset[str]] = frozenset({"landmarks"})
    Config: ClassVar[type] = MouthCropConfig

    def __init__(self, config: MouthCropConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One row of 9216 uint8 per frame."""
        return FeatureSchema(kind="frames", width=SIDE * SIDE, dtype="uint8")

    def extract(self, media: ClipMedia) -> ByteArray:
        """Crop the mouth in every frame.

        Returns:
            (V, 9216) uint8, each row a crop of 96 x 96 pixels in row-major order.

        Raises:
            FeatureAbsent: E-FEAT-NOFACE, the clip has no frames.
        """
        if media.frames is None:
            raise FeatureAbsent("the clip has no video frame to crop", code="E-FEAT-NOFACE")
        if placed_by(media.features) == "landmarks":
            points = as_68(frames_of(media.features, "landmarks"))
            shots = media.once(shot_starts, media.once(small_frames, media.frames))
            crops = upright_mouths(media.frames, points, shots)
        else:
            crops = grey_crops(media.frames, frames_of(media.features, "face_track"), MOUTH, SIDE)
        return crops.reshape(-1, SIDE * SIDE)


def placed_by(features: Mapping[str, Value]) -> Literal["landmarks", "geometry"]:
    """Return what locates the mouth in a clip: landmarks if they form a face, else the box."""
    if "landmarks" in features and make_a_face(as_68(frames_of(features, "landmarks"))):
        return "landmarks"
    return "geometry"
