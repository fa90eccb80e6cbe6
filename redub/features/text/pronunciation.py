"""Convert written English to phonemes: text normalisation and a pronouncing dictionary.

Source: the CMU Pronouncing Dictionary as shipped by pocketsphinx (39 phones, no stress marks).
Pronunciations of unknown words are not guessed: an error lists all unknown words of a text. The
backends ``lexicon`` and ``espeak`` use other lookup functions with the same text normalisation.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pocketsphinx import get_model_path

from redub.core.errors import FeatureAbsent
from redub.core.phonemes import CONSONANTS, VOWELS

PHONES = frozenset((*VOWELS, *CONSONANTS))
"""The 39 phones of ARPAbet that a word can consist of, without stress."""

Lookup = Callable[[str], tuple[str, ...] | None]
"""Word in lower case → its phones, or None if it is unknown."""

ABBREVIATIONS = {
    "mr": "mister", "mrs": "missus", "ms": "miz", "dr": "doctor", "st": "saint", "jr": "junior",
    "sr": "senior", "vs": "versus", "etc": "et cetera", "prof": "professor", "capt": "captain",
}  # fmt: skip
SIGNS = {
    "&": " and ",
    "%": " percent ",
    "+": " plus ",
    "=": " equals ",
    "@": " at ",
    "$": " dollar ",
}

ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
TENS = (
    "zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
)  # fmt: skip
LARGEST_NUMBER = 999_999


class Word(NamedTuple):
    """One spoken word: the looked up form, and its phones (ARPAbet without stress)."""

    text: str
    phones: tuple[str, ...]


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


def spoken_words(text: str) -> list[str]:
    """Normalise a text to lower-case spoken words, with numbers and signs spelled out.

    Apostrophes (``don't``) and hyphens stay; accents and punctuation are removed. Square and round
    brackets are removed with their content, because subtitles use them for stage directions.
    """
    unaccented = unicodedata.normalize("NFKD", text.lower())
    plain = "".join(letter for letter in unaccented if not unicodedata.combining(letter))
    plain = plain.replace("’", "'").replace("‘", "'").replace("`", "'")
    plain = re.sub(r"\[[^\]]*\]|\([^)]*\)", " ", plain)
    for sign, spoken in SIGNS.items():
        plain = plain.replace(sign, spoken)
    plain = re.sub(r"(?<=\d),(?=\d{3}\b)", "", plain)
    plain = re.sub(r"\d+(?:\.\d+)?", lambda match: f" {spell_number(match.group())} ", plain)
    plain = re.sub(r"[-‐-―]{2,}|[–—―]", " ", plain)
    words: list[str] = []
    for token in re.findall(r"[^\W_]+(?:['-][^\W_]+)*'?|'[^\W_]+(?:['-][^\W_]+)*", plain):
        words.extend(ABBREVIATIONS.get(token, token).split())
    return words


def spell_number(digits: str) -> str:
    """Spell a number from 0 to 999,999; larger numbers and decimals are spelled digit by digit.

    Numbers with a leading zero are spelled digit by digit, too.
    """
    whole, _, fraction = digits.partition(".")
    if int(whole) > LARGEST_NUMBER or (len(whole) > 1 and whole.startswith("0")):
        spelled = " ".join(ONES[int(digit)] for digit in whole)
    else:
        spelled = _cardinal(int(whole))
    if fraction:
        spelled += " point " + " ".join(ONES[int(digit)] for digit in fraction)
    return spelled


def _cardinal(number: int) -> str:
    if number < 20:
        return ONES[number]
    if number < 100:
        rest = number % 10
        return TENS[number // 10] + (f" {ONES[rest]}" if rest else "")
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = number % size
            return f"{_cardinal(number // size)} {name}" + (f" {_cardinal(rest)}" if rest else "")
    raise AssertionError(number)


def plain_phone(symbol: str) -> str | None:
    """Remove stress and case: ``AH0``, ``ah`` → ``AH``; None if it is not in :data:`PHONES`."""
    phone = symbol.upper()
    if phone[-1:] in ("0", "1", "2") and phone[:-1] in VOWELS:
        phone = phone[:-1]
    return phone if phone in PHONES else None


def builtin_lookup(word: str) -> tuple[str, ...] | None:
    """Look a lower-case word up in :func:`dictionary`."""
    return dictionary().get(word)


def pronounce(
    text: str,
    lookup: Lookup = builtin_lookup,
    *,
    otherwise: Lookup | None = None,
    place: str = "the pronouncing dictionary",
) -> list[Word]:
    """Return the words of a text with their phones, in order.

    Args:
        lookup: first lookup, for the word as written, without outer apostrophes, and for the parts
            of a hyphenated word.
        otherwise: second lookup, for words that ``lookup`` does not know.
        place: name of the dictionary, for the message.

    Raises:
        FeatureAbsent: E-TEXT-NONE, no spoken word; E-TEXT-OOV, with every unknown word.
    """
    words = spoken_words(text)
    if not words:
        raise FeatureAbsent("no spoken word in the text", code="E-TEXT-NONE")
    found: list[Word] = []
    unknown: list[str] = []
    for word in words:
        parts = _known_parts(word, lookup, otherwise)
        if parts is None:
            unknown.append(word)
        else:
            found.extend(parts)
    if unknown:
        names = ", ".join(dict.fromkeys(unknown))
        raise FeatureAbsent(f"not in {place}: {names}; respell them in the text", code="E-TEXT-OOV")
    return found


def _known_parts(word: str, lookup: Lookup, otherwise: Lookup | None) -> list[Word] | None:
    """The word as one entry, without outer apostrophes, or as its hyphenated parts, or None."""
    for form in (word, word.rstrip("'"), word.strip("'")):
        phones = lookup(form)
        if phones is not None:
            return [Word(form, phones)]
    if "-" in word:
        parts = [_known_parts(part, lookup, otherwise) for part in word.split("-") if part]
        if any(part is None for part in parts):
            return None
        return [known for part in parts if part is not None for known in part]
    bare = word.strip("'")
    phones = otherwise(bare) if otherwise is not None else None
    return None if phones is None else [Word(bare, phones)]
