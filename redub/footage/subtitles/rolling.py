"""Rolling captions: lines that a cue only repeats from the cue before it.

Automatic captions scroll. Each cue shows the line before it again, and between two cues stands one
of 10 ms that shows a finished line. So every word would be said two or three times.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from redub.footage.subtitles.markup import plain
from redub.footage.subtitles.records import Kind, RawCue, Records
from redub.footage.subtitles.text import LinedText

_INLINE_TIME = re.compile(r"<\d+(?::\d+)+(?:[.,]\d+)?>")
_TOUCHING_S = 0.05
_FLASH_S = 0.021  # cues of 10 ms, written with one millisecond more or less or on another grid


def without_repeats(cues: Sequence[RawCue], records: Records) -> list[RawCue]:
    """Remove the repeated lines of a file with rolling captions; other files stay as they are.

    A line with times inside (``<00:00:01.200>``) is never a repeat. A cue whose text is repeated
    completely is removed.
    """
    rows = [_rows(cue.text) for cue in cues]
    shown = [[plain(row.chars) for row in own] for own in rows]
    if not _is_rolling(cues, shown):
        return list(cues)
    kept = []
    for place, cue in enumerate(cues):
        own = rows[place]
        count = 0
        if place and _is_touching(cues[place - 1], cue):
            new = next((k for k, r in enumerate(own) if _INLINE_TIME.search(r.chars)), len(own))
            count = _carried(shown[place - 1], shown[place][:new])
        for row in own[:count]:
            records.other(Kind.REPEAT, row, cue.index)
        if count == 0 or count < len(own):
            cue.text = LinedText.joined(own[count:])
            kept.append(cue)
    return kept


def _is_rolling(cues: Sequence[RawCue], shown: Sequence[Sequence[str]]) -> bool:
    """Whether short cues repeat a line, or cues with times inside repeat one."""
    for place in range(1, len(cues)):
        before, cue = cues[place - 1], cues[place]
        if not _is_touching(before, cue) or not _carried(shown[place - 1], shown[place]):
            continue
        if cue.end_s - cue.start_s <= _FLASH_S or _INLINE_TIME.search(cue.text.chars):
            return True
    return False


def _is_touching(before: RawCue, cue: RawCue) -> bool:
    return abs(cue.start_s - before.end_s) <= _TOUCHING_S


def _rows(text: LinedText) -> list[LinedText]:
    """The lines of a cue that have a visible character."""
    rows, start = [], 0
    for at, char in enumerate([*text.chars, "\n"]):
        if char == "\n":
            rows.append(text[start:at])
            start = at + 1
    return [row for row in rows if not row.is_blank]


def _carried(before: Sequence[str], now: Sequence[str]) -> int:
    """The largest number of last lines of ``before`` that are the first lines of ``now``."""
    for count in range(min(len(before), len(now)), 0, -1):
        if list(before[-count:]) == list(now[:count]):
            return count
    return 0
