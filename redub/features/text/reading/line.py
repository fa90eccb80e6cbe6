"""Read a line of text as it is spoken in English: the words, and what is not spoken.

Every character of the line belongs to at least one spoken word or to exactly one stretch that is
not spoken, and each such stretch names its kind. Several words may come from the same characters
(``21``), and one word from several signs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from redub.features.text.reading.number_rules import NUMBER_RULES
from redub.features.text.reading.rule import Context, Piece, Rule
from redub.features.text.reading.shape import names_of, shape_of
from redub.features.text.reading.sign_rules import SIGN_RULES, STAGE_RULES
from redub.features.text.reading.word_rules import ADDRESS_RULES, WORD_RULES

_RULES: tuple[Rule, ...] = (
    *STAGE_RULES,
    *ADDRESS_RULES,
    *NUMBER_RULES,
    *WORD_RULES,
    *SIGN_RULES,
)
_OWN = re.compile(r"\S+")
_AROUND = " \t.,;:!?…\"'()[]{}–—-"


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """One spoken word, in lower case, and the characters of the line that it was read from.

    Names of letters are capitals: ``B``, or ``B's`` for several. ``w-`` is the beginning of the
    following word, said alone.
    """

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class NotSpoken:
    """A stretch of the line that is not spoken: its text, and its kind.

    Kinds: space, punctuation, stage direction, markup, emoticon, music, scheme (``https://``) and
    sign; ``name`` is the Unicode name of a sign, and empty for the other kinds.
    """

    kind: str
    text: str
    start: int
    end: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a line is read; see the module."""

    text: str
    words: tuple[SpokenWord, ...]
    silent: tuple[NotSpoken, ...]


def read_line(
    text: str,
    known: Callable[[str], bool],
    *,
    own: Callable[[str], bool] = lambda word: False,
) -> Reading:
    """Read a line.

    Args:
        known: whether a dictionary has a word (lower case, no accents).
        own: whether the user gave a pronunciation of a word (lower case). Such a word is not
            changed by any rule.
    """
    shape = shape_of(text)
    capitals = re.findall(r"[^\W\d_]+", shape)
    shouting = len(capitals) > 1 and not any(letter.islower() for letter in shape)
    context = Context(text, shape, known, shouting)
    pieces: list[Piece] = []
    place = 0
    while place < len(shape):
        found = _own_word(context, place, own) or _first(context, place)
        pieces += found
        place = pieces[-1].end
    words = tuple(SpokenWord(word, p.start, p.end) for p in pieces for word in p.words)
    silent = tuple(_not_spoken(text, piece) for piece in pieces if not piece.words)
    return Reading(text, words, _merged(silent))


def _own_word(context: Context, place: int, own: Callable[[str], bool]) -> list[Piece]:
    """The word at a place, if the user gave its pronunciation."""
    if place and not context.shape[place - 1].isspace() and context.shape[place - 1] not in _AROUND:
        return []
    token = _OWN.match(context.shape, place)
    written = token[0] if token else ""
    for candidate in (written, written.rstrip(_AROUND)):
        if candidate and own(candidate.lower()):
            return [Piece(place, place + len(candidate), (candidate.lower(),))]
    return []


def _first(context: Context, place: int) -> list[Piece]:
    """The pieces of the first rule that fits at a place."""
    for rule in _RULES:
        match = rule.pattern.match(context.shape, place)
        if match is None or match.end() == place:
            continue
        said = rule.read(match, context)
        if said is None:
            continue
        if said and isinstance(said[0], Piece):
            return [piece for piece in said if isinstance(piece, Piece) and piece.end > piece.start]
        words = tuple(word for word in said if isinstance(word, str))
        if words:
            return [Piece(match.start(), match.end(), words)]
    raise AssertionError(context.text)  # the last rule fits everything


def _not_spoken(text: str, piece: Piece) -> NotSpoken:
    own = text[piece.start : piece.end]
    name = names_of(own) if piece.kind == "sign" else ""
    return NotSpoken(piece.kind, own, piece.start, piece.end, name)


def _merged(silent: tuple[NotSpoken, ...]) -> tuple[NotSpoken, ...]:
    """Join neighbours of the same kind, as the dots of ``...``."""
    merged: list[NotSpoken] = []
    for stretch in silent:
        last = merged[-1] if merged else None
        if last and (last.kind, last.end) == (stretch.kind, stretch.start) and not last.name:
            joined = last.text + stretch.text
            merged[-1] = NotSpoken(last.kind, joined, last.start, stretch.end)
        else:
            merged.append(stretch)
    return tuple(merged)
