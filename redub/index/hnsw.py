"""Approximate nearest-neighbour search by an HNSW graph (hnswlib), with checks that hnswlib lacks.

hnswlib validates neither arrays nor files. Here the graph is built by one thread from checked rows,
so every build gives the same bytes. Its recall is measured against :mod:`exact` before it is used.
Its file is opened only after its SHA-256 was checked. The beam width ``ef`` comes from the record,
because the file does not store it. Returned rows are scored and sorted again, as in the exact
backend.

The eligibility mask applies inside the search: the graph returns more rows than needed until K
eligible rows are found; where few rows are eligible, these rows are searched exactly. So K hits are
returned whenever K rows are eligible.

Source: Malkov and Yashunin, arXiv:1603.09320 (M, efConstruction, ef).

Letters: N library rows, Q queries, D width, K neighbours.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import hnswlib
import numpy as np
from numpy.typing import NDArray

from redub.core.errors import IntegrityError
from redub.core.types import FloatArray
from redub.index.base import (
    RECALL_FLOOR,
    BoolArray,
    GraphFacts,
    Hits,
    IndexRecord,
    IntArray,
    Metric,
    RecallBelowFloor,
    checked_search,
    no_hits,
    verify_file,
    write_file,
)
from redub.index.exact import ExactBackend, rank
from redub.index.similarity import unit_rows

FloatArray64 = NDArray[np.float64]
GRAPH = "vectors.hnsw"
M = 16
EF_CONSTRUCTION = 200
SMALLEST_EF = 50
LARGEST_EF = 3200
RECALL_QUERIES = 200
JOINED_ROWS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class HnswBackend:
    """A graph over the rows, and an exact backend with the rows (for scores and small masks).

    ``threads``: number of search threads; it does not change the result. ``lock``: hnswlib stores
    the beam width in the index, so only one search at a time may set it.
    """

    exact: ExactBackend
    graph: Any  # hnswlib.Index, or None for an empty library
    facts: GraphFacts
    threads: int = 1
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def metric(self) -> Metric:
        """Name of the similarity that scores are computed with."""
        return self.exact.metric

    @property
    def width(self) -> int:
        """D, the number of values per vector."""
        return self.exact.width

    @property
    def count(self) -> int:
        """N, the number of indexed rows."""
        return self.exact.count

    @property
    def vectors(self) -> FloatArray:
        """(N, D) float32 rows as given to :meth:`build`."""
        return self.exact.vectors

    @classmethod
    def build(
        cls,
        vectors: FloatArray,
        *,
        metric: Metric,
        seed: int = 0,
        m: int = M,
        ef_construction: int = EF_CONSTRUCTION,
        recall_at: int = 10,
        recall_floor: float = RECALL_FLOOR,
    ) -> Self:
        """Build the graph and widen its beam until recall at K reaches the floor.

        Recall is measured on unseen queries: up to 200 rows, drawn by ``seed``, are left out of the
        graph, used as queries, and added afterwards. (Rows that are already in the graph would give
        a higher recall than new queries, because the search follows their own links.) A hit counts
        as correct if its score is at least the K-th exact score.

        Args:
            vectors: (N, D) float32 rows; N may be 0.
            recall_at: K of the measurement; smaller when the library has fewer rows.

        Raises:
            RecallBelowFloor: no beam width up to 3200 reaches the floor; use ``exact`` instead.
            IndexInputError: :func:`redub.index.base.checked_vectors` refuses a row.
        """
        exact = ExactBackend.build(vectors, metric=metric, seed=seed)
        unseen = min(RECALL_QUERIES, exact.count // 2)
        order = np.random.default_rng(seed).permutation(exact.count)
        sample, rest = np.sort(order[:unseen]), np.sort(order[unseen:])
        facts = GraphFacts(
            m=m,
            ef_construction=ef_construction,
            ef=SMALLEST_EF,
            recall=1.0,
            recall_at=min(recall_at, max(1, len(rest))),
            recall_queries=unseen,
            recall_floor=recall_floor,
            hnswlib=version("hnswlib"),
        )
        if not exact.count:
            return cls(exact, None, facts)
        graph = _empty_graph(metric, exact.width)
        graph.init_index(
            max_elements=exact.count, M=m, ef_construction=ef_construction, random_seed=seed
        )
        _join(graph, exact, rest)
        index = cls(exact, graph, facts)
        if unseen:
            index = index._proven(sample)
            _join(graph, exact, sample)
        return index

    def _proven(self, sample: IntArray) -> Self:
        """Double the beam width until the recall floor is reached; return the index with that beam.

        Raises:
            RecallBelowFloor: no beam width up to 3200 reaches the floor.
        """
        k = self.facts.recall_at
        queries = self.exact.vectors[sample]
        is_in_graph = np.ones(self.count, dtype=np.bool_)
        is_in_graph[sample] = False
        truth = self.exact.search(queries, k, is_in_graph)
        ef, recall = SMALLEST_EF, 0.0
        while ef <= LARGEST_EF:
            found = self._graph_hits(queries, k, ef)
            recall = 0.0 if found is None else self._recall(found, queries, truth)
            if recall >= self.facts.recall_floor:
                return replace(self, facts=replace(self.facts, ef=ef, recall=recall))
            ef *= 2
        raise RecallBelowFloor(
            f"hnsw recall@{k} is {recall:.3f} at ef {ef // 2} on {self.count} rows of width "
            f"{self.width}, wanted {self.facts.recall_floor}; use the exact backend",
            recall=recall,
        )

    def _recall(self, found: IntArray, queries: FloatArray, truth: Hits) -> float:
        """Compute the share of found rows with a score of at least the exact k-th score."""
        queries_found, k = found.shape
        query = np.repeat(np.arange(queries_found), k)
        own = rank(self.metric, queries, self.exact.vectors, query, found.ravel(), k)
        return float((own.scores >= truth.scores[:, -1:]).mean())

    def with_threads(self, threads: int) -> Self:
        """Return the same index with another number of search threads; hits do not change."""
        return replace(self, threads=threads)

    def search(self, queries: FloatArray, k: int, eligible: BoolArray | None = None) -> Hits:
        """Find the K best eligible rows in the graph; see :class:`redub.index.base.Backend`.

        Returns at least min(K, eligible rows) hits. A query is searched exactly if the graph would
        visit more rows than there are eligible rows.
        """
        queries = checked_search(
            queries, k, eligible, metric=self.metric, width=self.width, count=self.count
        )
        hits = no_hits(len(queries), k)
        allowed = np.full(len(queries), self.count)  # (Q,) number of eligible rows
        fetch = np.full(len(queries), float(k))
        if eligible is not None:
            # Row by row: with an axis, numpy sums booleans and takes as long as the search.
            allowed[:] = [np.count_nonzero(mask) for mask in np.atleast_2d(eligible)]
            needed = 1.5 * k * self.count / np.maximum(allowed, 1)
            fetch = 2.0 ** np.ceil(np.log2(np.maximum(needed, 1)))  # few different beams
        pending = np.flatnonzero(np.minimum(allowed, k) > 0)
        while len(pending):
            is_exact = self._visited(fetch[pending]) >= allowed[pending]
            self._exactly(queries, k, eligible, pending[is_exact], hits)
            pending = pending[~is_exact]
            short = [
                self._over_fetched(
                    queries, k, eligible, pending[fetch[pending] == size], size, hits
                )
                for size in np.unique(fetch[pending])
            ]
            pending = np.concatenate([*short, np.empty(0, dtype=np.int64)])
            fetch[pending] *= 4
        return hits

    def _beam(self, fetch: FloatArray64) -> FloatArray64:
        """Compute the beam width for ``fetch`` rows: ``ef`` plus 2 per row beyond ``recall_at``.

        Measured with masks of 2 to 50 % eligible rows: with 2 per row, recall@3 stays within 0.003
        of the unmasked search; with 1 per row it loses up to 0.01; scaling ``ef`` in proportion to
        ``fetch`` takes up to five times as long.
        """
        return self.facts.ef + 2 * np.maximum(0, fetch - self.facts.recall_at)

    def _visited(self, fetch: FloatArray64) -> FloatArray64:
        """Estimate how many rows the graph scores: M linked rows for every row of the beam."""
        return self._beam(fetch) * self.facts.m

    def _exactly(
        self,
        queries: FloatArray,
        k: int,
        eligible: BoolArray | None,
        which: IntArray,
        hits: Hits,
    ) -> None:
        if len(which):
            mask = eligible
            if eligible is not None and eligible.ndim == 2 and len(which) < len(queries):
                mask = eligible[which]
            hits.rows[which], hits.scores[which] = self.exact.search(queries[which], k, mask)

    def _over_fetched(
        self,
        queries: FloatArray,
        k: int,
        eligible: BoolArray | None,
        which: IntArray,
        size: float,
        hits: Hits,
    ) -> IntArray:
        """Search the graph for ``size`` rows per query and fill the hits.

        Returns the numbers of the queries that got fewer than K eligible rows.
        """
        beam = math.ceil(self._beam(np.asarray(size)))
        found = self._graph_hits(queries[which], int(size), beam)
        if found is None:
            self._exactly(queries, k, eligible, which, hits)
            return np.empty(0, dtype=np.int64)
        is_kept = np.ones(found.shape, dtype=np.bool_)
        if eligible is not None:
            mask = eligible if eligible.ndim == 1 else eligible[which]
            is_kept = mask[found] if mask.ndim == 1 else np.take_along_axis(mask, found, axis=1)
        has_enough = is_kept.sum(axis=1) >= k
        query, column = np.nonzero(is_kept & has_enough[:, None])
        best = rank(self.metric, queries[which], self.exact.vectors, query, found[query, column], k)
        done = which[has_enough]
        hits.rows[done], hits.scores[done] = best.rows[has_enough], best.scores[has_enough]
        short: IntArray = which[~has_enough]
        return short

    def _graph_hits(self, queries: FloatArray, k: int, ef: int) -> IntArray | None:
        """Search the graph: (Q, k) rows in hnswlib's order, or None where it finds fewer than k."""
        rows = _graph_rows(self.metric, queries)
        with self.lock:
            self.graph.set_ef(max(ef, k))
            try:
                labels, _ = self.graph.knn_query(rows, k=k, num_threads=self.threads)
            except RuntimeError:  # with checked queries the only cause is: fewer than k rows found
                return None
        found: IntArray = labels.astype(np.int64)
        return found

    def save(self, folder: Path) -> IndexRecord:
        """Write the rows and the graph, and return their record.

        Raises:
            StorageError: a file cannot be written completely (hnswlib does not report this).
        """
        record = self.exact.save(folder)
        files = record.files
        if self.graph is not None:
            size = int(self.graph.index_file_size())
            files += (
                write_file(
                    folder,
                    GRAPH,
                    lambda path: self.graph.save_index(str(path)),
                    expected_size=size,
                ),
            )
        return IndexRecord(
            backend="hnsw",
            metric=self.metric,
            width=self.width,
            count=self.count,
            seed=self.exact.seed,
            files=files,
            graph=self.facts,
        )

    @classmethod
    def load(cls, folder: Path, record: IndexRecord) -> Self:
        """Open a saved index.

        Raises:
            IntegrityError: a file differs from the record (checked before hnswlib opens it), or the
                record is of another backend or states a recall below its floor.
        """
        facts = record.graph
        if record.backend != "hnsw" or facts is None:
            raise IntegrityError(f"{folder}: the record is of backend '{record.backend}'")
        if facts.recall < facts.recall_floor:
            raise IntegrityError(
                f"{folder}: recorded recall {facts.recall:.3f} is below {facts.recall_floor}"
            )
        exact = ExactBackend.load(folder, replace(record, backend="exact"))
        if not record.count:
            return cls(exact, None, facts)
        path = verify_file(folder, record.files, GRAPH)
        graph = _empty_graph(record.metric, record.width)
        graph.load_index(str(path), max_elements=record.count)
        if graph.get_current_count() != record.count:
            raise IntegrityError(
                f"{path}: {graph.get_current_count()} rows, the record says {record.count}"
            )
        return cls(exact, graph, facts)


def _empty_graph(metric: Metric, width: int) -> Any:
    space = "l2" if metric == "negative_euclidean" else "ip"
    return hnswlib.Index(space=space, dim=width)


def _join(graph: Any, exact: ExactBackend, rows: IntArray) -> None:
    """Add rows to a graph in small batches, because a copy of all rows would triple the memory.

    Uses one thread: with several threads, builds are not reproducible.
    """
    for start in range(0, len(rows), JOINED_ROWS):
        some = rows[start : start + JOINED_ROWS]
        graph.add_items(_graph_rows(exact.metric, exact.vectors[some]), some, num_threads=1)


def _graph_rows(metric: Metric, vectors: FloatArray) -> FloatArray:
    """Return the vectors that the graph stores and compares: unit vectors for cosine."""
    return unit_rows(vectors) if metric == "cosine" else vectors
