"""How much of each emotion a text names: the scores behind the builtin emotion vectors, by name.

The builtin numbers are shares of emotion words over ``EMOTIONS``, not probabilities of a model; a
network makes the same features with labels of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from redub.core.errors import FeatureAbsent
from redub.core.types import EMOTIONS, ClipMedia, FloatArray
from redub.features.base import FeatureSchema, LocalExtractor, Media
from redub.features.text.emotion_lexicon import emotion_scores, words_of


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionShareConfig:
    """The word list is part of the version, so nothing is to be set."""


class EmotionShares(LocalExtractor):
    """One text in, (8,) shares over ``EMOTIONS`` out, non-negative, sum 1."""

    media: ClassVar[frozenset[Media]]
    Config: ClassVar[type] = EmotionShareConfig
    labels: ClassVar[tuple[str, ...]] = EMOTIONS

    def __init__(self, config: EmotionShareConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="vector", width=len(EMOTIONS))

    def extract(self, media: ClipMedia) -> FloatArray:
        """Raises:
        FeatureAbsent: E-TEXT-NONE, no word of Latin letters.
        """
        text = media.clip.text if "text" in self.media else str(media.features[self.reads[0]])
        if not words_of(text):
            raise FeatureAbsent("no word in the text", code="E-TEXT-NONE")
        return emotion_scores(text)


class SceneEmotionShares(EmotionShares):
    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("scene_caption",)


class FaceEmotionShares(EmotionShares):
    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("face_caption",)


class TextEmotionShares(EmotionShares):
    media: ClassVar[frozenset[Media]] = frozenset({"text"})
