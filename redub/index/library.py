"""The library: the clips that can be retrieved, and one index per modality over them.

The table is columns, sorted by clip id, so that a row number orders as a clip id does and ties
break by clip id. A modality indexes only the rows that have a vector there; a clip without a face
is no neighbour of anybody's face.

Letters: N table rows, n indexed rows, Q queries, D width, K neighbours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ConfigError, IntegrityError
from redub.core.types import Clip, FloatArray
from redub.index.base import (
    FORMAT,
    Backend,
    BoolArray,
    FileEntry,
    Hits,
    IndexInputError,
    IndexRecord,
    IntArray,
    Metric,
    no_hits,
    read_record,
    record_json,
    save_vectors,
    verify_file,
)
from redub.index.policy import ClipFacts, Policy
from redub.index.registry import build_backend, load_backend
from redub.index.similarity import prepare_halves

ROWS = "rows.npy"
MASK_BYTES = 1 << 26  # 64 MiB of (Q, N) eligibility at a time
WORDS = ("clip_id", "film", "scene", "speaker", "split", "emotion", "rights", "source_digest")
NUMBERS = ("position", "start_frame", "end_frame")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LibraryTable:
    """The clip table as columns of N rows, strictly ascending by clip id (code point order).

    Words are numpy ``StringDType``, numbers int64. Make one with :meth:`from_clips`.

    Raises:
        ConfigError: columns of different lengths, unsorted or repeated clip ids.
    """

    clip_id: NDArray[Any]
    film: NDArray[Any]
    scene: NDArray[Any]
    position: IntArray
    speaker: NDArray[Any]
    split: NDArray[Any]
    emotion: NDArray[Any]
    rights: NDArray[Any]
    source_digest: NDArray[Any]
    start_frame: IntArray
    end_frame: IntArray
    _codes: dict[str, tuple[dict[str, int], NDArray[np.int32]]] = field(
        init=False, repr=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in WORDS + NUMBERS}
        if len(set(lengths.values())) != 1:
            raise ConfigError(f"library: columns of different lengths: {lengths}")
        is_wrong = self.clip_id[1:] <= self.clip_id[:-1]
        if is_wrong.any():
            row = int(np.argmax(is_wrong))
            raise ConfigError(
                f"library: clip id '{self.clip_id[row + 1]}' follows '{self.clip_id[row]}'; wanted "
                "ascending ids, none twice",
                code="E-IN-DUPLICATE",
            )

    @classmethod
    def from_clips(cls, clips: Iterable[Clip]) -> LibraryTable:
        """Sort clips by id into a table; raises ConfigError when an id comes twice."""
        ordered = sorted(clips, key=lambda clip: clip.clip_id)
        words = {
            name: np.array([getattr(clip, name) for clip in ordered], dtype=np.dtypes.StringDType())
            for name in WORDS
        }
        numbers = {
            name: np.array([getattr(clip, name) for clip in ordered], dtype=np.int64)
            for name in NUMBERS
        }
        return cls(**words, **numbers)

    def __len__(self) -> int:
        return len(self.clip_id)

    def facts(self, row: int) -> ClipFacts:
        """One row as a query; training clips ask with their own library rows."""
        return ClipFacts(
            clip_id=str(self.clip_id[row]),
            film=str(self.film[row]),
            scene=str(self.scene[row]),
            speaker=str(self.speaker[row]),
            source_digest=str(self.source_digest[row]),
            start_frame=int(self.start_frame[row]),
            end_frame=int(self.end_frame[row]),
        )

    def is_value(self, column: str, value: str) -> BoolArray:
        """(N,) bool, True where the word column holds the value."""
        if column == "clip_id":  # at most one row: no need to look at every one
            found = np.zeros(len(self), dtype=np.bool_)
            row = self.row_of(value)
            if row is not None:
                found[row] = True
            return found
        known, codes = self._coded(column)
        is_value: BoolArray = codes == known.get(value, -1)
        return is_value

    def row_of(self, clip_id: str) -> int | None:
        """The row of a clip, or None.

        A dictionary, not a binary search: ``np.searchsorted`` (numpy 2.4.6) answers wrongly for
        StringDType words of more than 15 bytes.
        """
        return self._coded("clip_id")[0].get(clip_id)

    def is_one_of(self, column: str, values: Iterable[str]) -> BoolArray:
        """(N,) bool, True where the word column holds one of the values."""
        known, codes = self._coded(column)
        is_wanted = np.zeros(len(known) + 1, dtype=np.bool_)
        is_wanted[[known[value] for value in values if value in known]] = True
        is_one: BoolArray = is_wanted[codes]
        return is_one

    def _coded(self, column: str) -> tuple[dict[str, int], NDArray[np.int32]]:
        """A word column as integers; made once, since every query compares whole columns."""
        if column not in self._codes:
            known: dict[str, int] = {}
            words = getattr(self, column).tolist()
            codes = np.array([known.setdefault(w, len(known)) for w in words], dtype=np.int32)
            self._codes[column] = (known, codes)
        return self._codes[column]

    def digest(self) -> str:
        """SHA-256 over every column: an index answers in the row numbers of one table only."""
        total = hashlib.sha256()
        for name in WORDS:
            for word in getattr(self, name).tolist():
                data = word.encode()
                total.update(len(data).to_bytes(8, "little") + data)
        for name in NUMBERS:
            total.update(np.ascontiguousarray(getattr(self, name), dtype="<i8").tobytes())
        return total.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityRecord:
    """The authority on one saved modality: of which table, which feature, which index."""

    modality: str
    feature_key: str
    table_digest: str
    halves: bool
    rows: FileEntry
    index: IndexRecord
    format: int = FORMAT

    def to_json(self) -> str:
        return record_json(self)

    @classmethod
    def from_json(cls, text: str) -> ModalityRecord:
        """Read :meth:`to_json` back; raises IntegrityError for anything it cannot have written."""
        return read_record(cls, text)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ModalityIndex:
    """One modality of a library: a backend over the rows that have a vector.

    ``rows`` ascends, so that a tie broken by index row is broken by clip id. With ``halves`` the
    score is the mean of the cosines of the two halves of a vector (the text modality).
    """

    modality: str
    feature_key: str
    table_digest: str
    rows: IntArray  # (n,) table row of every index row
    backend: Backend
    halves: bool = False

    @classmethod
    def build(
        cls,
        modality: str,
        table: LibraryTable,
        vectors: FloatArray,
        rows: IntArray,
        *,
        metric: Metric = "cosine",
        halves: bool = False,
        backend: str = "auto",
        seed: int = 0,
        feature_key: str = "",
    ) -> Self:
        """Index the rows of a table that have a vector.

        Args:
            vectors: (n, D) float32; clips whose value is null are left out, never zeros.
            rows: (n,) table rows of the vectors, strictly ascending.
            halves: score by the mean of two cosines; ``metric`` must be cosine.
            backend: ``auto`` or a name of :data:`redub.index.registry.BACKENDS`.

        Raises:
            ConfigError: rows that are not ascending rows of the table, or vectors that may not be
                indexed; the message names the row.
        """
        if halves and metric != "cosine":
            raise ConfigError(f"'{modality}': halves are a mean of cosines, metric is '{metric}'")
        rows = np.asarray(rows, dtype=np.int64)
        if rows.shape != (len(vectors),) or (rows[1:] <= rows[:-1]).any():
            raise IndexInputError(
                f"'{modality}': {len(vectors)} vectors for rows {rows.shape}; "
                "wanted one ascending table row per vector"
            )
        if len(rows) and not (rows[0] >= 0 and rows[-1] < len(table)):
            raise IndexInputError(f"'{modality}': rows outside the table of {len(table)} clips")
        prepared = prepare_halves(vectors) if halves else vectors
        inner: Metric = "dot" if halves else metric
        return cls(
            modality=modality,
            feature_key=feature_key,
            table_digest=table.digest(),
            rows=rows,
            backend=build_backend(backend, prepared, metric=inner, seed=seed),
            halves=halves,
        )

    def search(self, queries: FloatArray, k: int, eligible: BoolArray | None = None) -> Hits:
        """The K best eligible clips of every query, in table rows.

        Args:
            queries: (Q, D) float32 vectors of this modality, as the library's were given.
            eligible: (Q, N) or (N,) bool over the *table* rows.
        """
        if self.halves:
            queries = prepare_halves(queries)
        own = None if eligible is None else eligible[..., self.rows]
        hits = self.backend.search(queries, k, own)
        if not len(self.rows):
            return hits
        return Hits(np.where(hits.rows >= 0, self.rows[hits.rows], -1), hits.scores)

    def save(self, folder: Path) -> ModalityRecord:
        """Write the files into an existing folder; the record must be kept to load them."""
        return ModalityRecord(
            modality=self.modality,
            feature_key=self.feature_key,
            table_digest=self.table_digest,
            halves=self.halves,
            rows=save_vectors(folder, ROWS, self.rows),
            index=self.backend.save(folder),
        )

    @classmethod
    def load(cls, folder: Path, record: ModalityRecord, table: LibraryTable) -> Self:
        """Open a saved modality for the table it was built on.

        Raises:
            IntegrityError: another table, or any byte of any file differs.
        """
        if record.table_digest != table.digest():
            raise IntegrityError(
                f"{folder}: the index was built on another clip table; build it again",
                code="E-INT-STALE",
            )
        path = verify_file(folder, (record.rows,), ROWS)
        rows: IntArray = np.load(path, allow_pickle=False)
        backend = load_backend(folder, record.index)
        if rows.shape != (backend.count,):
            raise IntegrityError(f"{path}: {rows.shape} rows for {backend.count} vectors")
        return cls(
            modality=record.modality,
            feature_key=record.feature_key,
            table_digest=record.table_digest,
            rows=rows,
            backend=backend,
            halves=record.halves,
        )


def retrieve(
    index: ModalityIndex,
    table: LibraryTable,
    policy: Policy,
    queries: FloatArray,
    query_facts: Sequence[ClipFacts],
    k: int,
) -> Hits:
    """Ask one modality for the K most alike clips that the policy allows.

    Args:
        index: built on this table.
        queries: (Q, D) float32 vectors of the query clips.
        query_facts: who asks, one per query.

    Returns:
        Hits in rows of ``table``; -1 and NaN where fewer than K clips may be retrieved.

    Raises:
        IndexInputError: queries and facts differ in number, or a vector may not be searched.
    """
    if len(queries) != len(query_facts):
        raise IndexInputError(f"{len(queries)} query vectors for {len(query_facts)} clips")
    hits = no_hits(len(queries), k)
    for some in _blocks(len(queries), max(1, MASK_BYTES // max(1, len(table)))):
        masks = np.stack([policy.eligible(facts, table) for facts in query_facts[some]])
        hits.rows[some], hits.scores[some] = index.search(queries[some], k, masks)
    return hits


def _blocks(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, start + size)
