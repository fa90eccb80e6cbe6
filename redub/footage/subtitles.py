"""Read subtitles: speaker, text, start and end of each cue, and the cues that cannot be used.

The speaker is the first that exists of: the Name field of an ASS line, the voice tag ``<v Name>``
of WebVTT, or a leading ``NAME:`` in the text. Such a prefix counts as a name if it is in the cast
(upper and lower case are equal) or if it is written in capitals (``DR. WHO: Run!``). It is removed
from the text.

The number of a cue is the number of its timing line in the file, from 1; unusable cues count, too.
Tables refer to this number as ``line``. If two cues overlap, the later cue is refused, because the
speaker of the common part is unknown. Overlaps and overshoots of a few video frames are clipped.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pysubs2

from redub.core.errors import ClipError
from redub.footage.faults import ClipFault, shown
from redub.footage.paths import open_regular

SUBTITLE_SUFFIXES = (".srt", ".vtt", ".ass")

_MAX_FILE_BYTES = 8 << 20
_MAX_CUE_LETTERS = 1000
_OVERLAP_S = 0.05  # overlap that is allowed; the start of the later cue is moved
_OVERSHOOT_S = 0.5  # subtitles often stay on the screen a little longer than the media lasts

_TIME = r"(?:\d{1,3}:)?\d{1,2}:\d{2}[.,]\d{1,3}"
_TIMING = re.compile(rf"\s*-?{_TIME}\s*-->\s*-?{_TIME}(?:\s.*)?")
_NEGATIVE = re.compile(rf"(?:^|\s)-{_TIME}")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
_TAG = re.compile(r"</?[A-Za-z][^>]*>|</?\d[\d:.]*>|\{[^}]*\}")
_PREFIX = re.compile(r"\s*(?:[-–—]\s*)?([^:\n]{2,30}):\s+(?=\S)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """One subtitle cue. ``index`` is its number in the file, from 1; times are in seconds."""

    index: int
    start_s: float
    end_s: float
    text: str
    speaker: str = ""


@dataclass(frozen=True, slots=True)
class Subtitles:
    """Usable cues in order of time, and the faults of the other cues.

    A file that cannot be read, or that has no cue, gives one fault.
    """

    cues: tuple[Cue, ...]
    faults: tuple[ClipFault, ...]


def read_subtitles(
    path: Path,
    *,
    source: str = "",
    cast: Collection[str] = (),
    end_s: float = math.inf,
    max_clip_s: float = math.inf,
) -> Subtitles:
    """Read one SRT, WebVTT or ASS file; never raises, faults are in the result.

    Args:
        source: the media file of the cues, for the fault rows; by default the subtitle file.
        cast: names that count as a speaker before a colon, in upper or lower case.
        end_s: end of the media. A cue that ends later is refused; this is checked before overlaps.
        max_clip_s: longest clip.
    """
    source = source or path.name
    try:
        text = _text_of(path)
        cues, faults = _parsed(text, path, source)
    except ClipError as error:
        return Subtitles((), (ClipFault.of(error, source=source),))
    cast_names = {name.casefold(): name for name in cast}
    named = [_clean(cue, cast_names) for cue in cues]
    fitted = fit_to_media(
        Subtitles(tuple(named), tuple(faults)), source=source, end_s=end_s, max_clip_s=max_clip_s
    )
    return _checked(fitted.cues, fitted.faults, source)


def fit_to_media(
    subtitles: Subtitles, *, source: str, end_s: float, max_clip_s: float
) -> Subtitles:
    """Refuse cues that end after the media or last longer than ``max_clip_s``.

    A cue that ends at most ``_OVERSHOOT_S`` after ``end_s`` is cut at ``end_s``.
    """
    good, faults = [], list(subtitles.faults)
    for cue in subtitles.cues:
        if cue.start_s >= end_s or cue.end_s > end_s + _OVERSHOOT_S:
            what = f"goes from {cue.start_s:.2f} to {cue.end_s:.2f} s, the media end at {end_s:.2f}"
            faults.append(_fault(cue.index, "E-SUB-PASTEND", what, source))
        elif cue.end_s - cue.start_s > max_clip_s:
            what = f"lasts {cue.end_s - cue.start_s:.1f} s, the limit is {max_clip_s:g} s"
            faults.append(_fault(cue.index, "E-IN-TOOLONG", what, source))
        else:  # _checked refuses reversed and negative times
            good.append(replace(cue, end_s=min(cue.end_s, end_s)))
    return Subtitles(tuple(good), tuple(sorted(faults, key=lambda fault: fault.line)))


def _text_of(path: Path) -> str:
    with open_regular(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
        data = file.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:
        raise ClipError(
            f"the subtitle file '{shown(path.name)}' is larger than {_MAX_FILE_BYTES >> 20} MiB; "
            "wanted the lines of one source",
            code="E-SUB-FORMAT",
        )
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ClipError(
            f"the subtitle file '{shown(path.name)}' is not UTF-8: byte {error.start} (line "
            f"{line}) is 0x{data[error.start]:02x}; save it as UTF-8",
            code="E-SUB-ENCODING",
        ) from error


def _parsed(text: str, path: Path, source: str) -> tuple[list[Cue], list[ClipFault]]:
    suffix = path.suffix.lower()
    faults: list[ClipFault] = []
    if suffix == ".ass":
        numbers = [n for n, _ in enumerate(re.findall(r"(?m)^Dialogue:", text), start=1)]
    else:
        text, numbers, faults = _without_bad_timings(text, source)
    try:
        parsed = pysubs2.SSAFile.from_string(
            text, format_=suffix.lstrip("."), **_PARSER_OPTIONS.get(suffix, {})
        )
    except (pysubs2.exceptions.Pysubs2Error, ValueError, IndexError, KeyError) as error:
        raise _unparsed(path, str(error)) from error
    events = [event for event in parsed.events if not event.is_comment]
    if len(events) != len(numbers):
        raise _unparsed(path, f"{len(numbers)} timed lines, but {len(events)} could be read")
    if not events and not faults:
        raise _unparsed(path, "no timed line in it")
    cues = [
        Cue(
            index=number,
            start_s=event.start / 1000,
            end_s=event.end / 1000,
            text=_spoken(event.text, ends_at_blank=suffix != ".ass"),
            speaker=event.name or "",
        )
        for number, event in zip(numbers, events, strict=True)
        if not event.is_drawing
    ]
    return cues, faults


# Voice tags must survive until the speaker is read from them.
_PARSER_OPTIONS: dict[str, dict[str, bool]] = {
    ".srt": {"keep_unknown_html_tags": True},
    ".vtt": {"keep_unknown_html_tags": True},
}


def _spoken(text: str, *, ends_at_blank: bool) -> str:
    """A cue's text with real line breaks, without text that pysubs2 adds from the next block."""
    text = text.replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")
    return text.partition("\n\n")[0] if ends_at_blank else text


def _without_bad_timings(text: str, source: str) -> tuple[str, list[int], list[ClipFault]]:
    """Remove cues with an invalid timing line from the text.

    pysubs2 would append such a cue to the previous cue. Returns the remaining text, the numbers of
    its cues, and the faults.
    """
    kept: list[str] = []
    numbers: list[int] = []
    faults: list[ClipFault] = []
    number, is_good = 0, True
    lines = text.split("\n")
    for position, line in enumerate(lines):
        if "-->" in line:
            number += 1
            if _NEGATIVE.search(line):
                faults.append(_fault(number, "E-SUB-NEGATIVE", "has a negative time", source))
                is_good = False
            elif not _TIMING.fullmatch(line):
                what = f"has no readable times in text line {position + 1}"
                faults.append(_fault(number, "E-SUB-FORMAT", what, source))
                is_good = False
            else:
                is_good = True
                numbers.append(number)
        if is_good:
            kept.append(line)
        elif line == "":
            kept.append(line)
            is_good = True  # text before the next timing line is not a cue
    return "\n".join(kept), numbers, faults


def _clean(cue: Cue, cast: dict[str, str]) -> Cue:
    """Remove names and tags from the text, and find the speaker."""
    text, speaker = cue.text, cue.speaker.strip()
    voice = _VOICE.search(text)
    if not speaker and voice:
        speaker = " ".join(voice.group(1).split())
    text = _TAG.sub("", text)
    prefix = _PREFIX.match(text)
    if not speaker and prefix and _is_name(prefix.group(1), cast):
        speaker = " ".join(prefix.group(1).split())
        text = text[prefix.end() :]
    text = "".join(" " if unicodedata.category(c) == "Cc" else c for c in text)
    return replace(cue, text=" ".join(text.split()), speaker=cast.get(speaker.casefold(), speaker))


def _is_name(word: str, cast: dict[str, str]) -> bool:
    """Whether the text before a colon is a name: in the cast, or in capitals."""
    word = " ".join(word.split())
    if word.casefold() in cast:
        return True
    letters = [c for c in word if c.isalpha()]
    return (
        len(letters) >= 2 and word == word.upper() and all(c.isalnum() or c in " .'-" for c in word)
    )


def _checked(cues: Sequence[Cue], faults: Sequence[ClipFault], source: str) -> Subtitles:
    good: list[Cue] = []
    bad = list(faults)
    for cue in sorted(cues, key=lambda cue: (cue.start_s, cue.index)):
        problem = _problem(cue, good[-1] if good else None)
        if problem is None:
            start_s = max(cue.start_s, good[-1].end_s) if good else cue.start_s
            good.append(replace(cue, start_s=start_s))
        else:
            bad.append(_fault(cue.index, *problem, source))
    return Subtitles(tuple(good), tuple(sorted(bad, key=lambda fault: fault.line)))


def _problem(cue: Cue, previous: Cue | None) -> tuple[str, str] | None:
    """Fault code and text of an unusable cue, or None."""
    times = f"{cue.start_s:.3f} to {cue.end_s:.3f} s"
    if cue.start_s < 0 or cue.end_s < 0:
        return "E-SUB-NEGATIVE", f"has a negative time ({times})"
    if cue.end_s < cue.start_s:
        return "E-SUB-REVERSED", f"ends before it starts ({times})"
    if round(cue.end_s * 25) <= round(cue.start_s * 25):
        return "E-SUB-ZERO", f"is shorter than one video frame ({times})"
    if not cue.text:
        return "E-SUB-EMPTY", "has no words"
    if len(cue.text) > _MAX_CUE_LETTERS:
        return "E-SUB-TEXT", f"has {len(cue.text)} letters, the limit is {_MAX_CUE_LETTERS}"
    if previous is not None and (
        cue.start_s < previous.end_s - _OVERLAP_S
        or round(cue.end_s * 25) <= round(max(cue.start_s, previous.end_s) * 25)
    ):
        return (
            "E-SUB-OVERLAP",
            f"starts at {cue.start_s:.3f} s, before line {previous.index} ends "
            f"({previous.end_s:.3f} s)",
        )
    return None


def _fault(number: int, code: str, what: str, source: str) -> ClipFault:
    message = f"line {number} of the subtitles {what}; correct it in the subtitle file"
    return ClipFault(source=source, code=code, message=message, line=number)


def _unparsed(path: Path, why: str) -> ClipError:
    return ClipError(
        f"the subtitle file '{shown(path.name)}' cannot be parsed: {why[:200]}; wanted SRT, WebVTT "
        "or ASS as its ending says",
        code="E-SUB-FORMAT",
    )
