"""Separate the words of a cue from lyrics and from descriptions of sounds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from redub.footage.subtitles.records import Kind, Records
from redub.footage.subtitles.text import LinedText

_NOTES = re.compile(r"[♪♫♩♬🎵🎶]+")
_NOTES_IN_BRACKETS = re.compile(r"[\[(][^\[\]()]*[♪♫♩♬🎵🎶][^\[\]()]*[\])]")
_HASHES = re.compile(r"(?m)^\s*#[ \t]*\S[^\n]*?#\s*$|\A\s*#[ \t]+[^#]*#\s*\Z")
_NEW_SPEAKER = re.compile(r"\n\s*(?:>>|[-–—‐−•]\s)")
_SQUARE = re.compile(r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]")
_ROUND = re.compile(r"\((?:[^()]|\([^()]*\))*\)")
_STARS = re.compile(r"\*[^*\n]+\*")
_SENTENCE_END = re.compile(r"(?:[.!?…:;\"”)\]♪—–-]|^|\n)\s*$")
_ONE_SOUND = re.compile(r"\w+(?:s|ing)", re.IGNORECASE)
_MAX_SOUND_WORDS = 6
_MAX_INITIALS = 4  # 'the Bureau (FBI)' is spoken


def without_lyrics(
    text: LinedText,
    cue: int,
    records: Records,
    *,
    changes: Callable[[str], Sequence[int]] = lambda chars: (),
    label_ends: Callable[[str, int], int] = lambda chars, at: at,
) -> LinedText:
    """Take out what is sung: text between music notes, or between ``#`` at both ends.

    A note without a second one holds for the text up to the next speaker; a single note at the end
    of a line holds for the line before it, unless a speaker is named there. A single note inside a
    sentence holds for nothing.

    Args:
        changes: places of a text where another speaker begins.
        label_ends: where the speaker's label that begins at a place ends; the place without one.
    """
    bracketed = [found.span() for found in _NOTES_IN_BRACKETS.finditer(text.chars)]
    text = _take(text, bracketed, Kind.LYRICS, cue, records)
    spans: list[tuple[int, int]] = []
    cuts = changes(text.chars)
    marks = [(found.start(), found.end()) for found in _NOTES.finditer(text.chars)]
    after = 0
    for place, (start, end) in enumerate(marks):
        if start < after:
            continue
        others = marks[place + 1 :]
        following = _NEW_SPEAKER.search(text.chars, end)
        stop = following.start() if following else len(text.chars)
        stop = min([stop, *(cut for cut in cuts if cut >= end)])
        line = text.chars.rfind("\n", 0, start) + 1
        words = label_ends(text.chars, line)  # where those of the note's line begin
        if others and others[0][0] < stop:
            span = (start, others[0][1])
        elif text[end:stop].is_blank:  # the note ends its line
            span = (start if line < words <= start else max(after, line), end)
        elif text.chars[line:start].strip() and not _begins_sentence(text.chars, start):
            span = (start, end)
        else:
            span = (start, stop)
        spans.append(span)
        after = span[1]
    return _take(text, spans, Kind.LYRICS, cue, records) if spans else _hashed(text, cue, records)


def without_sounds(text: LinedText, cue: int, records: Records) -> LinedText:
    """Take out descriptions: ``[DOOR SLAMS]``, ``(sighs)``, ``*coughs*``.

    Text in round brackets is a description if it is in capitals and several words or a long one, or
    where a sentence can begin and it has no sentence in it: in ``He was late (as usual).``
    everything is spoken.
    """
    text = _take(
        text, [found.span() for found in _SQUARE.finditer(text.chars)], Kind.SOUND, cue, records
    )
    spans = [
        found.span()
        for found in _ROUND.finditer(text.chars)
        if _is_description(found[0][1:-1])
        and (_is_shouted(found[0][1:-1]) or _begins_sentence(text.chars, found.start()))
    ]
    text = _take(text, spans, Kind.SOUND, cue, records)
    stars = [
        found.span()
        for found in _STARS.finditer(text.chars)
        if _ONE_SOUND.fullmatch(found[0][1:-1])
    ]
    return _take(text, stars, Kind.SOUND, cue, records)


def _is_shouted(words: str) -> bool:
    """Whether words are in capitals and no short initialism: ``LAUGHS``, ``DOG BARKS``."""
    return words == words.upper() and sum(c.isalpha() for c in words) > _MAX_INITIALS


def _begins_sentence(text: str, at: int) -> bool:
    return _SENTENCE_END.search(text[max(0, at - 40) : at]) is not None


def _is_description(words: str) -> bool:
    parts = words.split()
    if not 1 <= len(parts) <= _MAX_SOUND_WORDS or re.search(r"[.!?…]", words):
        return False
    letters = [c for c in words if c.isalpha()]
    if not letters:
        return False
    is_capital = words == words.upper() and len(letters) > 1
    is_one_sound = len(parts) == 1 and _ONE_SOUND.fullmatch(words) is not None
    return is_capital or letters[0].islower() or is_one_sound


def _hashed(text: LinedText, cue: int, records: Records) -> LinedText:
    spans = [found.span() for found in _HASHES.finditer(text.chars)]
    return _take(text, spans, Kind.LYRICS, cue, records)


def _take(
    text: LinedText, spans: list[tuple[int, int]], kind: Kind, cue: int, records: Records
) -> LinedText:
    for start, end in spans:
        records.other(kind, text[start:end], cue)
    return text.cut(spans)
