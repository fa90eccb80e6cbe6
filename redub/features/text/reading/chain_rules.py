"""How joined numbers are read: chains with hyphens, European and Swiss numbers, codes, 1e-5."""

from __future__ import annotations

import re

from redub.features.text.reading.numbers import (
    cardinal,
    each_digit,
    fraction,
    number,
    plural,
)
from redub.features.text.reading.rule import BEGIN, END, NUMBER, Context, Rule, Words, rule
from redub.features.text.reading.units import UNITS

_ROUND = {
    "10": "tens", "100": "hundreds", "1000": "thousands", "10000": "tens of thousands",
    "100000": "hundreds of thousands", "1000000": "millions",
}  # fmt: skip
_LONG_UNITS = "|".join(
    sorted((re.escape(name) for name in UNITS if name.isalpha()), key=len, reverse=True)
)
_COUNTED = r"percent|per cent|thousand|million|billion|trillion|degrees"


def _chain(match: re.Match[str], context: Context) -> Words:
    """1-2-3, 4-4-2."""
    return [word for group in match[0].split("-") for word in cardinal(group)]


def _digits(match: re.Match[str], context: Context) -> Words:
    """123-45-6789, 1234-5678-9012-3456."""
    return each_digit(match[0])


def _postcode(match: re.Match[str], context: Context) -> Words | None:
    before = context.before(match.start())
    asked = before.lower() in ("zip", "code", "zipcode") or re.fullmatch("[A-Z]{2}", before)
    return each_digit(match[0]) if asked else None


def _european(match: re.Match[str], context: Context) -> Words:
    """1.000,50 and 3,5 percent: the comma is the decimal point."""
    return number(match[0].replace(".", "").replace(",", "."))


def _grouped(match: re.Match[str], context: Context) -> Words:
    """1'000 and 1_000."""
    return cardinal(re.sub(r"['_]", "", match[0]))


def _scientific(match: re.Match[str], context: Context) -> Words:
    """1e-5."""
    sign = {"-": ("minus",), "+": ("plus",)}[match[2]]
    return (*number(match[1]), "E", *sign, *cardinal(match[3]))


def _round_numbers(match: re.Match[str], context: Context) -> Words | None:
    """100s of people; the 1000s are years."""
    if context.before(match.start()).lower() == "the":
        return None
    return _ROUND[match[1].replace(",", "")].split()


def _digit_plural(match: re.Match[str], context: Context) -> Words:
    """1's and 0's."""
    return (plural(cardinal(match[1])[0]),)


def _eighths(match: re.Match[str], context: Context) -> Words:
    """7/8ths."""
    return fraction(match[1], match[2])


def _scaled(match: re.Match[str], context: Context) -> Words:
    """5M people."""
    scale = {"M": "million", "B": "billion", "bn": "billion"}[match[2]]
    return (*number(match[1]), scale)


def _inches(match: re.Match[str], context: Context) -> Words:
    """3 in. of snow."""
    return (*number(match[1]), "inch" if match[1] == "1" else "inches")


def _to(match: re.Match[str], context: Context) -> Words:
    """The dash of 8 a.m.-5 p.m., 10%-20%, 1990s–2000s."""
    return ("to",)


def _hours(match: re.Match[str], context: Context) -> Words:
    """5-6pm."""
    return (*cardinal(match[1]), "to", *cardinal(match[2]), match[3].upper(), "M")


CHAIN_RULES: tuple[Rule, ...] = (
    rule(rf"{BEGIN}[0-9]{{3}}-[0-9]{{2}}-[0-9]{{4}}(?![\w-])", _digits),
    rule(rf"{BEGIN}[0-9]{{3,4}}(?:-[0-9]{{3,4}}){{3,}}(?![\w-])", _digits),
    rule(rf"{BEGIN}[0-9]{{1,2}}(?:-[0-9]{{1,2}}){{2,}}(?![\w-])", _chain),
    rule(rf"{BEGIN}({NUMBER}) in\.(?= [a-z])", _inches),
    rule(r"(?:(?<=[mM]\.)|(?<=[%°]))[-–](?=[0-9])|(?<=[0-9]s)[-–](?='?[0-9]{2,4}s)", _to),
    rule(rf"{BEGIN}([0-9]{{1,2}})[-–]([0-9]{{1,2}})([ap])m{END}", _hours),
    rule(rf"{BEGIN}[0-9]{{5}}(?:-[0-9]{{4}})?(?![\w-]|[.,][0-9])", _postcode),
    rule(rf"{BEGIN}[0-9]{{1,3}}(?:\.[0-9]{{3}})+,[0-9]+{END}", _european),
    rule(rf"{BEGIN}[0-9]+,[0-9]{{1,2}}(?= ?(?:%|°|{_COUNTED}|{_LONG_UNITS}){END})", _european),
    rule(rf"{BEGIN}[0-9]{{1,3}}(?:(?:'[0-9]{{3}})+|(?:_[0-9]{{3}})+){END}", _grouped),
    rule(rf"{BEGIN}([0-9]+(?:\.[0-9]+)?)[eE]([+-])([0-9]{{1,3}}){END}", _scientific),
    rule(rf"{BEGIN}(1(?:0|00|,?000|0,?000|00,?000|,?000,?000))s(?= [a-z]){END}", _round_numbers),
    rule(rf"{BEGIN}([0-9])'s{END}", _digit_plural),
    rule(r"(?<![\w.,/])([0-9]{1,3})/([0-9]{1,3})(?:ths?|rds?|nds?)(?!\w)", _eighths),
    rule(rf"{BEGIN}([0-9]+(?:\.[0-9]+)?)(M|B|bn)(?= (?:people|[a-z]+s)(?!\w))", _scaled),
)  # fmt: skip
"""Come after the telephone numbers, and before all other rules of numbers."""
