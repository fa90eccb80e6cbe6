"""The index backend protocol, its result type, its record, and the checks on vectors and files.

hnswlib checks nothing: three NaN rows damage its graph, a query of another width reads memory
outside the array, a damaged file kills the process. Therefore :func:`checked_vectors` checks every
array and :func:`verify_file` checks every file before hnswlib sees them. The record, not the file,
states what the file contains.

Letters: N library rows, Q queries, D width, K neighbours.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from redub.core.config import from_mapping
from redub.core.durable import file_digest, new_file
from redub.core.errors import ConfigError, IntegrityError, RedubError, StorageError
from redub.core.types import FloatArray

Metric = Literal["cosine", "dot", "negative_euclidean"]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
R = TypeVar("R")

FORMAT = 1
"""Version of the index files. It grows when their meaning changes; other versions are refused."""

RECALL_FLOOR = 0.99
"""Recall at K that an approximate index must reach on its own rows before it is used."""

LARGEST_NORM = 1e15
SMALLEST_NORM = 1e-15
"""Limits of a vector's norm, so that float32 squares neither overflow nor underflow."""


NORM_BLOCK = 1 << 20
"""Values that :func:`row_norms` converts to float64 at a time (8 MiB)."""


class IndexInputError(ConfigError):
    """A vector, mask or K that a backend refuses; for a bad vector the message names the row."""

    default_code = "E-IDX-INPUT"


class RecallBelowFloor(RedubError):
    """The graph missed the recall floor at every beam width; use the exact backend instead."""

    default_code = "E-IDX-RECALL"

    def __init__(self, message: str, *, code: str | None = None, recall: float = math.nan) -> None:
        super().__init__(message, code=code)
        self.recall = recall

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_recall, (self.message, self.code, self.recall))


def _rebuild_recall(message: str, code: str, recall: float) -> RecallBelowFloor:
    return RecallBelowFloor(message, code=code, recall=recall)


class Hits(NamedTuple):
    """Retrieved rows of Q queries, best first; equal scores are ordered by row number.

    Where a query has fewer than K eligible rows, the remaining entries are row -1 and score NaN.
    """

    rows: IntArray  # (Q, K)
    scores: FloatArray  # (Q, K)


class Backend(Protocol):
    """An immutable index over N rows; a changed library needs a new index.

    Hits are sorted by float32 score, highest first, then by row number. So the result depends
    neither on the number of threads nor on the other queries of the batch.
    """

    @property
    def metric(self) -> Metric:
        """Name of the similarity that scores are computed with."""
        ...

    @property
    def width(self) -> int:
        """D, the number of values per vector."""
        ...

    @property
    def count(self) -> int:
        """N, the number of indexed rows."""
        ...

    @property
    def vectors(self) -> FloatArray:
        """(N, D) float32 rows as given to :meth:`build`; read-only by convention."""
        ...

    @classmethod
    def build(
        cls,
        vectors: FloatArray,
        *,
        metric: Metric,
        seed: int = 0,
        recall_floor: float = RECALL_FLOOR,
    ) -> Self:
        """Index (N, D) float32 rows, N >= 0.

        Raises:
            IndexInputError: :func:`checked_vectors` refuses a row.
            RecallBelowFloor: the recall of an approximate index is below ``recall_floor``.
        """
        ...

    def search(self, queries: FloatArray, k: int, eligible: BoolArray | None = None) -> Hits:
        """Find the K best eligible rows of every query.

        Args:
            queries: (Q, D) float32, finite; non-zero for cosine.
            k: number of hits per query, 0 or more; more than N is allowed.
            eligible: (N,) for all queries or (Q, N) bool, True where a row may be retrieved.

        Raises:
            IndexInputError: an argument does not meet these conditions.
        """
        ...

    def save(self, folder: Path) -> IndexRecord:
        """Write the files atomically; the returned record is needed to load them."""
        ...

    @classmethod
    def load(cls, folder: Path, record: IndexRecord) -> Self:
        """Open saved files.

        Raises:
            IntegrityError: a file differs from the record; checked before any file is parsed.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """Name, size in bytes and SHA-256 of one index file."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFacts:
    """How an HNSW graph was built, and its measured recall.

    ``recall`` was measured at K = ``recall_at`` with beam width ``ef`` on ``recall_queries`` rows.
    ``hnswlib`` is the version of the library that built the graph.
    """

    m: int
    ef_construction: int
    ef: int
    recall: float
    recall_at: int
    recall_queries: int
    recall_floor: float
    hnswlib: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRecord:
    """Description of an index folder. Loading trusts the record and verifies the files."""

    backend: str
    metric: Metric
    width: int
    count: int
    seed: int
    files: tuple[FileEntry, ...]
    graph: GraphFacts | None = None
    format: int = FORMAT

    def to_json(self) -> str:
        """Serialise the record as JSON; fields that are None are left out."""
        return record_json(self)

    @classmethod
    def from_json(cls, text: str) -> IndexRecord:
        """Read the text of :meth:`to_json`.

        Raises:
            IntegrityError: damaged JSON, unknown fields or another format version.
        """
        return read_record(cls, text)


def record_json(record: Any) -> str:
    """Serialise a record dataclass as JSON; fields that are None are left out."""
    return json.dumps(_without_none(asdict(record)), indent=2, sort_keys=True)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    return value


def read_record(kind: type[R], text: str) -> R:
    """Build a record dataclass from its JSON.

    Raises:
        IntegrityError: the text is damaged, does not fit the dataclass or has another format
            version.
    """
    try:
        values = json.loads(text)
        if isinstance(values, dict) and values.get("format", FORMAT) != FORMAT:
            raise IntegrityError(
                f"index record has format {values['format']}, this redub reads {FORMAT}; "
                "build the index again",
                code="E-INT-FORMAT",
            )
        if not isinstance(values, dict):
            raise IntegrityError(f"index record is not a JSON object: {text[:40]!r}")
        return from_mapping(kind, values)
    except (json.JSONDecodeError, ConfigError, TypeError) as error:
        raise IntegrityError(f"index record cannot be read ({error}); rebuild the index") from error


def checked_vectors(
    vectors: FloatArray, *, metric: Metric, what: str, width: int | None = None
) -> FloatArray:
    """Check an array of vectors and return it C-contiguous.

    Raises:
        IndexInputError: not float32, not 2-D, another width, a NaN or infinite value, a norm
            outside [1e-15, 1e15] (the lower limit for cosine only). The message names the first
            bad row.
    """
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.ndim != 2:
        found = (
            f"{vectors.ndim}-D {vectors.dtype}"
            if isinstance(vectors, np.ndarray)
            else type(vectors).__name__
        )
        raise IndexInputError(f"{what}: wanted a 2-D float32 array, found {found}")
    if vectors.shape[1] == 0 or (width is not None and vectors.shape[1] != width):
        wanted = "1 or more" if width is None else str(width)
        raise IndexInputError(f"{what}: width {vectors.shape[1]}, wanted {wanted}")
    rows = np.ascontiguousarray(vectors)
    lengths = row_norms(rows)
    _refuse(~np.isfinite(lengths), what, "a NaN or infinite value")
    _refuse(lengths > LARGEST_NORM, what, f"length above {LARGEST_NORM:g}")
    if metric == "cosine":
        _refuse(lengths < SMALLEST_NORM, what, f"length below {SMALLEST_NORM:g}; it has no cosine")
    return rows


def row_norms(vectors: FloatArray) -> NDArray[np.float64]:
    """Compute the (N,) float64 Euclidean norms, block by block to save memory."""
    norms = np.empty(len(vectors), dtype=np.float64)
    size = max(1, NORM_BLOCK // max(1, vectors.shape[1]))
    for start in range(0, len(vectors), size):
        block = vectors[start : start + size].astype(np.float64)
        norms[start : start + len(block)] = np.sqrt((block * block).sum(axis=1))
    return norms


def _refuse(is_bad: BoolArray, what: str, why: str) -> None:
    if is_bad.any():
        row = int(np.argmax(is_bad))
        raise IndexInputError(f"{what}: row {row} has {why} ({int(is_bad.sum())} such rows)")


def checked_search(
    queries: FloatArray,
    k: int,
    eligible: BoolArray | None,
    *,
    metric: Metric,
    width: int,
    count: int,
) -> FloatArray:
    """Check the arguments of ``search`` and return the queries, C-contiguous.

    Raises:
        IndexInputError: a bad K, bad queries (:func:`checked_vectors`), or a mask of another type
            or shape than (N,) or (Q, N) bool.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 0:
        raise IndexInputError(f"k is {k!r}, wanted a whole number, 0 or more")
    rows = checked_vectors(queries, metric=metric, what="queries", width=width)
    if eligible is not None:
        legal = ((count,), (len(rows), count))
        if eligible.dtype != np.bool_ or eligible.shape not in legal:
            raise IndexInputError(
                f"eligible: {eligible.dtype} {eligible.shape}, wanted bool {legal[0]} or {legal[1]}"
            )
    return rows


def no_hits(queries: int, k: int) -> Hits:
    """Make an empty result, (queries, k): rows are -1 and scores NaN."""
    return Hits(
        np.full((queries, k), -1, dtype=np.int64), np.full((queries, k), np.nan, dtype=np.float32)
    )


def write_file(
    folder: Path, name: str, write: Callable[[Path], None], *, expected_size: int | None = None
) -> FileEntry:
    """Write a file atomically: write a temporary file, check it, then rename it to ``name``.

    ``expected_size`` (bytes) is for writers that report no errors: hnswlib returns normally when
    the disk is full, the folder is missing or only a part was written.

    Raises:
        StorageError: the file cannot be written, or its size is not ``expected_size``.
    """
    target = folder / name
    if not folder.is_dir():
        raise StorageError(f"{target}: cannot be written: no such folder")
    try:
        with new_file(target) as temporary:
            write(temporary)
            size = temporary.stat().st_size
            if expected_size is not None and size != expected_size:
                raise StorageError(
                    f"{target}: {size} bytes reached the disk, {expected_size} were written; "
                    "free space and build again",
                    code="E-STORE-SHORT",
                )
            return FileEntry(name=name, size=size, sha256=file_digest(temporary))
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error.strerror or error}") from error


def verify_file(folder: Path, files: tuple[FileEntry, ...], name: str) -> Path:
    """Check size and SHA-256 of a recorded file and return its path.

    Raises:
        IntegrityError: the record does not name the file, the file is missing, or a byte differs.
    """
    entry = next((entry for entry in files if entry.name == name), None)
    if entry is None:
        raise IntegrityError(f"{folder}: the record names no file '{name}'; rebuild the index")
    path = folder / name
    try:
        found_size = path.stat().st_size
        is_same = found_size == entry.size and file_digest(path) == entry.sha256
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read: {error}; rebuild the index") from error
    if not is_same:
        raise IntegrityError(
            f"{path}: {found_size} bytes with another SHA-256 than the {entry.size} recorded; "
            "rebuild the index"
        )
    return path


def save_vectors(folder: Path, name: str, vectors: NDArray[Any]) -> FileEntry:
    """Write one array as ``.npy``, atomically."""

    def write(path: Path) -> None:
        """Write the array to an open file, because ``np.save`` appends a suffix to a path."""
        with path.open("wb") as file:
            np.save(file, vectors, allow_pickle=False)

    return write_file(folder, name, write)


def load_vectors(folder: Path, record: IndexRecord, name: str) -> FloatArray:
    """Open the recorded (N, D) float32 rows.

    The file is memory-mapped read-only, so that several processes share its pages.

    Raises:
        IntegrityError: the file differs from the record.
    """
    path = verify_file(folder, record.files, name)
    mapped = np.load(path, mmap_mode="r" if record.count else None, allow_pickle=False)
    vectors: FloatArray = np.asarray(mapped)
    if vectors.shape != (record.count, record.width) or vectors.dtype != np.float32:
        raise IntegrityError(
            f"{path}: {vectors.dtype} {vectors.shape}, the record says float32 "
            f"({record.count}, {record.width}); rebuild the index"
        )
    return vectors
