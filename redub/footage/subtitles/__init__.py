"""Read subtitles: speaker, text, start and end of each cue, and what is not spoken.

:func:`read_subtitles` reads SRT, WebVTT, ASS, SSA, TTML, SBV, SubViewer and MicroDVD. Every visible
character of a file is in a cue, in a fault with its line number, or in a named kind of text that
no speaker says (:class:`Kind`).

The number of a cue is the number of its times in the file, from 1; unusable cues count, too. Tables
refer to this number as ``line``. A cue with several speakers becomes several cues: 3, 3b, 3c.
"""

from redub.footage.subtitles.reader import SUBTITLE_SUFFIXES, read_subtitles
from redub.footage.subtitles.records import (
    TEXT_KINDS,
    Cue,
    Kind,
    Notice,
    NotSpoken,
    Subtitles,
    counted,
    not_spoken_sentence,
)
from redub.footage.subtitles.schedule import fit_to_media

__all__ = [
    "SUBTITLE_SUFFIXES",
    "TEXT_KINDS",
    "Cue",
    "Kind",
    "NotSpoken",
    "Notice",
    "Subtitles",
    "counted",
    "fit_to_media",
    "not_spoken_sentence",
    "read_subtitles",
]
