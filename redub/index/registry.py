"""Table of index backends, ``name → "module:Class"``, and the choice between them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from redub.core.config import nearest
from redub.core.errors import ConfigError
from redub.core.registry import load
from redub.core.types import FloatArray
from redub.index.base import RECALL_FLOOR, Backend, IndexRecord, Metric, RecallBelowFloor

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """How vectors are indexed. ``backend``: ``auto``, or a name of :data:`BACKENDS`."""

    backend: str = "auto"
    metric: Metric = "cosine"
    recall_floor: float = RECALL_FLOOR
    seed: int = 0


DEFAULT = BuildSettings()

BACKENDS: dict[str, str] = {
    "exact": "redub.index.exact:ExactBackend",
    "hnsw": "redub.index.hnsw:HnswBackend",
}

EXACT_UP_TO = 100_000
"""Largest number of rows for which ``auto`` chooses exact search. At this size and width 1024 an
exact query takes 4 ms in a batch and 40 ms alone. Searching once for every row exactly then takes
as long as building a graph and searching that. The time of the exact searches grows with the square
of the number of rows, the time of the graph almost linearly (figures in docs/benchmarks.md)."""


def backend_class(name: str) -> type[Backend]:
    """Load the class of a backend.

    Raises:
        ConfigError: unknown name; the message suggests the nearest known one.
    """
    kind: type[Backend] = load(BACKENDS, name, kind="index backend")
    return kind


def auto(count: int) -> str:
    """Return the backend name that ``auto`` stands for with ``count`` rows."""
    return "exact" if count <= EXACT_UP_TO else "hnsw"


def build_backend(
    name: str,
    vectors: FloatArray,
    *,
    metric: Metric,
    seed: int = 0,
    recall_floor: float = RECALL_FLOOR,
) -> Backend:
    """Build the named backend; ``auto`` chooses by the number of rows.

    If ``auto`` chose a graph and the graph misses the recall floor, exact search replaces it and a
    warning with the measured recall is logged.

    Raises:
        ConfigError: an unknown name, or :func:`redub.index.base.checked_vectors` refuses a vector.
        RecallBelowFloor: ``name`` is ``hnsw`` and the graph misses the floor.
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
    """Open a saved index with the backend that its record names.

    Raises:
        IntegrityError: a file differs from the record.
    """
    return backend_class(record.backend).load(folder, record)
