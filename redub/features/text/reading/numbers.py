"""Numbers as English words: cardinals, ordinals, years, digits, decimals, fractions.

Cardinals and ordinals come from the library ``inflect``. Words have no commas, hyphens or
*and*: ``one thousand two hundred five``.
"""

from __future__ import annotations

import functools
from typing import Any

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LONGEST = 15
"""Longer numbers are read digit by digit, because they have no name."""


@functools.cache
def _engine() -> Any:
    import inflect  # here, because its import takes a noticeable time and most lines have no number

    return inflect.engine()


@functools.lru_cache(maxsize=65_536)
def cardinal(digits: str) -> tuple[str, ...]:
    """Spell a whole number: ``21`` → twenty one. Leading zeros are spoken: ``007``."""
    plain = digits.replace(",", "")
    if len(plain) > LONGEST or (len(plain) > 1 and plain[0] == "0"):
        return each_digit(plain)
    if len(plain) == 1:
        return (DIGITS[int(plain)],)
    return _words(_engine().number_to_words(plain, andword=""))


@functools.lru_cache(maxsize=4096)
def ordinal(digits: str) -> tuple[str, ...]:
    """Spell an ordinal number: ``21`` → twenty first."""
    plain = digits.replace(",", "")
    if len(plain) > LONGEST:
        return each_digit(plain)
    return _words(_engine().number_to_words(_engine().ordinal(int(plain)), andword=""))


def plural(word: str) -> str:
    """Return the plural of the name of a number: ``ninety`` → nineties, ``half`` → halves."""
    if word == "half":
        return "halves"
    if word.endswith("y"):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith("x") else "s")


def _words(spelled: str) -> tuple[str, ...]:
    return tuple(spelled.replace(",", "").replace("-", " ").split())


def each_digit(digits: str) -> tuple[str, ...]:
    """Spell every digit: ``911`` → nine one one; other characters are left out."""
    return tuple(DIGITS[int(digit)] for digit in digits if digit.isdigit())


def number(written: str) -> tuple[str, ...]:
    """Spell a number that may have commas and a fraction: ``1,205.5``, ``.5``."""
    whole, point, fraction = written.partition(".")
    words = cardinal(whole) if whole else ()
    return (*words, "point", *each_digit(fraction)) if point else words


def year(digits: str) -> tuple[str, ...]:
    """Spell a year of three or four digits: ``1905`` → nineteen oh five."""
    value = int(digits)
    if len(digits) != 4 or value % 1000 < 10:
        return cardinal(digits)
    century, rest = divmod(value, 100)
    if rest == 0:
        return (*cardinal(str(century)), "hundred")
    return (*cardinal(str(century)), *short_year(f"{rest:02d}"))


def short_year(digits: str) -> tuple[str, ...]:
    """Spell the last two digits of a year: ``05`` → oh five, ``95`` → ninety five."""
    if digits == "00":
        return ("hundred",)
    return ("oh", DIGITS[int(digits)]) if digits[0] == "0" else cardinal(digits)


def plural_of_last(words: tuple[str, ...]) -> tuple[str, ...]:
    """Put the last word into the plural: nineteen ninety → nineteen nineties."""
    return (*words[:-1], plural(words[-1]))


def fraction(over: str, under: str) -> tuple[str, ...]:
    """Spell a fraction: ``3``, ``4`` → three quarters; ``1``, ``2`` → one half."""
    names = {2: "half", 4: "quarter"}
    value = int(under)
    if value < 2 or value > 100 or len(over) > 3:
        return (*cardinal(over), "over", *cardinal(under))
    below = (names[value],) if value in names else ordinal(under)
    return (*cardinal(over), *(below if int(over) == 1 else plural_of_last(below)))
