"""What a graph costs to build and to hold: time against faiss, and memory. Prints two tables.

    python benchmarks/retrieval_build.py                          # 10,000 rows
    PYTHONPATH=FOLDER python benchmarks/retrieval_build.py --rows 10000 100000
    python benchmarks/retrieval_build.py --tables memory --rows 1000000 --keep DIR

FOLDER is where ``pip install --target FOLDER faiss-cpu`` put faiss, which redub does not need;
without it only redub is measured. Same rows, M and efConstruction, one thread each; every build
runs in a process of its own, in turns, and the fastest counts. "s" is processor time: the build of
redub includes its checks of every row and the proof of its recall, that of faiss does not.

Memory is set against the vectors and links alone. "own" is anonymous memory, which is not shared
and only swap can take; "mapped" are pages of ``vectors.npy`` that the process has touched, which
all processes share and the system takes back when it needs room.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from retrieval_rows import (
    KINDS,
    LIBRARY,
    QUERIES,
    build,
    draw_rows,
    exact_of,
    kept_index,
    random_mask,
    resident,
)
from threadpoolctl import threadpool_limits

from redub.index.exact import ExactBackend
from redub.index.hnsw import EF_CONSTRUCTION, HnswBackend, M
from redub.index.similarity import unit_rows

K = 3
QUERY_COUNT = 256
BUILD = "{:>9} {:>10} {:>22} {:>9} {:>8} {:>6} {:>7} {:>10} {:>7}"
MEMORY = "{:>9} {:>10} {:>34} {:>9} {:>7} {:>10}"


def vectors_and_links(count: int, width: int) -> int:
    """Bytes of float32 rows, of 2M links and a count each, and of the levels above."""
    above = (M + 1) * 4 / (M - 1)  # one row in M reaches the next level
    return int(count * (width * 4 + (2 * M + 1) * 4 + above))


def with_redub(rows: Path, kind: str) -> dict[str, float]:
    with threadpool_limits(limits=1):
        index, built = build(np.load(rows, mmap_mode="r"))
        queries = draw_rows(QUERY_COUNT, index.width, kind, QUERIES)
        truth = ExactBackend.build(index.vectors, metric="cosine").search(queries, K)
        hits = index.search(queries, K)
    return {
        "s": built.cpu_s,
        "wall": built.seconds,
        "ef": index.facts.ef if isinstance(index, HnswBackend) else 0,
        "recall": float((hits.scores >= truth.scores[:, -1:]).mean()),
        "bytes": built.held_bytes,
        "peak": built.peak_bytes,
    }


def with_faiss(rows: Path, kind: str, ef: int) -> dict[str, float]:
    faiss: Any = importlib.import_module("faiss")
    faiss.omp_set_num_threads(1)
    library = np.load(rows, mmap_mode="r")
    index = faiss.IndexHNSWFlat(library.shape[1], M, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = EF_CONSTRUCTION
    before = resident("RssAnon")
    units = unit_rows(np.asarray(library))
    start, cpu = time.perf_counter(), time.process_time()
    index.add(units)
    wall, seconds = time.perf_counter() - start, time.process_time() - cpu
    del units
    gc.collect()
    held = resident("RssAnon") - before
    queries = draw_rows(QUERY_COUNT, library.shape[1], kind, QUERIES)
    index.hnsw.efSearch = max(1, ef)
    _, found = index.search(unit_rows(queries), K)
    exact = ExactBackend.build(library, metric="cosine")
    truth = exact.search(queries, K)
    wanted = unit_rows(library[found.ravel()]).reshape(QUERY_COUNT, K, -1)
    scores = np.einsum("qkd,qd->qk", wanted, unit_rows(queries))
    recall = float((scores >= truth.scores[:, -1:] - 1e-6).mean())
    return {"s": seconds, "wall": wall, "ef": ef, "recall": recall, "bytes": held, "peak": held}


def apart(run: Callable[..., dict[str, float]], *arguments: object) -> dict[str, float]:
    """Run in a fresh process, so that nothing that ran before counts."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(run, arguments)


def compare(count: int, width: int, kind: str, rounds: int) -> None:
    has_faiss = importlib.util.find_spec("faiss") is not None
    size = vectors_and_links(count, width)
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.npy"
        draw_rows(count, width, kind, LIBRARY, into=rows)
        runs: dict[str, list[dict[str, float]]] = {"redub": [], "faiss": []}
        for _ in range(rounds):
            runs["redub"].append(apart(with_redub, rows, kind))
            if has_faiss:
                ef = int(runs["redub"][-1]["ef"])
                runs["faiss"].append(apart(with_faiss, rows, kind, ef))
    fastest = {name: min(of, key=lambda run: run["s"]) for name, of in runs.items() if of}
    for name, run in fastest.items():
        print(
            BUILD.format(
                count,
                kind,
                name if run["ef"] or name == "faiss" else f"{name} (refused)",
                f"{run['s']:.1f}",
                f"{run['s'] / fastest.get('faiss', run)['s']:.2f}" if has_faiss else "-",
                f"{run['ef']:.0f}",
                f"{run['recall']:.4f}",
                f"{run['bytes'] / 2**20:.0f}",
                f"{run['bytes'] / size:.2f}",
            ),
            flush=True,
        )
    if not has_faiss:
        print("faiss is not installed: see --help")


def made(count: int, width: int, kind: str, keep: Path) -> dict[str, float]:
    """Build the index where it is not kept yet, so that :func:`held` finds one to load."""
    if not (keep / f"{kind}-{count}-{width}" / "built.json").exists():
        kept_index(count, width, kind, keep)
    return {}


def held(count: int, width: int, kind: str, keep: Path) -> dict[str, float]:
    """Memory of a loaded index, after each kind of use."""
    with threadpool_limits(limits=1):
        start = {name: resident(name) for name in ("RssAnon", "RssFile")}
        seconds = time.perf_counter()
        index, built = kept_index(count, width, kind, keep)
        seconds = time.perf_counter() - seconds
        queries = draw_rows(QUERY_COUNT, width, kind, QUERIES)
        found = {"load s": seconds, "peak": built.peak_bytes, "built": built.held_bytes}
        steps: dict[str, Callable[[], object]] = {
            "loaded": lambda: None,
            f"{QUERY_COUNT} searches": lambda: index.search(queries, K),
            "and 10 under a mask of 1%": lambda: index.search(
                queries[:10], K, random_mask(count, 0.01)
            ),
            "and one exact over all rows": lambda: exact_of(index).search(queries[:1], K),
        }
        for step, use in steps.items():
            use()
            gc.collect()
            for name, before in start.items():
                found[f"{step}|{name}"] = resident(name) - before
    return found


def memory(count: int, width: int, kind: str, keep: Path | None) -> None:
    size = vectors_and_links(count, width)
    with tempfile.TemporaryDirectory() as folder:
        place = keep or Path(folder)
        apart(made, count, width, kind, place)
        found = apart(held, count, width, kind, place)
    rows = [("building: at most", int(found["peak"]), 0.0), ("built", int(found["built"]), 0.0)]
    names = [key.split("|")[0] for key in found if key.endswith("RssAnon")]
    rows += [(name, int(found[f"{name}|RssAnon"]), found[f"{name}|RssFile"]) for name in names]
    for name, own, mapped in rows:
        print(
            MEMORY.format(
                count,
                kind,
                name,
                f"{own / 2**20:.0f}",
                f"{own / size:.2f}",
                f"{mapped / 2**20:.0f}" if mapped else "-",
            )
        )
    print(f"vectors and links: {size / 2**20:.0f} MiB; loaded in {found['load s']:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000])
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--kinds", nargs="+", default=["embeddings"], choices=KINDS)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder for indexes that later runs load")
    parser.add_argument(
        "--tables", nargs="+", choices=("build", "memory"), default=["build", "memory"]
    )
    options = parser.parse_args()
    if "build" in options.tables:
        print(f"M {M}, efConstruction {EF_CONSTRUCTION}, width {options.width}, one thread")
        titles = ("rows", "kind", "library", "s", "x faiss", "ef", "recall", "MiB own", "x size")
        print(BUILD.format(*titles))
        for count in options.rows:
            for kind in options.kinds:
                compare(count, options.width, kind, options.rounds)
    if "memory" in options.tables:
        print()
        print(MEMORY.format("rows", "kind", "after", "MiB own", "x size", "MiB mapped"))
        for count in options.rows:
            for kind in options.kinds:
                memory(count, options.width, kind, options.keep)


if __name__ == "__main__":
    main()
