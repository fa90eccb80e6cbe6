"""What the retrieval benchmarks share: vectors, indexes kept in a folder, and how runs are timed.

Rows are drawn in chunks, so that a million and their index fit into memory:

    clustered   one of 200 centres and as much noise in every direction: inside a cluster there is
                no structure at all, which is harder than an embedding
    embeddings  one of 200 centres, a spread over 16 directions that all centres share, and a
                little noise in all: few dimensions matter, as in trained embeddings
    gaussian    no structure: the hard end, where a graph may miss its recall floor
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from redub.core.types import FloatArray
from redub.index.base import Backend, BoolArray, IndexRecord, IntArray, RecallBelowFloor
from redub.index.exact import ExactBackend
from redub.index.hnsw import HnswBackend
from redub.index.registry import load_backend

KINDS = ("clustered", "embeddings", "gaussian")
CENTRES = 200
DIRECTIONS = 16
CHUNK_ROWS = 16_384
LIBRARY, QUERIES = 1, 2  # seeds: queries are drawn like the library but are not in it


def draw_rows(
    count: int, width: int, kind: str, seed: int, *, into: Path | None = None
) -> FloatArray:
    """(count, width) float32 rows; with ``into``, a memory map of that new ``.npy`` file."""
    rows: FloatArray = (
        np.empty((count, width), dtype=np.float32)
        if into is None
        else np.lib.format.open_memmap(into, "w+", dtype=np.float32, shape=(count, width))
    )
    world = np.random.default_rng(width)  # centres and directions depend on the width only
    centres = world.standard_normal((CENTRES, width), dtype=np.float32)
    directions = world.standard_normal((DIRECTIONS, width), dtype=np.float32)
    for chunk, start in enumerate(range(0, count, CHUNK_ROWS)):
        size = min(CHUNK_ROWS, count - start)
        draw = np.random.default_rng([seed, chunk])
        own = centres[draw.integers(0, CENTRES, CHUNK_ROWS)[:size]]
        noise = draw.standard_normal((size, width), dtype=np.float32)
        if kind == "gaussian":
            rows[start : start + size] = noise
        elif kind == "clustered":
            rows[start : start + size] = own + np.float32(0.5) * noise
        else:
            spread = draw.standard_normal((size, DIRECTIONS), dtype=np.float32) @ directions
            rows[start : start + size] = (
                own + np.float32(0.5 / DIRECTIONS**0.5) * spread + np.float32(0.1) * noise
            )
    return rows


def clusters_of(count: int, seed: int) -> IntArray:
    """(count,) the centre of every row of :func:`draw_rows`, without drawing the rows."""
    chunks = [
        np.random.default_rng([seed, chunk]).integers(0, CENTRES, CHUNK_ROWS)
        for chunk in range(-(-count // CHUNK_ROWS))
    ]
    owners: IntArray = np.concatenate([*chunks, np.empty(0, dtype=np.int64)])[:count]
    return owners


def random_mask(count: int, share: float) -> BoolArray:
    """(count,) bool, every row eligible by chance."""
    return np.random.default_rng(3).random(count) < share


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build cost; memory is anonymous bytes beyond those before it."""

    seconds: float
    cpu_s: float
    peak_bytes: int
    held_bytes: int
    refused: str = ""


def build(rows: FloatArray) -> tuple[Backend, Built]:
    """A graph over the rows, or exact search where the graph misses its recall floor."""
    before, peak, is_done = resident("RssAnon"), [0], threading.Event()

    def watch() -> None:
        while not is_done.wait(0.05):
            peak[0] = max(peak[0], resident("RssAnon"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start, cpu = time.perf_counter(), time.process_time()
    index: Backend
    refused = ""
    try:
        index = HnswBackend.build(rows, metric="cosine")
    except RecallBelowFloor as error:
        index, refused = ExactBackend.build(rows, metric="cosine"), f"{error.recall:.3f}"
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    is_done.set()
    watcher.join()
    held = resident("RssAnon") - before
    return index, Built(
        seconds=seconds,
        cpu_s=cpu,
        peak_bytes=max(held, peak[0] - before),
        held_bytes=held,
        refused=refused,
    )


def kept_index(count: int, width: int, kind: str, keep: Path | None) -> tuple[Backend, Built]:
    """The index over :func:`draw_rows`, from the folder where an earlier run left it."""
    if keep is None:
        return build(draw_rows(count, width, kind, LIBRARY))
    folder = keep / f"{kind}-{count}-{width}"
    if not (folder / "built.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        draw_rows(count, width, kind, LIBRARY, into=folder / "rows.npy")
        # Opened again: rows of a file that is only read take no memory of their own.
        index, built = build(np.load(folder / "rows.npy", mmap_mode="r"))
        (folder / "record.json").write_text(index.save(folder).to_json())
        (folder / "built.json").write_text(json.dumps(asdict(built)))
        (folder / "rows.npy").unlink()
    record = IndexRecord.from_json((folder / "record.json").read_text())
    built = Built(**json.loads((folder / "built.json").read_text()))
    return load_backend(folder, record), built


def exact_of(index: Backend) -> ExactBackend:
    if isinstance(index, HnswBackend):
        return index.exact
    if not isinstance(index, ExactBackend):
        raise TypeError(type(index).__name__)
    return index


def resident(kind: str) -> int:
    """Bytes of this process in memory: RssAnon its own, RssFile pages of files it has mapped."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(kind))


def race(
    runs: Mapping[str, Callable[[], object]], *, rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Seconds of each run's fastest round; runs take turns, so that all see the same machine."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            start = clock()
            run()
            best[name] = min(best[name], clock() - start)
    return best
