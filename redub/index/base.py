"""What an index backend is, what it answers, and what may enter one.

hnswlib checks nothing: three NaN rows spoil its graph, a query of another width reads foreign
memory, a damaged file kills the process. So every array passes :func:`checked_vectors` first, every
file passes :func:`verify_file` first, and the record, not the file, says what the file is.

Letters: N library rows, Q queries, D width, K neighbours.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from redub.core.config import from_mapping
from redub.core.errors import ConfigError, IntegrityError, RedubError, StorageError
from redub.core.types import FloatArray

Metric = Literal["cosine", "dot", "negative_euclidean"]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
R = TypeVar("R")

FORMAT = 1
"""Raised when the files of an index change their meaning; a record of a later format is refused."""

RECALL_FLOOR = 0.99
"""Share of the right hits that an approximate index must find before it may serve."""

LARGEST_NORM = 1e15
SMALLEST_NORM = 1e-15
"""Bounds on a vector's length, so that float32 squares neither overflow nor vanish."""


NORM_BLOCK = 1 << 20
"""Numbers that :func:`row_norms` holds in float64 at a time (8 MiB)."""


class IndexInputError(ConfigError):
    """A vector, mask or K that no backend may be given; the message names the row."""

    default_code = "E-IDX-INPUT"


class RecallBelowFloor(RedubError):
    """The graph missed the recall floor at every beam width; serve the exact backend instead."""

    default_code = "E-IDX-RECALL"

    def __init__(self, message: str, *, code: str | None = None, recall: float = math.nan) -> None:
        super().__init__(message, code=code)
        self.recall = recall

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_recall, (self.message, self.code, self.recall))


def _rebuild_recall(message: str, code: str, recall: float) -> RecallBelowFloor:
    return RecallBelowFloor(message, code=code, recall=recall)


class Hits(NamedTuple):
    """Neighbours of Q queries, best first; equal scores stand in row order.

    Where fewer than K rows may be retrieved, the tail of a line holds row -1 and score NaN.
    """

    rows: IntArray  # (Q, K)
    scores: FloatArray  # (Q, K)


class Backend(Protocol):
    """An immutable index over N rows; a changed library is a new index, swapped in whole.

    The order of an answer is total (score descending as float32, then row), so it depends neither
    on threads nor on the batch a query came in.
    """

    @property
    def metric(self) -> Metric: ...

    @property
    def width(self) -> int: ...

    @property
    def count(self) -> int: ...

    @property
    def vectors(self) -> FloatArray:
        """(N, D) the rows as they were given; not to be written into."""
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
            IndexInputError: a row that may not be indexed.
            RecallBelowFloor: an approximate index does not find ``recall_floor`` of the right rows.
        """
        ...

    def search(self, queries: FloatArray, k: int, eligible: BoolArray | None = None) -> Hits:
        """Find the K best eligible rows of every query.

        Args:
            queries: (Q, D) float32, finite; non-zero for cosine.
            k: neighbours wanted, 0 or more; more than N is allowed.
            eligible: (N,) for all queries or (Q, N) bool, True where a row may be retrieved.

        Raises:
            IndexInputError: anything else.
        """
        ...

    def save(self, folder: Path) -> IndexRecord:
        """Write the files, each whole or not at all; the record must be kept to load them."""
        ...

    @classmethod
    def load(cls, folder: Path, record: IndexRecord) -> Self:
        """Open saved files; raises :class:`IntegrityError` before any parser sees a bad byte."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of an index and the bytes it must hold."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFacts:
    """How an HNSW graph was built and how well it answers.

    ``recall`` was measured at ``recall_at`` neighbours with beam ``ef`` on ``recall_queries`` rows.
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
    """The authority on an index folder: nothing about it is believed from the files."""

    backend: str
    metric: Metric
    width: int
    count: int
    seed: int
    files: tuple[FileEntry, ...]
    graph: GraphFacts | None = None
    format: int = FORMAT

    def to_json(self) -> str:
        return record_json(self)

    @classmethod
    def from_json(cls, text: str) -> IndexRecord:
        """Read :meth:`to_json` back; raises IntegrityError for anything it cannot have written."""
        return read_record(cls, text)


def record_json(record: Any) -> str:
    """A record dataclass as JSON; fields that are None are left out."""
    return json.dumps(_without_none(asdict(record)), indent=2, sort_keys=True)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    return value


def read_record(kind: type[R], text: str) -> R:
    """Build a record dataclass from its JSON, refusing damage and later formats."""
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
    """The array, C-contiguous, after every check a backend relies on.

    Raises:
        IndexInputError: not float32, not 2-D, another width, a NaN or infinite value, a length
            outside [1e-15, 1e15] (the lower bound for cosine only); the first bad row is named.
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
    """(N,) float64 Euclidean lengths, in blocks so that a large library is not doubled."""
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
    """The queries, after the checks that every backend's ``search`` starts with."""
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
    """An answer without any neighbour, to be filled."""
    return Hits(
        np.full((queries, k), -1, dtype=np.int64), np.full((queries, k), np.nan, dtype=np.float32)
    )


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_file(
    folder: Path, name: str, write: Callable[[Path], None], *, expected_size: int | None = None
) -> FileEntry:
    """Write beside the target, check, rename: the target is the old file or the whole new one.

    ``expected_size`` is for writers that fail in silence: hnswlib returns normally from a full
    disk, a missing folder and a short write.

    Raises:
        StorageError: the disk refused, or the file is not as long as it has to be.
    """
    target, temporary = folder / name, folder / f".{name}.{os.getpid()}.tmp"
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        size = temporary.stat().st_size
        if expected_size is not None and size != expected_size:
            raise StorageError(
                f"{target}: {size} bytes reached the disk, {expected_size} were written; "
                "free space and build again",
                code="E-STORE-SHORT",
            )
        entry = FileEntry(name=name, size=size, sha256=sha256_of(temporary))
        temporary.replace(target)
        _sync_folder(folder)
    except OSError as error:
        why = "the disk took only a part of it" if error.errno is None else error.strerror
        raise StorageError(f"{target}: cannot be written: {why} ({error})") from error
    finally:
        temporary.unlink(missing_ok=True)
    return entry


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def verify_file(folder: Path, files: tuple[FileEntry, ...], name: str) -> Path:
    """The path of a recorded file, after its size and SHA-256 were found to be the recorded ones.

    Raises:
        IntegrityError: not recorded, missing, or any byte differs.
    """
    entry = next((entry for entry in files if entry.name == name), None)
    if entry is None:
        raise IntegrityError(f"{folder}: the record names no file '{name}'; rebuild the index")
    path = folder / name
    try:
        found_size = path.stat().st_size
        is_same = found_size == entry.size and sha256_of(path) == entry.sha256
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read: {error}; rebuild the index") from error
    if not is_same:
        raise IntegrityError(
            f"{path}: {found_size} bytes with another SHA-256 than the {entry.size} recorded; "
            "rebuild the index"
        )
    return path


def save_vectors(folder: Path, name: str, vectors: NDArray[Any]) -> FileEntry:
    """One array as ``.npy``, whole or not at all."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, vectors, allow_pickle=False)

    return write_file(folder, name, write)


def load_vectors(folder: Path, record: IndexRecord, name: str) -> FloatArray:
    """The recorded rows, mapped read-only so that workers of one machine share the pages."""
    path = verify_file(folder, record.files, name)
    mapped = np.load(path, mmap_mode="r" if record.count else None, allow_pickle=False)
    vectors: FloatArray = np.asarray(mapped)
    if vectors.shape != (record.count, record.width) or vectors.dtype != np.float32:
        raise IntegrityError(
            f"{path}: {vectors.dtype} {vectors.shape}, the record says float32 "
            f"({record.count}, {record.width}); rebuild the index"
        )
    return vectors
