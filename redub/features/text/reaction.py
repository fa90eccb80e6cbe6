"""A listener's reaction to an utterance, as text; the builtin reaction is the utterance's text.

Source: Authentic-Dubber (arXiv:2511.14249) combines the emotion of the speaker with the reaction of
a listener, a text inferred by a commonsense model. Without such a model the text of the utterance
is used instead. Then the second half of the text emotion vector repeats the first half and adds no
information.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from redub.core.errors import FeatureAbsent
from redub.core.types import ClipMedia
from redub.features.base import FeatureSchema, LocalExtractor, Media


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactionConfig:
    """No settings."""


class ReactionExtractor(LocalExtractor):
    """Return the text of the utterance itself."""

    media: ClassVar[frozenset[Media]] = frozenset({"text"})
    Config: ClassVar[type] = ReactionConfig

    def __init__(self, config: ReactionConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One text."""
        return FeatureSchema(kind="text")

    def extract(self, media: ClipMedia) -> str:
        """Return the text of the utterance, stripped.

        Raises:
            FeatureAbsent: E-TEXT-NONE, the text is blank.
        """
        text = media.clip.text.strip()
        if not text:
            raise FeatureAbsent("the text is blank", code="E-TEXT-NONE")
        return text
