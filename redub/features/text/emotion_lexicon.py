"""Emotion scores of a text from a small lexicon, with negation, intensity and punctuation.

The word list ``emotion_words.txt`` was written for this project; it is not a copy of a published
lexicon. The scores are only hints: irony, context and unknown words are not handled.
"""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from redub.core.types import EMOTIONS, FloatArray


def _words(line: str) -> frozenset[str]:
    return frozenset(line.split())


NEGATIONS = _words(
    "not no never none nobody nothing neither nor cannot without hardly barely "
    "don't doesn't didn't won't wouldn't can't couldn't isn't aren't wasn't weren't "
    "haven't hasn't hadn't shouldn't mustn't ain't"
)
STRENGTHENERS = _words(
    "very so really too extremely absolutely completely totally utterly deeply terribly awfully "
    "such most truly incredibly always damn bloody quite strongly"
)
WEAKENERS = _words("slightly little bit somewhat rather fairly almost kinda maybe faintly")

NEGATION_REACH = 3  # a negation affects this many following words
STRENGTHENED, WEAKENED, NEGATED = 1.5, 0.6, 0.6
NEUTRAL_PRIOR = 0.5  # weight of ``neutral`` in every text

VALENCE = dict(zip(EMOTIONS, (-0.7, -0.7, -0.8, 0.9, 0.0, -0.7, 0.2, 0.0), strict=True))
AROUSAL = dict(zip(EMOTIONS, (0.9, 0.4, 0.8, 0.6, 0.0, -0.4, 0.8, 0.1), strict=True))
"""Valence and arousal of each emotion on Russell's circumplex (1980), estimated to one digit."""

OPPOSITES = {"happy": "sad", "sad": "neutral", "angry": "neutral", "fear": "neutral"}
"""Emotion that replaces a negated emotion; other emotions are replaced by ``neutral``."""


class EmotionReading(NamedTuple):
    """The result of the lexicon for one text."""

    scores: FloatArray  # (8,) over EMOTIONS, non-negative, sums to 1
    strength: float  # total weight of the emotion words, 0 without any
    hits: int  # number of emotion words
    negated: int  # number of emotion words after a negation


def words_of(text: str) -> list[str]:
    """Split a text into lower-case words; apostrophes stay in words, hyphens separate words."""
    plain = text.lower().replace("’", "'").replace("‘", "'")
    return re.findall(r"[a-z]+(?:'[a-z]+)*", plain)


@functools.cache
def lexicon() -> dict[str, FloatArray]:
    """Load the lexicon: word → (8,) weights over EMOTIONS, read once from ``emotion_words.txt``."""
    table: dict[str, FloatArray] = {}
    text = resources.files("redub.features.text").joinpath("emotion_words.txt").read_text("utf-8")
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        head, _, words = line.partition(":")
        emotion, strength = head.split()
        for word in words.split():
            weights = table.setdefault(word, np.zeros(len(EMOTIONS), dtype=np.float32))
            place = EMOTIONS.index(emotion)
            weights[place] = max(weights[place], float(strength))
    return table


def base_forms(word: str) -> list[str]:
    """Return a word and its possible base forms by its ending, the most probable first.

    The caller looks the candidates up. So an ending is not cut off blindly, and ``hating`` does not
    become ``hat``.
    """
    forms = [word.removesuffix("'s")]
    for ending, repairs in (
        ("iness", ("y",)), ("ness", ("",)), ("ily", ("y",)), ("ly", ("", "le")),
        ("ies", ("y",)), ("ied", ("y",)), ("ier", ("y",)), ("iest", ("y",)),
        ("ing", ("", "e")), ("ed", ("", "e")), ("es", ("", "e")), ("s", ("",)),
        ("est", ("", "e")), ("er", ("", "e")), ("in'", ("", "e")),
    ):  # fmt: skip
        root = word.removesuffix(ending)
        if root == word:
            continue
        forms.extend(root + repair for repair in repairs if len(root + repair) >= 3)
        if len(root) > 3 and root[-1] == root[-2]:
            forms.append(root[:-1])  # sobbing → sob
    return forms


def weights_of(word: str) -> FloatArray | None:
    """Return the (8,) emotion weights of a word or its base form; None if it has no emotion."""
    table = lexicon()
    return next((table[form] for form in base_forms(word) if form in table), None)


def read_emotion(text: str) -> EmotionReading:
    """Add up the weights of the emotion words and of the punctuation of a text.

    Every text has a neutral prior, so the scores are never all zero; an empty text is neutral.
    ``!`` adds surprise, anger and joy; ``?`` adds surprise and "others"; ``…`` adds sadness.
    """
    total = np.zeros(len(EMOTIONS), dtype=np.float64)
    words = words_of(text)
    hits = negated = 0
    since_negation = NEGATION_REACH + 1
    gain = 1.0
    for word in words:
        if word in NEGATIONS:
            since_negation = 0
            continue
        since_negation += 1
        weights = weights_of(word)
        if weights is not None:
            scaled = gain * weights.astype(np.float64)
            if since_negation <= NEGATION_REACH and word not in STRENGTHENERS:
                scaled, negated = _turned_round(scaled), negated + 1
            total += scaled
            hits += 1
        gain = STRENGTHENED if word in STRENGTHENERS else WEAKENED if word in WEAKENERS else 1.0
    strength = float(total.sum())
    total[EMOTIONS.index("neutral")] += NEUTRAL_PRIOR
    total += _punctuation_hints(text)
    scores = (total / total.sum()).astype(np.float32)
    return EmotionReading(scores=scores, strength=strength, hits=hits, negated=negated)


def emotion_scores(text: str) -> FloatArray:
    """Compute (8,) float32 scores over EMOTIONS, non-negative with sum 1; see read_emotion."""
    return read_emotion(text).scores


def _turned_round(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The (8,) weights of a negated word: each emotion moves to its opposite, weakened."""
    turned = np.zeros_like(weights)
    for place, emotion in enumerate(EMOTIONS):
        opposite = OPPOSITES.get(emotion, "neutral")
        turned[EMOTIONS.index(opposite)] += NEGATED * weights[place]
    return turned


def _punctuation_hints(text: str) -> FloatArray:
    hints = dict.fromkeys(EMOTIONS, 0.0)
    exclamations = min(text.count("!"), 3)
    questions = min(text.count("?"), 2)
    hints["surprise"] += 0.12 * exclamations + 0.08 * questions
    hints["angry"] += 0.08 * exclamations
    hints["happy"] += 0.06 * exclamations
    hints["others"] += 0.06 * questions
    if "..." in text or "…" in text:
        hints["sad"] += 0.08
    return np.array([hints[emotion] for emotion in EMOTIONS], dtype=np.float32)
