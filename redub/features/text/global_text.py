"""Sentence-level text vector of the builtin profile: emotion words, word classes, bag of words.

It counts emotion words, punctuation, sentence and word lengths, classes of function words, and
hashed content words. It does not understand the meaning, as a network would.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from redub.core.errors import FeatureAbsent
from redub.core.types import EMOTIONS, ClipMedia, FloatArray
from redub.features.base import FeatureSchema, LocalExtractor, Media
from redub.features.text.emotion_lexicon import (
    AROUSAL,
    NEGATIONS,
    STRENGTHENERS,
    VALENCE,
    base_forms,
    read_emotion,
    words_of,
)

WORD_CLASSES: dict[str, frozenset[str]] = {
    "first_person": frozenset({"i", "me", "my", "mine", "myself", "i'm", "i've", "i'll", "i'd"}),
    "we": frozenset({"we", "us", "our", "ours", "ourselves", "we're", "we've", "we'll", "let's"}),
    "second_person": frozenset({"you", "your", "yours", "yourself", "you're", "you've", "you'll"}),
    "third_person": frozenset(
        {"he", "she", "it", "they", "him", "her", "them", "his", "their", "its", "it's", "he's"}
    ),
    "articles": frozenset({"a", "an", "the"}),
    "pointing": frozenset({"this", "that", "these", "those", "here", "there", "that's"}),
    "asking": frozenset({"who", "what", "where", "when", "why", "how", "which", "whose"}),
    "modal": frozenset(
        {"can", "could", "may", "might", "must", "shall", "should", "will", "would", "can't"}
    ),
    "being": frozenset({"am", "is", "are", "was", "were", "be", "been", "being", "isn't"}),
    "joining": frozenset({"and", "or", "but", "because", "so", "if", "although", "while", "then"}),
    "placing": frozenset(
        {"in", "on", "at", "by", "to", "from", "with", "for", "of", "under", "over", "into", "out"}
    ),
    "negating": NEGATIONS,
    "strengthening": STRENGTHENERS,
}
SHAPES = (
    "log_words", "letters_per_word", "longest_word", "vowel_groups_per_word", "different_words",
    "capitals", "apostrophes", "exclaims", "asks", "commas", "trails_off", "dashes", "sentences",
)  # fmt: skip
BAG_WIDTH = 64
WIDTH = len(EMOTIONS) + 3 + len(SHAPES) + len(WORD_CLASSES) + BAG_WIDTH


def text_statistics(text: str) -> FloatArray:
    """Compute (WIDTH,) float32: emotions (8), valence, arousal, strength; shapes; classes; bag.

    The bag of words hashes the shortest base form of each content word to one of 64 signed entries.
    It has norm 1, or is all zero for a text of function words only.

    Raises:
        FeatureAbsent: E-TEXT-NONE, the text has no word in Latin letters.
    """
    words = words_of(text)
    if not words:
        raise FeatureAbsent("no word in the text", code="E-TEXT-NONE")
    reading = read_emotion(text)
    scores = dict(zip(EMOTIONS, reading.scores, strict=True))
    affect = (
        sum(float(score) * VALENCE[emotion] for emotion, score in scores.items()),
        sum(float(score) * AROUSAL[emotion] for emotion, score in scores.items()),
        1.0 - float(np.exp(-reading.strength / 2.0)),
    )
    classes = [
        sum(word in members for word in words) / len(words) for members in WORD_CLASSES.values()
    ]
    parts = [*reading.scores, *affect, *_shapes(text, words), *classes, *_bag(words)]
    return np.array(parts, dtype=np.float32)


def _shapes(text: str, words: list[str]) -> tuple[float, ...]:
    """Counts scaled to about [0, 1], in the order of SHAPES."""
    letters = [letter for letter in text if letter.isalpha()]
    return (
        float(np.log1p(len(words))) / 4.0,
        sum(map(len, words)) / len(words) / 10.0,
        min(max(map(len, words)), 20) / 20.0,
        sum(_vowel_groups(word) for word in words) / len(words) / 4.0,
        len(set(words)) / len(words),
        sum(letter.isupper() for letter in letters) / max(len(letters), 1),
        sum("'" in word for word in words) / len(words),
        min(text.count("!"), 4) / 4.0,
        min(text.count("?"), 4) / 4.0,
        min(text.count(","), 4) / 4.0,
        float("..." in text or "…" in text),
        min(text.count("—") + text.count("–") + text.count("--"), 4) / 4.0,
        min(sum(text.count(mark) for mark in ".!?"), 4) / 4.0,
    )


def _vowel_groups(word: str) -> int:
    flags = [letter in "aeiouy" for letter in word]
    return sum(now and not before for before, now in zip([False, *flags], flags, strict=False))


def _bag(words: list[str]) -> list[float]:
    bag = np.zeros(BAG_WIDTH)
    function_words = frozenset[str]().union(*WORD_CLASSES.values())
    for word in words:
        if word in function_words:
            continue
        base = min(base_forms(word), key=lambda form: (len(form), form))
        digest = zlib.crc32(base.encode())
        bag[digest % BAG_WIDTH] += 1.0 if (digest >> 16) & 1 else -1.0
    length = float(np.linalg.norm(bag))
    return [float(value) for value in (bag / length if length > 0 else bag)]


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalTextConfig:
    """No settings: word classes and hash belong to the version of the extractor."""


class GlobalTextExtractor(LocalExtractor):
    """Compute one vector of sentence statistics from text."""

    media: ClassVar[frozenset[Media]] = frozenset({"text"})
    Config: ClassVar[type] = GlobalTextConfig

    def __init__(self, config: GlobalTextConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One vector of ``WIDTH`` numbers."""
        return FeatureSchema(kind="vector", width=WIDTH)

    def extract(self, media: ClipMedia) -> FloatArray:
        """Compute the vector of the text; raises as :func:`text_statistics`."""
        return text_statistics(media.clip.text)
