"""Report what located the mouth crop: landmarks or the geometry of the face box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from redub.core.types import ClipMedia
from redub.features.base import FeatureSchema, LocalExtractor, Media
from redub.features.mouth.crop import placed_by


@dataclass(frozen=True, slots=True, kw_only=True)
class MouthSourceConfig:
    """No settings."""


class MouthSourceExtractor(LocalExtractor):
    """Compute one word from the mouth crop and, if present, the landmarks."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("mouth_crop", "landmarks")
    optional: ClassVar[frozenset[str]] = frozenset({"landmarks"})
    Config: ClassVar[type] = MouthSourceConfig

    def __init__(self, config: MouthSourceConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One text."""
        return FeatureSchema(kind="text")

    def extract(self, media: ClipMedia) -> str:
        """Return ``landmarks`` or ``geometry``."""
        return placed_by(media.features)
