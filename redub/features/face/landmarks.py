"""68 landmarks of the face in every frame; the builtin backend never has a value.

Landmarks need a trained network (:mod:`redub.features.models.emonet.extractor`). Fixed positions
in the face box would look like landmarks without following the face, so the builtin value is a
null with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

from redub.core.errors import FeatureAbsent
from redub.core.types import ClipMedia
from redub.features.base import FeatureSchema, LocalExtractor, Media

POINTS = 68
MOUTH_POINTS = slice(48, 68)
"""Rows of (68, 2) landmarks that outline the lips: 48–59 the outer, 60–67 the inner edge."""


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
