"""The phonemes of an utterance, from a pronouncing dictionary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import FeatureAbsent
from redub.core.phonemes import id_of
from redub.core.types import ClipMedia
from redub.features.base import FeatureSchema, Media, WeightUser
from redub.features.runtime import Runtime
from redub.features.text.g2p import KIND as G2P
from redub.features.text.g2p import Graphemes, read_graphemes
from redub.features.text.own_words import FILE_NAME, ROLE, OwnWords, read_own_words
from redub.features.text.pronunciation import (
    RESPELL,
    Saying,
    Word,
    complete,
    pronounce,
    say,
)
from redub.features.weights.folder import WeightFolder

Guess = Literal["unknown", "never"]

WordsOf = Callable[[str, str], list[Word]]
"""Text and its language (``en``, ``en-GB``, ``de``) → its words with their phones."""

ENGLISH = "en"


def phoneme_ids(text: str) -> NDArray[np.int32]:
    """Convert a text to (P,) int32 phoneme ids, without pauses and word borders.

    Raises:
        FeatureAbsent: E-TEXT-NONE, no spoken word; E-TEXT-OOV, with every unknown word.
    """
    return ids_of(pronounce(text))


def ids_of(words: Sequence[Word]) -> NDArray[np.int32]:
    """Concatenate the phoneme ids of words, (P,) int32."""
    return np.array([id_of(phone) for word in words for phone in word.phones], dtype=np.int32)


def is_english(language: str) -> bool:
    """Whether a language tag (``en``, ``en-US``) is English."""
    return language.lower().partition("-")[0] == ENGLISH


def require_english(language: str, what: str) -> None:
    """Refuse a text of another language, which English rules would read as nonsense.

    Raises:
        FeatureAbsent: E-TEXT-LANGUAGE.
    """
    if not is_english(language):
        raise FeatureAbsent(
            f"the language is '{language}', and {what} reads English; set backend = \"espeak\" in "
            "[features.phonemes] (`pip install 'redub[espeak]'`), or correct [footage] language "
            "or the column 'language' of languages.csv",
            code="E-TEXT-LANGUAGE",
        )


class WordPhonemes(WeightUser):
    """Base of the backends of ``phonemes``: (P, 1) int32 phoneme ids of a clip's words.

    The user's own pronunciations (role ``pronunciations``) come first in all of them. Files are
    read at the first text, because cache keys do not need them.
    """

    version: ClassVar[int] = 2
    media: ClassVar[frozenset[Media]] = frozenset({"text"})

    def __init__(
        self,
        config: Any,
        folders: Mapping[str, WeightFolder] | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        super().__init__(config, folders or {}, runtime or Runtime())
        self._own: OwnWords | None = None
        self._graphemes: Graphemes | None = None

    @classmethod
    def weights_wanted(cls, config: Any) -> dict[str, tuple[str, str]]:
        """Return no files: the dictionary is part of a library."""
        return {}

    @property
    def schema(self) -> FeatureSchema:
        """One int32 per phoneme."""
        return FeatureSchema(kind="frames", width=1, dtype="int32")

    @property
    def own(self) -> OwnWords:
        """The user's pronunciations; empty without a file.

        Raises:
            ConfigError: E-CFG-TABLE, an error in the file, with its line.
        """
        if self._own is None:
            folder = self.folders.get(ROLE)
            self._own = read_own_words(folder.path / FILE_NAME) if folder else {}
        return self._own

    def guess(self, word: str) -> tuple[str, ...] | None:
        """Guess the phones of a word by the network; None if it cannot, or without weights.

        Raises:
            ModelRefusedError: the weights are not those of the network.
        """
        folder = self.folders.get(G2P)
        if folder is None:
            return None
        if self._graphemes is None:
            self._graphemes = read_graphemes(folder)
        return self._graphemes.guess(word)

    def saying(self, text: str, language: str = ENGLISH) -> Saying:
        """Say a text as far as its words are known.

        Raises:
            FeatureAbsent: E-TEXT-LANGUAGE.
        """
        raise NotImplementedError

    def words(self, text: str, language: str = ENGLISH) -> list[Word]:
        """Return the words of a text with their phones.

        Raises:
            FeatureAbsent: E-TEXT-NONE; E-TEXT-LANGUAGE; E-TEXT-OOV, with every unknown word.
            ModelRefusedError: a file of weights is not what it should be.
            ConfigError: an error in the user's pronunciations.
        """
        return complete(self.saying(text, language))

    def guessed(self, text: str, language: str = ENGLISH) -> tuple[str, ...]:
        """Return the words of a text whose phones the network guesses, each once."""
        said = self.saying(text, language)
        return tuple(dict.fromkeys(word.text for word in said.words if word.guessed))

    def extract(self, media: ClipMedia) -> NDArray[np.int32]:
        """Return the phoneme ids of the text; raises as :meth:`words`."""
        return ids_of(self.words(media.clip.text, media.clip.language))[:, None]


class ReadsWords:
    """An extractor that needs the words behind the ``phonemes`` feature of a clip.

    ``words_of`` is set to :meth:`WordPhonemes.words` of the project's backend of ``phonemes``.
    """

    words_of: WordsOf | None = None

    def spoken(self, text: str, language: str) -> list[Word]:
        """Return the words of a text; by default those of the builtin dictionary."""
        if self.words_of is None:
            require_english(language, "the builtin dictionary")
            return pronounce(text)
        return self.words_of(text, language)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhonemeConfig:
    """Settings of the builtin backend; the dictionary is that of pocketsphinx.

    Attributes:
        guess: ``unknown``: a network guesses words that the dictionary lacks, where its weights are
            recorded; ``never``: such a word is an error.
        weights: entry of the weights ledger with that network.
    """

    guess: Guess = "unknown"
    weights: str = G2P


class PhonemeExtractor(WordPhonemes):
    """Compute (P, 1) int32 phoneme ids (``redub.core.phonemes``) from text."""

    Config: ClassVar[type] = PhonemeConfig

    @classmethod
    def weights_optional(cls, config: Any) -> dict[str, tuple[str, str]]:
        """Return the network for unknown words."""
        return {G2P: (config.weights, G2P)} if config.guess == "unknown" else {}

    def saying(self, text: str, language: str = ENGLISH) -> Saying:
        """Say a text by the dictionary; see :meth:`WordPhonemes.saying`."""
        require_english(language, "the builtin dictionary")
        return say(
            text,
            own=self.own,
            otherwise=self.guess,
            otherwise_is="guess",
            british=language.lower() == "en-gb",
        )

    def words(self, text: str, language: str = ENGLISH) -> list[Word]:
        """Return the words of a text with their phones; see :meth:`WordPhonemes.words`."""
        advice = RESPELL
        if self.config.guess == "unknown" and G2P not in self.folders:
            advice += "; to guess unknown words, type `redub weights get g2p`"
        return complete(self.saying(text, language), advice=advice)
