"""Phonemes from a pronunciation lexicon of the user, in LibriSpeech, CMU or MFA format.

A line has a word and its phones in ARPAbet; columns of numbers between them (MFA's probabilities)
are skipped. Stress is dropped, because the other backends have none. Of several pronunciations of a
word the first one in the file counts. A word that is not in the file is an error, unless the
setting ``then`` names a second backend.
Source: the formats of openslr.org/11 (``WORD<tab>P1 P2``), cmudict 0.7b (``;;;`` comments,
``WORD(1)``), cmudict.dict (``word(2)``, ``# comment``) and the Montreal Forced Aligner.
"""

from __future__ import annotations

import codecs
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ConfigError
from redub.core.phonemes import PAUSES
from redub.core.types import ClipMedia
from redub.features.base import FeatureSchema, Media, WeightUser
from redub.features.runtime import Runtime
from redub.features.text.espeak import espeak_lookup, require_espeak, same_version
from redub.features.text.phonemes import ids_of
from redub.features.text.pronunciation import Word, plain_phone, pronounce
from redub.features.weights.folder import WeightFolder

KIND = "lexicon"
_COMMENT = re.compile(r"^;;;.*|(?:^|\s)#.*")
_VARIANT = re.compile(r"\(\d+\)$")
_NUMBER = re.compile(r"\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")

Then = Literal["none", "espeak"]
Entries = dict[str, tuple[str, ...]]


def read_lexicon(folder: WeightFolder) -> Entries:
    """Read a lexicon: word in lower case → phones of its first entry.

    Raises:
        ModelRefusedError: E-MODEL-FILE, not exactly one file is recorded, the file is UTF-16, or a
            line is not a word with ARPAbet phones.
    """
    if len(folder.files) != 1:
        raise folder.refused(
            f"holds {len(folder.files)} files ({', '.join(sorted(folder.files)[:3])}); record the "
            "one lexicon: `redub weights add lexicon FILE`",
            code="E-MODEL-FILE",
        )
    (name,) = folder.files
    entries: Entries = {}
    for number, line in enumerate(_lines(folder, name), start=1):
        columns = _COMMENT.sub("", line).split()
        if not columns:
            continue
        word, symbols = columns[0], _after_numbers(columns[1:])
        if symbols and all(symbol.lower() in PAUSES for symbol in symbols):
            continue  # "<unk> spn": a noise, not a word
        phones = [plain_phone(symbol) for symbol in symbols]
        bad = [symbol for symbol, phone in zip(symbols, phones, strict=True) if phone is None]
        if bad or not symbols:
            of = reprlib.repr(word)
            what = f"the phone {reprlib.repr(bad[0])} of {of}" if bad else f"no phones for {of}"
            raise folder.refused(
                f"{name} line {number} has {what}; wanted a word and its ARPAbet phones",
                code="E-MODEL-FILE",
            )
        entries.setdefault(_VARIANT.sub("", word).lower(), tuple(p for p in phones if p))
    if not entries:
        raise folder.refused(f"{name} has no word in it", code="E-MODEL-FILE")
    return entries


def _lines(folder: WeightFolder, name: str) -> list[str]:
    data = folder.file(name).read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:2]:
        # Otherwise the file would be read as Latin-1, with an error message about wrong phones.
        raise folder.refused(
            f"{name} looks like UTF-16 (Notepad calls it Unicode); save it as UTF-8",
            code="E-MODEL-FILE",
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # cmudict 0.7b has a few accented words in Latin-1
    return text.splitlines()


def _after_numbers(columns: list[str]) -> list[str]:
    for place, column in enumerate(columns):
        if not _NUMBER.fullmatch(column):
            return columns[place:]
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class LexiconConfig:
    """Settings of the backend ``lexicon`` of the feature ``phonemes``.

    Attributes:
        weights: entry of the weights ledger.
        then: backend for words that are not in the file.
        espeak: version of ``espeakng-loader`` if ``then`` is ``espeak``. If set, this version must
            be installed; if empty, the installed version is filled in.
    """

    weights: str = KIND
    then: Then = "none"
    espeak: str = ""

    def __post_init__(self) -> None:
        if self.then == "espeak":
            object.__setattr__(self, "espeak", same_version(self.espeak))
        elif self.espeak:
            raise ConfigError(
                "'espeak' is set, but 'then' is 'none'; set then = \"espeak\" or remove 'espeak'",
                code="E-CFG-VALUE",
            )


class LexiconPhonemes(WeightUser):
    """Compute (P, 1) int32 phoneme ids (``redub.core.phonemes``) from text and a lexicon."""

    media: ClassVar[frozenset[Media]] = frozenset({"text"})
    Config: ClassVar[type] = LexiconConfig

    def __init__(self, config: Any, folders: Mapping[str, WeightFolder], runtime: Runtime) -> None:
        super().__init__(config, folders, runtime)
        if config.then == "espeak":
            require_espeak()
        self._entries: Entries | None = None  # read at the first text; cache keys do not need it

    @classmethod
    def weights_wanted(cls, config: Any) -> dict[str, tuple[str, str]]:
        """Return the entry with the lexicon."""
        return {KIND: (config.weights, KIND)}

    @property
    def schema(self) -> FeatureSchema:
        """One int32 per phoneme."""
        return FeatureSchema(kind="frames", width=1, dtype="int32")

    def words(self, text: str) -> list[Word]:
        """Return the words of a text with their phones.

        Raises:
            FeatureAbsent: E-TEXT-NONE; E-TEXT-OOV, with every unknown word.
            ModelRefusedError: the file is not a lexicon.
        """
        folder = self.folders[KIND]
        if self._entries is None:
            self._entries = read_lexicon(folder)
        by_espeak = self.config.then == "espeak"
        place = f"the lexicon '{folder.name}'" + (" nor sayable by espeak-ng" if by_espeak else "")
        return pronounce(
            text,
            self._entries.get,
            otherwise=espeak_lookup if by_espeak else None,
            place=place,
        )

    def extract(self, media: ClipMedia) -> NDArray[np.int32]:
        """Return the phoneme ids of the text; raises as :meth:`words`."""
        return ids_of(self.words(media.clip.text))[:, None]
