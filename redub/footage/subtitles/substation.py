"""ASS and SSA: events, of which signs, karaoke, drawings and positioned text are not dialogue.

pysubs2 reads the events. It stops at the first bad time of a file and ignores the ``Format:`` line,
so every line is brought into its order first, and a line that it cannot read is one fault.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import pysubs2

from redub.footage.subtitles.records import Kind, RawCue, Records
from redub.footage.subtitles.text import LinedText

_FIELDS = ("layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect")
_SECTION = re.compile(r"\s*\[([^\]]*)\]\s*")
_EVENT = re.compile(r"\s*(Dialogue|Comment)\s*:\s?", re.IGNORECASE)
_KARAOKE = re.compile(r"\{[^{}]*\\[kK][fot]?\d")
_POSITIONED = re.compile(r"\{[^{}]*\\(?:pos|move)\s*\(")
_EFFECTS = ("karaoke", "fx", "template", "code")
_MOVING = re.compile(r"\s*(?:banner|scroll up|scroll down)\b", re.IGNORECASE)
_SUNG = frozenset(("op", "ed", "karaoke", "romaji", "kanji", "lyric", "lyrics", "song", "insert"))
_SHOWN = (
    "sign signs title titles ts opening ending credit credits staff logo eyecatch typeset screen "
    "note notes tl caption captions"
)
_ONLY_CAPITALS = frozenset(("op", "ed", "ts", "tl"))  # 'Ed' may be a character


def read_substation(text: str, styles: Collection[str], records: Records) -> list[RawCue]:
    """Read the events of an ASS or SSA file.

    Args:
        styles: names of styles that are dialogue in any case, in upper or lower case.
    """
    spoken = {style.strip().casefold() for style in styles}
    section, index = "", 0
    fields: tuple[str, ...] = _FIELDS
    cues = []
    for number, line in enumerate(text.split("\n"), start=1):
        row = LinedText.of([(number, line)])
        if found := _SECTION.fullmatch(line):
            section = found[1].strip().casefold()
            records.other(Kind.HEADER, row)
        elif section in ("fonts", "graphics"):
            records.other(Kind.ATTACHMENT, row)
        elif found := _EVENT.match(line):
            if found[1].casefold() == "comment":
                records.other(Kind.COMMENT, row)
                continue
            index += 1
            cue = _event(row, found.end(), fields, index, spoken, records)
            if cue is not None:
                cues.append(cue)
        elif section == "events" and line.casefold().startswith("format:"):
            names = [name.strip().casefold() for name in line.partition(":")[2].split(",")]
            fields = tuple(names[:-1])  # the text is always last
            records.other(Kind.HEADER, row)
        elif line.lstrip().casefold().startswith("style:"):
            records.other(Kind.STYLE, row)
        elif line.lstrip().startswith(";"):
            records.other(Kind.COMMENT, row)
        elif section == "events" and not row.is_blank:
            what = "has text that is no event"
            records.fault(0, "E-SUB-FORMAT", what, line=number, text=line.strip())
        else:
            records.other(Kind.HEADER, row)
    return cues


def _event(
    row: LinedText,
    start: int,
    fields: Sequence[str],
    index: int,
    spoken: Collection[str],
    records: Records,
) -> RawCue | None:
    """One event as a cue, or None and a fault."""
    *values, words = row.chars[start:].split(",", len(fields))
    event = None
    if len(values) == len(fields):
        event = _parsed(dict(zip(fields, values, strict=True)), words)
    if event is None:
        what = f"has no readable times in text line {row.line}"
        records.fault(index, "E-SUB-FORMAT", what, line=row.line, text=row.chars.strip())
        return None
    end_of_fields = len(row.chars) - len(words)
    if event.start < 0 or event.end < 0:
        what = "has a negative time"
        records.other(Kind.TIMING, row[:end_of_fields], index)
        records.fault(index, "E-SUB-NEGATIVE", what, line=row.line, text=words.strip())
        return None
    records.other(Kind.TIMING, row[:end_of_fields], index)
    return RawCue(
        index=index,
        line=row.line,
        start_s=event.start / 1000,
        end_s=event.end / 1000,
        text=row[end_of_fields:],
        speaker=event.name.strip(),
        kind=_kind_of(event, spoken),
    )


def _parsed(values: Mapping[str, str], words: str) -> pysubs2.SSAEvent | None:
    """The event as pysubs2 reads it, from fields in its own order; None if it cannot."""
    ordered = ["0", *(values.get(name, "") for name in _FIELDS[1:5]), "0", "0", "0"]
    line = ",".join([*ordered, values.get("effect", ""), words])
    try:
        (event,) = pysubs2.SSAFile.from_string(f"[Events]\nDialogue: {line}\n", format_="ass")
    except (pysubs2.exceptions.Pysubs2Error, ValueError):
        return None
    return event


def _kind_of(event: pysubs2.SSAEvent, spoken: Collection[str]) -> Kind | None:
    """Why an event is not dialogue; None if it is. Drawings inside a text are taken out later."""
    if event.style.strip().lstrip("*").casefold() in spoken:
        return None
    if _KARAOKE.search(event.text) or event.effect.strip().casefold().startswith(_EFFECTS):
        return Kind.KARAOKE
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", event.style)
    for word in words:
        if word.casefold() in _ONLY_CAPITALS and word != word.upper():
            continue
        if word.casefold() in _SUNG:
            return Kind.KARAOKE
        if word.casefold() in _SHOWN.split():
            return Kind.SIGN
    if _MOVING.match(event.effect) or _POSITIONED.search(event.text):
        return Kind.SIGN
    return None
