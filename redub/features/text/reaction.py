"""The reaction that a line asks for, as a text; the builtin one is the line itself.

Source: Authentic-Dubber (arXiv:2511.14249) sets what a hearer would feel beside what the speaker
feels, with a text inferred by a commonsense model. Without such a model the line stands in for it:
the second half of a text emotion vector made from it then repeats the first, and adds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from redub.core.errors import FeatureAbsent
from redub.core.types import ClipMedia
from redub.features.base import FeatureSchema, LocalExtractor, Media


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactionConfig:
    """Nothing is to be set."""


class ReactionExtractor(LocalExtractor):
    """The line in, the line out."""

    media: ClassVar[frozenset[Media]] = frozenset({"text"})
    Config: ClassVar[type] = ReactionConfig

    def __init__(self, config: ReactionConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="text")

    def extract(self, media: ClipMedia) -> str:
        """Raises:
        FeatureAbsent: E-TEXT-NONE, the line is blank.
        """
        line = media.clip.text.strip()
        if not line:
            raise FeatureAbsent("the line is blank", code="E-TEXT-NONE")
        return line
