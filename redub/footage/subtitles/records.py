"""What a subtitle file becomes: cues, faults, and named kinds of text that no speaker says.

The law of this folder: every visible character of a file is in a cue, in a fault with its line
number, or in a :class:`NotSpoken` with its kind and line number. Text in entities (``&amp;``)
counts as the character that it stands for, and text in the normal form NFC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from redub.footage.faults import ClipFault, shown
from redub.footage.subtitles.text import LinedText, one_line

_MESSAGE_LETTERS = 120  # of a cue's text in a message; the fault holds all of it


class Kind(StrEnum):
    """Why a text is not spoken."""

    # the form of the file
    NUMBER = "number"  # index line of SRT, identifier of WebVTT
    TIMING = "timing"  # times and settings of a cue, the fields of an ASS event
    HEADER = "header"
    STYLE = "style"
    REGION = "region"
    ATTACHMENT = "attachment"  # fonts and pictures in an ASS file
    MARKUP = "markup"
    LABEL = "speaker label"  # the name of a speaker, or the dash before a speaker's words
    # text that a viewer sees
    NOTE = "note"
    COMMENT = "comment"
    SIGN = "sign"
    KARAOKE = "karaoke"
    DRAWING = "drawing"
    SOUND = "sound description"
    LYRICS = "lyrics"
    REPEAT = "repeat"


TEXT_KINDS = (
    Kind.NOTE,
    Kind.COMMENT,
    Kind.SIGN,
    Kind.KARAOKE,
    Kind.DRAWING,
    Kind.SOUND,
    Kind.LYRICS,
    Kind.REPEAT,
)
"""Kinds that a viewer sees or hears; the others belong to the form of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """Words of one speaker; times are in seconds.

    Attributes:
        index: number of the cue in the file, from 1.
        part: empty, or ``b``, ``c``, … for the second, third, … speaker of a cue.
        off_screen: the speaker is not in the picture, so no lips can be expected.
        file_line: line of the file where the words begin, from 1; 0 without a file.
    """

    index: int
    start_s: float
    end_s: float
    text: str
    speaker: str = ""
    part: str = ""
    off_screen: bool = False
    file_line: int = 0


@dataclass(frozen=True, slots=True)
class NotSpoken:
    """Text of the file that is not dialogue.

    Attributes:
        line: line of the file, from 1.
        cue: number of the cue that the text stands in; 0 outside the cues.
    """

    line: int
    kind: Kind
    text: str
    cue: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """A cue that is used although something about it is doubtful; ``text`` is a sentence."""

    cue: int
    text: str


@dataclass(frozen=True, slots=True)
class Subtitles:
    """Usable cues in order of time, the faults of other cues, and what is not spoken.

    A file that cannot be read, or that has no cue, gives one fault.
    """

    cues: tuple[Cue, ...]
    faults: tuple[ClipFault, ...]
    others: tuple[NotSpoken, ...] = ()
    notices: tuple[Notice, ...] = ()


@dataclass(slots=True, kw_only=True)
class RawCue:
    """One timed text as it stands in the file.

    Attributes:
        line: line of its times in the file.
        speaker: name in a field of the format (ASS, TTML); empty without one.
        kind: set if nothing of the text is dialogue.
    """

    index: int
    line: int
    start_s: float
    end_s: float
    text: LinedText
    speaker: str = ""
    kind: Kind | None = None


@dataclass(slots=True)
class Records:
    """Collects what a reader finds in one file; ``source`` stands in the faults."""

    source: str
    faults: list[ClipFault] = field(default_factory=list)
    others: list[NotSpoken] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def other(self, kind: Kind, text: LinedText, cue: int = 0) -> None:
        """Record text that is not spoken; text without a visible character is left out."""
        if not text.is_blank:
            self.others.append(NotSpoken(text.line, kind, text.chars.strip(), cue))

    def fault(
        self, cue: int, code: str, what: str, *, line: int, text: str, part: str = ""
    ) -> None:
        """Record a cue that cannot be used, or with ``cue`` 0 text outside the cues."""
        self.faults.append(cue_fault(self.source, cue, code, what, line, text, part))

    def notice(self, cue: int, text: str) -> None:
        """Record a sentence about a cue that is used."""
        self.notices.append(Notice(cue, text))

    def notice_once(self, cue: int, text: str) -> None:
        """Record a sentence for the first cue that it is true for, and not again."""
        if not any(text in notice.text for notice in self.notices):
            self.notice(cue, f"line {cue}: {text}")


def cue_fault(
    source: str, cue: int, code: str, what: str, line: int, text: str, part: str = ""
) -> ClipFault:
    """The fault of one cue, with its file line and its text in the message."""
    words = one_line(text)
    if len(words) > _MESSAGE_LETTERS:
        words = words[:_MESSAGE_LETTERS] + "…"
    where = f"line {cue}{part} of the subtitles" if cue else "the subtitle file"
    place = f" (file line {line})" if line else ""
    said = f": '{shown(words)}'" if words else ""
    return ClipFault(
        source=source,
        code=code,
        message=f"{where}{place} {what}{said}; correct it in the subtitle file",
        line=cue,
        part=part,
        file_line=line,
        text=text,
    )


def counted(others: Iterable[NotSpoken]) -> dict[str, int]:
    """Kind → number of texts, of the kinds that a viewer sees or hears."""
    counts = Counter(other.kind for other in others)
    return {str(kind): counts[kind] for kind in TEXT_KINDS if counts[kind]}


_PLURALS = {"lyrics": "lyrics", "karaoke": "karaoke"}


def not_spoken_sentence(counts: dict[str, int]) -> str:
    """``not spoken: 3 sound descriptions, 1 sign``; empty if everything is spoken."""
    words = [
        f"{n} {kind if n == 1 else _PLURALS.get(kind, kind + 's')}" for kind, n in counts.items()
    ]
    return f"not spoken: {', '.join(words)}" if words else ""
