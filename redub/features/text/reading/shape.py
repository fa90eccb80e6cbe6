"""The shape of a line: the same text with one plain character for every original character.

The reading rules match the shape, so they see one apostrophe, one space and ASCII digits, and the
place of a match in the shape is its place in the line.
"""

from __future__ import annotations

import unicodedata

NUMERIC = "\ue000"
"""Stands for a single character with a number, as ½, ² or Ⅷ."""
INVISIBLE = "\ue001"
"""Stands for a character that has no picture, as a zero-width space or a soft hyphen."""
SIGN = "\ue002"
"""Stands for a character that no rule can speak, as an emoji."""
MARK = "\u0301"
"""Stands for any combining mark (accents of decomposed text, vowel signs)."""

LETTER = rf"[^\W\d_][{MARK}{INVISIBLE}]*"
"""Pattern of one letter of any script, with its combining marks."""

_PLAIN = {
    **dict.fromkeys("’‘ʼ`´′＇‛", "'"),
    **dict.fromkeys("“”„‟«»″＂", '"'),
    **dict.fromkeys("‐‑−﹣－", "-"),
    **dict.fromkeys("–‒", "–"),
    **dict.fromkeys("—―", "—"),
    "٪": "%",
    "٫": ".",
    "٬": ",",
    "⁄": "/",
    "∕": "/",
    "º": "°",
    "˚": "°",
}
_SPOKEN = frozenset("&%+=@$£€¥¢#×÷~/°§<>^\\_…•♪♫♬♩*|'\"-–—₹±≈≥≤≠√∞№")
"""Signs and marks that a rule knows."""
_LATIN = str.maketrans(
    {"ß": "ss", "ø": "o", "æ": "ae", "œ": "oe", "đ": "d", "ł": "l", "ı": "i", "þ": "th", "ð": "d"}
)


def shape_of(text: str) -> str:
    """Return the shape of a line; it has the same length."""
    return "".join(_plain(letter) for letter in text)


def _plain(letter: str) -> str:
    if letter.isascii() and letter.isprintable():
        return "'" if letter == "`" else letter
    if letter in _PLAIN:
        return _PLAIN[letter]
    if letter.isspace():
        return " "
    if letter in _SPOKEN:
        return letter
    category = unicodedata.category(letter)
    if category == "Nd":
        return str(unicodedata.digit(letter))
    if category in ("No", "Nl"):
        return NUMERIC
    if category[0] == "M":
        return MARK
    compatible = unicodedata.normalize("NFKC", letter)
    if category[0] == "L":
        return compatible if len(compatible) == 1 and compatible.isascii() else letter
    if category in ("Cf", "Cc"):
        return INVISIBLE
    if category[0] == "P":
        return compatible if len(compatible) == 1 and compatible.isascii() else letter
    if category == "Sc" or len(compatible) != 1 or not compatible.isascii():
        return SIGN
    return compatible


def plain_word(text: str) -> str:
    """Return a word as dictionaries write it: lower case, without accents and invisible characters.

    Letters of other scripts stay as they are.
    """
    shaped = "".join(_PLAIN.get(letter, letter) for letter in text.lower())
    spread = unicodedata.normalize("NFKD", shaped)
    kept = (c for c in spread if unicodedata.category(c)[0] != "M" and c not in "\u00ad\u200b")
    return "".join(c for c in kept if unicodedata.category(c) != "Cf").translate(_LATIN)


def names_of(text: str) -> str:
    """Name each character of a text by Unicode, in lower case: ``grinning face``."""
    names = (unicodedata.name(c, f"character {ord(c):04x}").lower() for c in text)
    return ", ".join(dict.fromkeys(names))
