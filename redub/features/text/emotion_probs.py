"""Emotion probabilities of a text or caption, by the builtin lexicon.

The builtin numbers are normalised lexicon scores over ``EMOTIONS``, not probabilities of a trained
model. A network backend computes the same features with the labels of its classifier.
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
    """No settings: the word list belongs to the version of the extractor."""


class EmotionProbabilities(LocalExtractor):
    """Compute (8,) probabilities over ``EMOTIONS`` from a text, non-negative with sum 1."""

    media: ClassVar[frozenset[Media]]
    Config: ClassVar[type] = EmotionShareConfig
    labels: ClassVar[tuple[str, ...]] = EMOTIONS

    def __init__(self, config: EmotionShareConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One vector of eight numbers."""
        return FeatureSchema(kind="vector", width=len(EMOTIONS))

    def extract(self, media: ClipMedia) -> FloatArray:
        """Score the text of the utterance, or the caption that the extractor reads.

        Raises:
            FeatureAbsent: E-TEXT-NONE, the text has no word in Latin letters.
        """
        text = media.clip.text if "text" in self.media else str(media.features[self.reads[0]])
        if not words_of(text):
            raise FeatureAbsent("no word in the text", code="E-TEXT-NONE")
        return emotion_scores(text)


class SceneEmotionProbabilities(EmotionProbabilities):
    """Emotion probabilities of the scene caption."""

    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("scene_caption",)


class FaceEmotionProbabilities(EmotionProbabilities):
    """Emotion probabilities of the face caption."""

    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("face_caption",)


class TextEmotionProbabilities(EmotionProbabilities):
    """Emotion probabilities of the text of the utterance."""

    media: ClassVar[frozenset[Media]] = frozenset({"text"})
