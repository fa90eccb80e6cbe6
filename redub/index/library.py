"""The library: a table of the clips that can be retrieved, and one index per modality.

The table is sorted by clip id, so that ties by row number are ties by clip id. A modality indexes
only the clips that have a vector of this modality; for example, clips without a face are not in
the face index.

Letters: N table rows, n indexed rows, Q queries, D width, K neighbours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ConfigError
from redub.core.types import Clip, FloatArray
from redub.index.base import (
    SMALLEST_NORM,
    BoolArray,
    Hits,
    IndexInputError,
    IntArray,
    Metric,
    no_hits,
    row_norms,
)
from redub.index.policy import ClipFacts, Policy
from redub.index.registry import DEFAULT, BuildSettings
from redub.index.segments import LiveSegments, Segment
from redub.index.selection import Chosen, Selection, choose
from redub.index.similarity import SIMILARITIES, prepare_halves
from redub.index.transform import said_of
from redub.index.transform_steps import Transform

MASK_BYTES = 1 << 26  # 64 MiB of (Q, N) eligibility at a time
WORDS = ("clip_id", "film", "scene", "speaker", "split", "emotion", "rights", "source_digest")
NUMBERS = ("position", "start_frame", "end_frame")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LibraryTable:
    """The clip table as columns of N rows, strictly ascending by clip id (code point order).

    Text columns are numpy ``StringDType``, number columns int64. Built by :meth:`from_clips`.

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
        """Build a table of clips, sorted by id.

        Raises:
            ConfigError: two clips have the same id.
        """
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
        """Return the facts of one row, for use as a query (training clips query the library)."""
        return ClipFacts(
            clip_id=str(self.clip_id[row]),
            film=str(self.film[row]),
            scene=str(self.scene[row]),
            position=int(self.position[row]),
            speaker=str(self.speaker[row]),
            source_digest=str(self.source_digest[row]),
            start_frame=int(self.start_frame[row]),
            end_frame=int(self.end_frame[row]),
        )

    def is_value(self, column: str, value: str) -> BoolArray:
        """Return (N,) bool, True where the text column equals ``value``."""
        if column == "clip_id":  # at most one row can be equal
            found = np.zeros(len(self), dtype=np.bool_)
            row = self.row_of(value)
            if row is not None:
                found[row] = True
            return found
        known, codes = self._coded(column)
        is_value: BoolArray = codes == known.get(value, -1)
        return is_value

    def row_of(self, clip_id: str) -> int | None:
        """Return the row number of a clip, or None if the table does not contain it.

        Uses a dictionary, because ``np.searchsorted`` (numpy 2.4.6) is wrong for StringDType values
        of more than 15 bytes.
        """
        return self._coded("clip_id")[0].get(clip_id)

    def is_one_of(self, column: str, values: Iterable[str]) -> BoolArray:
        """Return (N,) bool, True where the text column equals one of ``values``."""
        known, codes = self._coded(column)
        is_listed = np.zeros(len(known) + 1, dtype=np.bool_)
        is_listed[[known[value] for value in values if value in known]] = True
        is_one: BoolArray = is_listed[codes]
        return is_one

    def _coded(self, column: str) -> tuple[dict[str, int], NDArray[np.int32]]:
        """Return a text column as integer codes; cached, because every query compares columns."""
        if column not in self._codes:
            known: dict[str, int] = {}
            words = getattr(self, column).tolist()
            codes = np.array([known.setdefault(w, len(known)) for w in words], dtype=np.int32)
            self._codes[column] = (known, codes)
        return self._codes[column]

    def digest(self) -> str:
        """Compute the SHA-256 over all columns; row numbers are valid for one table only."""
        total = hashlib.sha256()
        for name in WORDS:
            for word in getattr(self, name).tolist():
                data = word.encode()
                total.update(len(data).to_bytes(8, "little") + data)
        for name in NUMBERS:
            total.update(np.ascontiguousarray(getattr(self, name), dtype="<i8").tobytes())
        return total.hexdigest()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ModalityIndex:
    """One modality of a library: an index over the clips that have a vector.

    ``rows`` is ascending, so that ties by index row are ties by clip id. With ``halves`` the score
    is the mean of the cosines of the two halves of a vector (text modality). With a ``transform``
    the segments hold transformed vectors, and all methods except :meth:`transformed` expect and
    return transformed vectors.
    """

    modality: str
    rows: IntArray  # (n,) table row of every index row
    backend: LiveSegments
    halves: bool = False
    transform: Transform | None = None

    @classmethod
    def of(
        cls,
        modality: str,
        table: LibraryTable,
        segments: Sequence[Segment],
        wanted: Mapping[str, str],
        transform: Transform | None = None,
    ) -> Self:
        """Combine segments to the index of a table's clips.

        Args:
            wanted: clip id → input digest of every clip that has a vector; other clips are ignored.
            transform: the transform that was applied to the segments' vectors, or None.

        Raises:
            IntegrityError: no segment contains a clip of the table and ``wanted``.
        """
        ids: list[str] = table.clip_id.tolist()
        rows = np.array([row for row, clip_id in enumerate(ids) if clip_id in wanted], np.int64)
        return cls(
            modality=modality,
            rows=rows,
            backend=LiveSegments.of(segments, wanted, [ids[row] for row in rows]),
            halves=bool(segments) and segments[0].halves,
            transform=transform,
        )

    @classmethod
    def build(
        cls,
        modality: str,
        table: LibraryTable,
        vectors: FloatArray,
        rows: IntArray,
        *,
        settings: BuildSettings = DEFAULT,
        halves: bool = False,
    ) -> Self:
        """Index the rows of a table that have a vector, in one segment.

        Args:
            vectors: (n, D) float32. Leave out clips whose value is null; do not pass zeros.
            rows: (n,) table rows of the vectors, strictly ascending.
            settings, halves: see :meth:`redub.index.segments.Segment.build`.

        Raises:
            IndexInputError: ``rows`` are not ascending rows of the table, or
                :func:`redub.index.base.checked_vectors` refuses a vector; the message names the
                row.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if rows.shape != (len(vectors),) or (rows[1:] <= rows[:-1]).any():
            raise IndexInputError(
                f"'{modality}': {len(vectors)} vectors for rows {rows.shape}; "
                "wanted one ascending table row per vector"
            )
        if len(rows) and not (rows[0] >= 0 and rows[-1] < len(table)):
            raise IndexInputError(f"'{modality}': rows outside the table of {len(table)} clips")
        ids = [str(table.clip_id[row]) for row in rows]
        digests = [""] * len(ids)
        segment = Segment.build(modality, ids, digests, vectors, settings=settings, halves=halves)
        return cls.of(modality, table, [segment], dict.fromkeys(ids, ""))

    def search(self, queries: FloatArray, k: int, eligible: BoolArray | None = None) -> Hits:
        """Find the K best eligible clips of every query; hits are table rows.

        Args:
            queries: (Q, D) float32, transformed like the library vectors (:meth:`transformed`).
            eligible: (Q, N) or (N,) bool over the *table* rows.

        Raises:
            IndexInputError: see :class:`redub.index.base.Backend`.
        """
        queries = self.prepared(queries)
        own = None if eligible is None else eligible[..., self.rows]
        hits = self.backend.search(queries, k, own)
        if not len(self.rows):
            return hits
        return Hits(np.where(hits.rows >= 0, self.rows[hits.rows], -1), hits.scores)

    def transformed(self, vectors: FloatArray, speakers: Sequence[str]) -> FloatArray:
        """Apply the transform to (n, D) extracted vectors and their n speakers; returns (n, W)."""
        if self.transform is None or not len(vectors):
            return vectors
        return self.transform.apply(vectors, speakers)

    @property
    def transform_name(self) -> str:
        """Name of the transform; ``identity`` without one."""
        return "identity" if self.transform is None else said_of(self.transform)

    def can_query(self, vectors: FloatArray) -> BoolArray:
        """Return (n,) bool, True where a transformed vector can be a query.

        A transform can map a vector to zero, which has no cosine. Without a transform the result is
        all True, and :meth:`search` raises for a zero vector.
        """
        if self.transform is None:
            return np.ones(len(vectors), dtype=np.bool_)
        return has_direction(vectors, "cosine" if self.halves else self.backend.metric)

    def prepared(self, vectors: FloatArray) -> FloatArray:
        """Convert (n, D) vectors to the form that the backend stores and scores."""
        return prepare_halves(vectors) if self.halves else vectors

    def alike(self, rows: IntArray) -> FloatArray:
        """Compute (n, n) similarities between n table rows that have a vector of this modality."""
        own = self.backend.vectors[np.searchsorted(self.rows, rows)]
        return SIMILARITIES[self.backend.metric](own, own)


def has_direction(vectors: FloatArray, metric: Metric) -> BoolArray:
    """Return (n,) bool, True where a vector can be scored: for cosine its norm must not be 0."""
    if metric != "cosine":
        return np.ones(len(vectors), dtype=np.bool_)
    has: BoolArray = row_norms(vectors) >= SMALLEST_NORM
    return has


def retrieve(
    index: ModalityIndex,
    table: LibraryTable,
    policy: Policy,
    queries: FloatArray,
    query_facts: Sequence[ClipFacts],
    selection: Selection,
) -> Chosen:
    """Search one modality for the most similar clips that the policy allows, and select the hits.

    Args:
        index: built on ``table``.
        queries: (Q, D) float32 vectors of the query clips, transformed like the library vectors.
        query_facts: one per query; the policy decides by them.
        selection: number of hits, and how to choose them from the candidates.

    Returns:
        Hits as rows of ``table``; -1 and NaN where there are fewer than K.

    Raises:
        IndexInputError: queries and facts differ in number, or a query vector is refused.
    """
    if len(queries) != len(query_facts):
        raise IndexInputError(f"{len(queries)} query vectors for {len(query_facts)} clips")
    hits = no_hits(len(queries), selection.pool if selection.k else 0)
    for some in _blocks(len(queries), max(1, MASK_BYTES // max(1, len(table)))):
        masks = np.stack([policy.eligible(facts, table) for facts in query_facts[some]])
        hits.rows[some], hits.scores[some] = index.search(queries[some], hits.rows.shape[1], masks)
    return choose(hits, selection, index.alike)


def _blocks(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, start + size)
