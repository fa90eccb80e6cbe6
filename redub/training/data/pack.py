"""A pack: everything that a training run reads, in Arrow files that are mapped into memory.

    pack.json      keys of everything the pack depends on, files with SHA-256, clips left out
    <part>.arrow   the features of some clips, one row per clip; never changed once written
    links.arrow    one row per clip: split, voice, and every reference to other clips

A link refers to hits, adjacent utterances and reference mels by row numbers of the links. Its
column ``row`` is a row number of the parts, counted through all parts in the order of
``pack.json``. So no feature is stored twice. Rows of parts without a link belong to removed clips.
Frame features may be float16 (``pack.json`` says how much that changes each of them); all others
are as extracted.

Letters: W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from redub.core.columns import Array, Column, Lists
from redub.core.config import digest_of
from redub.core.durable import commit_json, file_digest, read_json
from redub.core.errors import IntegrityError
from redub.core.records import JsonRecord
from redub.core.types import MODALITIES
from redub.training.data.lines import AdjacentUtterance
from redub.training.data.pack_lines import GLOBAL_FEATURES, PackedLines, adjacent_utterance

FORMAT = 4
RECORD, LINKS = "pack.json", "links.arrow"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackFile:
    """One Arrow file; ``name`` is its path below the folder of all packs, ``size`` in bytes."""

    name: str
    rows: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFeature:
    """How a pack stores one feature; ``moved`` is the largest change by float16."""

    kind: str
    width: int
    dtype: str
    moved: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PackRecord(JsonRecord):
    """The content of ``pack.json``.

    keys: what the utterances depend on, as checkpoints record it. features: by name. modalities:
    scene, face and text to their feature. splits: split to number of utterances. left_out: split to
    clip id to the reason why the clip is no utterance.
    """

    ADVICE: ClassVar[str] = "run `redub pack` again"

    pack: str
    keys: Mapping[str, str]
    features: Mapping[str, PackedFeature]
    modalities: Mapping[str, str]
    parts: tuple[PackFile, ...]
    links: PackFile
    splits: Mapping[str, int]
    left_out: Mapping[str, Mapping[str, str]]
    format: int = FORMAT

    def commit(self, path: Path) -> None:
        """Write the record with its own digest; afterwards the pack can be opened."""
        document = self.to_json()
        document["digest"] = digest_of(document, digits=64)
        commit_json(path, document)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read ``pack.json`` and check its digest.

        Raises:
            IntegrityError: the file is missing or damaged, or a newer redub wrote it.
        """
        try:
            value = read_json(path)
        except (OSError, IntegrityError) as error:
            raise IntegrityError(
                f"{path} cannot be read ({error}); {cls.ADVICE}", code="E-INT-PACK"
            ) from error
        if isinstance(value, dict):
            written = value.get("format")
            if isinstance(written, int) and written > FORMAT:
                raise IntegrityError(
                    f"{path} was written by a newer redub; update redub", code="E-INT-NEWER"
                )
            if value.pop("digest", "") == digest_of(value, digits=64):
                return cls.from_json(value, path)
        raise IntegrityError(f"{path} is not what was written; {cls.ADVICE}", code="E-INT-PACK")


class Links:
    """The links of all clips, one row per clip; columns are views of a mapped file."""

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
        self.reference_mels = Lists(table.column("reference_mels"))
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
        """The column of a modality's feature."""
        return self.columns[self.record.modalities[modality]]

    @classmethod
    def open(cls, root: Path, name: str) -> Pack:
        """Check all bytes of a pack and map it into memory.

        Raises:
            IntegrityError: a file is gone or changed.
        """
        record = PackRecord.read(root / name / RECORD)
        for file in (*record.parts, record.links):
            path = root / file.name
            if (
                not path.is_file()
                or path.stat().st_size != file.size
                or file_digest(path) != file.sha256
            ):
                raise IntegrityError(
                    f"{path} is not the file that was packed; run `redub pack` again",
                    code="E-INT-PACK",
                )
        return cls(root, record)

    def check_unchanged(self) -> None:
        """Check that no file was replaced or changed since it was opened.

        A mapped file that is truncated while it is read kills the process; parts are therefore
        never written in place.

        Raises:
            IntegrityError: E-INT-PACK, a file has another size, mtime or inode.
        """
        for path, state in self._states.items():
            if not path.is_file() or _state(path) != state:
                raise IntegrityError(
                    f"{path} changed while it was in use; steps since the last checkpoint are "
                    "lost. Run `redub pack`, then train again",
                    code="E-INT-PACK",
                )

    def lines(self, split: str, *, context: bool = False, triples: bool = False) -> PackedLines:
        """The recorded utterances of a split, in row order.

        Args:
            context: utterances include the features of adjacent utterances.
            triples: only utterances with both adjacent utterances.
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

    def adjacent(self, side: str, link: int) -> AdjacentUtterance | None:
        """The packed features of an adjacent utterance, as views; None if there is none.

        Args:
            side: ``previous`` or ``following``.
            link: the clip's row number in the links.
        """
        found = int((self.links.previous if side == "previous" else self.links.following)[link])
        if found < 0:
            return None
        row, columns = self.links.rows[found], self.columns

        def known(name: str) -> Array | None:
            """A vector or frames of the adjacent clip; None without a value."""
            if name not in columns:
                return None
            is_vector = name in GLOBAL_FEATURES.values()
            return columns[name].vector(row) if is_vector else columns[name].frames(row)

        return adjacent_utterance(known)

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
    """Files of a pack that are gone or have other bytes than were written."""
    for file in (*record.parts, record.links):
        path = root / file.name
        is_sized = path.is_file() and path.stat().st_size == file.size
        if not is_sized or file_digest(path) != file.sha256:
            yield file


def names_in(part: Path) -> tuple[list[str], list[str]]:
    """Clip ids of a part's rows, and the digests of their values' inputs.

    Raises:
        IntegrityError: the file is gone or is no Arrow file.
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


def _state(path: Path) -> tuple[int, int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns, state.st_ino
