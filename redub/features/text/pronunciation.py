"""Written English to phonemes: text normalisation, and words looked up in a pronouncing dictionary.

Source: the CMU Pronouncing Dictionary as shipped by pocketsphinx (39 phones, no stress marks).
A word that is not in it is never guessed: the caller is told all unknown words at once. The makers
``lexicon`` and ``espeak`` bring their own way of looking up a word, with the same rules around it.
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
"""Word in lower case → its phones, or None where it is unknown."""

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
    """One spoken word: how it was looked up, and its phones (ARPAbet without stress)."""

    text: str
    phones: tuple[str, ...]


@functools.cache
def dictionary() -> dict[str, tuple[str, ...]]:
    """Word to the phones of its first entry; read once per process (134,000 lines, 0.2 s)."""
    path = Path(get_model_path("en-us")) / "cmudict-en-us.dict"
    table: dict[str, tuple[str, ...]] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            word, *phones = line.split()
            if not word.endswith(")"):  # "the(2)" is a second way to say it
                table.setdefault(word, tuple(phones))
    return table


def spoken_words(text: str) -> list[str]:
    """Lower-case words as they are said: digits and signs spelled out, punctuation gone.

    Apostrophes stay (``don't``), accents go; hyphens stay until the dictionary is asked. Square and
    round brackets hold stage directions, as in subtitles, and are dropped with their content.
    """
    unaccented = unicodedata.normalize("NFKD", text.lower())
    plain = "".join(letter for letter in unaccented if not unicodedata.combining(letter))
    plain = plain.replace("’", "'").replace("‘", "'").replace("`", "'")
    plain = re.sub(r"\[[^\]]*\]|\([^)]*\)", " ", plain)
    for sign, said in SIGNS.items():
        plain = plain.replace(sign, said)
    plain = re.sub(r"(?<=\d),(?=\d{3}\b)", "", plain)
    plain = re.sub(r"\d+(?:\.\d+)?", lambda match: f" {spell_number(match.group())} ", plain)
    plain = re.sub(r"[-‐-―]{2,}|[–—―]", " ", plain)
    words: list[str] = []
    for token in re.findall(r"[^\W_]+(?:['-][^\W_]+)*'?|'[^\W_]+(?:['-][^\W_]+)*", plain):
        words.extend(ABBREVIATIONS.get(token, token).split())
    return words


def spell_number(digits: str) -> str:
    """A number from 0 to 999,999, decimals digit by digit; longer numbers digit by digit too."""
    whole, _, fraction = digits.partition(".")
    if int(whole) > LARGEST_NUMBER or (len(whole) > 1 and whole.startswith("0")):
        said = " ".join(ONES[int(digit)] for digit in whole)
    else:
        said = _cardinal(int(whole))
    if fraction:
        said += " point " + " ".join(ONES[int(digit)] for digit in fraction)
    return said


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
    """``AH0``, ``ah`` → ``AH``; None for anything that is not one of :data:`PHONES`."""
    phone = symbol.upper()
    if phone[-1:] in ("0", "1", "2") and phone[:-1] in VOWELS:
        phone = phone[:-1]
    return phone if phone in PHONES else None


def builtin_lookup(word: str) -> tuple[str, ...] | None:
    return dictionary().get(word)


def pronounce(
    text: str,
    lookup: Lookup = builtin_lookup,
    *,
    otherwise: Lookup | None = None,
    place: str = "the pronouncing dictionary",
) -> list[Word]:
    """The words of a text with their phones, in order.

    Args:
        lookup: asked first, for a word as it stands, without stray apostrophes, and for the parts
            of a hyphenated word.
        otherwise: asked for what ``lookup`` does not know.
        place: where it was looked for, for the message.

    Raises:
        FeatureAbsent: E-TEXT-NONE, nothing that is spoken; E-TEXT-OOV, with every unknown word.
    """
    words = spoken_words(text)
    if not words:
        raise FeatureAbsent("no spoken word in the text", code="E-TEXT-NONE")
    said: list[Word] = []
    unknown: list[str] = []
    for word in words:
        parts = _known_parts(word, lookup, otherwise)
        if parts is None:
            unknown.append(word)
        else:
            said.extend(parts)
    if unknown:
        names = ", ".join(dict.fromkeys(unknown))
        raise FeatureAbsent(f"not in {place}: {names}; respell them in the text", code="E-TEXT-OOV")
    return said


def _known_parts(word: str, lookup: Lookup, otherwise: Lookup | None) -> list[Word] | None:
    """The word as one entry, without stray apostrophes, or as its hyphenated parts."""
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
