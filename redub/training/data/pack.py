"""A pack: all that a training run reads, in Arrow files that are mapped into memory, not loaded.

    pack.json      what it is: keys of all it was made from, files with SHA-256, lines left out
    <part>.arrow   the features of some clips, each clip once; never changed once it is written
    links.arrow    one row per clip: split, voice, and every reference to others as row numbers

Hits, the context and the lines that lend a timbre are row numbers of the links, whose column
``row`` leads on to the parts (counted through them in the order of ``pack.json``), so nothing is
stored twice. Rows of parts that no link names belong to clips that are gone. Frame features may be
float16 (``pack.json`` says how far that moves each of them); all others are as extracted.

Letters: N clips, n frames, W width, K hits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from redub.core.columns import Array, Column, Lists
from redub.core.config import canonical, digest_of
from redub.core.errors import IntegrityError
from redub.core.types import MODALITIES
from redub.training.data.lines import ContextLine
from redub.training.data.pack_lines import WHOLE, PackedLines, context_line

FORMAT = 3


RECORD, LINKS = "pack.json", "links.arrow"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackFile:
    """One Arrow file, relative to the folder that holds all packs."""

    name: str
    rows: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PackRecord:
    """The authority on one pack.

    keys: what the lines were made from, as a checkpoint keeps it. features: name to width, kind
    and the largest change that float16 made. modalities: scene, face and text to the one of the
    features that each is. left_out: split to clip id to why there is no line.
    """

    pack: str
    keys: Mapping[str, str]
    features: Mapping[str, Mapping[str, Any]]
    modalities: Mapping[str, str]
    parts: tuple[PackFile, ...]
    links: PackFile
    splits: Mapping[str, int]
    left_out: Mapping[str, Mapping[str, str]]
    format: int = FORMAT


class Links:
    """Every clip's relations, in row numbers; all columns are views of one mapped batch."""

    def __init__(self, table: pa.Table) -> None:
        table = table.combine_chunks()
        self.clip_ids: list[str] = table.column("clip_id").to_pylist()
        self.splits: list[str] = table.column("split").to_pylist()
        self.voices: list[str] = table.column("voice").to_pylist()
        self.rows = np.asarray(table.column("row"))
        self.is_line = np.asarray(table.column("is_line"))
        self.mel_frames = np.asarray(table.column("mel_frames"))
        self.emotions = np.asarray(table.column("emotion"))
        self.previous = np.asarray(table.column("previous"))
        self.following = np.asarray(table.column("following"))
        self.timbres = Lists(table.column("timbres"))
        self.hits = {m: Lists(table.column(f"{m}_hits")) for m in MODALITIES}
        self.scores = {m: Lists(table.column(f"{m}_scores")) for m in MODALITIES}
        self.speaker = Column(table.column("speaker_vector").chunks)
        self.audio = Column(table.column("audio").chunks)


class Pack:
    """An opened pack; its arrays live as long as this object."""

    def __init__(self, folder: Path, record: PackRecord) -> None:
        self.folder = folder
        self.record = record
        self._states: dict[Path, tuple[int, int, int]] = {}
        batches = []
        for part in record.parts:
            reader = self._mapped(part)
            batches += [reader.get_batch(n) for n in range(reader.num_record_batches)]
        self.columns: dict[str, Column] = {
            name: Column([batch.column(name) for batch in batches]) for name in record.features
        }
        self.links = Links(self._mapped(record.links).read_all())

    def vectors(self, modality: str) -> Column:
        """The feature that a modality is."""
        return self.columns[self.record.modalities[modality]]

    @classmethod
    def open(cls, root: Path, name: str) -> Pack:
        """Map a pack and check every byte of it.

        Raises:
            IntegrityError: a file is gone or is not what was written.
        """
        record = read_record(root / name / RECORD)
        for file in (*record.parts, record.links):
            path = root / file.name
            if (
                not path.is_file()
                or path.stat().st_size != file.size
                or _sha256(path) != file.sha256
            ):
                raise IntegrityError(
                    f"{path} is not the file that the pack was made of; run `redub pack` again",
                    code="E-INT-PACK",
                )
        return cls(root, record)

    def check_unchanged(self) -> None:
        """Raise where a file was replaced or cut while it is in use.

        Raises:
            IntegrityError: E-INT-PACK. (A file that is cut while it is read kills the process, as
            any mapped file does; parts are therefore never written in place.)
        """
        for path, state in self._states.items():
            if not path.is_file() or _state(path) != state:
                raise IntegrityError(
                    f"{path} changed while it was in use; what was learned since the last "
                    "checkpoint is not kept. Run `redub pack`, then train again",
                    code="E-INT-PACK",
                )

    def lines(self, split: str, *, context: bool = False, triples: bool = False) -> PackedLines:
        """The recorded lines of a split, in row order.

        Args:
            context: lines know the ones before and after them.
            triples: only lines that have both.
        """
        links = self.links
        rows = [
            row
            for row, (own, is_line) in enumerate(zip(links.splits, links.is_line, strict=True))
            if own == split
            and is_line
            and not (triples and min(links.previous[row], links.following[row]) < 0)
        ]
        return PackedLines(self, rows, context=context)

    def neighbour(self, side: str, link: int) -> ContextLine | None:
        """The line before or after a clip, as far as the pack has its features; views."""
        found = int((self.links.previous if side == "previous" else self.links.following)[link])
        if found < 0:
            return None
        row, columns = self.links.rows[found], self.columns

        def known(name: str) -> Array | None:
            if name not in columns:
                return None
            is_vector = name in WHOLE.values()
            return columns[name].vector(row) if is_vector else columns[name].frames(row)

        return context_line(known)

    def _mapped(self, file: PackFile) -> Any:
        path = self.folder / file.name
        self._states[path] = _state(path)
        try:
            return pa.ipc.open_file(pa.memory_map(str(path)))
        except (OSError, pa.ArrowException) as error:
            raise IntegrityError(
                f"{path} cannot be read: {error}; run `redub pack` again", code="E-INT-PACK"
            ) from error


def damaged_files(root: Path, record: PackRecord) -> Iterator[PackFile]:
    """Files of a pack that are gone or hold other bytes than were written."""
    for file in (*record.parts, record.links):
        path = root / file.name
        is_sized = path.is_file() and path.stat().st_size == file.size
        if not is_sized or _sha256(path) != file.sha256:
            yield file


def names_in(part: Path) -> tuple[list[str], list[str]]:
    """Clip ids of a part's rows, and digests of what their values were made from.

    Raises:
        IntegrityError: the file is gone or no Arrow file.
    """
    ids, contents = [], []
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(part)))
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            ids += batch.column("clip_id").to_pylist()
            contents += batch.column("content").to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(
            f"{part} cannot be read: {error}; remove it and its .json, then run `redub pack`",
            code="E-INT-PACK",
        ) from error
    return ids, contents


def record_document(record: PackRecord) -> dict[str, Any]:
    """What ``pack.json`` holds: the record, and its own digest."""
    value: dict[str, Any] = json.loads(canonical(asdict(record)))
    return {**value, "digest": digest_of(value, digits=64)}


def read_record(path: Path) -> PackRecord:
    """Read ``pack.json``.

    Raises:
        IntegrityError: it is not there, damaged, or a newer redub wrote it.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format"] > FORMAT:
            raise IntegrityError(
                f"{path} was written by a newer redub; update redub", code="E-INT-NEWER"
            )
        digest = value.pop("digest")
        if digest != digest_of(value, digits=64):
            raise IntegrityError(
                f"{path} is not what was written; run `redub pack` again", code="E-INT-PACK"
            )
        value["parts"] = tuple(PackFile(**part) for part in value["parts"])
        value["links"] = PackFile(**value["links"])
        return PackRecord(**value)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{path} cannot be read ({error!r}); run `redub pack` again", code="E-INT-PACK"
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _state(path: Path) -> tuple[int, int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns, state.st_ino
