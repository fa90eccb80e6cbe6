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

from redub.core.errors import ConfigError
from redub.core.phonemes import PAUSES
from redub.features.runtime import Runtime
from redub.features.text.espeak import espeak_lookup, require_espeak, same_version
from redub.features.text.g2p import KIND as G2P
from redub.features.text.phonemes import ENGLISH, WordPhonemes, require_english
from redub.features.text.pronunciation import Saying, Word, complete, plain_phone, say
from redub.features.weights.folder import WeightFolder

KIND = "lexicon"
_COMMENT = re.compile(r"^;;;.*|(?:^|\s)#.*")
_VARIANT = re.compile(r"\(\d+\)$")
_NUMBER = re.compile(r"\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")

Then = Literal["none", "espeak", "g2p"]
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
        then: backend for words that are not in the file: none, espeak, or the network g2p.
        guess_weights: entry of the weights ledger with that network.
        espeak: version of ``espeakng-loader`` if ``then`` is ``espeak``. If set, this version must
            be installed; if empty, the installed version is filled in.
    """

    weights: str = KIND
    then: Then = "none"
    espeak: str = ""
    guess_weights: str = G2P

    def __post_init__(self) -> None:
        if self.then == "espeak":
            object.__setattr__(self, "espeak", same_version(self.espeak))
        elif self.espeak:
            raise ConfigError(
                "'espeak' is set, but 'then' is 'none'; set then = \"espeak\" or remove 'espeak'",
                code="E-CFG-VALUE",
            )


class LexiconPhonemes(WordPhonemes):
    """Compute (P, 1) int32 phoneme ids (``redub.core.phonemes``) from text and a lexicon."""

    Config: ClassVar[type] = LexiconConfig

    def __init__(
        self,
        config: Any,
        folders: Mapping[str, WeightFolder] | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        super().__init__(config, folders, runtime)
        if config.then == "espeak":
            require_espeak()
        self._entries: Entries | None = None  # read at the first text; cache keys do not need it

    @classmethod
    def weights_wanted(cls, config: Any) -> dict[str, tuple[str, str]]:
        """Return the entry with the lexicon, and that of the network if ``then`` is ``g2p``."""
        network = {G2P: (config.guess_weights, G2P)} if config.then == "g2p" else {}
        return {KIND: (config.weights, KIND), **network}

    def saying(self, text: str, language: str = ENGLISH) -> Saying:
        """Say a text by the lexicon; see :meth:`WordPhonemes.saying`.

        Raises:
            FeatureAbsent: E-TEXT-LANGUAGE.
            ModelRefusedError: the file is not a lexicon.
        """
        require_english(language, "the backend lexicon")
        if self._entries is None:
            self._entries = read_lexicon(self.folders[KIND])
        then = {"none": None, "espeak": espeak_lookup, "g2p": self.guess}[self.config.then]
        return say(
            text,
            self._entries.get,
            own=self.own,
            otherwise=then,
            otherwise_is="espeak" if self.config.then == "espeak" else "guess",
            lookup_is="lexicon",
            british=language.lower() == "en-gb",
        )

    def words(self, text: str, language: str = ENGLISH) -> list[Word]:
        """Return the words of a text with their phones; see :meth:`WordPhonemes.words`."""
        by_espeak = self.config.then == "espeak"
        place = f"the lexicon '{self.folders[KIND].name}'"
        place += " nor sayable by espeak-ng" if by_espeak else ""
        return complete(self.saying(text, language), place=place)
