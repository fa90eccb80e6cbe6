"""Read one subtitle file: find its format, and turn its timed texts into cues of one speaker."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from redub.core.errors import ClipError
from redub.footage.faults import ClipFault, shown
from redub.footage.subtitles.markup import Syntax, without_markup
from redub.footage.subtitles.microdvd import is_microdvd, read_microdvd
from redub.footage.subtitles.names import Names
from redub.footage.subtitles.records import (
    TEXT_KINDS,
    Cue,
    RawCue,
    Records,
    Subtitles,
    counted,
    not_spoken_sentence,
)
from redub.footage.subtitles.rolling import without_repeats
from redub.footage.subtitles.schedule import Limits, arranged, cues_of
from redub.footage.subtitles.speakers import parts_of
from redub.footage.subtitles.substation import read_substation
from redub.footage.subtitles.text import text_of
from redub.footage.subtitles.timed_lines import read_timed_lines
from redub.footage.subtitles.ttml import read_ttml

SUBTITLE_SUFFIXES = (
    *(".srt", ".vtt", ".webvtt", ".ass", ".ssa"),
    *(".ttml", ".dfxp", ".itt", ".sbv", ".sub"),
)

_MAX_RAW_LETTERS = 20_000  # of one cue; a longer one is refused before anything is searched in it
_FORMATS = {
    ".srt": "srt",
    ".vtt": "vtt",
    ".webvtt": "vtt",
    ".ass": "ass",
    ".ssa": "ass",
    ".ttml": "ttml",
    ".dfxp": "ttml",
    ".itt": "ttml",
    ".sbv": "sbv",
    ".sub": "microdvd",
}
_SYNTAX: dict[str, Syntax] = {"ass": "ass", "ttml": "none", "microdvd": "microdvd"}
_SECTION_OF_ASS = re.compile(r"(?mi)^\s*\[(?:script info|events|v4\+? styles)\]")


def read_subtitles(
    path: Path,
    *,
    source: str = "",
    cast: Collection[str] = (),
    end_s: float = math.inf,
    max_clip_s: float = math.inf,
    fps: float = 0.0,
    styles: Collection[str] = (),
    speakers: Mapping[str, str] | None = None,
) -> Subtitles:
    """Read one subtitle file; never raises, faults are in the result.

    The content decides the format, and the suffix where the content does not.

    Args:
        source: the media file of the cues, for the fault rows; by default the subtitle file.
        cast: names that count as a speaker before a colon, in upper or lower case.
        end_s: end of the media. A cue that ends later is refused; this is checked before overlaps.
        max_clip_s: longest clip.
        fps: frames per second of the film, for MicroDVD; 0 if unknown.
        styles: styles of ASS that are dialogue even if their name or place says otherwise.
        speakers: number of a cue, with the letter of its part, to its speaker; wins over the file.
    """
    records = Records(source or path.name)
    text = ""
    try:
        text = text_of(path)
        kind = _format_of(text, path.suffix.lower())
        raws = _raw_cues(text, kind, fps, styles, records, path)
    except ClipError as error:
        fault = ClipFault.of(error, source=records.source)
        return Subtitles((), (replace(fault, file_line=int(bool(text)), text=text),))
    names = Names(cast)
    names.learn(raw.text.chars for raw in raws if raw.kind is None)
    if kind in ("srt", "vtt", "sbv"):
        raws = without_repeats(raws, records)
    limits = Limits(end_s, max_clip_s)
    cues: list[Cue] = []
    for raw in raws:
        own = _cues_of(raw, _SYNTAX.get(kind, "html"), names, limits, records)
        own = [_with_speaker(cue, speakers or {}, names) for cue in own]
        _notice_unknown(own, records)
        cues += own
    placed = arranged(cues, limits, records)
    if not placed and not records.faults:
        counts = not_spoken_sentence(counted(records.others))
        hint = "; name a style that is spoken in [footage] dialogue_styles" if kind == "ass" else ""
        records.notice(0, f"the subtitles have no dialogue ({counts}){hint}")
    records.faults.sort(key=lambda fault: (fault.line, fault.part, fault.file_line))
    records.others.sort(key=lambda other: other.line)
    records.notices.sort(key=lambda notice: notice.cue)
    return Subtitles(placed, tuple(records.faults), tuple(records.others), tuple(records.notices))


def _format_of(text: str, suffix: str) -> str:
    start = text.lstrip("\ufeff \n\t")[:4096]
    if start.startswith("WEBVTT"):
        return "vtt"
    if _SECTION_OF_ASS.search(start):
        return "ass"
    if start.startswith(("<?xml", "<tt", "<!DOCTYPE")) or re.match(r"<\w+:tt\b", start):
        return "ttml"
    if is_microdvd(start):
        return "microdvd"
    return "sbv" if suffix == ".sub" else _FORMATS.get(suffix, "srt")


def _raw_cues(
    text: str,
    kind: str,
    fps: float,
    styles: Collection[str],
    records: Records,
    path: Path,
) -> list[RawCue]:
    """The timed texts of a file.

    Raises:
        ClipError: E-SUB-FORMAT, there is none in it.
    """
    if kind == "ass":
        raws = read_substation(text, styles, records)
    elif kind == "ttml":
        raws = read_ttml(text, records)
    elif kind == "microdvd":
        raws = read_microdvd(text, fps, records)
    elif kind == "vtt":
        raws = read_timed_lines(text, "vtt", records)
    else:
        raws = read_timed_lines(text, "sbv" if kind == "sbv" else "srt", records)
    if not raws and not records.faults:
        name = shown(path.name)
        raise ClipError(
            f"the subtitle file '{name}' cannot be parsed: no timed line in it; wanted SRT, "
            "WebVTT, ASS, SSA, TTML, SBV or MicroDVD",
            code="E-SUB-FORMAT",
        )
    return raws


def _cues_of(
    raw: RawCue, syntax: Syntax, names: Names, limits: Limits, records: Records
) -> list[Cue]:
    """The cues of one timed text; what is not spoken goes into ``records``."""
    if raw.kind is not None:
        records.other(raw.kind, raw.text, raw.index)
        return []
    if len(raw.text.chars) > _MAX_RAW_LETTERS:
        what = f"has {len(raw.text.chars)} letters, the limit is {_MAX_RAW_LETTERS}"
        records.fault(raw.index, "E-SUB-TEXT", what, line=raw.line, text=raw.text.chars)
        return []
    before = len(records.others)
    segments = without_markup(raw, syntax, records)
    parts = parts_of(segments, names, raw.index, records)
    if parts:
        return cues_of(raw, parts, limits, records)
    if not any(other.kind in TEXT_KINDS for other in records.others[before:]):
        records.fault(raw.index, "E-SUB-EMPTY", "has no words", line=raw.line, text="")
    return []


def _with_speaker(cue: Cue, speakers: Mapping[str, str], names: Names) -> Cue:
    speaker = speakers.get(f"{cue.index}{cue.part}", "")
    return replace(cue, speaker=names.canonical(speaker)) if speaker else cue


def _notice_unknown(cues: list[Cue], records: Records) -> None:
    """Say that a cue has several speakers of whom some have no name."""
    unknown = [f"{cue.index}{cue.part}" for cue in cues if not cue.speaker]
    if len(cues) > 1 and unknown:
        records.notice(
            cues[0].index,
            f"line {cues[0].index} has {len(cues)} speakers; name those of {', '.join(unknown)} in "
            "the subtitles ('ANN: …') or in speakers.csv",
        )
