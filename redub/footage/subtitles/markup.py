"""Take markup out of the text of a cue: HTML-like tags, ASS overrides, entities, line breaks."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from redub.footage.faults import shown
from redub.footage.subtitles.records import Kind, RawCue, Records
from redub.footage.subtitles.text import LinedText, one_line

Syntax = Literal["html", "ass", "microdvd", "none"]

_ENTITY = r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
_TAG = r"</?[A-Za-z][^<>]*>|</?\d[\d:.,]*>|</>"
_BRACES = r"\{[^{}]*\}"
_RUBY_TEXT = r"<rt[^<>]*>[^<]*</rt>"  # how the letters before it are pronounced
_TOKENS = {
    "html": re.compile(rf"{_RUBY_TEXT}|{_TAG}|{_BRACES}|{_ENTITY}|\\[Nh]|\[br\]", re.IGNORECASE),
    "ass": re.compile(rf"{_BRACES}|\\[Nnh]"),
    "microdvd": re.compile(rf"{_BRACES}|\||(?m:^/)"),
    "none": re.compile(r"(?!)"),
}
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>", re.IGNORECASE)
_TAG_NAME = re.compile(r"</?([A-Za-z]\w*)")
_KNOWN_TAGS = frozenset((
    *("a", "b", "big", "blink", "body", "br", "c", "center", "del", "div", "em", "font", "head"),
    *("h1", "h2", "h3", "i", "img", "ins", "lang", "li", "mark", "ol", "p", "rb", "rp", "rt"),
    *("ruby", "s", "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "ul", "v"),
))  # fmt: skip
_LAST_DASH = re.compile(r"(?:^|\n)[^\S\n]*[-–—‐−•][^\S\n]*$")
_DRAWING = re.compile(r"\\p(\d+)")
_BREAKS = {"\\n": "\n", "[br]": "\n", "|": "\n", "\\h": " "}


@dataclass(slots=True)
class Segment:
    """Text without markup; ``speaker`` is the name of a voice tag or of a field, or empty."""

    text: LinedText
    speaker: str = ""


def plain(text: str) -> str:
    """A text with HTML-like markup as a viewer sees it, on one line; for comparisons."""
    return one_line(_TOKENS["html"].sub(lambda found: _replaced(found[0]), text))


def _replaced(token: str) -> str:
    if token.startswith("&"):
        return html.unescape(token)
    is_break = re.fullmatch(r"<br\s*/?>", token, re.IGNORECASE)
    return "\n" if is_break else _BREAKS.get(token.lower(), "")


def without_markup(cue: RawCue, syntax: Syntax, records: Records) -> list[Segment]:
    """Split a cue at its voice tags, and take out the markup, which goes into ``records``."""
    segments = [Segment(LinedText(), cue.speaker)]
    parts: list[LinedText] = []
    for kind, piece, voice in _pieces(cue.text, syntax):
        if voice is not None:
            segments[-1].text = LinedText.joined(parts, between="")
            dash = _LAST_DASH.search(segments[-1].text.chars) if voice else None
            if dash:  # '- <v Ann>Hi'
                records.other(Kind.LABEL, segments[-1].text[dash.start() :], cue.index)
                segments[-1].text = segments[-1].text[: dash.start()]
            parts = []
            segments.append(Segment(LinedText(), voice or cue.speaker))
        if kind is None:
            parts.append(piece)
        else:
            records.other(kind, piece, cue.index)
            if syntax == "html" and _may_be_words(piece.chars, kind):
                records.notice_once(
                    cue.index,
                    f"'{shown(one_line(piece.chars))}' is read as markup; if it is spoken, write "
                    "it without the brackets",
                )
    segments[-1].text = LinedText.joined(parts, between="")
    return [segment for segment in segments if not segment.text.is_blank]


def _pieces(text: LinedText, syntax: Syntax) -> Iterator[tuple[Kind | None, LinedText, str | None]]:
    """Yield (kind, text, voice): kind None for words; voice is a name, or empty where one ends."""
    after, is_drawing = 0, False
    for match, token in text.matches(_TOKENS[syntax]):
        yield (Kind.DRAWING if is_drawing else None), text[after : match.start()], None
        after = match.end()
        if token.chars.startswith("&"):
            char = html.unescape(token.chars)
            if char == token.chars:  # no such entity: these are words
                yield None, token, None
            else:
                yield None, LinedText(char, [token.lines[0]] * len(char)), None
            continue
        voice = _voice(token.chars) if syntax == "html" else None
        yield _kind_of(token.chars, syntax), token, voice
        drawing = _DRAWING.findall(token.chars) if syntax == "ass" else []
        if drawing:
            is_drawing = int(drawing[-1]) > 0
        if replaced := _replaced(token.chars):
            yield None, LinedText(replaced, [token.lines[-1]] * len(replaced)), None
    yield (Kind.DRAWING if is_drawing else None), text[after:], None


def _may_be_words(token: str, kind: Kind) -> bool:
    """Whether a token has the form of markup and no meaning: ``<Enter>``, ``{sigh}``."""
    if kind is Kind.COMMENT:
        return True
    name = _TAG_NAME.match(token)
    return kind is Kind.MARKUP and name is not None and name[1].lower() not in _KNOWN_TAGS


def _kind_of(token: str, syntax: Syntax) -> Kind:
    if (
        syntax != "microdvd"
        and token.startswith("{")
        and "\\" not in token
        and ":" not in token[:3]
    ):
        return Kind.COMMENT
    return Kind.LABEL if syntax == "html" and _VOICE.fullmatch(token) else Kind.MARKUP


def _voice(token: str) -> str | None:
    """The name in a voice tag; empty at the end of a voice; None for other tokens."""
    if found := _VOICE.fullmatch(token):
        return one_line(html.unescape(found[1]))
    return "" if token.lower() == "</v>" else None
