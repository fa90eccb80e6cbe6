"""Convert written English to phonemes: text normalisation and a pronouncing dictionary.

Source: the CMU Pronouncing Dictionary as shipped by pocketsphinx (39 phones, no stress marks). The
order of the sources of a word: the user's own pronunciations, the dictionary, regular inflections
of its words, and a second lookup (espeak-ng, or a network that guesses). An error lists all words
of a text that no source has. All backends of ``phonemes`` use this module.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from pocketsphinx import get_model_path

from redub.core.errors import FeatureAbsent
from redub.core.phonemes import CONSONANTS, VOWELS
from redub.features.text.inflection import inflected
from redub.features.text.reading.line import Reading, SpokenWord, read_line
from redub.features.text.reading.rule import LETTER_WORD

PHONES = frozenset((*VOWELS, *CONSONANTS))
"""The 39 phones of ARPAbet that a word can consist of, without stress."""

Lookup = Callable[[str], tuple[str, ...] | None]
"""Word in lower case → its phones, or None if it is unknown."""

Source = Literal["own", "dictionary", "lexicon", "letter", "rule", "espeak", "guess"]
"""Where the phones of a word come from: the user's own file, a dictionary, the user's lexicon, the
name of a letter, a rule (inflections, interjections, the beginning of a word), espeak-ng, or a
network that guessed."""

LETTERS: dict[str, tuple[str, ...]] = {
    letter: tuple(phones.split())
    for letter, phones in zip(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (
            "EY", "B IY", "S IY", "D IY", "IY", "EH F", "JH IY", "EY CH", "AY", "JH EY", "K EY",
            "EH L", "EH M", "EH N", "OW", "P IY", "K Y UW", "AA R", "EH S", "T IY", "Y UW", "V IY",
            "D AH B AH L Y UW", "EH K S", "W AY", "Z IY",
        ),
        strict=True,
    )
}  # fmt: skip
"""Letter → the phones of its name."""

BRITISH_Z = ("Z", "EH", "D")

EXTRA: dict[str, tuple[str, ...]] = {
    "miz": ("M", "IH", "Z"), "psst": ("P", "S", "T"), "pst": ("P", "S", "T"), "brr": ("B", "ER"),
    "brrr": ("B", "ER"), "tsk": ("T", "IH", "S", "K"), "pfft": ("F", "T"), "pff": ("F",),
    "grr": ("G", "ER"), "shh": ("SH",), "shhh": ("SH",), "sh": ("SH",), "hmm": ("HH", "M"),
    "hmph": ("HH", "AH", "M", "F"), "zzz": ("Z",), "mmm": ("M",), "hm": ("HH", "M"),
    "'n'": ("AH", "N"),
    "argh": ("AA", "R", "G"), "ahh": ("AA",), "ohh": ("OW",), "nth": ("EH", "N", "TH"),
    "litre": ("L", "IY", "T", "ER"), "litres": ("L", "IY", "T", "ER", "Z"),
    "meh": ("M", "EH"), "eww": ("Y", "UW"), "phew": ("F", "Y", "UW"), "ugh": ("AH", "G"),
    "hashtag": ("HH", "AE", "SH", "T", "AE", "G"), "covid": ("K", "OW", "V", "IH", "D"),
    "messieurs": ("M", "EH", "S", "ER", "Z"), "mille": ("M", "IH", "L"),
    "kilocalorie": ("K", "IH", "L", "AH", "K", "AE", "L", "ER", "IY"),
    "kilocalories": ("K", "IH", "L", "AH", "K", "AE", "L", "ER", "IY", "Z"),
    "centiliter": ("S", "EH", "N", "T", "AH", "L", "IY", "T", "ER"),
    "centiliters": ("S", "EH", "N", "T", "AH", "L", "IY", "T", "ER", "Z"),
    "kilohertz": ("K", "IH", "L", "AH", "HH", "ER", "T", "S"),
    "gigahertz": ("G", "IH", "G", "AH", "HH", "ER", "T", "S"),
    "trillionth": ("T", "R", "IH", "L", "Y", "AH", "N", "TH"),
    "zeroth": ("Z", "IH", "R", "OW", "TH"),
    "paise": ("P", "AY", "S", "EY"), "paisa": ("P", "AY", "S", "AH"),
}  # fmt: skip
"""Words of the reading rules and interjections that the dictionary lacks."""


class Word(NamedTuple):
    """One spoken word, its phones (ARPAbet without stress), and where they come from.

    ``start`` and ``end`` are the characters of the line that the word was read from.
    """

    text: str
    phones: tuple[str, ...]
    start: int = 0
    end: int = 0
    source: Source = "dictionary"

    @property
    def guessed(self) -> bool:
        """Whether a network guessed the phones from the letters."""
        return self.source == "guess"


@functools.cache
def dictionary() -> dict[str, tuple[str, ...]]:
    """Load word → phones of its first entry, once per process (134,000 lines, 0.2 s)."""
    path = Path(get_model_path("en-us")) / "cmudict-en-us.dict"
    table: dict[str, tuple[str, ...]] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            word, *phones = line.split()
            if not word.endswith(")"):  # "the(2)" is a second pronunciation
                table.setdefault(word, tuple(phones))
    return table


def plain_phone(symbol: str) -> str | None:
    """Remove stress and case: ``AH0``, ``ah`` → ``AH``; None if it is not in :data:`PHONES`."""
    phone = symbol.upper()
    if phone[-1:] in ("0", "1", "2") and phone[:-1] in VOWELS:
        phone = phone[:-1]
    return phone if phone in PHONES else None


def builtin_lookup(word: str) -> tuple[str, ...] | None:
    """Look a lower-case word up in :func:`dictionary`."""
    return dictionary().get(word)


def spoken_words(text: str) -> list[str]:
    """Return the spoken words of a text, in lower case; see :func:`read_line`."""
    return [word.text for word in read_line(text, known_word).words]


def known_word(word: str) -> bool:
    """Whether the builtin dictionary or :data:`EXTRA` has a word."""
    return word in dictionary() or word in EXTRA


class Saying(NamedTuple):
    """How a line is said: the words with their phones, the unknown words, and how it was read."""

    words: tuple[Word, ...]
    unknown: tuple[str, ...]
    reading: Reading


def say(
    text: str,
    lookup: Lookup = builtin_lookup,
    *,
    own: Mapping[str, tuple[str, ...]] | None = None,
    otherwise: Lookup | None = None,
    otherwise_is: Source = "espeak",
    lookup_is: Source = "dictionary",
    british: bool = False,
) -> Saying:
    """Read a text and find the phones of its words.

    Args:
        lookup: first lookup, for the word as written, without outer apostrophes, and for the parts
            of a hyphenated word.
        own: the user's pronunciations; they come before everything else.
        otherwise: last lookup, for words that no other source has.
        lookup_is, otherwise_is: what the lookups are, for :attr:`Word.source`.
        british: the letter Z is called *zed*.
    """
    own = own or {}
    speaker = _Speaker(lookup, own, otherwise, lookup_is, otherwise_is, british)
    reading = read_line(text, speaker.knows, own=own.__contains__)
    said: list[Word] = []
    unknown: list[str] = []
    for place, spoken in enumerate(reading.words):
        found = speaker.find(spoken.text)
        if found is None and spoken.text.endswith("-"):  # w-what: the beginning of the next word
            following = speaker.find(reading.words[place + 1].text)
            onset = _onset(spoken.text, following[0].phones) if following else ()
            found = [Word(spoken.text, onset, source="rule")] if onset else None
        if found is None:
            unknown.append(spoken.text)
        else:
            said += [_placed(word, spoken) for word in found]
    return Saying(tuple(said), tuple(dict.fromkeys(unknown)), reading)


def _placed(word: Word, spoken: SpokenWord) -> Word:
    return word._replace(start=spoken.start, end=spoken.end)


def _onset(stutter: str, phones: tuple[str, ...]) -> tuple[str, ...]:
    """The phones of a beginning like ``w-``: at most as many consonants as it has letters."""
    onset: list[str] = []
    for phone in phones[: len(stutter) - 1]:
        if phone in VOWELS:
            break
        onset.append(phone)
    two_for_one = stutter in ("th-", "sh-", "ch-", "wh-", "ph-", "gh-", "ck-")
    return tuple(onset[:1] if two_for_one else onset) or phones[:1]


class _Speaker(NamedTuple):
    """The sources of :func:`say`."""

    lookup: Lookup
    own: Mapping[str, tuple[str, ...]]
    otherwise: Lookup | None
    lookup_is: Source
    otherwise_is: Source
    british: bool

    def knows(self, word: str) -> bool:
        """Whether a word has phones without any rule or guess.

        The builtin dictionary counts, too, so that all backends read a line as the same words.
        """
        return (
            word in self.own
            or known_word(word)
            or (self.lookup_is == "lexicon" and self.lookup(word) is not None)
        )

    def find(self, word: str) -> list[Word] | None:
        """The phones of a spoken word: one word, or the parts of a hyphenated one, or None."""
        mine = self.own.get(word.lower())
        if mine is not None:
            return [Word(word, mine, source="own")]
        if LETTER_WORD.fullmatch(word):
            name = BRITISH_Z if self.british and word[0] == "Z" else LETTERS[word[0]]
            hissing = word[0] in "SXHCJZ" and name[-1] in ("S", "Z", "CH")
            several = (("IH", "Z") if hissing else ("Z",)) if len(word) > 1 else ()
            if name[-1] in ("F", "K") and several:
                several = ("S",)
            return [Word(word, (*name, *several), source="letter")]
        forms = (word, word.rstrip("'"), word.strip("'"))
        for form in dict.fromkeys(forms):
            phones = self.own.get(form) or self.lookup(form)
            if phones is not None:
                return [Word(form, phones, source="own" if form in self.own else self.lookup_is)]
        if "-" in word.rstrip("-"):
            parts = [self.find(part) for part in word.split("-") if part]
            if any(part is None for part in parts):
                return None
            return [known for part in parts if part is not None for known in part]
        return None if word.endswith("-") else self._derived(word)

    def _derived(self, word: str) -> list[Word] | None:
        """The phones of a word that is in no dictionary as such."""
        bare = word.strip("'")
        phones = EXTRA.get(word) or EXTRA.get(bare)
        if phones is None and self.lookup_is != "espeak":
            phones = inflected(word, self._stem)
        if phones is not None:
            return [Word(bare, phones, source="rule")]
        phones = self.otherwise(bare) if self.otherwise is not None else None
        return None if phones is None else [Word(bare, phones, source=self.otherwise_is)]

    def _stem(self, word: str) -> tuple[str, ...] | None:
        return self.own.get(word) or self.lookup(word) or EXTRA.get(word)


def pronounce(text: str) -> list[Word]:
    """Return the words of a text with their phones, in order, by the builtin dictionary.

    Raises:
        FeatureAbsent: E-TEXT-NONE, no spoken word; E-TEXT-OOV, with every unknown word.
    """
    return complete(say(text))


RESPELL = "respell them in the text, or give their phones in pronunciations.csv"
"""What to do about unknown words."""


def complete(
    said: Saying,
    *,
    place: str = "the pronouncing dictionary",
    advice: str = RESPELL,
) -> list[Word]:
    """Return the words of a line if all of them have phones.

    Args:
        place: name of the dictionary, for the message.
        advice: what to do about unknown words, for the message.

    Raises:
        FeatureAbsent: E-TEXT-NONE, no spoken word; E-TEXT-OOV, with every unknown word.
    """
    if not said.reading.words:
        raise FeatureAbsent("no spoken word in the text", code="E-TEXT-NONE")
    if said.unknown:
        raise FeatureAbsent(
            f"not in {place}: {', '.join(said.unknown)}; {advice}", code="E-TEXT-OOV"
        )
    return list(said.words)
