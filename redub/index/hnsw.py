"""Approximate search by a navigable graph (hnswlib), fenced so that its answers can be relied on.

hnswlib is fast and trusting. Here it is built by one thread from checked rows (the same bytes every
time), it must prove its recall against :mod:`exact` before it may serve, its files are read only
after their SHA-256 was checked, its beam width ``ef`` comes from the record (the file forgets it),
and everything it returns is scored again and sorted as the exact backend sorts.

Who may be retrieved is decided inside the search: rows are over-fetched until K eligible ones are
found, and where few rows are eligible, those are searched exactly. So K hits come back whenever K
rows are eligible.

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
    """A graph over the rows, and the rows themselves (for exact scores and small selections).

    ``threads`` is how many search at once; it changes no answer. ``lock``: hnswlib keeps the beam
    width in the index, so two searches may not set it at once.
    """

    exact: ExactBackend
    graph: Any  # hnswlib.Index, or None for an empty library
    facts: GraphFacts
    threads: int = 1
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def metric(self) -> Metric:
        return self.exact.metric

    @property
    def width(self) -> int:
        return self.exact.width

    @property
    def count(self) -> int:
        return self.exact.count

    @property
    def vectors(self) -> FloatArray:
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

        Recall is measured before the graph is complete: up to 200 rows drawn by ``seed`` are left
        out, ask as unseen queries, and join last. (A row that is in the graph finds its own
        neighbours along its own links, and looks better than any query will.) A hit that scores as
        high as the exact K-th counts as right.

        Args:
            vectors: (N, D) float32 rows; N may be 0.
            recall_at: K of the measurement; fewer when the library has fewer rows.

        Raises:
            RecallBelowFloor: no beam up to 3200 reaches it; serve ``exact`` instead.
            IndexInputError: a row that may not be indexed.
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
        """The same graph with the narrowest doubled beam that reaches the recall floor."""
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
        """The share of found rows that are at least as alike as the exact k-th."""
        lines, k = found.shape
        query = np.repeat(np.arange(lines), k)
        own = rank(self.metric, queries, self.exact.vectors, query, found.ravel(), k)
        return float((own.scores >= truth.scores[:, -1:]).mean())

    def with_threads(self, threads: int) -> Self:
        """The same index, searching with this many threads; answers do not change."""
        return replace(self, threads=threads)

    def search(self, queries: FloatArray, k: int, eligible: BoolArray | None = None) -> Hits:
        """The K best eligible rows that the graph finds; see :class:`redub.index.base.Backend`.

        Never fewer than min(K, eligible rows) hits. A search that would have to visit more of
        the graph than there are eligible rows is done exactly.
        """
        queries = checked_search(
            queries, k, eligible, metric=self.metric, width=self.width, count=self.count
        )
        hits = no_hits(len(queries), k)
        allowed = np.full(len(queries), self.count)  # (Q,) rows that each may retrieve
        fetch = np.full(len(queries), float(k))
        if eligible is not None:
            # Line by line: with an axis, numpy sums booleans and takes as long as the search.
            allowed[:] = [np.count_nonzero(line) for line in np.atleast_2d(eligible)]
            wanted = 1.5 * k * self.count / np.maximum(allowed, 1)
            fetch = 2.0 ** np.ceil(np.log2(np.maximum(wanted, 1)))  # few different beams
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
        """The beam for ``fetch`` neighbours: the measured one, and two for each one beyond its K.

        Measured on masks of 2 to 50 %: recall@3 stays within 0.003 of the unmasked search, where
        one for each loses up to 0.01, and the measured beam's own share of K takes up to five times
        as long.
        """
        return self.facts.ef + 2 * np.maximum(0, fetch - self.facts.recall_at)

    def _visited(self, fetch: FloatArray64) -> FloatArray64:
        """Rows the graph scores, roughly: each of the beam's rows brings M of its links."""
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
        """Fill the hits of those queries that got enough; return the others."""
        beam = math.ceil(self._beam(np.asarray(size)))
        found = self._graph_hits(queries[which], int(size), beam)
        if found is None:
            self._exactly(queries, k, eligible, which, hits)
            return np.empty(0, dtype=np.int64)
        is_kept = np.ones(found.shape, dtype=np.bool_)
        if eligible is not None:
            line = eligible if eligible.ndim == 1 else eligible[which]
            is_kept = line[found] if line.ndim == 1 else np.take_along_axis(line, found, axis=1)
        has_enough = is_kept.sum(axis=1) >= k
        query, column = np.nonzero(is_kept & has_enough[:, None])
        best = rank(self.metric, queries[which], self.exact.vectors, query, found[query, column], k)
        done = which[has_enough]
        hits.rows[done], hits.scores[done] = best.rows[has_enough], best.scores[has_enough]
        short: IntArray = which[~has_enough]
        return short

    def _graph_hits(self, queries: FloatArray, k: int, ef: int) -> IntArray | None:
        """(Q, k) rows as hnswlib orders them, or None where it reaches fewer than k."""
        rows = _graph_rows(self.metric, queries)
        with self.lock:
            self.graph.set_ef(max(ef, k))
            try:
                labels, _ = self.graph.knn_query(rows, k=k, num_threads=self.threads)
            except RuntimeError:  # its only complaint about a checked query: fewer than k reached
                return None
        found: IntArray = labels.astype(np.int64)
        return found

    def save(self, folder: Path) -> IndexRecord:
        """Write the rows and the graph, and say what they are.

        Raises:
            StorageError: the disk refused or cut the file short (hnswlib itself would not say).
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
        """Open a saved index as the record describes it.

        Raises:
            IntegrityError: a byte differs (found before hnswlib opens the file), or the record is
                of another backend or below its recall floor.
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
    """Add rows to a graph, some at a time: whole copies would triple the memory of a build.

    One thread: with more, every build is another graph.
    """
    for start in range(0, len(rows), JOINED_ROWS):
        some = rows[start : start + JOINED_ROWS]
        graph.add_items(_graph_rows(exact.metric, exact.vectors[some]), some, num_threads=1)


def _graph_rows(metric: Metric, vectors: FloatArray) -> FloatArray:
    """What the graph stores and is asked: unit rows for cosine, the rows themselves else."""
    return unit_rows(vectors) if metric == "cosine" else vectors
