"""The pronunciations that a user gives for words: ``pronunciations.csv`` of a project.

A row is ``word,phones``: a word (case does not matter) and its phones, ARPAbet with spaces between
them, or IPA between slashes (``/zɛd/``). Lines that begin with ``#`` are comments.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from redub.core.config import nearest
from redub.core.durable import file_digest
from redub.core.errors import ConfigError
from redub.features.text.pronunciation import PHONES, plain_phone
from redub.features.weights.folder import WeightFolder

FILE_NAME = "pronunciations.csv"
ROLE = "pronunciations"
_MOST_BYTES = 16 << 20

IPA: dict[str, tuple[str, ...]] = {
    "aɪ": ("AY",), "aʊ": ("AW",), "ɔɪ": ("OY",), "eɪ": ("EY",), "oʊ": ("OW",), "əʊ": ("OW",),
    "tʃ": ("CH",), "dʒ": ("JH",), "ɜr": ("ER",), "ɜɹ": ("ER",), "ər": ("ER",), "əɹ": ("ER",),
    "ɑ": ("AA",), "æ": ("AE",), "ʌ": ("AH",), "ə": ("AH",), "ɐ": ("AH",), "ɔ": ("AO",),
    "ɒ": ("AA",), "ɛ": ("EH",), "e": ("EH",), "ɜ": ("ER",), "ɝ": ("ER",), "ɚ": ("ER",),
    "ɪ": ("IH",), "i": ("IY",), "ʊ": ("UH",), "u": ("UW",), "b": ("B",), "d": ("D",),
    "ð": ("DH",), "f": ("F",), "ɡ": ("G",), "g": ("G",), "h": ("HH",), "k": ("K",), "l": ("L",),
    "m": ("M",), "n": ("N",), "ŋ": ("NG",), "p": ("P",), "r": ("R",), "ɹ": ("R",), "s": ("S",),
    "ʃ": ("SH",), "t": ("T",), "θ": ("TH",), "v": ("V",), "w": ("W",), "j": ("Y",), "z": ("Z",),
    "ʒ": ("ZH",),
}  # fmt: skip
"""IPA signs of English → ARPAbet phones; the longest sign that fits is taken."""
_SILENT_IPA = frozenset("ˈˌː. ‿")

OwnWords = dict[str, tuple[str, ...]]


def read_own_words(path: Path) -> OwnWords:
    """Read a file of pronunciations: word in lower case → phones.

    Raises:
        ConfigError: E-CFG-TABLE with the file and the line: not UTF-8, a row without word or
            phones, a phone that does not exist, or a word that is given twice with other phones.
    """
    words: OwnWords = {}
    lines: dict[str, int] = {}
    for number, row in _rows(path):
        word, phones = row[0].strip().lower(), row[1].strip()
        said = (
            _ipa(path, number, phones) if phones.startswith("/") else _arpabet(path, number, phones)
        )
        if word in words and words[word] != said:
            raise _wrong(path, number, f"gives '{word}' again, after line {lines[word]}; keep one")
        words[word], lines[word] = said, number
    return words


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the two cells of each row, without comments and the heading."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(f"{path} is larger than 16 MiB", code="E-CFG-TABLE")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8", code="E-CFG-TABLE"
        ) from error
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        row = next(csv.reader([line]))
        if [cell.strip().lower() for cell in row] == ["word", "phones"]:
            continue
        if len(row) != 2 or not row[0].strip() or not row[1].strip():
            raise _wrong(path, number, "is not a word and its phones, as: zed,Z EH D")
        if len(row[0].split()) > 1:
            raise _wrong(path, number, f"has a space in '{row[0].strip()}'; wanted one word")
        yield number, row


def _arpabet(path: Path, number: int, symbols: str) -> tuple[str, ...]:
    phones = []
    for symbol in symbols.split():
        phone = plain_phone(symbol)
        if phone is None:
            raise _wrong(
                path, number, f"has the phone '{symbol[:20]}'; {nearest(symbol.upper(), PHONES)}"
            )
        phones.append(phone)
    return tuple(phones)


def _ipa(path: Path, number: int, written: str) -> tuple[str, ...]:
    rest = written.strip("/")
    phones: list[str] = []
    while rest:
        sign = next((rest[:size] for size in (2, 1) if rest[:size] in IPA), "")
        if sign:
            phones += IPA[sign]
        elif rest[0] not in _SILENT_IPA:
            raise _wrong(path, number, f"has the IPA sign '{rest[0]}', which is no English sound")
        rest = rest[len(sign) or 1 :]
    if not phones:
        raise _wrong(path, number, "has no phones between the slashes")
    return tuple(phones)


def _wrong(path: Path, number: int, what: str) -> ConfigError:
    return ConfigError(f"{path.name} line {number} {what} ({path})", code="E-CFG-TABLE")


def own_words_folder(root: Path) -> WeightFolder | None:
    """Return a project's file of pronunciations with its SHA-256; None without one.

    Raises:
        ConfigError: E-CFG-TABLE, an error in the file, with its line.
    """
    path = root / FILE_NAME
    if not path.is_file():
        if path.exists() or path.is_symlink():
            raise ConfigError(
                f"{path} is no file that can be read; wanted words and their phones",
                code="E-CFG-TABLE",
            )
        return None
    read_own_words(path)  # so that an error is known before any work
    return WeightFolder(
        name=ROLE,
        path=root,
        files={FILE_NAME: file_digest(path)},
        licence="the project's",
    )
