"""Text emotion vector of the builtin profile: emotion of the speaker ‖ reaction of a listener.

Both halves have the same width, because the index uses the mean of two cosines (self and reaction).
The self half comes from a word list (:mod:`redub.features.text.emotion_lexicon`), the reaction
half from the tables below over emotions and speech acts. It is a simple replacement for COMET and
a text emotion network, and less accurate.
Source: the layout self ‖ reaction is that of Authentic-Dubber (arXiv:2511.14249).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from redub.core.errors import FeatureAbsent
from redub.core.types import EMOTIONS, ClipMedia, FloatArray
from redub.features.base import FeatureSchema, LocalExtractor, Media
from redub.features.text.emotion_lexicon import (
    AROUSAL,
    VALENCE,
    EmotionReading,
    read_emotion,
    words_of,
)

REACTIONS: dict[str, dict[str, float]] = {
    "angry": {"fear": 0.4, "angry": 0.3, "sad": 0.2, "surprise": 0.1},
    "disgust": {"disgust": 0.3, "angry": 0.2, "sad": 0.2, "neutral": 0.2, "surprise": 0.1},
    "fear": {"fear": 0.5, "surprise": 0.2, "others": 0.2, "neutral": 0.1},
    "happy": {"happy": 0.7, "neutral": 0.2, "surprise": 0.1},
    "neutral": {"neutral": 0.9, "others": 0.1},
    "sad": {"sad": 0.5, "others": 0.3, "fear": 0.1, "neutral": 0.1},
    "surprise": {"surprise": 0.5, "happy": 0.2, "fear": 0.1, "others": 0.1, "neutral": 0.1},
    "others": {"others": 0.5, "neutral": 0.5},
}
"""Emotion of the speaker → emotions of a listener; ``others``: sympathy, doubt and curiosity."""

ACT_REACTIONS: dict[str, dict[str, float]] = {
    "asks": {"others": 0.5, "neutral": 0.3, "surprise": 0.2},
    "commands": {"neutral": 0.4, "angry": 0.2, "fear": 0.2, "others": 0.2},
    "thanks": {"happy": 0.8, "neutral": 0.2},
    "apologises": {"neutral": 0.3, "others": 0.3, "sad": 0.2, "happy": 0.2},
    "greets": {"happy": 0.5, "neutral": 0.4, "surprise": 0.1},
    "blames": {"angry": 0.4, "sad": 0.3, "fear": 0.2, "surprise": 0.1},
}
"""Speech act (question, command, …) → emotions of a listener, for any emotion of the speaker."""

ACT_SHARE = 0.4  # weight of the speech acts in the reaction, if there is any

_THANKS = frozenset({"thank", "thanks", "grateful", "cheers"})
_APOLOGIES = frozenset({"sorry", "apologise", "apologize", "apologies", "forgive", "pardon"})
_GREETINGS = frozenset({"hello", "hi", "hey", "welcome", "goodbye", "bye", "farewell", "goodnight"})
_ORDERS = frozenset(
    {
        *("get", "go", "stop", "come", "give", "take", "leave", "look", "listen", "wait", "run"),
        *(
            "shut",
            "put",
            "let",
            "let's",
            "don't",
            "do",
            "tell",
            "show",
            "hold",
            "move",
            "be",
            "stay",
        ),
        *(
            "sit",
            "stand",
            "bring",
            "help",
            "please",
            "never",
            "watch",
            "drop",
            "open",
            "close",
            "try",
        ),
    }
)
_QUESTION_WORDS = frozenset({"who", "what", "where", "when", "why", "how", "which", "whose"})
_SECOND_PERSON = frozenset({"you", "your", "you're", "you've", "you'll", "yours", "yourself"})
_BLAMED_BY = ("angry", "disgust")

SELF_ATTRIBUTES = (
    "valence", "arousal", "strength", "negated", "exclaims", "asks", "trails_off", "shouts",
)  # fmt: skip
REACTION_ATTRIBUTES = ("valence", "arousal", *ACT_REACTIONS)
HALF_WIDTH = len(EMOTIONS) + len(SELF_ATTRIBUTES)


def text_emotion(text: str) -> FloatArray:
    """Compute (2 · HALF_WIDTH,) float32: self half, then reaction half; both are never all zero.

    Each half has 8 probabilities over EMOTIONS that sum to 1, then its attributes in [−1, 1].

    Raises:
        FeatureAbsent: E-TEXT-NONE, the text has no word in Latin letters.
    """
    if not words_of(text):
        raise FeatureAbsent("no word in the text", code="E-TEXT-NONE")
    reading = read_emotion(text)
    acts = speech_acts(text, reading)
    reaction = reaction_scores(reading.scores, acts)
    self_half = [*reading.scores, *_circumplex(reading.scores), *_attributes(text, reading)]
    reaction_half = [
        *reaction,
        *_circumplex(reaction),
        *(float(act in acts) for act in ACT_REACTIONS),
    ]
    return np.array(self_half + reaction_half, dtype=np.float32)


def reaction_scores(scores: FloatArray, acts: frozenset[str]) -> FloatArray:
    """Compute a listener's (8,) emotion scores, with sum 1.

    Args:
        scores: (8,) emotion scores of the speaker.
        acts: speech acts of the utterance, from :func:`speech_acts`.
    """
    reaction = np.zeros(len(EMOTIONS))
    for emotion, score in zip(EMOTIONS, scores, strict=True):
        reaction += float(score) * _over_emotions(REACTIONS[emotion])
    if acts:
        by_acts = [_over_emotions(ACT_REACTIONS[act]) for act in sorted(acts)]
        reaction = (1.0 - ACT_SHARE) * reaction + ACT_SHARE * np.mean(by_acts, axis=0)
    total: FloatArray = (reaction / reaction.sum()).astype(np.float32)
    return total


def speech_acts(text: str, reading: EmotionReading) -> frozenset[str]:
    """Find the speech acts of a text (keys of :data:`ACT_REACTIONS`) by words and punctuation."""
    words = words_of(text)
    present = set(words)
    emotion = EMOTIONS[int(reading.scores.argmax())]
    asks = "?" in text or words[0] in _QUESTION_WORDS
    found = {
        "asks": asks,
        "commands": words[0] in _ORDERS and not asks,
        "thanks": bool(present & _THANKS),
        "apologises": bool(present & _APOLOGIES),
        "greets": bool(present & _GREETINGS),
        "blames": bool(present & _SECOND_PERSON) and emotion in _BLAMED_BY,
    }
    return frozenset(act for act, done in found.items() if done)


def _over_emotions(shares: dict[str, float]) -> FloatArray:
    return np.array([shares.get(emotion, 0.0) for emotion in EMOTIONS], dtype=np.float32)


def _circumplex(scores: FloatArray) -> tuple[float, float]:
    valence = sum(float(s) * VALENCE[e] for e, s in zip(EMOTIONS, scores, strict=True))
    arousal = sum(float(s) * AROUSAL[e] for e, s in zip(EMOTIONS, scores, strict=True))
    return valence, arousal


def _attributes(text: str, reading: EmotionReading) -> tuple[float, ...]:
    letters = [letter for letter in text if letter.isalpha()]
    capitals = sum(letter.isupper() for letter in letters) / max(len(letters), 1)
    return (
        1.0 - float(np.exp(-reading.strength / 2.0)),
        reading.negated / max(reading.hits, 1),
        min(text.count("!"), 3) / 3.0,
        min(text.count("?"), 2) / 2.0,
        float("..." in text or "…" in text),
        capitals if len(letters) > 3 else 0.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEmotionConfig:
    """No settings: word list and rules belong to the version of the extractor."""


class TextEmotionExtractor(LocalExtractor):
    """Compute the emotion vector self ‖ reaction from text."""

    media: ClassVar[frozenset[Media]] = frozenset({"text"})
    Config: ClassVar[type] = TextEmotionConfig

    def __init__(self, config: TextEmotionConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One vector of two halves."""
        return FeatureSchema(kind="vector", width=2 * HALF_WIDTH)

    def extract(self, media: ClipMedia) -> FloatArray:
        """Compute the vector of the text; raises as :func:`text_emotion`."""
        return text_emotion(media.clip.text)
