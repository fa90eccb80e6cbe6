"""What a reading rule is: a pattern of a line's shape, and a function that says it in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
"""Pattern of a whole number, with or without commas."""

NUMBER = rf"(?:{WHOLE}(?:\.[0-9]+)?|\.[0-9]+)"
BEGIN = r"(?<![\w.,])"
END = r"(?!\w)"
MINUS = r"(?:(?<![\w)\]'\"])-)"

LETTER_WORD = re.compile(r"[A-Z](?:'s)?")
"""The spoken words that are names of letters: ``B``, and ``B's`` for its plural."""


class Piece(NamedTuple):
    """A stretch of a line: the words it is spoken as, or the kind of text that is not spoken.

    ``start`` and ``end`` count characters of the line; exactly one of ``words`` and ``kind`` is
    empty.
    """

    start: int
    end: int
    words: tuple[str, ...]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What the rules may know besides their own match.

    Attributes:
        text: the line as written.
        shape: its shape, of the same length.
        known: whether a dictionary has a plain word.
        shouting: the whole line is in capitals, so capitals mean nothing.
    """

    text: str
    shape: str
    known: Callable[[str], bool]
    shouting: bool

    def knows(self, word: str) -> bool:
        """Whether a dictionary has a word, with or without its outer apostrophes."""
        return any(self.known(form) for form in (word, word.rstrip("'"), word.strip("'")))

    def before(self, place: int) -> str:
        """The word before a place of the shape, with its case; empty if there is none."""
        found = re.search(r"([\w']+)[.,]?\s*$", self.shape[:place])
        return found[1] if found else ""

    def after(self, place: int) -> str:
        """The word after a place of the shape, with its case; empty if there is none."""
        found = re.match(r"\s*([\w']+)", self.shape[place:])
        return found[1] if found else ""

    def begins_sentence(self, place: int) -> bool:
        """Whether only the start of the line or the end of a sentence is before a place."""
        return not self.shape[:place].strip(" \"'-–—") or bool(
            re.search(r"[.!?:…][\s\"'-]*$", self.shape[:place])
        )


Words = Sequence[str]
Reader = Callable[[re.Match[str], Context], "Words | list[Piece] | None"]
"""Says a match; None if the rule does not apply after all."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: where it may apply, and how the match is spoken."""

    pattern: re.Pattern[str]
    read: Reader


def rule(pattern: str, read: Reader, *, ignore_case: bool = False) -> Rule:
    """Compile one rule."""
    return Rule(re.compile(pattern, re.IGNORECASE if ignore_case else 0), read)


def letters(text: str) -> tuple[str, ...]:
    """Spell a text by the names of its letters: ``fbi`` → F B I."""
    return tuple(letter for letter in text.upper() if "A" <= letter <= "Z")
