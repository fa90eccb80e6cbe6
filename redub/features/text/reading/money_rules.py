"""How amounts of money are read: $5, US$3.50, €1.234,50, $3-4 million, 5 USD."""

from __future__ import annotations

import re

from redub.features.text.reading.rule import (
    BEGIN,
    END,
    MINUS,
    NUMBER,
    Context,
    Rule,
    Words,
    rule,
)
from redub.features.text.reading.units import CODES, COUNTRIES, CURRENCIES, SCALES, money_words

_MONEY = "".join(re.escape(sign) for sign in CURRENCIES)
_COUNTRY = "|".join(sorted(COUNTRIES, key=len, reverse=True))
_CODE = "|".join(CODES)
_SCALE = "|".join(sorted(SCALES, key=len, reverse=True))
_EUROPEAN = r"[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]{2}(?![0-9])|[0-9]+,[0-9]{2}(?![0-9])"


def _money(match: re.Match[str], context: Context) -> Words:
    minus, land, sign, amount, most, scale = match.groups()
    if re.fullmatch(r"[0-9]+,[0-9]{2}|[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]{2}", amount):
        amount = amount.replace(".", "").replace(",", ".")  # €1.234,50
    singular = context.after(match.end()).lower() in ("bill", "note", "coin", "banknote")
    said = money_words(sign, amount, most, SCALES.get(scale or "", ""), singular=singular)
    return (*(("minus",) if minus else ()), *_of_country(said, COUNTRIES.get(land or "", "")))


def _of_country(said: Words, country: str) -> Words:
    """Put the country before the first name of the currency: twenty *canadian* dollars."""
    if not country:
        return said
    place = next(n for n, word in enumerate(said) if word.startswith(("dollar", "cent")))
    return (*said[:place], *country.split(), *said[place:])


def _minus_inside(match: re.Match[str], context: Context) -> Words:
    """$-5."""
    return ("minus", *money_words(match[1], match[2], None, ""))


def _money_after(match: re.Match[str], context: Context) -> Words:
    return money_words(match[2], match[1], None, "")


def _coded_money(match: re.Match[str], context: Context) -> Words:
    """5 USD, EUR 20."""
    amount, code, country = match[1] or match[4], match[2] or match[3], ""
    sign, country = CODES[code]
    return _of_country(money_words(sign, amount, None, ""), country)


MONEY_RULES: tuple[Rule, ...] = (
    rule(rf"([{_MONEY}])-({NUMBER})(?![\w-])", _minus_inside),
    rule(rf"({MINUS})?(?:(?<!\w)({_COUNTRY}))?([{_MONEY}])"
         rf" ?({_EUROPEAN}|{NUMBER})"
         rf"(?: ?[-–] ?[{_MONEY}]?({NUMBER}))?(?: ?({_SCALE})(?!\w))?", _money),
    rule(rf"{BEGIN}({NUMBER}) ?([{_MONEY}]){END}", _money_after),
    rule(rf"{BEGIN}({NUMBER}) ?({_CODE}){END}|(?<!\w)({_CODE}) ?({NUMBER}){END}", _coded_money),
)  # fmt: skip
"""In order: the first rule that fits is used."""
