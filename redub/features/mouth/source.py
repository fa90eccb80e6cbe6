"""What the mouth crop was placed by: landmarks or the face box's geometry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from redub.core.types import ClipMedia
from redub.features.base import FeatureSchema, LocalExtractor, Media
from redub.features.mouth.crop import placed_by


@dataclass(frozen=True, slots=True, kw_only=True)
class MouthSourceConfig:
    """Nothing to set."""


class MouthSourceExtractor(LocalExtractor):
    """The mouth crop, and perhaps the landmarks it was placed by, in; one word out."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("mouth_crop", "landmarks")
    optional: ClassVar[frozenset[str]] = frozenset({"landmarks"})
    Config: ClassVar[type] = MouthSourceConfig

    def __init__(self, config: MouthSourceConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="text")

    def extract(self, media: ClipMedia) -> str:
        """``landmarks`` or ``geometry``."""
        return placed_by(media.features)
