"""Read imported texts, made by another model or by people: JSON lines, one object per clip.

``{"clip_id": "film/scene/3", "scene": "…", "face": "…"}``: a :class:`LineForm` defines the columns;
the other rules are the same for all forms.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, NoReturn, TypeVar

from redub.core.config import nearest
from redub.features.base import FeatureSchema, WeightUser

T = TypeVar("T")

ID = "clip_id"
LONGEST_NUMBER = 20  # digits; Python raises a different error for numbers of thousands of digits

Texts = tuple[str, ...]  # in the order of the form's columns, stripped; "" for a missing text

_SHORT = reprlib.Repr()  # messages quote only the start of a long value
_SHORT.maxstring = _SHORT.maxother = 80
quoted = _SHORT.repr


@dataclass(frozen=True, slots=True, kw_only=True)
class LineForm:
    """The columns of a line besides ``clip_id``.

    Attributes:
        kind: kind in the weights ledger, and the name of the copy in a project.
        columns: names of the text columns.
        may_lack: whether a text may be missing, null or empty, if the line has at least one column.
    """

    kind: str
    columns: tuple[str, ...]
    may_lack: bool


class LineFile(NamedTuple):
    """The texts of a file: clip id → texts, and one message for each invalid line."""

    rows: dict[str, Texts]
    faults: list[str]


def parse_lines(text: str, form: LineForm) -> LineFile:
    """Read every line; an invalid line is skipped and reported with its number.

    Blank lines and a byte-order mark are ignored. Of several lines of a clip the first counts.
    """
    rows: dict[str, Texts] = {}
    first_line: dict[str, int] = {}
    faults: list[str] = []
    # Not splitlines, because a JSON string may contain the separators U+2028 and U+0085.
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            clip_id, found = _parsed(line, form)
            if clip_id in rows:
                raise ValueError(
                    f"{quoted(clip_id)} has a row already, in line {first_line[clip_id]}"
                )
        except ValueError as error:
            faults.append(f"line {number}: {error}")
        else:
            rows[clip_id], first_line[clip_id] = found, number
    return LineFile(rows, faults)


def canonical_lines(rows: Mapping[str, Texts], form: LineForm) -> bytes:
    """Write texts in a canonical form: sorted by clip id, with all columns.

    Cache keys are computed from this form, so the order of a file and its spaces do not change
    them.
    """
    lines = (
        json.dumps({ID: clip_id, **dict(zip(form.columns, texts, strict=True))}, ensure_ascii=False)
        for clip_id, texts in sorted(rows.items())
    )
    return "".join(line + "\n" for line in lines).encode()


def _parsed(line: str, form: LineForm) -> tuple[str, Texts]:
    """Clip id and texts of one line; raises ValueError that says what is wrong."""
    try:
        row = json.loads(
            line, object_pairs_hook=_object, parse_int=_whole, parse_constant=_no_number
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg}, column {error.colno})") from error
    except RecursionError:
        raise ValueError("not a row: brackets within brackets") from None
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    known = (ID, *form.columns)
    for name, value in row.items():
        if name not in known:
            raise ValueError(f"unknown column {quoted(name)}; {nearest(name[:80], known)}")
        may_be_none = form.may_lack and name != ID
        if not isinstance(value, str) and not (value is None and may_be_none):
            raise ValueError(f"'{name}' is {quoted(value)}; wanted a text")
        if value and not _is_text(value):
            raise ValueError(f"'{name}' holds half a character (a lone surrogate): {quoted(value)}")
    if not row.get(ID, "").strip():
        raise ValueError(f"no {ID}")
    texts = tuple((row.get(name) or "").strip() for name in form.columns)
    if not form.may_lack and not all(texts):
        raise ValueError(f"no {form.columns[texts.index('')]}")
    if not row.keys() & set(form.columns):
        raise ValueError("neither " + " nor ".join(form.columns))
    return row[ID], texts


def _is_text(words: str) -> bool:
    """Whether a string can be encoded: JSON allows half of a surrogate pair."""
    return not any("\ud800" <= letter <= "\udfff" for letter in words)


def _object(pairs: list[tuple[str, T]]) -> dict[str, T]:
    row: dict[str, T] = {}
    for name, value in pairs:
        if name in row:
            raise ValueError(f"the column {quoted(name)} comes twice")
        row[name] = value
    return row


def _whole(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"it has a number of {len(digits)} digits; wanted texts")
    return int(digits)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"not JSON ({name} is not a JSON value)")


class ImportedLines(WeightUser):
    """An extractor that looks up the text of a clip in imported files.

    Class attributes:
        form: the columns of the files.
        role: role of the folder in the cache key.
        several: whether the entry of the ledger may have more than one file.
    """

    form: ClassVar[LineForm]
    role: ClassVar[str]
    several: ClassVar[bool]

    @classmethod
    def weights_wanted(cls, config: Any) -> dict[str, tuple[str, str]]:
        """Return the entry with the imported files."""
        return {cls.role: (config.weights, cls.form.kind)}

    @property
    def schema(self) -> FeatureSchema:
        """One text."""
        return FeatureSchema(kind="text")

    @cached_property
    def table(self) -> dict[str, Texts]:
        """All imported texts: clip id → texts.

        Raises:
            ModelRefusedError: E-MODEL-FILE, a file has an invalid line, two files have the same
                clip, there are several files where one is allowed, or no file has a line.
        """
        folder = self.folders[self.role]
        names = sorted(folder.files)
        if len(names) > 1 and not self.several:
            raise self._refused(f"holds {len(names)} files ({', '.join(names[:3])}), wanted one")
        table: dict[str, Texts] = {}
        for name in names:
            rows, faults = parse_lines(folder.text(name), self.form)
            if faults:
                raise self._refused(f"{name}, {faults[0]}")
            both = sorted(rows.keys() & table.keys())
            if both:
                raise self._refused(f"{name}: {quoted(both[0])} is in another file too")
            table |= rows
        if not table:
            raise self._refused(f"holds no {self.form.kind}")
        return table

    def _refused(self, what: str) -> Exception:
        hint = f"; correct it and run `redub {self.form.kind} import FILE` again"
        return self.folders[self.role].refused(what + hint, code="E-MODEL-FILE")
