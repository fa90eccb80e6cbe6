"""Exact search: every eligible row is scored, so the answer is the definition of the right one.

A float32 matrix product finds all rows that could be among the K best, given the worst rounding
error it can have; those few are scored again pair by pair (:func:`similarity.pair_scores`) and
sorted. So the answer is exact, ties included, and the same for any thread count, block or batch.

Letters: N library rows, Q queries, D width, K neighbours.
"""

from __future__ import annotations

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
BLOCK_QUERIES = 128
BLOCK_SCORES = 1 << 22  # 16 MiB of float32 scores at a time
BLOCK_VALUES = 1 << 25  # 128 MiB of gathered rows at a time
ROUNDING = 2.0**-24  # half a unit in the last place of 1.0 in float32


@dataclass(frozen=True, slots=True, eq=False)
class ExactBackend:
    """All rows and their lengths; nothing is trained, so building costs one pass.

    ``seed`` is kept for the record only: no number here is drawn.
    """

    metric: Metric
    vectors: FloatArray  # (N, D), checked
    norms: NDArray[np.float64]  # (N,)
    seed: int

    @property
    def width(self) -> int:
        return int(self.vectors.shape[1])

    @property
    def count(self) -> int:
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
        """Check (N, D) float32 rows and measure them; N may be 0. Recall is 1 by definition."""
        rows = checked_vectors(vectors, metric=metric, what="library")
        return cls(metric, rows, row_norms(rows), seed)

    def search(self, queries: FloatArray, k: int, eligible: BoolArray | None = None) -> Hits:
        """The K best eligible rows of every query; see :class:`redub.index.base.Backend`."""
        queries = checked_search(
            queries, k, eligible, metric=self.metric, width=self.width, count=self.count
        )
        hits = no_hits(len(queries), k)
        allowed = np.arange(self.count)
        if eligible is not None and eligible.ndim == 1:
            allowed, eligible = np.flatnonzero(eligible), None
        found = min(k, len(allowed))
        if not found:
            return hits
        for start in range(0, len(queries), BLOCK_QUERIES):
            some = slice(start, start + BLOCK_QUERIES)
            masks = None
            if eligible is not None:
                masks = eligible[some]
                allowed = np.flatnonzero(masks.any(axis=0))
                if not len(allowed):
                    continue
            query, row = self._contenders(queries[some], found, allowed, masks)
            best = rank(self.metric, queries[some], self.vectors, query, row, found)
            hits.rows[some, :found], hits.scores[some, :found] = best
        return hits

    def _contenders(
        self, queries: FloatArray, k: int, allowed: IntArray, eligible: BoolArray | None
    ) -> tuple[IntArray, IntArray]:
        """All (query, row) pairs that rounding cannot exclude from the K best of their query."""
        query_norms = row_norms(queries)
        error = self._largest_error(query_norms)  # (Q,)
        best = np.full((len(queries), k), -np.inf, dtype=np.float32)  # K best values so far
        kept: list[tuple[IntArray, IntArray, FloatArray]] = []
        step = max(1, min(BLOCK_SCORES // len(queries), BLOCK_VALUES // self.width))
        for start in range(0, len(allowed), step):
            rows = allowed[start : start + step]
            values = self._values(queries, query_norms, rows)  # (Q, n)
            if eligible is not None:
                values[~eligible[:, rows]] = -np.inf
            improved = np.flatnonzero((values > best.min(axis=1)[:, None]).any(axis=1))
            merged = np.concatenate([best[improved], values[improved]], axis=1)
            best[improved] = np.partition(merged, -k, axis=1)[:, -k:]
            floor = best.min(axis=1) - 2 * error
            query, column = np.nonzero((values >= floor[:, None]) & (values > -np.inf))
            kept.append((query, rows[column], values[query, column]))
        query, row, value = (np.concatenate(part) for part in zip(*kept, strict=True))
        still = value >= (best.min(axis=1) - 2 * error)[query]
        return query[still], row[still]

    def _values(
        self, queries: FloatArray, query_norms: NDArray[np.float64], rows: IntArray
    ) -> FloatArray:
        """(Q, n) float32 values in the order of the metric, within ``_largest_error`` of it."""
        is_run = len(rows) == rows[-1] - rows[0] + 1  # a view instead of a copy
        block = self.vectors[rows[0] : rows[-1] + 1] if is_run else self.vectors[rows]
        products: FloatArray = queries @ block.T
        norms = self.norms[rows]
        if self.metric == "cosine":
            products *= (1.0 / norms).astype(np.float32)
            products *= (1.0 / query_norms).astype(np.float32)[:, None]
        elif self.metric == "negative_euclidean":  # |q|² is the same for all rows of a query
            products -= (norms * norms / 2).astype(np.float32)
        return products

    def _largest_error(self, query_norms: NDArray[np.float64]) -> FloatArray:
        """(Q,) bound on the rounding of ``_values`` and of the final float32 score.

        D products summed in any order err by at most D half units of |q||v|; the rest is for the
        few operations around the sum.
        """
        longest = float(self.norms.max())
        if self.metric == "cosine":
            scale = np.ones_like(query_norms)
        elif self.metric == "dot":
            scale = query_norms * longest
        else:
            scale = (query_norms + longest) ** 2
        return ((self.width + 10) * ROUNDING * scale).astype(np.float32)

    def save(self, folder: Path) -> IndexRecord:
        """Write ``vectors.npy`` and say what it is."""
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
        """Open a saved index; raises IntegrityError when a byte or the record's kind differs."""
        if record.backend != "exact":
            raise IntegrityError(f"{folder}: the record is of backend '{record.backend}'")
        vectors = load_vectors(folder, record, VECTORS)
        return cls(record.metric, vectors, row_norms(vectors), record.seed)


def rank(
    metric: Metric, queries: FloatArray, vectors: FloatArray, query: IntArray, row: IntArray, k: int
) -> Hits:
    """Sort scored pairs into hits: score descending, then row.

    Args:
        query: (n,) query number of every pair.
        row: (n,) row number of every pair; no pair twice.
    """
    hits = no_hits(len(queries), k)
    scores = np.empty(len(row), dtype=np.float32)
    for start in range(0, len(row), 4096):  # gathered rows are copies; ties may be many
        some = slice(start, start + 4096)
        scores[some] = pair_scores(metric, queries[query[some]], vectors[row[some]])
    order = np.lexsort((row, -scores, query))
    query, row, scores = query[order], row[order], scores[order]
    place = np.arange(len(query)) - np.searchsorted(query, query)  # rank inside its own query
    is_hit = place < k
    hits.rows[query[is_hit], place[is_hit]] = row[is_hit]
    hits.scores[query[is_hit], place[is_hit]] = scores[is_hit]
    return hits
