"""Formats of timed lines: SRT, WebVTT, SBV and SubViewer.

A cue is a timing line and all lines up to the next cue, blank lines included, because players and
other readers drop words after a blank line without a message. A timing line that cannot be read
begins a cue, too, which is refused alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from redub.footage.subtitles.clock import (
    Timing,
    looks_like_pair,
    looks_like_timing,
    read_pair,
    read_timing,
)
from redub.footage.subtitles.records import Kind, RawCue, Records
from redub.footage.subtitles.text import LinedText, trimmed

Dialect = Literal["srt", "vtt", "sbv"]

_VTT_BLOCKS = {"NOTE": Kind.NOTE, "STYLE": Kind.STYLE, "REGION": Kind.REGION}


@dataclass(slots=True)
class _Head:
    """Begin of a cue: ``top`` is the first line that belongs to it, its number line if it has one.

    ``timing`` is None if the line at ``at`` cannot be read as times; ``at`` equals the number line
    if the timing line is missing.
    """

    top: int
    at: int
    timing: Timing | None
    number: int | None = None


def read_timed_lines(text: str, dialect: Dialect, records: Records) -> list[RawCue]:
    """Read the cues; other text goes into ``records``. Empty if there is no timing line."""
    lines = text.split("\n")
    blocks = _vtt_blocks(lines) if dialect == "vtt" else {}
    heads = _heads(lines, dialect, blocks)
    if not heads:
        return []
    if dialect == "srt":
        heads = _with_missing_timings(lines, heads)
    for kind, span in _spans(blocks):
        records.other(kind, _rows(lines, span))
    _before_first(lines, heads[0].top, blocks, dialect, records)
    cues = []
    ends = [head.top for head in heads[1:]] + [len(lines)]
    for index, (head, end) in enumerate(zip(heads, ends, strict=True), start=1):
        body = [at for at in range(head.at + 1, end) if at not in blocks]
        cue = _cue(lines, index, head, body, records)
        if cue is not None:
            cues.append(cue)
    return cues


def _cue(
    lines: Sequence[str], index: int, head: _Head, body: Sequence[int], records: Records
) -> RawCue | None:
    """The cue of a head, or None and a fault."""
    timing = head.timing
    words = _rows(lines, body)
    if timing is None or timing.start_s is None or timing.end_s is None:
        missing = timing is None and head.number is not None and head.at == head.top
        what = "has no times" if missing else f"has no readable times in text line {head.at + 1}"
        whole = _rows(lines, [*range(head.top, head.at + 1), *body])
        records.fault(index, "E-SUB-FORMAT", what, line=head.at + 1, text=whole.chars.strip())
        return None
    for at in range(head.top, head.at):
        records.other(Kind.NUMBER, _rows(lines, [at]), index)
    line = _rows(lines, [head.at])
    start = line.chars.rindex(timing.rest) if timing.rest else len(line.chars)
    records.other(Kind.TIMING, line[:start], index)
    if timing.rest:
        words = LinedText.joined([line[start:], words])
    if timing.start_s < 0 or timing.end_s < 0:
        what = "has a negative time"
        records.fault(index, "E-SUB-NEGATIVE", what, line=head.at + 1, text=words.chars.strip())
        return None
    return RawCue(
        index=index,
        line=head.at + 1,
        start_s=timing.start_s,
        end_s=timing.end_s,
        text=words,
    )


def _rows(lines: Sequence[str], numbers: Collection[int]) -> LinedText:
    return LinedText.of((number + 1, lines[number]) for number in numbers)


def _heads(lines: Sequence[str], dialect: Dialect, blocks: Collection[int]) -> list[_Head]:
    parse: Callable[[str], Timing | None] = read_pair if dialect == "sbv" else read_timing
    heads: list[_Head] = []
    for at, line in enumerate(lines):
        if at in blocks:
            continue
        found = parse(trimmed(line))
        if found is not None or _is_bad_timing(lines, at, dialect):
            heads.append(_Head(at, at, found))
    if dialect == "srt":
        _find_numbers(lines, heads)
    elif dialect == "vtt":
        for head in heads:
            above = head.at - 1
            if (
                above >= 0
                and above not in blocks
                and lines[above].strip()
                and not lines[above].startswith("WEBVTT")
                and (above == 0 or not lines[above - 1].strip())
                and not any(other.at == above for other in heads)
            ):
                head.top = above
    return heads


def _is_bad_timing(lines: Sequence[str], at: int, dialect: Dialect) -> bool:
    line = trimmed(lines[at])
    if dialect == "sbv":
        return looks_like_pair(line)
    if looks_like_timing(line):
        return True
    # '1' and a line with an arrow below a blank line: no cue text stands in such a place
    return (
        "-->" in line
        and at > 0
        and _number(lines[at - 1]) is not None
        and (at == 1 or not lines[at - 2].strip())
    )


def _number(line: str) -> int | None:
    word = trimmed(line)
    return int(word) if word.isascii() and word.isdigit() and len(word) < 10 else None


def _find_numbers(lines: Sequence[str], heads: list[_Head]) -> None:
    """Find the index line of each SRT cue; a number that is spoken stays text.

    A file has index lines if its first cue has one. In such a file a number above a timing line is
    the index if a blank line stands above it or if it is the next index. In other files it must
    be both.
    """
    is_indexed, is_spaced, after, expected = False, False, -1, 1
    for place, head in enumerate(heads):
        above = head.at - 1
        while above > after and not lines[above].strip():
            above -= 1
        number = _number(lines[above]) if above > after else None
        if number is not None:
            has_blank = above == 0 or above - 1 == after or not lines[above - 1].strip()
            is_near = above == head.at - 1
            if place == 0:
                is_first = not any(line.strip() for line in lines[:above])
                is_index = is_first or (is_near and has_blank)
                is_indexed, is_spaced = is_index, is_index and not is_near
            elif is_near and is_indexed:
                is_index = has_blank or number == expected
            elif is_near:
                is_index = has_blank and number == place + 1
            else:
                is_index = is_indexed and number == expected and (has_blank or is_spaced)
            if is_index:
                head.top, head.number, expected = above, number, number
        expected += 1
        after = head.at


def _with_missing_timings(lines: Sequence[str], heads: list[_Head]) -> list[_Head]:
    """Add heads for index lines without a timing line: 2 between the cues 1 and 3."""
    if heads[0].number is None:
        return heads
    every: list[_Head] = []
    following = [*heads[1:], None]
    for head, after in zip(heads, following, strict=True):
        every.append(head)
        number, end = head.number, len(lines) if after is None else after.top
        if number is None or (after is not None and after.number is None):
            continue
        for at in range(head.at + 2, end - 1):
            is_next = _number(lines[at]) == number + 1 and not lines[at - 1].strip()
            if is_next and lines[at + 1].strip() and (after is None or after.number != number + 1):
                number += 1
                every.append(_Head(at, at, None, number))
    return every


def _before_first(
    lines: Sequence[str], top: int, blocks: Collection[int], dialect: Dialect, records: Records
) -> None:
    """Record the text above the first cue: a header, or text that belongs to no cue."""
    rows = [at for at in range(top) if at not in blocks and lines[at].strip()]
    header = []
    if rows and dialect == "vtt" and lines[rows[0]].lstrip("\ufeff").startswith("WEBVTT"):
        end = next((at for at in range(rows[0], top) if not lines[at].strip()), top)
        header = [at for at in rows if at < end]
    elif dialect == "sbv":
        header = [at for at in rows if lines[at].lstrip().startswith("[")]
    records.other(Kind.HEADER, _rows(lines, header))
    lost = _rows(lines, [at for at in rows if at not in header])
    if not lost.is_blank:
        what = "has text above the first timing line"
        records.fault(0, "E-SUB-FORMAT", what, line=lost.line, text=lost.chars)


def _vtt_blocks(lines: Sequence[str]) -> dict[int, Kind]:
    """Line → kind of the lines in NOTE, STYLE and REGION blocks of WebVTT."""
    blocks: dict[int, Kind] = {}
    kind: Kind | None = None
    for at, line in enumerate(lines):
        if not line.strip():
            kind = None
        elif kind is None and (at == 0 or not lines[at - 1].strip()):
            word = line.split(maxsplit=1)[0]
            if word in _VTT_BLOCKS and (word == "NOTE" or line.strip() == word):
                kind = _VTT_BLOCKS[word]
        if kind is not None and read_timing(trimmed(line)) is not None:
            kind = None
        if kind is not None:
            blocks[at] = kind
    return blocks


def _spans(blocks: dict[int, Kind]) -> list[tuple[Kind, list[int]]]:
    """Adjacent lines of one kind together."""
    spans: list[tuple[Kind, list[int]]] = []
    for at, kind in blocks.items():
        if spans and spans[-1][0] == kind and spans[-1][1][-1] == at - 1:
            spans[-1][1].append(at)
        else:
            spans.append((kind, [at]))
    return spans
