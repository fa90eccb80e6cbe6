"""Captions that were written elsewhere: by another model, or by people.

One JSON object a line: ``{"clip_id": "film/scene/3", "scene": "…", "face": "…"}``. Either text may
be left out or empty; the clip then has no such caption.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

from redub.core.config import nearest
from redub.core.errors import FeatureAbsent
from redub.core.types import ClipMedia
from redub.features.base import FeatureSchema, Media, WeightUser

COLUMNS = ("clip_id", "scene", "face")


class Captions(NamedTuple):
    """Both texts of one clip; an empty one is none."""

    scene: str
    face: str


class CaptionFile(NamedTuple):
    """What a file says, and a sentence for each line that says nothing usable."""

    captions: dict[str, Captions]
    faults: list[str]


def parse_captions(text: str) -> CaptionFile:
    """Read every line; a faulty one is named by number and left out.

    Blank lines and a byte-order mark are passed over. A clip that comes twice keeps its first line.
    """
    captions: dict[str, Captions] = {}
    first_line: dict[str, int] = {}
    faults: list[str] = []
    # Not splitlines: a JSON string may hold the separators U+2028 and U+0085 as they are.
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            clip_id, found = _parsed(line)
        except ValueError as error:
            faults.append(f"line {number}: {error}")
            continue
        if clip_id in captions:
            faults.append(
                f"line {number}: '{clip_id}' has a row already, in line {first_line[clip_id]}"
            )
            continue
        captions[clip_id], first_line[clip_id] = found, number
    return CaptionFile(captions, faults)


def _parsed(line: str) -> tuple[str, Captions]:
    try:
        row = json.loads(line, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error})") from error
    except RecursionError:
        raise ValueError("not a row: brackets within brackets") from None
    if not isinstance(row, Mapping):
        raise ValueError("not a JSON object")
    for name, value in row.items():
        if name not in COLUMNS:
            raise ValueError(f"unknown column '{name}'; {nearest(name, COLUMNS)}")
        if not isinstance(value, str) and not (value is None and name != "clip_id"):
            raise ValueError(f"'{name}' is {value!r}; wanted a text")
        if value and not is_text(value):
            raise ValueError(f"'{name}' holds half a character (a lone surrogate): {value!r}")
    clip_id = row.get("clip_id", "")
    if not clip_id:
        raise ValueError("no clip_id")
    if not row.keys() & {"scene", "face"}:
        raise ValueError("neither scene nor face")
    return clip_id, Captions(*((row.get(name) or "").strip() for name in ("scene", "face")))


def is_text(words: str) -> bool:
    """Whether a string can be written: JSON lets half of a surrogate pair through."""
    return not any("\ud800" <= letter <= "\udfff" for letter in words)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a column comes twice")
    return row


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedCaptionConfig:
    """``weights``: entry of the ledger."""

    weights: str = "captions"


class ImportedCaption(WeightUser):
    """The clip's name in, the recorded text out; media are not looked at."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset()
    Config: ClassVar[type] = ImportedCaptionConfig
    column: ClassVar[Literal["scene", "face"]]

    @classmethod
    def weights_wanted(cls, config: Any) -> dict[str, tuple[str, str]]:
        return {"captions": (config.weights, "captions")}

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="text")

    @cached_property
    def table(self) -> dict[str, Captions]:
        """All recorded captions.

        Raises:
            ModelRefusedError: E-MODEL-FILE, a file does not hold captions, or two say something
                about the same clip.
        """
        table: dict[str, Captions] = {}
        for name, file in self._files():
            if file.faults:
                raise self._refused(f"{name}, {file.faults[0]}")
            both = sorted(table.keys() & file.captions.keys())
            if both:
                raise self._refused(f"{name}: '{both[0]}' is in another file too")
            table |= file.captions
        return table

    def _files(self) -> Iterator[tuple[str, CaptionFile]]:
        folder = self.folders["captions"]
        for name in sorted(folder.files):
            yield name, parse_captions(folder.text(name))

    def _refused(self, what: str) -> Exception:
        hint = "; mend it and run `redub captions import FILE` again"
        return self.folders["captions"].refused(what + hint, code="E-MODEL-FILE")

    def extract(self, media: ClipMedia) -> str:
        """The text.

        Raises:
            FeatureAbsent: E-FEAT-NOCAPTION, no row or an empty text.
        """
        row = self.table.get(media.clip.clip_id)
        if row is None:
            raise FeatureAbsent("the captions have no row for this clip", code="E-FEAT-NOCAPTION")
        text: str = getattr(row, self.column)
        if not text:
            raise FeatureAbsent(
                f"the captions give this clip no {self.column} text", code="E-FEAT-NOCAPTION"
            )
        return text


class ImportedSceneCaption(ImportedCaption):
    """The column ``scene``."""

    column = "scene"


class ImportedFaceCaption(ImportedCaption):
    """The column ``face``."""

    column = "face"
