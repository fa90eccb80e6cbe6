"""Marks the words of a caption or a line that name an emotion, for the casting sheet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from redub.core.types import EMOTIONS
from redub.features.text.emotion_lexicon import base_forms, lexicon
from redub.index.policy import Reason
from redub.pages.casting import CastText, Piece

WORDS_OF = {
    Reason.ITSELF: "it is the line itself",
    Reason.OVERLAP: "cut from the same seconds of the same file as the line",
    Reason.SPLIT: "its split may not be retrieved",
    Reason.SPEAKER: "its speaker may not be retrieved for this line, or is not known",
    Reason.SCENE: "it is in the line's own scene",
    Reason.FILM: "its film may not be retrieved",
    Reason.RIGHTS: "its rights are not among those that are required",
    Reason.ADJACENT: "it is adjacent to the line in its scene",
    Reason.EXCLUDED: "named as one that must not be retrieved",
    Reason.NOT_INCLUDED: "only other clips are named as those that may be retrieved",
}
"""Why a clip was not eligible, in words."""


def plain_words(name: str) -> str:
    """A name with spaces instead of underscores."""
    return name.replace("_", " ")


def spelled_words(settings: Mapping[str, Any]) -> str:
    """Settings as one line of text; long lists are cut after five items."""
    return "; ".join(f"{plain_words(name)} {_word(value)}" for name, value in settings.items())


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        more = f" and {len(value) - 5} more" if len(value) > 5 else ""
        return (", ".join(map(str, value[:5])) + more) or "–"
    return "–" if value is None else str(value)


# -- words

_NEUTRAL = EMOTIONS.index("neutral")
_WORD = re.compile(r"[a-z]+(?:['’‘][a-z]+)*", re.IGNORECASE | re.ASCII)


def _entry(word: str) -> str:
    """The lexicon's entry of a word; empty where it has none, or where the word is only neutral.

    A neutral word (``door``, ``table``) names no emotion, so sharing one explains no hit.
    """
    plain = word.lower().replace("’", "'").replace("‘", "'")
    found = next((form for form in base_forms(plain) if form in lexicon()), "")
    return found if found and np.delete(lexicon()[found], _NEUTRAL).any() else ""


def emotion_words(texts: Iterable[tuple[str, str]]) -> set[str]:
    """The entries of the emotion lexicon that occur in (title, text) pairs."""
    return {_entry(word) for _, text in texts for word in _WORD.findall(text)} - {""}


def marked_text(texts: Iterable[tuple[str, str]], shared: set[str]) -> tuple[CastText, ...]:
    """(title, text) pairs with the words of ``shared`` lexicon entries marked."""
    return tuple(CastText(title=title, pieces=pieces(text, shared)) for title, text in texts)


def pieces(text: str, shared: set[str]) -> tuple[Piece, ...]:
    """Cut a text at its shared emotion words; the joined pieces are the text."""
    found: list[Piece] = []
    end = 0
    for match in _WORD.finditer(text):
        if _entry(match.group()) in shared:
            found += [Piece(text[end : match.start()]), Piece(match.group(), shared=True)]
            end = match.end()
    found.append(Piece(text[end:]))
    return tuple(piece for piece in found if piece.text)
