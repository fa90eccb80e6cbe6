"""Retrieval speed: exact search, the graph, and both under masks. Prints tables.

    python benchmarks/retrieval.py                               # 10,000 rows, some minutes
    python benchmarks/retrieval.py --rows 10000 100000 --kinds embeddings clustered gaussian
    python benchmarks/retrieval.py --rows 1000000 --keep DIR     # builds once, then loads

Milliseconds per query, K = 3, the fastest of some rounds in which the compared searches take turns.
"batch" is 256 queries in one call, "alone" one query per call. "product" is what exact search
cannot do without: the bare float32 matrix product with the same rows in blocks, and the top K of
every block by ``argpartition``, merged; it divides by no length, checks nothing and breaks no ties.

"all rows" asks every row once, as ``redub retrieve`` does: for the graph its build counts, too.

    --clock cpu   processor time instead of the wall's: on a busy machine, with one thread
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from retrieval_rows import (
    CENTRES,
    KINDS,
    LIBRARY,
    QUERIES,
    Built,
    clusters_of,
    draw_rows,
    exact_of,
    kept_index,
    race,
    random_mask,
)
from threadpoolctl import threadpool_limits

from redub.core.types import FloatArray
from redub.index.base import Backend, BoolArray, Hits, IntArray
from redub.index.hnsw import HnswBackend

K = 3
BATCH = 256
PRODUCT_ROWS = 16_384
SHARES = (0.001, 0.01, 0.1, 0.5, 1.0)
SPEED = "{:>9} {:>10} {:>7} {:>6} {:>9} {:>9} {:>7} {:>9} {:>8} {:>8} {:>10} {:>10}"
MASKS = "{:>9} {:>10} {:>16} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9}"


def product(library: FloatArray, queries: FloatArray) -> IntArray:
    """(Q, K) rows of the largest inner products, in no order."""
    best = np.full((len(queries), K), -np.inf, dtype=np.float32)
    rows = np.zeros((len(queries), K), dtype=np.int64)
    for start in range(0, len(library), PRODUCT_ROWS):
        values = queries @ library[start : start + PRODUCT_ROWS].T
        column = np.argpartition(values, -K, axis=1)[:, -K:]
        best = np.concatenate([best, np.take_along_axis(values, column, axis=1)], axis=1)
        rows = np.concatenate([rows, column + start], axis=1)
        kept = np.argpartition(best, -K, axis=1)[:, -K:]
        best = np.take_along_axis(best, kept, axis=1)
        rows = np.take_along_axis(rows, kept, axis=1)
    return rows


def one_by_one(search: Callable[[FloatArray], object], queries: FloatArray) -> None:
    for line in range(len(queries)):
        search(queries[line : line + 1])


def recall(hits: Hits, truth: Hits) -> float:
    """The share of hits that score at least as high as the exact K-th."""
    return float((hits.scores >= truth.scores[:, -1:]).mean())


def speed(
    index: Backend, built: Built, kind: str, threads: int, rounds: int, clock: Callable[[], float]
) -> None:
    exact = exact_of(index)
    queries = draw_rows(BATCH, index.width, kind, QUERIES)
    graph = index.with_threads(threads) if isinstance(index, HnswBackend) else None
    found = "-"
    if graph is not None:
        found = f"{recall(graph.search(queries, K), exact.search(queries, K)):.4f}"
    few = queries[: max(4, min(64, 4_000_000 // index.count))]  # alone, each scans all rows
    for way in ("batch", "alone"):
        runs: dict[str, Callable[[], object]]
        if way == "batch":
            runs = {
                "product": partial(product, index.vectors, queries),
                "exact": partial(exact.search, queries, K),
            }
            if graph is not None:
                runs["hnsw"] = partial(graph.search, queries, K)
        else:
            runs = {
                "product": partial(one_by_one, partial(product, index.vectors), few),
                "exact": partial(one_by_one, partial(exact.search, k=K), few),
            }
            if graph is not None:
                runs["hnsw"] = partial(one_by_one, partial(graph.search, k=K), queries)
        query_counts = {
            name: BATCH if way == "batch" or name == "hnsw" else len(few) for name in runs
        }
        best = race(runs, rounds=rounds, clock=clock)
        ms = {name: seconds / query_counts[name] * 1e3 for name, seconds in best.items()}
        own = ms.get("hnsw", float("nan"))
        of_all = [ms["exact"] * index.count / 1e3, built.cpu_s + own * index.count / 1e3]
        print(
            SPEED.format(
                index.count,
                kind,
                threads,
                way,
                f"{ms['product']:.3f}",
                f"{ms['exact']:.3f}",
                f"{ms['exact'] / ms['product']:.2f}",
                f"{own:.3f}",
                f"{ms['exact'] / own:.1f}",
                found,
                *((f"{seconds:.0f}" for seconds in of_all) if way == "batch" else ("", "")),
            ),
            flush=True,
        )


def masks(
    index: HnswBackend, kind: str, threads: int, rounds: int, clock: Callable[[], float]
) -> None:
    queries = draw_rows(BATCH, index.width, kind, QUERIES)
    graph, count = index.with_threads(threads), index.count
    kinds: list[tuple[str, BoolArray | None]] = [("none", None)]
    kinds += [(f"{share:.1%}", random_mask(count, share)) for share in SHARES]
    if kind != "gaussian":
        inside = clusters_of(count, LIBRARY) < CENTRES // 100
        kinds.append(("1% of clusters", inside))
    own = np.stack([np.random.default_rng([4, q]).random(count) < 0.01 for q in range(BATCH // 4)])
    kinds.append(("1%, each its own", own))
    base = dict.fromkeys(("batch", "alone"), 0.0)
    for name, mask in kinds:
        some = queries if mask is None or mask.ndim == 1 else queries[: len(mask)]
        truth, hits = (one.search(some, K, mask) for one in (graph.exact, graph))
        runs: dict[str, Callable[[], object]] = {"batch": partial(graph.search, some, K, mask)}
        few = some[:64]
        if mask is None or mask.ndim == 1:
            runs["alone"] = partial(one_by_one, partial(graph.search, k=K, eligible=mask), few)
        slow = race(
            {"exact": partial(graph.exact.search, some, K, mask)},
            rounds=min(2, rounds),
            clock=clock,
        )["exact"]
        best = race(runs, rounds=rounds, clock=clock)
        ms = {"batch": best["batch"] / len(some) * 1e3}
        ms["alone"] = best["alone"] / len(few) * 1e3 if "alone" in best else float("nan")
        base = base if mask is not None else ms
        eligible = count if mask is None else round(np.count_nonzero(mask) * count / mask.size)
        wanted = min(K, eligible)
        print(
            MASKS.format(
                count,
                kind,
                name,
                eligible,
                f"{slow / len(some) * 1e3:.3f}",
                f"{ms['batch']:.3f}",
                f"{ms['batch'] / base['batch']:.1f}",
                f"{ms['alone']:.3f}",
                f"{ms['alone'] / base['alone']:.1f}",
                f"{recall(hits, truth):.4f}",
                "yes" if ((hits.rows >= 0).sum(axis=1) == wanted).all() else "NO",
            ),
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000])
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--kinds", nargs="+", default=["embeddings", "gaussian"], choices=KINDS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--keep", type=Path, help="folder for indexes that later runs load")
    parser.add_argument("--tables", nargs="+", choices=("speed", "masks"))
    options = parser.parse_args()
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    tables = options.tables or ["speed", "masks"]
    for count in options.rows:
        for kind in options.kinds:
            index, built = kept_index(count, options.width, kind, options.keep)
            facts = f"ef {index.facts.ef}" if isinstance(index, HnswBackend) else "no graph"
            print(
                f"\n{count} {kind} rows x {options.width}: {facts}, built in {built.seconds:.0f} s "
                f"({built.cpu_s:.0f} s of CPU)"
                + (f"; the graph was refused at recall {built.refused}" if built.refused else "")
            )
            for threads in options.threads:
                with threadpool_limits(limits=threads):
                    if "speed" in tables:
                        print(
                            SPEED.format(
                                *("rows", "kind", "threads", "way", "product", "exact", "x prod"),
                                *("hnsw", "x hnsw", "recall", "all: ex s", "all: gr s"),
                            )
                        )
                        speed(index, built, kind, threads, options.rounds, clock)
                    if "masks" in tables and isinstance(index, HnswBackend):
                        print(
                            MASKS.format(
                                *("rows", "kind", "mask", "eligible", "exact", "hnsw", "x none"),
                                *("alone", "x none", "recall", "K hits"),
                            )
                        )
                        masks(index, kind, threads, options.rounds, clock)


if __name__ == "__main__":
    main()
