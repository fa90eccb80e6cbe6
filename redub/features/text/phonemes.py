"""The phonemes of an utterance, from a pronouncing dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from redub.core.phonemes import id_of
from redub.core.types import ClipMedia
from redub.features.base import FeatureSchema, LocalExtractor, Media
from redub.features.text.pronunciation import Word, pronounce


def phoneme_ids(text: str) -> NDArray[np.int32]:
    """Convert a text to (P,) int32 phoneme ids, without pauses and word borders.

    Raises:
        FeatureAbsent: E-TEXT-NONE, no spoken word; E-TEXT-OOV, with every unknown word.
    """
    return ids_of(pronounce(text))


def ids_of(words: Sequence[Word]) -> NDArray[np.int32]:
    """Concatenate the phoneme ids of words, (P,) int32."""
    return np.array([id_of(phone) for word in words for phone in word.phones], dtype=np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhonemeConfig:
    """No settings: the dictionary is that of pocketsphinx."""


class PhonemeExtractor(LocalExtractor):
    """Compute (P, 1) int32 phoneme ids (``redub.core.phonemes``) from text."""

    media: ClassVar[frozenset[Media]] = frozenset({"text"})
    Config: ClassVar[type] = PhonemeConfig

    def __init__(self, config: PhonemeConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One int32 per phoneme."""
        return FeatureSchema(kind="frames", width=1, dtype="int32")

    def extract(self, media: ClipMedia) -> NDArray[np.int32]:
        """Return the phoneme ids of the text; raises as :func:`phoneme_ids`."""
        return phoneme_ids(media.clip.text)[:, None]
