"""An index of immutable segments, so that adding clips does not rebuild the whole index.

The index of a modality is a list of segments. Each segment is built once, from rows that are
identified by clip id and input digest. When the list is opened, the current library decides which
rows are live: a row is dead if the library no longer has its clip, or has it with another digest. A
search runs on every segment and merges the hits. Scores are computed pair by pair, so the merged
result equals that of one index over all live rows (up to the recall of each segment).

Letters: N live rows, n rows of one segment, Q queries, D width, K neighbours.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redub.core.errors import IntegrityError
from redub.core.types import FloatArray
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
    checked_search,
    no_hits,
    read_record,
    record_json,
    save_vectors,
    verify_file,
    write_file,
)
from redub.index.registry import DEFAULT, BuildSettings, build_backend, load_backend
from redub.index.similarity import prepare_halves

NAMES, RAW = "names.parquet", "raw.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRecord:
    """Description of one saved segment: its feature, its row names, its index and its files."""

    modality: str
    feature_key: str
    halves: bool
    names: FileEntry
    index: IndexRecord
    raw: FileEntry | None = None
    format: int = FORMAT

    def to_json(self) -> str:
        """Serialise the record as JSON; fields that are None are left out."""
        return record_json(self)

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """All files of the segment, without the record itself."""
        raw = () if self.raw is None else (self.raw,)
        return (self.names, *raw, *self.index.files)

    @classmethod
    def from_json(cls, text: str) -> SegmentRecord:
        """Read the text of :meth:`to_json`.

        Raises:
            IntegrityError: damaged JSON, unknown fields or another format version.
        """
        return read_record(cls, text)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Segment:
    """Rows of one modality, indexed once.

    clip_ids: (n,) strictly ascending. digests: (n,) input digest of each value. raw: (n, D) the
    vectors as given to :meth:`build`. With ``halves`` the backend holds scaled vectors instead (see
    ``similarity.prepare_halves``), so that the inner product is the mean of two cosines.
    """

    modality: str
    feature_key: str
    clip_ids: tuple[str, ...]
    digests: tuple[str, ...]
    backend: Backend
    raw: FloatArray
    halves: bool = False

    @classmethod
    def build(
        cls,
        modality: str,
        clip_ids: Sequence[str],
        digests: Sequence[str],
        vectors: FloatArray,
        *,
        settings: BuildSettings = DEFAULT,
        halves: bool = False,
        feature_key: str = "",
    ) -> Self:
        """Index n rows.

        Args:
            vectors: (n, D) float32. Leave out clips whose value is null; do not pass zeros.
            halves: score by the mean of the cosines of both halves; the metric must be cosine.

        Raises:
            IndexInputError: clip ids are not strictly ascending or not one per vector, or
                :func:`redub.index.base.checked_vectors` refuses a vector; the message names the
                row.
            RecallBelowFloor: see :func:`redub.index.registry.build_backend`.
        """
        if halves and settings.metric != "cosine":
            raise IndexInputError(
                f"'{modality}': halves are a mean of cosines, not '{settings.metric}'"
            )
        if not len(clip_ids) == len(digests) == len(vectors):
            raise IndexInputError(
                f"'{modality}': {len(vectors)} vectors for {len(clip_ids)} clips and "
                f"{len(digests)} digests"
            )
        if any(b <= a for a, b in itertools.pairwise(clip_ids)):
            raise IndexInputError(f"'{modality}': clip ids must ascend, none twice")
        prepared = prepare_halves(vectors) if halves else vectors
        return cls(
            modality=modality,
            feature_key=feature_key,
            clip_ids=tuple(clip_ids),
            digests=tuple(digests),
            backend=build_backend(
                settings.backend,
                prepared,
                metric="dot" if halves else settings.metric,
                seed=settings.seed,
                recall_floor=settings.recall_floor,
            ),
            raw=vectors,
            halves=halves,
        )

    def save(self, folder: Path) -> SegmentRecord:
        """Write the files into an existing folder; the returned record is needed to load them."""
        table = pa.table({"clip_id": list(self.clip_ids), "digest": list(self.digests)})
        return SegmentRecord(
            modality=self.modality,
            feature_key=self.feature_key,
            halves=self.halves,
            names=write_file(
                folder, NAMES, lambda path: pq.write_table(table, path, compression="zstd")
            ),
            raw=save_vectors(folder, RAW, self.raw) if self.halves else None,
            index=self.backend.save(folder),
        )

    @classmethod
    def load(cls, folder: Path, record: SegmentRecord) -> Self:
        """Open a saved segment.

        Raises:
            IntegrityError: a file differs from the record, or the files have different row counts.
        """
        clip_ids, digests = read_names(folder, record)
        backend = load_backend(folder, record.index)
        raw = backend.vectors
        if record.raw is not None:
            path = verify_file(folder, (record.raw,), RAW)
            mapped = np.load(path, mmap_mode="r" if backend.count else None, allow_pickle=False)
            raw = np.asarray(mapped)
        if not len(clip_ids) == backend.count == len(raw):
            raise IntegrityError(f"{folder}: {len(clip_ids)} names for {backend.count} vectors")
        return cls(
            modality=record.modality,
            feature_key=record.feature_key,
            clip_ids=clip_ids,
            digests=digests,
            backend=backend,
            raw=raw,
            halves=record.halves,
        )


def read_names(folder: Path, record: SegmentRecord) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Read the clip ids and input digests of a saved segment, without opening its index.

    Raises:
        IntegrityError: the file differs from the record.
    """
    table = names_table(folder, record)
    return tuple(table.column("clip_id").to_pylist()), tuple(table.column("digest").to_pylist())


def names_table(folder: Path, record: SegmentRecord) -> pa.Table:
    """Read the same as :func:`read_names`, as a table with columns ``clip_id`` and ``digest``."""
    return pq.read_table(verify_file(folder, (record.names,), NAMES))


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A segment and the position of each of its rows among the N live rows; -1 for dead rows."""

    segment: Segment
    places: IntArray  # (n,)

    @property
    def is_live(self) -> BoolArray:
        """(n,) bool, True for the live rows of the segment."""
        return self.places >= 0


@dataclass(frozen=True, eq=False)
class LiveSegments:
    """Segments as one index over the N live rows of the current library."""

    placed: tuple[Placed, ...]
    metric: Metric
    width: int
    count: int

    @classmethod
    def of(
        cls, segments: Sequence[Segment], wanted: Mapping[str, str], order: Sequence[str]
    ) -> Self:
        """Find every live row in the segments; if two segments hold a row, the first one counts.

        Args:
            wanted: clip id → input digest that its value must have.
            order: the N clip ids that have a value; hits are positions in this list.

        Raises:
            IntegrityError: no segment holds a clip of ``order`` with the digest in ``wanted``.
        """
        row_of = {clip_id: row for row, clip_id in enumerate(order)}
        missing = set(row_of)
        placed = []
        for segment in segments:
            places = np.full(len(segment.clip_ids), -1, dtype=np.int64)
            for k, (clip_id, digest) in enumerate(
                zip(segment.clip_ids, segment.digests, strict=True)
            ):
                if clip_id in missing and wanted.get(clip_id) == digest:
                    places[k] = row_of[clip_id]
                    missing.discard(clip_id)
            placed.append(Placed(segment, places))
        if missing:
            raise IntegrityError(
                f"no segment of the index holds {min(missing)} as it is now; build the index again",
                code="E-INT-STALE",
            )
        first = segments[0].backend if segments else None
        return cls(
            tuple(placed),
            "cosine" if first is None else first.metric,
            0 if first is None else first.width,
            len(order),
        )

    def search(self, queries: FloatArray, k: int, eligible: BoolArray | None = None) -> Hits:
        """Find the K best eligible rows of every query; see :class:`redub.index.base.Backend`."""
        if not self.placed:
            return no_hits(len(queries), k)
        queries = checked_search(
            queries, k, eligible, metric=self.metric, width=self.width, count=self.count
        )
        found = [self._search_one(one, queries, k, eligible) for one in self.placed]
        if len(found) == 1:
            return found[0]
        rows = np.concatenate([hits.rows for hits in found], axis=1)
        scores = np.concatenate([hits.scores for hits in found], axis=1)
        # Missing hits (row -1) go last; their score is NaN.
        keys = (rows, -np.where(rows >= 0, scores, -np.inf), rows < 0)
        best = np.lexsort(keys, axis=1)[:, :k]
        return Hits(
            np.take_along_axis(rows, best, axis=1), np.take_along_axis(scores, best, axis=1)
        )

    def _search_one(
        self, one: Placed, queries: FloatArray, k: int, eligible: BoolArray | None
    ) -> Hits:
        live = one.is_live
        own: BoolArray | None = None if live.all() else live
        if eligible is not None:
            own = eligible[..., np.maximum(one.places, 0)] & live
        hits = one.segment.backend.search(queries, k, own)
        if not len(one.places):
            return hits
        # Segment rows and live rows both ascend by clip id, so equal scores stay in order.
        return Hits(np.where(hits.rows >= 0, one.places[hits.rows], -1), hits.scores)

    @cached_property
    def vectors(self) -> FloatArray:
        """(N, D) live rows as the backends hold them; not copied if one segment holds all."""
        return self._gathered([one.segment.backend.vectors for one in self.placed])

    @cached_property
    def raw(self) -> FloatArray:
        """(N, D) live rows as given to :meth:`Segment.build`."""
        return self._gathered([one.segment.raw for one in self.placed])

    def _gathered(self, arrays: Sequence[FloatArray]) -> FloatArray:
        in_order = np.arange(self.count)
        if len(arrays) == 1 and np.array_equal(self.placed[0].places, in_order):
            return arrays[0]
        rows = np.empty((self.count, self.width), dtype=np.float32)
        for one, array in zip(self.placed, arrays, strict=True):
            rows[one.places[one.is_live]] = array[one.is_live]
        return rows

    @property
    def recall(self) -> float | None:
        """Lowest measured recall of the segments' graphs; None if all segments search exactly."""
        graphs = [getattr(one.segment.backend, "facts", None) for one in self.placed]
        return min((graph.recall for graph in graphs if graph is not None), default=None)
