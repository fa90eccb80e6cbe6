"""How signs are read, and what is not spoken: stage directions, markup, emoji, punctuation."""

from __future__ import annotations

import re

from redub.features.text.reading.rule import Context, Piece, Reader, Rule, Words, rule
from redub.features.text.reading.shape import INVISIBLE, MARK, SIGN
from redub.features.text.reading.units import UNITS

_SIGNS = {
    "&": "and", "+": "plus", "@": "at", "%": "percent", "×": "times", "÷": "divided by",
    "$": "dollar", "£": "pound", "€": "euro", "¥": "yen", "¢": "cent", "₹": "rupee",
    "±": "plus or minus", "≈": "about", "≥": "greater than or equal to", "№": "number",
    "≤": "less than or equal to", "≠": "not equal to", "√": "square root of", "∞": "infinity",
    "°": "degrees", "§": "section", "=": "equals", "\\": "backslash",
}  # fmt: skip
_PER = "day|hour|week|month|year|person|night|minute|second|head|pound|gallon"
_UNIT = "|".join(sorted((re.escape(u) for u in UNITS if u.isalpha()), key=len, reverse=True))
_ENDINGS = (
    "com|org|edu|gov|exe|pdf|txt|docx?|jpe?g|png|gif|mp3|mp4|html?|csv|zip|json|js|py|md|NET|io"
)


def _silent(kind: str) -> Reader:
    """A reader of text that is not spoken."""

    def read(match: re.Match[str], context: Context) -> list[Piece]:
        """Return the match as one piece without words."""
        return [Piece(match.start(), match.end(), (), kind)]

    return read


def _said(words: str) -> Reader:
    def read(match: re.Match[str], context: Context) -> Words:
        """Return the words of the sign."""
        return words.split()

    return read


def _per_unit(match: re.Match[str], context: Context) -> Words | None:
    """The divisor of a quantity or a price: 10 mg/ml, $5/kg."""
    before = context.shape[: match.start()]
    if not re.search(r"[0-9] ?[^\W\d_]{1,5}$|[$£€¥₹] ?[0-9][0-9.,]*$", before):
        return None
    return ("per", *UNITS[match[1]][0])


def _sign(match: re.Match[str], context: Context) -> Words:
    return _SIGNS[match[0]].split()


STAGE_RULES: tuple[Rule, ...] = (
    rule(r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]", _silent("stage direction")),
    rule(
        r"\((?![^()A-Za-z]*[0-9][^()A-Za-z]*\))(?:[^()]|\([^()]*\))*\)", _silent("stage direction")
    ),
    rule(r"</?[A-Za-z][^<>]{0,80}>", _silent("markup")),
    rule(r"(?<!\w)(?:[:;][-']?[()DP]|<3)(?!\w)", _silent("emoticon")),
    rule(r"[♪♫♬♩]+", _silent("music")),
)
"""Come before all other rules."""

SIGN_RULES: tuple[Rule, ...] = (
    rule(r"\s+", _silent("space")),
    rule(rf"[{SIGN}{INVISIBLE}{MARK}]+", _silent("sign")),
    rule(r"(?<=[0-9mM])[-–](?=[0-9]{1,2}(?::[0-9]{2}| ?[apAP]\.?[mM]))", _said("to")),
    rule(r"#(?=[0-9])", _said("number")),
    rule(r"#(?=\w)", _said("hashtag")),
    rule(r"(?<=\w)#", _said("sharp")),
    rule(r"#", _said("hash")),
    rule(r"~(?= ?[$£€0-9])", _said("about")),
    rule(rf"(?<=\w)/({_UNIT})(?!\w)", _per_unit),
    rule(rf"(?<=\w)/(?=(?:{_PER}|lb|kg)(?!\w))", _said("per")),
    rule(r"(?<=[a-z])/s(?!\w)", _said("per second")),
    rule(r"(?<=\w)/(?=\w)", _said("slash")),
    rule(r"(?:(?<=[0-9])|(?<=[0-9] ))/(?= ?[0-9])", _said("divided by")),
    rule(r"(?:(?<=[0-9])|(?<=[0-9] ))\*(?= ?[0-9])", _said("times")),
    rule(r"(?<= )-(?= [0-9])(?=.*=)", _said("minus")),
    rule(
        rf"(?<![^\s(\"'])\.(?=(?:{_ENDINGS})(?!\w))|(?<=[A-Za-z])\.(?=(?:{_ENDINGS})(?!\w))",
        _said("dot"),
    ),
    rule(r"!=(?=\s|\w)", _said("not equal to")),
    rule(r"(?<=[^\s>] )>(?= ?[0-9])", _said("greater than")),
    rule(r"<=", _said("less than or equal to")),
    rule(r">=", _said("greater than or equal to")),
    rule(r"(?<=\w )<(?= \w)|<(?= ?[0-9])", _said("less than")),
    rule(r"(?<=\w )>(?= \w)|(?<!^)(?<=[0-9])>(?=[0-9])", _said("greater than")),
    rule(r"=+(?=[>])", _silent("sign")),
    rule(r"={2,}|\+{3,}|%{2,}|@{2,}|&{2,}|\${2,}", _silent("punctuation")),
    rule("[" + re.escape("".join(_SIGNS)) + "]", _sign),
    rule(r"[<>^~|]", _silent("sign")),
    rule(r".", _silent("punctuation")),
)
"""Come after all other rules; the last one fits everything."""
