"""Phones of a regular English inflection, from the phones of its stem: ``atmospheres``.

Only endings whose sound follows from the last phone of the stem are added, so the result is no
guess: plural, possessive, third person, past, *-ing*, *-ly*, *-ness*, *-less* and the contractions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from redub.core.phonemes import VOWELS

_HISSING = frozenset({"S", "Z", "SH", "ZH", "CH", "JH"})
_UNVOICED = frozenset({"P", "T", "K", "F", "TH", "S", "SH", "CH", "HH"})
_VOWEL_LETTERS = "aeiou"
_CONTRACTIONS = {"'ll": "L", "'ve": "V", "'d": "D"}
_ENDINGS = {
    "ly": ("L", "IY"), "ness": ("N", "AH", "S"), "less": ("L", "AH", "S"),
    "ish": ("IH", "SH"), "like": ("L", "AY", "K"),
}  # fmt: skip


def inflected(word: str, lookup: Callable[[str], tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Return the phones of an inflected word whose stem is known; None if no stem is.

    Args:
        word: lower case.
        lookup: the dictionary of stems.
    """
    for stem, ending in _stems(word):
        phones = lookup(stem) if len(stem) > 1 else None
        if phones is None and "'" in stem:  # y'all'd've
            phones = inflected(stem, lookup)
        if phones:
            return (*phones, *_sound(ending, phones[-1]))
    return None


def _stems(word: str) -> Iterator[tuple[str, str]]:
    """Yield possible stems, each with the kind of its ending."""
    for ending in _CONTRACTIONS:
        if word.endswith(ending):
            yield word.removesuffix(ending), ending
    if word.endswith("in'"):
        yield word[:-1] + "g", ""
        for stem in _before_vowel(word.removesuffix("in'")):
            yield stem, "in"
    if word.endswith("s'"):
        yield word[:-1], ""
        yield word[:-2], "s"
    if word.endswith("'s"):
        yield word[:-2], "s"
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        yield word[:-1], "s"
        if word.endswith("ies"):
            yield word[:-3] + "y", "s"
        elif word.endswith("es"):
            yield word[:-2], "s"
    if word.endswith("ed"):
        for stem in _before_vowel(word[:-2]):
            yield stem, "d"
        if word.endswith("ied"):
            yield word[:-3] + "y", "d"
    if word.endswith("ing"):
        for stem in _before_vowel(word[:-3]):
            yield stem, "ing"
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + 2:
            yield word.removesuffix(ending), ending


def _before_vowel(stem: str) -> Iterator[str]:
    """Yield the stems that may be before *-ed* and *-ing*: walk, hope, stop."""
    if len(stem) < 2:
        return
    doubled = len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] not in _VOWEL_LETTERS
    if doubled and stem[-1] in "lsfz":  # call and hiss end so themselves
        yield stem
    if doubled:
        yield stem[:-1]
    # hoping comes from hope, not from hop; listening and walking have no stem with an e
    if re.search(r"[aeiou][^aeiouwxy]$", stem) and not re.search(r"[aeiou]{2}.$", stem):
        yield stem + "e"
    yield stem
    yield stem + "e"


def _sound(ending: str, last: str) -> tuple[str, ...]:
    """The phones of an ending after the last phone of the stem."""
    if ending == "s":
        if last in _HISSING:
            return ("IH", "Z")
        return ("S",) if last in _UNVOICED else ("Z",)
    if ending == "d":
        if last in ("T", "D"):
            return ("IH", "D")
        return ("T",) if last in _UNVOICED else ("D",)
    if ending in ("ing", "in"):
        return ("IH", "NG") if ending == "ing" else ("AH", "N")
    if ending in _CONTRACTIONS:
        sound = _CONTRACTIONS[ending]
        bare = last in VOWELS if sound != "D" else last not in ("T", "D")
        return (sound,) if bare else ("AH", sound)
    return _ENDINGS.get(ending, ())
