"""The phonemes of a clip's line, from a pronouncing dictionary."""

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
    """(P,) int32 ids of a text, without pauses or word borders.

    Raises:
        FeatureAbsent: E-TEXT-NONE, nothing that is spoken; E-TEXT-OOV, with every unknown word.
    """
    return ids_of(pronounce(text))


def ids_of(words: Sequence[Word]) -> NDArray[np.int32]:
    """(P,) int32 ids of words, one after the other."""
    return np.array([id_of(phone) for word in words for phone in word.phones], dtype=np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhonemeConfig:
    """The dictionary comes with pocketsphinx, so nothing is to be set."""


class PhonemeExtractor(LocalExtractor):
    """Text in, (P, 1) int32 phoneme ids (``redub.core.phonemes``) out."""

    media: ClassVar[frozenset[Media]] = frozenset({"text"})
    Config: ClassVar[type] = PhonemeConfig

    def __init__(self, config: PhonemeConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="frames", width=1, dtype="int32")

    def extract(self, media: ClipMedia) -> NDArray[np.int32]:
        return phoneme_ids(media.clip.text)[:, None]
