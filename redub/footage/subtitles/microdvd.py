"""MicroDVD: ``{first frame}{last frame}words|more words``, in frames of the film."""

from __future__ import annotations

import re

from redub.footage.subtitles.records import Kind, RawCue, Records
from redub.footage.subtitles.text import LinedText

_LINE = re.compile(r"\s*\{\s*(-?\d+)\s*\}\s*\{\s*(-?\d*)\s*\}(.*)")
_DEFAULTS = re.compile(r"\s*\{DEFAULT\}", re.IGNORECASE)
_RATE = re.compile(r"\s*(\d{1,3}(?:[.,]\d+)?)\s*")
_RATES = (5.0, 240.0)
_SAME_RATE = 0.01  # rates that differ by less than 1 % are the same, rounded differently


def is_microdvd(text: str) -> bool:
    """Whether a text begins as MicroDVD does."""
    first = text.lstrip().partition("\n")[0]
    return _LINE.fullmatch(first) is not None or _DEFAULTS.match(first) is not None


def read_microdvd(text: str, fps: float, records: Records) -> list[RawCue]:
    """Read the cues; a first line ``{1}{1}25.000`` gives the rate, else ``fps`` is the rate.

    Args:
        fps: frames per second of the film; 0 if it is unknown.
    """
    cues: list[RawCue] = []
    rate, index = fps, 0
    for number, line in enumerate(text.split("\n"), start=1):
        row = LinedText.of([(number, line)])
        if row.is_blank:
            continue
        if _DEFAULTS.match(line):
            records.other(Kind.STYLE, row)
            continue
        found = _LINE.fullmatch(line)
        stated = _rate(found) if found and not index else 0.0
        if stated:
            if fps and abs(stated - fps) > _SAME_RATE * fps:
                records.notice(
                    0,
                    f"the subtitles count {stated:g} frames a second and the film has {fps:g}; "
                    "the times follow the subtitles",
                )
            rate = stated
            records.other(Kind.HEADER, row)
            continue
        index += 1
        cue = None
        if found is None:
            what = f"has no frame numbers in text line {number}"
        elif not rate:
            what = "counts frames, and the frame rate is unknown; write it as {1}{1}25 on line 1"
        elif not found[2]:
            what = f"has no end in text line {number}"
        else:
            what = ""
            words = row[found.start(3) :]
            start_s, end_s = int(found[1]) / rate, int(found[2]) / rate
            cue = RawCue(index=index, line=number, start_s=start_s, end_s=end_s, text=words)
        if cue is None:
            records.fault(index, "E-SUB-FORMAT", what, line=number, text=line.strip())
        else:
            records.other(Kind.TIMING, row[: found.start(3) if found else 0], index)
            cues.append(cue)
    return cues


def _rate(found: re.Match[str]) -> float:
    """The frame rate that a first line states; 0.0 if it is an ordinary line."""
    number = _RATE.fullmatch(found[3])
    if number is None or found[1] not in "01" or found[1] != found[2]:
        return 0.0
    rate = float(number[1].replace(",", "."))
    return rate if _RATES[0] <= rate <= _RATES[1] else 0.0
