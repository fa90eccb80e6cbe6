"""Read the optional tables at the root of a footage folder, and check them before any work.

=============  ===========================  =======================================================
file           columns                      content
=============  ===========================  =======================================================
cast.csv       name[, rights, note]         speakers that may be used; other utterances are refused
emotions.csv   source, line, emotion        emotion of an utterance (``core.types.EMOTIONS``)
speakers.csv   source, line, speaker        speaker of an utterance; overrides the subtitles
scenes.csv     source, line, scene          scene of an utterance
splits.csv     source or scene, split       train, validation, test or none
languages.csv  source, line, language       language of an utterance: en, en-GB, de
=============  ===========================  =======================================================

``source`` is a path below the folder, with ``/``. ``line`` is the number of the subtitle cue, or 1
for a source without subtitles; an empty ``line`` means every utterance of the source. The second
speaker of cue 3 has the line ``3b``. In ``speakers.csv`` the line ``3`` is the first speaker alone;
in the other tables it is all of cue 3. A mistake in a table stops the run with the file and the
row, because a partly applied table would do harm.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from redub.core.config import nearest
from redub.core.errors import ClipError, ConfigError
from redub.core.types import EMOTIONS
from redub.footage.faults import shown
from redub.footage.language import is_language_tag
from redub.footage.paths import locate, open_regular

SPLITS = ("train", "validation", "test", "none")
TABLE_NAMES = (
    "cast.csv", "emotions.csv", "speakers.csv", "scenes.csv", "splits.csv", "languages.csv",
)  # fmt: skip

_MAX_TABLE_BYTES = 256 << 20
_MAX_COLUMNS = 64
_MAX_CELL = 4096
_EVERY_LINE = ""
_LINE = re.compile(r"0*([1-9][0-9]*)([b-z]?)")


@dataclass(frozen=True, slots=True)
class LineValue:
    """The value of one table row, with the table's name and the row's line number for messages."""

    value: str
    table: str
    row: int


LineTable = Mapping[str, Mapping[str, LineValue]]
"""Source → line number with the letter of its part, as ``3b`` (empty: every line) → value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The content of all tables; a mapping is empty if its table is absent.

    Attributes:
        cast: name → rights, or None without ``cast.csv``.
        emotions, speakers, scenes, languages: see :data:`LineTable`.
        source_splits, scene_splits: source → split, scene → split.
    """

    cast: Mapping[str, str] | None = None
    emotions: LineTable = field(default_factory=dict)
    speakers: LineTable = field(default_factory=dict)
    scenes: LineTable = field(default_factory=dict)
    source_splits: Mapping[str, str] = field(default_factory=dict)
    scene_splits: Mapping[str, str] = field(default_factory=dict)
    languages: LineTable = field(default_factory=dict)

    @property
    def names(self) -> Collection[str]:
        """Names in ``cast.csv``; empty without that table."""
        return () if self.cast is None else self.cast.keys()


def line_value(table: LineTable, source: str, line: int, part: str = "") -> str:
    """Return the value of one utterance, else of its cue, else of the row for all, else empty."""
    rows = table.get(source, {})
    found = rows.get(f"{line}{part}") or rows.get(str(line)) or rows.get(_EVERY_LINE)
    return found.value if found else ""


def line_speakers(table: LineTable, source: str) -> dict[str, str]:
    """Return the speakers of single lines of a source: ``{"3": "Ann", "3b": "Bob"}``."""
    rows = table.get(source, {})
    return {line: found.value for line, found in rows.items() if line != _EVERY_LINE}


def every_line(table: LineTable, source: str) -> str:
    """Return the value for every line of a source; empty without one."""
    found = table.get(source, {}).get(_EVERY_LINE)
    return found.value if found else ""


def rows_without_line(
    tables: Tables, source: str, lines: Collection[str]
) -> Iterator[tuple[str, LineValue]]:
    """Yield line and row of the rows of a source whose line is not in ``lines``."""
    for table in (tables.emotions, tables.speakers, tables.scenes, tables.languages):
        for line, found in table.get(source, {}).items():
            if line != _EVERY_LINE and line not in lines:
                yield line, found


def load_tables(root: Path, sources: Collection[str], default_scenes: Collection[str]) -> Tables:
    """Read and check the tables that exist.

    Args:
        sources: all sources of the folder; a row may name only these.
        default_scenes: the scenes that exist without ``scenes.csv``.

    Raises:
        ConfigError: E-CFG-TABLE with the file and the row: a missing column, an unknown word (with
            the nearest known word), an unknown source, a repeated row.
    """
    known = _by_name(sources)
    scenes = _line_table(root, "scenes.csv", "scene", known)
    all_scenes = {v.value for rows in scenes.values() for v in rows.values()} | set(default_scenes)
    source_splits, scene_splits = _splits(root, known, all_scenes)
    return Tables(
        cast=_cast(root),
        emotions=_line_table(root, "emotions.csv", "emotion", known, legal=EMOTIONS),
        speakers=_line_table(root, "speakers.csv", "speaker", known),
        scenes=scenes,
        source_splits=source_splits,
        scene_splits=scene_splits,
        languages=_languages(root, known),
    )


def cast_names(root: Path) -> set[str]:
    """The names in ``cast.csv`` of a footage folder; none without the folder or the table.

    Raises:
        ConfigError: E-CFG-TABLE, a mistake in the table.
    """
    return set(_cast(root) or ())


def _languages(root: Path, known: Mapping[str, str]) -> LineTable:
    """The table of languages, each a tag like ``en`` or ``en-GB``."""
    table = _line_table(root, "languages.csv", "language", known)
    for rows in table.values():
        for found in rows.values():
            if not is_language_tag(found.value):
                what = f"has the language '{shown(found.value)}'; wanted a tag like en or en-GB"
                raise _mistake("languages.csv", found.row, what)
    return table


def _cast(root: Path) -> dict[str, str] | None:
    rows = _rows(root, "cast.csv", ("name",), ("rights", "note"))
    if rows is None:
        return None
    cast: dict[str, str] = {}
    for row, cells in rows:
        name = _normal(cells["name"])
        if not name:
            raise _mistake("cast.csv", row, "has no name; wanted one person per row")
        if name.casefold() in {known.casefold() for known in cast}:
            raise _mistake("cast.csv", row, f"names '{shown(name)}' again; wanted one row each")
        cast[name] = cells.get("rights", "")
    return cast


def _line_table(
    root: Path, name: str, column: str, known: Mapping[str, str], legal: Collection[str] = ()
) -> dict[str, dict[str, LineValue]]:
    rows = _rows(root, name, ("source", "line", column)) or ()
    table: dict[str, dict[str, LineValue]] = {}
    for row, cells in rows:
        source, value = _source_of(name, row, cells, known), _normal(cells[column])
        line = _EVERY_LINE
        if cells["line"]:
            number = _LINE.fullmatch(cells["line"])
            if number is None:
                what = f"has the line '{shown(cells['line'])}'; wanted a number from 1, or nothing"
                raise _mistake(name, row, what)
            line = number[1] + number[2]
        if not value:
            raise _mistake(name, row, f"has no {column}")
        if legal and value not in legal:
            what = f"has the {column} '{shown(value)}'; {nearest(value, legal)}"
            raise _mistake(name, row, what)
        if line in table.setdefault(source, {}):
            first = table[source][line].row
            what = f"says again what line {first} says about '{shown(source)}'; wanted one row each"
            raise _mistake(name, row, what)
        table[source][line] = LineValue(value, name, row)
    return table


def _normal(word: str) -> str:
    """A word in the normal form NFC, as subtitles have it; macOS writes accents apart."""
    return unicodedata.normalize("NFC", word)


def _splits(
    root: Path, known: Mapping[str, str], scenes: Collection[str]
) -> tuple[dict[str, str], dict[str, str]]:
    name = "splits.csv"
    by_source: dict[str, str] = {}
    by_scene: dict[str, str] = {}
    for row, cells in _rows(root, name, ("split",), ("source", "scene")) or ():
        split = cells["split"]
        if split not in SPLITS:
            raise _mistake(name, row, f"has the split '{shown(split)}'; {nearest(split, SPLITS)}")
        source, scene = cells.get("source", ""), cells.get("scene", "")
        if bool(source) == bool(scene):
            raise _mistake(name, row, "wants either a source or a scene")
        if scene and scene not in scenes:
            hint = nearest(scene, scenes)
            raise _mistake(
                name, row, f"names the scene '{shown(scene)}', which is not here; {hint}"
            )
        place, key = (
            (by_scene, scene) if scene else (by_source, _source_of(name, row, cells, known))
        )
        if key in place:
            raise _mistake(name, row, f"names '{shown(key)}' again; wanted one row each")
        place[key] = split
    return by_source, by_scene


def _by_name(sources: Collection[str]) -> dict[str, str]:
    """Source by its name and by its name in NFC, where no other source has that one.

    macOS writes the accents of a file name apart, and a table does not.
    """
    found: dict[str, str] = {}
    for source in sources:
        name = _normal(source)
        found[name] = "" if name in found else source
    return {**found, **{source: source for source in sources}}


def _source_of(table: str, row: int, cells: Mapping[str, str], known: Mapping[str, str]) -> str:
    source = known.get(cells["source"]) or known.get(_normal(cells["source"])) or ""
    if not source:
        source = cells["source"]
        hint = nearest(source, known) if known else "the folder has no media"
        raise _mistake(table, row, f"names '{shown(source)}', which is not in the folder; {hint}")
    return source


def _rows(
    root: Path, name: str, wanted: tuple[str, ...], optional: tuple[str, ...] = ()
) -> list[tuple[int, dict[str, str]]] | None:
    """(line number in the file, column → cell) of every non-blank row; None without the table."""
    path = root / name
    if not path.is_symlink() and not path.exists():
        return None
    reader = csv.reader(io.StringIO(_text_of(path, name), newline=""), strict=True)
    columns: list[str] | None = None
    rows = []
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            _check_size(name, reader.line_num, cells)
            if columns is None:
                columns = _header(name, cells, wanted, optional)
                continue
            if len(cells) != len(columns):
                what = f"has {len(cells)} cells, the header has {len(columns)}"
                raise _mistake(name, reader.line_num, what)
            rows.append((reader.line_num, dict(zip(columns, cells, strict=True))))
    except csv.Error as error:
        raise _mistake(name, reader.line_num, f"is not valid CSV: {error}") from error
    if columns is None:
        raise _mistake(name, 1, f"is empty; wanted the columns {', '.join(wanted)}")
    return rows


def _header(
    name: str, cells: list[str], wanted: tuple[str, ...], optional: tuple[str, ...]
) -> list[str]:
    columns = [cell.lower() for cell in cells]
    missing = [column for column in wanted if column not in columns]
    if not missing and name == "splits.csv" and not {"source", "scene"} & set(columns):
        missing = ["source or scene"]
    if missing:
        what = f"lacks the column '{missing[0]}'; wanted {', '.join(wanted)}"
        raise _mistake(name, 1, f"{what}, found {', '.join(map(shown, columns))}")
    for column in columns:
        if column not in wanted + optional:
            hint = nearest(column, wanted + optional)
            raise _mistake(name, 1, f"has the unknown column '{shown(column)}'; {hint}")
    if len(set(columns)) != len(columns):
        raise _mistake(name, 1, "has a column twice")
    return columns


def _check_size(name: str, row: int, cells: list[str]) -> None:
    if len(cells) > _MAX_COLUMNS:
        raise _mistake(name, row, f"has {len(cells)} cells, the limit is {_MAX_COLUMNS}")
    if max(map(len, cells)) > _MAX_CELL:
        raise _mistake(name, row, f"has a cell of more than {_MAX_CELL} letters")


def _text_of(path: Path, name: str) -> str:
    try:
        with (
            open_regular(locate(path.parent, name)) as descriptor,
            open(descriptor, "rb", closefd=False) as file,
        ):
            data = file.read(_MAX_TABLE_BYTES + 1)
    except ClipError as error:
        raise ConfigError(f"{name}: {error.message}", code="E-CFG-TABLE") from error
    if len(data) > _MAX_TABLE_BYTES:
        raise _mistake(name, 1, f"is larger than {_MAX_TABLE_BYTES >> 20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise _mistake(
            name, row, f"is not UTF-8 at byte {error.start}; save it as UTF-8"
        ) from error


def _mistake(name: str, row: int, what: str) -> ConfigError:
    return ConfigError(f"{name} line {row} {what}", code="E-CFG-TABLE")
