"""Exact search: score every eligible row and return the K best.

A float32 matrix product selects all rows that may be among the K best, given its largest possible
rounding error. These few rows are scored again pair by pair (:func:`similarity.pair_scores`) and
sorted. So the result is exact, ties included, and does not depend on the number of threads, the
block size or the batch.

Letters: N library rows, Q queries, D width, K neighbours.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import IntegrityError
from redub.core.types import FloatArray
from redub.index.base import (
    RECALL_FLOOR,
    BoolArray,
    Hits,
    IndexRecord,
    IntArray,
    Metric,
    checked_search,
    checked_vectors,
    load_vectors,
    no_hits,
    row_norms,
    save_vectors,
)
from redub.index.similarity import pair_scores

VECTORS = "vectors.npy"
BLOCK_QUERIES = 256
BLOCK_SCORES = 1 << 21  # 8 MiB of float32 scores at a time: they stay in the cache
BLOCK_VALUES = 1 << 25  # 128 MiB of rows at a time, where they need no copy
GATHERED_VALUES = 1 << 18  # 1 MiB of copied rows per query: the copy is read from the cache
COPIED_ROWS = 64
SAMPLED_COLUMNS = 1000
ALONE = 10  # cost of a row for a single query, relative to its cost per query of a batch
LOWEST = np.finfo(np.float32).min  # below every score, above the -inf of rows not eligible
ROUNDING = 2.0**-24  # half a unit in the last place of 1.0 in float32


@dataclass(frozen=True, slots=True, eq=False)
class ExactBackend:
    """All rows and their norms; building is one pass over the rows.

    ``seed`` is stored in the record only; exact search uses no random numbers.
    """

    metric: Metric
    vectors: FloatArray  # (N, D), checked
    norms: NDArray[np.float64]  # (N,)
    seed: int

    @property
    def width(self) -> int:
        """D, the number of values per vector."""
        return int(self.vectors.shape[1])

    @property
    def count(self) -> int:
        """N, the number of indexed rows."""
        return len(self.vectors)

    @classmethod
    def build(
        cls,
        vectors: FloatArray,
        *,
        metric: Metric,
        seed: int = 0,
        recall_floor: float = RECALL_FLOOR,
    ) -> Self:
        """Check (N, D) float32 rows and compute their norms; N may be 0.

        ``recall_floor`` is ignored: the recall of exact search is 1.

        Raises:
            IndexInputError: :func:`checked_vectors` refuses a row.
        """
        rows = checked_vectors(vectors, metric=metric, what="library")
        return cls(metric, rows, row_norms(rows), seed)

    def search(self, queries: FloatArray, k: int, eligible: BoolArray | None = None) -> Hits:
        """Find the K best eligible rows of every query; see :class:`redub.index.base.Backend`."""
        queries = checked_search(
            queries, k, eligible, metric=self.metric, width=self.width, count=self.count
        )
        hits = no_hits(len(queries), k)
        if not k or not self.count:
            return hits
        if eligible is None or eligible.ndim == 1:
            allowed = np.arange(self.count) if eligible is None else true_places(eligible)
            for start in range(0, len(queries), BLOCK_QUERIES):
                some = slice(start, start + BLOCK_QUERIES)
                self._fill(hits, some, queries, allowed, None)
            return hits
        for start in range(0, len(queries), BLOCK_QUERIES):
            some = slice(start, start + BLOCK_QUERIES)
            masks = eligible[some]
            # Estimated from a few columns: reading all masks takes as long as a search.
            union = masks[:, :: 1 + self.count // SAMPLED_COLUMNS].any(axis=0).mean() * self.count
            if np.count_nonzero(masks) * ALONE >= len(masks) * union:
                self._fill(hits, some, queries, np.flatnonzero(masks.any(axis=0)), masks)
                continue
            for query, own in enumerate(masks, start):
                self._fill(hits, slice(query, query + 1), queries, true_places(own), None)
        return hits

    def _fill(
        self,
        hits: Hits,
        some: slice,
        queries: FloatArray,
        allowed: IntArray,
        eligible: BoolArray | None,
    ) -> None:
        """Search the allowed rows for a slice of q queries; ``eligible`` is (q, N) or None."""
        found = min(hits.rows.shape[1], len(allowed))
        if found:
            query, row = self._contenders(queries[some], found, allowed, eligible)
            best = rank(self.metric, queries[some], self.vectors, query, row, found)
            hits.rows[some, :found], hits.scores[some, :found] = best

    def _contenders(
        self, queries: FloatArray, k: int, allowed: IntArray, eligible: BoolArray | None
    ) -> tuple[IntArray, IntArray]:
        """Return all (query, row) pairs that may be among the K best, given rounding errors."""
        norms = row_norms(queries)
        error = self._largest_error(norms)  # (Q,)
        scaled = queries
        if self.metric == "cosine":
            scaled = (queries / norms[:, None]).astype(np.float32)
        best = np.full((len(queries), k), -np.inf, dtype=np.float32)  # K best values so far
        kth = best[:, 0].copy()  # (Q,) the lowest of them
        floor = np.full(len(queries), LOWEST)  # (Q,) lowest value that may be among the K best
        kept: list[tuple[IntArray, IntArray, FloatArray]] = []
        is_run = len(allowed) == allowed[-1] - allowed[0] + 1  # a view instead of a copy
        values_at_once = BLOCK_VALUES if is_run else GATHERED_VALUES * len(queries)
        step = max(1, min(BLOCK_SCORES // len(queries), values_at_once // self.width))
        for start in range(0, len(allowed), step):
            rows = allowed[start : start + step]
            span = slice(rows[0], rows[-1] + 1) if is_run else rows
            values = self._values(scaled, span)  # (Q, n)
            if eligible is not None:
                np.copyto(values, -np.inf, where=~eligible[:, span])
            highest = values.max(axis=1)  # most blocks have no candidate for most queries
            better = np.flatnonzero(highest > kth)
            if len(better):
                top = values[better]
                if top.shape[1] > k:
                    top.partition(-k, axis=1)
                merged = np.concatenate([best[better], top[:, -k:]], axis=1)
                best[better] = np.partition(merged, -k, axis=1)[:, -k:]
                kth = best.min(axis=1)
                floor = np.maximum(kth - 2 * error, LOWEST)
            lines = np.flatnonzero(highest >= floor)
            some = values if len(lines) == len(values) else values[lines]
            place = np.flatnonzero(some >= floor[lines, None])
            line, column = np.divmod(place, len(rows))
            kept.append((lines[line], rows[column], some.ravel()[place]))
        query, row, value = (np.concatenate(part) for part in zip(*kept, strict=True))
        still = value >= floor[query]
        return query[still], row[still]

    def _values(self, queries: FloatArray, rows: IntArray | slice) -> FloatArray:
        """Compute (Q, n) float32 values that order the rows of a query as the metric does.

        The rounding error is at most ``_largest_error``.

        Args:
            queries: (Q, D), scaled to norm 1 for cosine.
        """
        products = self._products(queries, rows)
        norms = self.norms[rows]
        if self.metric == "cosine":
            products *= (1.0 / norms).astype(np.float32)
        elif self.metric == "negative_euclidean":  # |q|² is the same for all rows of a query
            products -= (norms * norms / 2).astype(np.float32)
        return products

    def _products(self, queries: FloatArray, rows: IntArray | slice) -> FloatArray:
        """Compute (Q, n) inner products; for one query, copy few rows at a time into the cache."""
        if isinstance(rows, slice) or len(queries) > 1:
            together: FloatArray = queries @ self.vectors[rows].T
            return together
        products = np.empty((1, len(rows)), dtype=np.float32)
        copied = np.empty((min(COPIED_ROWS, len(rows)), self.width), dtype=np.float32)
        for start in range(0, len(rows), COPIED_ROWS):
            some = rows[start : start + COPIED_ROWS]
            own = copied[: len(some)]
            np.take(self.vectors, some, axis=0, out=own, mode="clip")  # "raise" copies twice
            np.dot(own, queries[0], out=products[0, start : start + len(some)])
        return products

    def _largest_error(self, query_norms: NDArray[np.float64]) -> FloatArray:
        """Bound the rounding error of ``_values`` and of the final float32 score, (Q,).

        A sum of D products in any order has an error of at most D half units of |q||v|; the
        additional 10 cover the few operations around the sum.
        """
        if self.metric == "cosine":
            scale = np.ones_like(query_norms)
        elif self.metric == "dot":
            scale = query_norms * self.norms.max()
        else:
            scale = (query_norms + self.norms.max()) ** 2
        return ((self.width + 10) * ROUNDING * scale).astype(np.float32)

    def save(self, folder: Path) -> IndexRecord:
        """Write ``vectors.npy`` and return its record."""
        entry = save_vectors(folder, VECTORS, self.vectors)
        return IndexRecord(
            backend="exact",
            metric=self.metric,
            width=self.width,
            count=self.count,
            seed=self.seed,
            files=(entry,),
        )

    @classmethod
    def load(cls, folder: Path, record: IndexRecord) -> Self:
        """Open a saved index; the rows are memory-mapped.

        Raises:
            IntegrityError: the file differs from the record, or the record is of another backend.
        """
        if record.backend != "exact":
            raise IntegrityError(f"{folder}: the record is of backend '{record.backend}'")
        vectors = load_vectors(folder, record, VECTORS)
        norms = row_norms(vectors)
        _let_go(vectors)
        return cls(record.metric, vectors, norms, record.seed)


def true_places(mask: BoolArray) -> IntArray:
    """Find the True positions of a mask (n,), like ``np.flatnonzero``.

    Reads eight bytes at a time, which is several times faster where few positions are True.
    """
    whole = len(mask) // 8 * 8
    eights = np.ascontiguousarray(mask[:whole])
    some = np.flatnonzero(eights.view(np.uint64))
    places = (8 * some[:, None] + np.arange(8))[eights.reshape(-1, 8)[some]]
    found: IntArray = np.concatenate([places, whole + np.flatnonzero(mask[whole:])])
    return found


def _let_go(vectors: FloatArray) -> None:
    """Release the memory pages that computing the norms loaded; a graph search needs few."""
    mapped = getattr(vectors.base, "base", None)  # an array of a memmap of a mmap
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def rank(
    metric: Metric, queries: FloatArray, vectors: FloatArray, query: IntArray, row: IntArray, k: int
) -> Hits:
    """Score (query, row) pairs and sort them into the K best hits: score descending, then row.

    Args:
        queries: (Q, D). vectors: (N, D).
        query: (n,) query number of every pair.
        row: (n,) row number of every pair; no pair twice.
    """
    hits = no_hits(len(queries), k)
    scores = np.empty(len(row), dtype=np.float32)
    step = max(1, GATHERED_VALUES // vectors.shape[1])
    for start in range(0, len(row), step):  # gathered rows are copies; ties may be many
        some = slice(start, start + step)
        scores[some] = pair_scores(metric, queries[query[some]], vectors[row[some]])
    order = np.lexsort((row, -scores, query))
    query, row, scores = query[order], row[order], scores[order]
    place = np.arange(len(query)) - np.searchsorted(query, query)  # rank within the query
    is_hit = place < k
    hits.rows[query[is_hit], place[is_hit]] = row[is_hit]
    hits.scores[query[is_hit], place[is_hit]] = scores[is_hit]
    return hits
