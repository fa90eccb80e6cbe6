"""Read the times of SRT, WebVTT, SBV and ASS: ``1:02:03.4``, ``02:03,400``, ``100:00:00``."""

from __future__ import annotations

import re
from typing import NamedTuple

TIME = r"-?\d{1,6}(?:\s?:\s?\d{1,3}){1,3}(?:\s?[.,]\s?\d{1,9})?"
_PARTS = re.compile(r"(-?)(\d+(?::\d+)+)(?:[.,](\d+))?")
_ARROW = r"(?:[-–—−=]*\s?(?:>|&gt;)+|[→⇒⟶])"
_TIMING = re.compile(rf"\s*({TIME})\s*({_ARROW}|[-–—−]+)\s*({TIME})(\s.*)?", re.DOTALL)
_PAIR = re.compile(rf"\s*({TIME})\s*[,;]\s*({TIME})\s*")
_SETTINGS = re.compile(
    r"\s*(?:(?:align|position|line|size|vertical|region|[XY][12]):\S*\s*)*", re.IGNORECASE
)
_TIME_LIKE = re.compile(r"-?(?:\d+[:.,;][\d:.,;]*|(?=[\w:.,;]*\d)\w*:[\w:.,;]+)")
_CLOCK = r"\d{1,3}[:;.]\d\d[:;.]\d\d(?:\W\d{1,3})?"
_TWO_CLOCKS = re.compile(
    rf"[(\[<{{]*{_CLOCK}[)\]>}}]*(?:[^\w:]+|\s+to\s+){_CLOCK}\W*", re.IGNORECASE
)
_WHOLE_TIME = re.compile(r"-?\d+:\d+:\d+(?:[.,]\d+)?|-?\d+:\d+[.,]\d{1,3}")


class Timing(NamedTuple):
    """A timing line: seconds, or None where a time has no meaning, and text that follows."""

    start_s: float | None
    end_s: float | None
    rest: str


def seconds(word: str) -> float | None:
    """Read one time; None if a part is too large or is missing.

    Hours may be left out and may have any number of digits. After a colon, three digits at the end
    of four parts are milliseconds; two digits are frames of an unknown rate, so they have no value.
    """
    found = _PARTS.fullmatch("".join(word.split()))
    if found is None:
        return None
    sign, clock, fraction = found.groups()
    parts = clock.split(":")
    if len(parts) == 4 and fraction is None and len(parts[3]) == 3:
        fraction = parts.pop()
    if not 2 <= len(parts) <= 3 or any(len(part) > 2 for part in parts[1:]):
        return None
    hours, minutes, whole = ([0] * (3 - len(parts))) + [int(part) for part in parts]
    if whole > 59 or (minutes > 59 and len(parts) == 3):
        return None
    value = (
        hours * 3600
        + minutes * 60
        + whole
        + (int(fraction) / 10 ** len(fraction) if fraction else 0.0)
    )
    return -value if sign else value


def read_timing(line: str) -> Timing | None:
    """Read a line with two times and an arrow, else None; ``->`` and other arrows are accepted.

    ``rest`` is what follows and is no setting of WebVTT or SRT.
    """
    if ":" not in line:
        return None
    found = _TIMING.fullmatch(line)
    if found is None:
        return None
    start, arrow, end, rest = found.groups()
    is_dash = not any(c in arrow for c in ">→⇒⟶;")
    if is_dash and not all(_WHOLE_TIME.fullmatch("".join(time.split())) for time in (start, end)):
        return None  # '10:30 - 11:30' are words
    rest = rest or ""
    settings = _SETTINGS.match(rest)
    return Timing(seconds(start), seconds(end), rest[settings.end() if settings else 0 :].strip())


def read_pair(line: str) -> Timing | None:
    """Read the timing line of SBV and SubViewer, ``0:00:01.000,0:00:02.000``, else None."""
    found = _PAIR.fullmatch(line)
    if found is None:
        return None
    return Timing(seconds(found[1]), seconds(found[2]), "")


def looks_like_timing(line: str) -> bool:
    """Whether a line was meant as times and not as words: two clocks alone, or ``1 --> 0:02``."""
    if _TWO_CLOCKS.fullmatch(line):
        return True
    before, arrow, after = line.partition("->")
    if not arrow:
        return False
    first, last = before.rstrip("-").strip(), (after.split(maxsplit=1) or [""])[0]
    if _TIME_LIKE.fullmatch(first):
        return True
    return not any(c.isspace() for c in first) and _WHOLE_TIME.fullmatch(last) is not None


def looks_like_pair(line: str) -> bool:
    """Whether a line was meant as the times of SBV: two words with a comma, and one is a time."""
    sides = line.split(",")
    if len(sides) != 2 or any(c.isspace() for c in line):
        return False
    return any(_WHOLE_TIME.fullmatch(side) for side in sides) and all(
        re.match(r"-?\d+:", side) for side in sides
    )
