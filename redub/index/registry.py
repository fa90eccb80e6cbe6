"""Every index backend, and which one a library gets: ``name → "module:Class"``."""

from __future__ import annotations

import logging
from pathlib import Path

from redub.core.config import nearest
from redub.core.errors import ConfigError
from redub.core.registry import load
from redub.core.types import FloatArray
from redub.index.base import RECALL_FLOOR, Backend, IndexRecord, Metric, RecallBelowFloor

log = logging.getLogger(__name__)

BACKENDS: dict[str, str] = {
    "exact": "redub.index.exact:ExactBackend",
    "hnsw": "redub.index.hnsw:HnswBackend",
}

EXACT_UP_TO = 100_000
"""Rows up to which ``auto`` searches exactly. At this size and width 1024 a query takes 4 ms in a
batch and 40 ms alone, and asking every row once takes as long as building a graph and asking that.
The first grows with the square of the rows, the second hardly faster than they do (figures in
docs/benchmarks.md)."""


def backend_class(name: str) -> type[Backend]:
    """The class behind a backend name; an unknown name answers with the nearest known one."""
    kind: type[Backend] = load(BACKENDS, name, kind="index backend")
    return kind


def auto(count: int) -> str:
    """The backend for a library of ``count`` rows when none is asked for."""
    return "exact" if count <= EXACT_UP_TO else "hnsw"


def build_backend(
    name: str,
    vectors: FloatArray,
    *,
    metric: Metric,
    seed: int = 0,
    recall_floor: float = RECALL_FLOOR,
) -> Backend:
    """Build the named backend, or with ``auto`` the one that fits the number of rows.

    A graph that ``auto`` chose and that misses the recall floor is replaced by exact search, with
    a warning that says what was measured.

    Raises:
        ConfigError: an unknown name, or vectors that may not be indexed.
        RecallBelowFloor: ``hnsw`` was asked for by name and misses the floor.
    """
    if name != "auto":
        if name not in BACKENDS:
            hint = nearest(name, [*BACKENDS, "auto"])
            raise ConfigError(f"unknown index backend '{name}'; {hint}", code="E-CFG-NAME")
        return backend_class(name).build(
            vectors, metric=metric, seed=seed, recall_floor=recall_floor
        )
    chosen = auto(len(vectors))
    try:
        return backend_class(chosen).build(
            vectors, metric=metric, seed=seed, recall_floor=recall_floor
        )
    except RecallBelowFloor as error:
        log.warning("%s; searching exactly", error)
        return backend_class("exact").build(vectors, metric=metric, seed=seed)


def load_backend(folder: Path, record: IndexRecord) -> Backend:
    """Open a saved index with the backend its record names."""
    return backend_class(record.backend).load(folder, record)
