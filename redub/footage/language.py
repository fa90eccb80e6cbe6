"""Names of languages, as people write them in file names and settings."""

from __future__ import annotations

import re

from iso639 import Lang
from iso639.exceptions import InvalidLanguageValue

from redub.core.config import nearest
from redub.core.errors import ConfigError
from redub.core.types import LANGUAGE


def language_code(word: str) -> str:
    """Return the two letters of ISO 639-1 of a code or English name; empty if it is none.

    ``en``, ``eng``, ``en-US``, ``English`` and ``ENG`` give ``en``. Languages without a code of two
    letters are not known here, because their codes are words of file names (``the``, ``man``).
    """
    base = re.split(r"[-_]", word.strip(), maxsplit=1)[0]
    wanted = base.lower() if len(base) <= 3 else base.capitalize()
    try:
        return str(Lang(wanted).pt1)
    except (InvalidLanguageValue, KeyError, ValueError):
        return ""


def is_language_tag(tag: str) -> bool:
    """Whether a text is a tag as ``en``, ``en-GB`` or ``yue``, of a language of ISO 639."""
    if not LANGUAGE.fullmatch(tag):
        return False
    try:
        Lang(tag.partition("-")[0].lower())
    except (InvalidLanguageValue, KeyError, ValueError):
        return False
    return True


def known_language(word: str, where: str) -> str:
    """Return the two letters of a language that a setting names.

    Raises:
        ConfigError: E-CFG-VALUE, no such language.
    """
    code = language_code(word)
    if word and not code:
        examples = ["en", "de", "fr", "es", "it", "pt", "ru", "zh", "ja", "ko", "nl", "sv", "pl"]
        raise ConfigError(
            f"{where} is {word!r}; wanted a language, as en, eng or English "
            f"({nearest(word.lower(), examples)})",
            code="E-CFG-VALUE",
        )
    return code
