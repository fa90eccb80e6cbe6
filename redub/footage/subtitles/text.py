"""Text of a subtitle file: decoding, and strings whose characters know their line in the file."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from redub.core.errors import ClipError
from redub.footage.faults import shown
from redub.footage.paths import open_regular

_MAX_FILE_BYTES = 8 << 20
_JOINERS = "\u200c\u200d"  # they change letters of Persian and Indic scripts
_PICTURES = b"\x00\x00\x01\xba"  # begin of an MPEG program stream
_UTF16_MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


@dataclass(frozen=True, slots=True)
class LinedText:
    """A string, and for each of its characters the line of the file where it stands, from 1."""

    chars: str = ""
    lines: Sequence[int] = ()

    @classmethod
    def of(cls, rows: Iterable[tuple[int, str]]) -> LinedText:
        """Join (line number, text) pairs with a newline between them."""
        return cls.joined(cls(text, [number] * len(text)) for number, text in rows)

    @classmethod
    def joined(cls, parts: Iterable[LinedText], between: str = "\n") -> LinedText:
        """Join texts; ``between`` gets the line of the text before it."""
        chars: list[str] = []
        lines: list[int] = []
        for number, part in enumerate(parts):
            if number:
                chars.append(between)
                lines += [lines[-1] if lines else 0] * len(between)
            chars.append(part.chars)
            lines += part.lines
        return cls("".join(chars), lines)

    def __bool__(self) -> bool:
        return bool(self.chars)

    def __getitem__(self, span: slice) -> LinedText:
        return LinedText(self.chars[span], self.lines[span])

    @property
    def line(self) -> int:
        """Line of the first visible character; of the first character if none is visible."""
        for char, line in zip(self.chars, self.lines, strict=True):
            if is_visible(char):
                return line
        return self.lines[0] if self.lines else 0

    @property
    def is_blank(self) -> bool:
        """Whether no character is visible."""
        return not any(map(is_visible, self.chars))

    def cut(self, spans: Iterable[tuple[int, int]]) -> LinedText:
        """The text without the given spans, which are in order and do not overlap."""
        parts, after = [], 0
        for start, end in spans:
            parts.append(self[after:start])
            after = end
        return LinedText.joined([*parts, self[after:]], between="")

    def without_marks(self) -> LinedText:
        """The text without invisible format characters (marks of direction), but with joiners."""
        marks = [
            (at, at + 1)
            for at, char in enumerate(self.chars)
            if unicodedata.category(char) == "Cf" and char not in _JOINERS
        ]
        return self.cut(marks) if marks else self

    def matches(self, pattern: re.Pattern[str]) -> Iterator[tuple[re.Match[str], LinedText]]:
        """Every match of a pattern, with its text."""
        for match in pattern.finditer(self.chars):
            yield match, self[match.start() : match.end()]


def is_visible(char: str) -> bool:
    """Whether a character is text: not a space, a control or an invisible format character."""
    return not char.isspace() and (unicodedata.category(char) not in ("Cc", "Cf"))


def trimmed(line: str) -> str:
    """A line without spaces and invisible format characters (direction marks) at its ends."""
    start, end = 0, len(line)
    while start < end and not is_visible(line[start]):
        start += 1
    while end > start and not is_visible(line[end - 1]):
        end -= 1
    return line[start:end]


def one_line(text: str) -> str:
    """Put a text on one line, without control characters and invisible format characters."""
    kinds = {char: unicodedata.category(char) for char in set(text)}
    kept = (" " if kinds[c] == "Cc" else c for c in text if kinds[c] != "Cf" or c in _JOINERS)
    return " ".join("".join(kept).split())


def text_of(path: Path) -> str:
    """Read a subtitle file as text in the normal form NFC, with ``\\n`` at the ends of lines.

    Raises:
        ClipError: E-SUB-FORMAT for a file that is too large, E-SUB-ENCODING for one that is not
            UTF-8 or UTF-16 with a byte order mark, or an error of ``open_regular``.
    """
    with open_regular(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
        data = file.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:
        raise ClipError(
            f"the subtitle file '{shown(path.name)}' is larger than {_MAX_FILE_BYTES >> 20} MiB; "
            "wanted the lines of one source",
            code="E-SUB-FORMAT",
        )
    if data.startswith(_PICTURES):
        raise ClipError(
            f"the subtitle file '{shown(path.name)}' holds pictures of words (VobSub); wanted text",
            code="E-SUB-FORMAT",
        )
    text = _decoded(data, path).lstrip("\ufeff")
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


def _decoded(data: bytes, path: Path) -> str:
    codec = _UTF16_MARKS.get(data[:2], "")
    if codec:
        try:
            return data[2:].decode(codec)
        except UnicodeDecodeError as error:
            line = data[2 : 2 + error.start].decode(codec, "replace").count("\n") + 1
            raise _not_text(path, "UTF-16", data, error.start + 2, line) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _not_text(path, "UTF-8", data, error.start, line) from error
    if 4 * text.count("\0") > len(text):  # UTF-16 without a byte order mark, or no text at all
        start = data.index(b"\0")
        raise _not_text(path, "UTF-8", data, start, data.count(b"\n", 0, start) + 1)
    return text


def _not_text(path: Path, codec: str, data: bytes, start: int, line: int) -> ClipError:
    return ClipError(
        f"the subtitle file '{shown(path.name)}' is not {codec}: byte {start} (line {line}) is "
        f"0x{data[start]:02x}; save it as UTF-8",
        code="E-SUB-ENCODING",
    )
