"""Exact against graph retrieval: build time, queries per second, recall. Prints a table.

    python benchmarks/retrieval.py                      # 10,000 rows
    python benchmarks/retrieval.py --rows 100000 --widths 256 --kinds clustered
    python benchmarks/retrieval.py --large              # 10,000 and 100,000 rows

Clustered rows stand for embeddings, Gaussian rows for the hard end, where a graph may miss its
recall floor; the refusal is printed. Queries are drawn like the library but are not in it.
"product" is the bare float32 matrix product with numpy's argpartition, which neither checks nor
breaks ties. "5%" repeats the search with a mask under which 1 row in 20 may be retrieved.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from redub.core.types import FloatArray
from redub.index.base import Backend, BoolArray, Hits, RecallBelowFloor
from redub.index.exact import ExactBackend
from redub.index.hnsw import HnswBackend

K = 3
QUERIES = 256
ROW = "{:>9} {:>5} {:>9} {:>8} {:>8} {:>6} {:>9} {:>9} {:>11} {:>11}"


def draw_rows(count: int, width: int, kind: str, seed: int) -> FloatArray:
    """Unit-variance rows, or rows close to one of 200 centres that depend on the width only."""
    draw = np.random.default_rng(seed)
    rows = draw.standard_normal((count, width), dtype=np.float32)
    if kind == "gaussian":
        return rows
    centres = np.random.default_rng(width).standard_normal((200, width), dtype=np.float32)
    clustered: FloatArray = centres[draw.integers(0, 200, count)] + np.float32(0.5) * rows
    return clustered


def queries_per_second(index: Backend, queries: FloatArray, mask: BoolArray | None) -> float:
    return len(queries) / fastest(lambda: index.search(queries, K, mask))


def fastest(run: Callable[[], object]) -> float:
    """Seconds of the fastest of five runs: the least disturbed one on a shared machine."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def product_per_second(library: FloatArray, queries: FloatArray) -> float:
    units = library / np.linalg.norm(library, axis=1, keepdims=True)
    asked = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    parts = np.array_split(asked, max(1, len(asked) * len(units) // (1 << 25)))
    return len(queries) / fastest(
        lambda: [np.argpartition(some @ units.T, -K, axis=1) for some in parts]
    )


def recall(hits: Hits, truth: Hits) -> float:
    return float((hits.scores >= truth.scores[:, -1:]).mean())


def measure(count: int, width: int, kind: str) -> None:
    library = draw_rows(count, width, kind, 1)
    queries = draw_rows(QUERIES, width, kind, 2)
    mask = np.random.default_rng(3).random(count) < 0.05
    exact = ExactBackend.build(library, metric="cosine")
    truth = exact.search(queries, K)
    rates = [queries_per_second(exact, queries, m) for m in (None, mask)]
    product = product_per_second(library, queries)
    print(
        ROW.format(
            kind, width, "exact", "-", "-", "1.000", f"{rates[0]:.0f}", f"{rates[1]:.0f}", "1.0", ""
        )
    )
    print(ROW.format(kind, width, "product", "-", "-", "-", f"{product:.0f}", "-", "", ""))
    start = time.perf_counter()
    try:
        graph = HnswBackend.build(library, metric="cosine")
    except RecallBelowFloor as error:
        built = time.perf_counter() - start
        print(
            ROW.format(
                kind, width, "hnsw", f"{built:.1f}", "refused", f"{error.recall:.3f}", *("-" * 4)
            )
        )
        return
    built = time.perf_counter() - start
    found = graph.search(queries, K)
    fast = [queries_per_second(graph, queries, m) for m in (None, mask)]
    masked = recall(graph.search(queries, K, mask), exact.search(queries, K, mask))
    print(
        ROW.format(
            kind,
            width,
            "hnsw",
            f"{built:.1f}",
            str(graph.facts.ef),
            f"{recall(found, truth):.3f}",
            f"{fast[0]:.0f}",
            f"{fast[1]:.0f}",
            f"{fast[0] / rates[0]:.1f}",
            f"{masked:.3f}",
        ),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000])
    parser.add_argument("--widths", type=int, nargs="*", default=[256, 1024])
    parser.add_argument("--kinds", nargs="*", default=["clustered", "gaussian"])
    parser.add_argument("--large", action="store_true", help="add 100,000 rows")
    options = parser.parse_args()
    for count in options.rows + ([100_000] if options.large else []):
        print(f"\n{count} rows, K = {K}, {QUERIES} queries in one batch, best of 5")
        titles = ("rows", "D", "backend", "build s", "ef", "recall", "q/s", "q/s 5%")
        print(ROW.format(*titles, "x exact", "recall 5%"))
        for width in options.widths:
            for kind in options.kinds:
                measure(count, width, kind)


if __name__ == "__main__":
    main()
