"""Split the text of a cue at changes of speaker: dashes, ``>>``, names before a colon."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from redub.footage.subtitles.markup import Segment
from redub.footage.subtitles.names import BRACKETED, LABEL, Label, Names
from redub.footage.subtitles.records import TEXT_KINDS, Kind, Records
from redub.footage.subtitles.speech import without_lyrics, without_sounds
from redub.footage.subtitles.text import LinedText

_DASH = r"[-–—‐‑−]"
_MARK = rf"(?:>>+|{_DASH}(?=\s+\S|\s*$|[^\W\d_]|[\"'“‘¿¡\[(♪>])|•(?=\s*\S))"
_MARKED = re.compile(rf"\s*({_MARK})\s*")
_LINE_MARK = re.compile(rf"\n(?=[^\S\n]*{_MARK})")
_INLINE_CHEVRON = re.compile(r"\s(?=>>)")
_AFTER_SENTENCE = r"(?:(?<=[.!?…\"”’)\]♪])|(?<=\S[-–—]))"
_INLINE_DASH = re.compile(rf"{_AFTER_SENTENCE}[^\S\n]+(?={_DASH}(?:[^\S\n]+\S|[^\W\d_]))")
_LINE_LABEL = re.compile(r"\n")
_INLINE_LABEL = re.compile(rf"{_AFTER_SENTENCE}[^\S\n]+")
_MAX_LABEL = 200
_ENDED = re.compile(rf"{_AFTER_SENTENCE}\s*$")


@dataclass(frozen=True, slots=True)
class Part:
    """Words that one speaker says, or that several say together."""

    text: LinedText
    names: tuple[str, ...] = ()
    off_screen: bool = False


def parts_of(segments: list[Segment], names: Names, cue: int, records: Records) -> list[Part]:
    """The words of one cue by speaker; labels, lyrics and sounds go into ``records``.

    A name holds up to the next change of speaker. After a dash without a name the speaker is
    unknown, unless a name field has as many names as there are dashes.
    """
    before_cue = len(records.others)
    parts = [part for segment in segments for part in _segment(segment, names, cue, records)]
    is_taken = any(other.kind in TEXT_KINDS for other in records.others[before_cue:])
    if is_taken and not any(c.isalnum() for part in parts for c in part.text.chars):
        for part in parts:  # the full stop after a song
            records.other(Kind.MARKUP, part.text, cue)
        return []
    joined: list[Part] = []
    for part in parts:
        before = joined[-1] if joined else None
        is_same = before is not None and bool(part.names) and part.names == before.names
        is_silent = not any(c.isalnum() for c in part.text.chars)
        if before is not None and (is_silent or (is_same and part.off_screen == before.off_screen)):
            joined[-1] = replace(before, text=LinedText.joined([before.text, part.text]))
        else:
            joined.append(part)
    return joined


def _segment(segment: Segment, names: Names, cue: int, records: Records) -> list[Part]:
    text = without_lyrics(
        segment.text.without_marks(),
        cue,
        records,
        changes=lambda found: _changes(found, names),
        label_ends=lambda found, at: _end_of_label(found, at, names),
    )
    given = names.of_field(segment.speaker) if segment.speaker else Label()
    cuts = _changes(text.chars, names)
    bounds = zip([0, *cuts], [*cuts, len(text.chars)], strict=True)
    chunks = [_chunk(text[start:end], names, cue, records) for start, end in bounds]
    chunks = [(label, words) for label, words in chunks if not words.is_blank]
    one_each = len(chunks) > 1 and len(given.names) == len(chunks)
    parts = []
    for place, (label, words) in enumerate(chunks):
        own = label.names
        if not own and one_each:
            own = given.names[place : place + 1]
        elif not own and place == 0:
            own = given.names
        off_screen = label.off_screen or (given.off_screen and not label.names and place == 0)
        parts.append(Part(words, own, off_screen))
    return parts


def _chunk(text: LinedText, names: Names, cue: int, records: Records) -> tuple[Label, LinedText]:
    """Take dash, label and sounds from the text of one speaker."""
    label, is_chevron = Label(), False
    if marked := _MARKED.match(text.chars):
        records.other(Kind.LABEL, text[: marked.end()], cue)
        text, is_chevron = text[marked.end() :], marked[1].startswith(">>")
    for _ in range(4):  # '[O.S.] ANN:', 'ANN: (V.O.)'
        found = names.before_colon(text.chars, is_marked=is_chevron)
        found = found or names.in_brackets(text.chars)
        is_alone = found is not None and text[found[1] :].is_blank
        if found is None or (is_alone and text.chars.lstrip()[:1] in "[("):
            break
        label = Label(label.names or found[0].names, label.off_screen or found[0].off_screen)
        records.other(Kind.LABEL, text[: found[1]], cue)
        text = text[found[1] :]
        if label.names and found[0].names and names.before_colon(text.chars) is not None:
            break
    if not label.names and (unsure := names.like_a_name(text.chars)):
        capitals = "" if unsure.isupper() else " or write it in capitals"
        records.notice_once(
            cue,
            f"'{unsure}:' is read as words; if it names a speaker, add it to cast.csv{capitals}",
        )
    return label, without_sounds(text, cue, records)


def _changes(text: str, names: Names) -> list[int]:
    """Where another speaker begins."""
    has_dash = _MARKED.match(text) is not None
    cuts = set()
    for found in _LINE_MARK.finditer(text):
        before = text[max(0, found.start() - 40) : found.start()]
        is_chevron = text[found.end() : found.end() + 40].lstrip().startswith(">>")
        if has_dash or is_chevron or _ENDED.search(before):
            cuts.add(found.end())
    cuts.update(found.end() for found in _INLINE_CHEVRON.finditer(text))
    if has_dash:
        cuts.update(found.end() for found in _INLINE_DASH.finditer(text))
    labels = {
        found.end()
        for pattern in (_LINE_LABEL, _INLINE_LABEL)
        for found in pattern.finditer(text)
        if _has_label(text, found.end(), names)
    }
    kept, end_of_label = [], _end_of_label(text, 0, names)
    for cut in sorted(cuts | labels):
        if cut in cuts or cut >= end_of_label:  # 'O'NEIL:' in 'DR. O'NEIL:' is no new speaker
            if text[:cut].strip():
                kept.append(cut)
            end_of_label = _end_of_label(text, cut, names)
    return kept


def _end_of_label(text: str, at: int, names: Names) -> int:
    """Where the label of the speaker that begins at a place ends; ``at`` without a label."""
    marked = _MARKED.match(text, at)
    start = marked.end() if marked else at
    found = names.before_colon(text[start : start + _MAX_LABEL])
    return start + found[1] if found else at


def _has_label(text: str, at: int, names: Names) -> bool:
    """Whether a label stands at a place of the text."""
    if LABEL.match(text, at) is None and BRACKETED.match(text, at) is None:
        return False
    near = text[at : at + _MAX_LABEL]
    return names.before_colon(near) is not None or names.in_brackets(near) is not None
