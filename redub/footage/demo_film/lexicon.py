"""The pronunciation of the words of the demo film.

Source: first entries of the CMU Pronouncing Dictionary (Carnegie Mellon University, BSD licence)
as the pocketsphinx wheel ships it. So an aligner with that dictionary expects the spoken phones.
The digit ``1`` at the accented vowel of a word was added here.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import NamedTuple

from redub.core.errors import ConfigError


class Phone(NamedTuple):
    """One ARPABET phone of a sentence, without stress digit; ``word`` is the index of its word."""

    symbol: str
    accented: bool
    word: int


@cache
def lexicon() -> dict[str, tuple[str, ...]]:
    """Load the lexicon: lower-case word → phones; the accented vowel, if any, has the digit 1."""
    text = files("redub.footage.demo_film").joinpath("lexicon.txt").read_text(encoding="ascii")
    rows = (line.split() for line in text.splitlines())
    return {word: tuple(phones) for word, *phones in rows}


def phones_of(sentence: str) -> list[Phone]:
    """Return the phones of a sentence; case and punctuation do not matter.

    Raises:
        ConfigError: E-TEXT-OOV, a word is not in the lexicon.
    """
    words = [word.strip(".,!?").lower() for word in sentence.split()]
    unknown = sorted({word for word in words if word not in lexicon()})
    if unknown:
        raise ConfigError(f"the demo lexicon has no {', '.join(unknown)}", code="E-TEXT-OOV")
    return [
        Phone(symbol.rstrip("1"), symbol.endswith("1"), index)
        for index, word in enumerate(words)
        for symbol in lexicon()[word]
    ]
