"""Check the times of cues: share a cue between its speakers, refuse overlaps, name repeats."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from redub.footage.subtitles.records import (
    Cue,
    Kind,
    NotSpoken,
    RawCue,
    Records,
    Subtitles,
    cue_fault,
)
from redub.footage.subtitles.speakers import Part
from redub.footage.subtitles.text import one_line

_MAX_CUE_LETTERS = 1000
_MAX_SPEAKERS = 26
_MIN_PART_S = 0.12  # three video frames
_OVERLAP_S = 0.05  # overlap that is allowed; the start of the later cue is moved
_OVERSHOOT_S = 0.5  # subtitles often stay on the screen a little longer than the media lasts
_FASTEST = 30  # letters a second; quick speech has about 20

Problem = tuple[str, str]
"""Code and text of a fault."""


@dataclass(frozen=True, slots=True)
class Limits:
    """End of the media and longest clip, in seconds."""

    end_s: float = math.inf
    max_clip_s: float = math.inf


def fit_to_media(
    subtitles: Subtitles, *, source: str, end_s: float, max_clip_s: float
) -> Subtitles:
    """Refuse cues that end after the media or last longer than ``max_clip_s``.

    A cue that ends at most ``_OVERSHOOT_S`` after ``end_s`` is cut at ``end_s``.
    """
    good, faults = [], list(subtitles.faults)
    for cue in subtitles.cues:
        problem = _past_end(cue.start_s, cue.end_s, end_s) or _too_long(cue, max_clip_s)
        if problem is None:
            good.append(replace(cue, end_s=min(cue.end_s, end_s)))
        else:
            faults.append(cue_fault(source, cue.index, *problem, cue.file_line, cue.text, cue.part))
    faults.sort(key=lambda fault: (fault.line, fault.part))
    return replace(subtitles, cues=tuple(good), faults=tuple(faults))


def cues_of(raw: RawCue, parts: Sequence[Part], limits: Limits, records: Records) -> list[Cue]:
    """The cues of one timed text, one per speaker; a problem of its times is one fault."""
    end_s = min(raw.end_s, limits.end_s)
    problem = _past_end(raw.start_s, raw.end_s, limits.end_s)
    problem = problem or _bad_times(raw.start_s, end_s)
    shares = _shares(raw.start_s, end_s, parts)
    speakers = sum(max(1, len(part.names)) for part in parts)
    if problem is None and speakers > 1:
        if speakers > _MAX_SPEAKERS:
            problem = ("E-SUB-SPEAKERS", f"has {speakers} speakers, the limit is {_MAX_SPEAKERS}")
        elif min(end - start for start, end in itertools.pairwise(shares)) < _MIN_PART_S:
            what = f"has {speakers} speakers, {end_s - raw.start_s:.2f} s are too short for them"
            problem = ("E-SUB-SPEAKERS", what)
    if problem is not None:
        text = "\n".join(part.text.chars.strip() for part in parts)
        records.fault(raw.index, *problem, line=raw.line, text=text)
        return []
    cues: list[Cue] = []
    for part, (start, end) in zip(parts, itertools.pairwise(shares), strict=True):
        for name in part.names or ("",):
            cues.append(
                Cue(
                    index=raw.index,
                    start_s=start,
                    end_s=end,
                    text=one_line(part.text.chars),
                    speaker=name,
                    part=chr(ord("a") + len(cues)) if cues else "",
                    off_screen=part.off_screen,
                    file_line=part.text.line,
                )
            )
    return cues


def arranged(cues: Sequence[Cue], limits: Limits, records: Records) -> tuple[Cue, ...]:
    """Usable cues in order of time; repeats and faults go into ``records``.

    Two cues with different known speakers may overlap: both are meant to be heard.
    """
    good: list[Cue] = []
    latest: dict[str, Cue] = {}
    seen: set[tuple[float, float, str, str]] = set()
    for cue in sorted(cues, key=lambda cue: (cue.start_s, cue.index, cue.part)):
        same = (cue.start_s, cue.end_s, cue.text.casefold(), cue.speaker)
        if same in seen:
            records.others.append(NotSpoken(cue.file_line, Kind.REPEAT, cue.text, cue.index))
            continue
        problem = _too_long(cue, limits.max_clip_s) or _bad_text(cue)
        placed = cue
        if problem is None:
            placed, problem = _placed(cue, latest)
        if problem is not None:
            records.fault(cue.index, *problem, line=cue.file_line, text=cue.text, part=cue.part)
            continue
        seen.add(same)
        good.append(placed)
        for key in {placed.speaker, _ANYBODY}:
            if key not in latest or latest[key].end_s < placed.end_s:
                latest[key] = placed
        _notice_speed(placed, records)
    return tuple(sorted(good, key=lambda cue: (cue.start_s, cue.index, cue.part)))


_ANYBODY = "\0any"


def _placed(cue: Cue, latest: dict[str, Cue]) -> tuple[Cue, Problem | None]:
    """The cue, started later by a small overlap, and the problem of a large one."""
    speakers = (cue.speaker, "") if cue.speaker else (_ANYBODY,)
    for speaker in speakers:
        before = latest.get(speaker)
        if before is None or before.end_s <= cue.start_s:
            continue
        if cue.start_s < before.end_s - _OVERLAP_S or _is_short(before.end_s, cue.end_s):
            what = (
                f"starts at {cue.start_s:.3f} s, before line {before.index}{before.part} ends "
                f"({before.end_s:.3f} s)"
            )
            return cue, ("E-SUB-OVERLAP", what)
        cue = replace(cue, start_s=before.end_s)
    other = latest.get(_ANYBODY)
    if (
        other is not None
        and 0 < other.end_s - cue.start_s <= _OVERLAP_S
        and other.start_s < cue.start_s
        and not _is_short(other.end_s, cue.end_s)
    ):
        cue = replace(cue, start_s=other.end_s)
    return cue, None


def _shares(start_s: float, end_s: float, parts: Sequence[Part]) -> list[float]:
    """Where the parts begin and end: the time is shared by numbers of letters."""
    counts = [max(1, sum(c.isalnum() for c in part.text.chars)) for part in parts]
    total, length = sum(counts), end_s - start_s
    inner = [start_s + length * done / total for done in itertools.accumulate(counts)]
    return [start_s, *inner[:-1], end_s]


def _past_end(start_s: float, end_s: float, media_end_s: float) -> Problem | None:
    if start_s < media_end_s and end_s <= media_end_s + _OVERSHOOT_S:
        return None
    what = f"goes from {start_s:.2f} to {end_s:.2f} s, the media end at {media_end_s:.2f}"
    return "E-SUB-PASTEND", what


def _too_long(cue: Cue, max_clip_s: float) -> Problem | None:
    length = cue.end_s - cue.start_s
    if length <= max_clip_s:
        return None
    return "E-IN-TOOLONG", f"lasts {length:.1f} s, the limit is {max_clip_s:g} s"


def _bad_times(start_s: float, end_s: float) -> Problem | None:
    times = f"{start_s:.3f} to {end_s:.3f} s"
    if start_s < 0 or end_s < 0:
        return "E-SUB-NEGATIVE", f"has a negative time ({times})"
    if end_s < start_s:
        return "E-SUB-REVERSED", f"ends before it starts ({times})"
    if _is_short(start_s, end_s):
        return "E-SUB-ZERO", f"is shorter than one video frame ({times})"
    return None


def _bad_text(cue: Cue) -> Problem | None:
    if len(cue.text) > _MAX_CUE_LETTERS:
        return "E-SUB-TEXT", f"has {len(cue.text)} letters, the limit is {_MAX_CUE_LETTERS}"
    return None


def _is_short(start_s: float, end_s: float) -> bool:
    return round(end_s * 25) <= round(start_s * 25)


def _notice_speed(cue: Cue, records: Records) -> None:
    letters, length_s = sum(c.isalnum() for c in cue.text), cue.end_s - cue.start_s
    if letters > _FASTEST * length_s:
        records.notice(
            cue.index,
            f"line {cue.index}{cue.part} has {letters} letters in {length_s:.2f} s, too short a "
            "time to say them",
        )
