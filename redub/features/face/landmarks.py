"""68 points of the face in every frame: the builtin profile has none.

Finding them takes a trained network (:mod:`redub.features.models.emonet.extractor`). Boxes divided
by fixed shares
would look like landmarks and follow nothing, so the builtin answer is a null with its reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

from redub.core.errors import FeatureAbsent
from redub.core.types import ClipMedia
from redub.features.base import FeatureSchema, LocalExtractor, Media

POINTS = 68
MOUTH_POINTS = slice(48, 68)
"""Rows of a (68, 2) frame that outline the lips: 48–59 the outer edge, 60–67 the inner one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkConfig:
    """Nothing to set."""


class LandmarkExtractor(LocalExtractor):
    """Stands where a landmark network may come in; it never has a value."""

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
        """Refuse.

        Raises:
            FeatureAbsent: E-FEAT-NOLANDMARKS, always.
        """
        raise FeatureAbsent(
            "the builtin profile has no landmark network; mouths are placed by the face box",
            code="E-FEAT-NOLANDMARKS",
        )
