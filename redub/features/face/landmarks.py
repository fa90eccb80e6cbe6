"""68 or 468 landmarks of the face in every frame; the builtin backend never has a value.

Landmarks need a trained network (:mod:`redub.features.models.mediapipe_face.landmarks`,
:mod:`redub.features.models.emonet.extractor`). Fixed positions in the face box would look like
landmarks without following the face, so the builtin value is a null with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

import numpy as np

from redub.core.errors import FeatureAbsent
from redub.core.types import ClipMedia, FloatArray
from redub.features.base import FeatureSchema, LocalExtractor, Media

POINTS = 68
MOUTH_POINTS = slice(48, 68)
"""Rows of (68, 2) landmarks that outline the lips: 48–59 the outer, 60–67 the inner edge."""

MESH_POINTS = 468
MESH_TO_68: tuple[tuple[int, ...], ...] = (
    # jaw, 0–16, from the right ear of the person to the left one
    (127,), (234,), (93,), (132, 58), (58, 172), (136,), (150,), (176,), (152,),
    (400,), (379,), (365,), (397, 288), (288, 361), (323,), (454,), (356,),
    (70,), (63,), (105,), (66,), (107,),  # right brow, 17–21
    (336,), (296,), (334,), (293,), (300,),  # left brow, 22–26
    (168, 6), (197, 195), (5,), (4,),  # bridge of the nose, 27–30
    (75,), (97,), (2,), (326,), (305,),  # base of the nose, 31–35
    (33,), (160,), (158,), (133,), (153,), (144,),  # right eye, 36–41
    (362,), (385,), (387,), (263,), (373,), (380,),  # left eye, 42–47
    (61,), (39,), (37,), (0,), (267,), (269,), (291,),  # outer lips, upper edge, 48–54
    (321, 405), (314,), (17,), (84,), (91, 181),  # outer lips, lower edge, 55–59
    (78,), (82,), (13,), (312,), (308,), (317,), (14,), (87,),  # inner lips, 60–67
)  # fmt: skip
"""Point of the 68-point scheme → points of MediaPipe's mesh, which are averaged. The public tables
that relate the two schemes agree on eyes, brows and lips, and differ by a point along the jaw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkConfig:
    """No settings."""


class LandmarkExtractor(LocalExtractor):
    """Placeholder for a landmark network; it never has a value."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("face_track",)
    Config: ClassVar[type] = LandmarkConfig

    def __init__(self, config: LandmarkConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """(V, 136) float32: x and y of each point in turn, pixels of the decoded frame."""
        return FeatureSchema(kind="frames", width=2 * POINTS)

    def extract(self, media: ClipMedia) -> NoReturn:
        """Report that there are no landmarks.

        Raises:
            FeatureAbsent: E-FEAT-NOLANDMARKS, always.
        """
        raise FeatureAbsent(
            "the builtin profile has no landmark network; mouths are located by the face box",
            code="E-FEAT-NOLANDMARKS",
        )


def as_68(landmarks: FloatArray) -> FloatArray:
    """Convert the rows of ``landmarks`` to the 68-point scheme.

    Args:
        landmarks: (V, 136), returned as they are, or (V, 936): 468 points of MediaPipe's mesh.

    Returns:
        (V, 136) float32.
    """
    if landmarks.shape[1] == 2 * POINTS:
        return landmarks
    mesh = landmarks.reshape(len(landmarks), MESH_POINTS, 2)
    points = [mesh[:, list(indices)].mean(axis=1) for indices in MESH_TO_68]
    return np.stack(points, axis=1).reshape(len(landmarks), 2 * POINTS).astype(np.float32)
