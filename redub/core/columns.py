"""Convert columns of feature values between numpy and Arrow; the only such codec of the project.

A column has one cell per clip. A cell is null if the clip has no value. There are three kinds:

======= ================== ==================== ================================================
kind    value in numpy     Arrow type           at a null cell
======= ================== ==================== ================================================
vector  (W,)               list<number>[W],     W numbers of any content
                           or binary[W]
frames  (n, W), n >= 0     large_list of these  no rows, as written here; Arrow allows any number
text    str                large_string         nothing
======= ================== ==================== ================================================

The Arrow type also holds the width W and the dtype (float16, float32, int16, int32, uint8 …).
``binary[W]`` holds W uint8; Parquet would store each number of a ``list<uint8>`` as an INT32.

Reading copies nothing: arrays are read-only views of the Arrow buffers. Null cells, slices, several
chunks, and columns with no cell or only null cells are all legal.

Letters: N cells, W width, n rows of one cell, R rows of all cells, B requested cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from redub.core.errors import IntegrityError
from redub.core.types import Value

Kind = Literal["vector", "frames", "text"]
Array = NDArray[Any]


def value_type(kind: str, width: int, dtype: str, *, as_bytes: bool = False) -> pa.DataType:
    """The Arrow type of a column of values.

    Args:
        kind: vector, frames or text; text has neither width nor dtype.
        as_bytes: store uint8 rows as ``binary[W]``.
    """
    if kind == "text":
        return pa.large_string()
    if as_bytes and dtype == "uint8":
        row = pa.binary(width)
    else:
        row = pa.list_(pa.from_numpy_dtype(np.dtype(dtype)), width)
    return pa.large_list(row) if kind == "frames" else row


# -- numpy into Arrow


def encode(values: Sequence[Value | None], type_: pa.DataType) -> pa.Array:
    """Encode one cell per value; None becomes a null cell.

    Raises:
        ValueError: the shape of a value is not that of the type, or its numbers do not fit.
    """
    if pa.types.is_large_string(type_):
        return pa.array(values, type=type_)
    width = _row_width(type_)
    rank = 2 if pa.types.is_large_list(type_) else 1
    present = [np.asarray(value) for value in values if value is not None]
    for value in present:
        if value.ndim != rank or value.shape[-1] != width:
            raise ValueError(f"a value has shape {value.shape}, wanted rank {rank}, width {width}")
    rows = [value.reshape(-1, width) for value in present]
    flat = np.concatenate(rows) if rows else np.zeros((0, width), np.uint8)
    return encode_rows(flat, [None if v is None else len(v) for v in values], type_)


def encode_rows(flat: Array, lengths: Sequence[int | None], type_: pa.DataType) -> pa.Array:
    """Encode values whose rows are concatenated.

    Args:
        flat: (R, W) rows of all values that are not null.
        lengths: rows of each cell, None for a null cell. In a column of vectors every cell that is
            not null has one row, whatever the number.
    """
    absent = np.array([length is None for length in lengths], dtype=np.bool_)
    if not pa.types.is_large_list(type_):
        if absent.any():
            filled = np.zeros((len(absent), flat.shape[1]), flat.dtype)
            filled[~absent] = flat
            flat = filled
        return _encoded_rows(flat, type_, absent)
    ends = np.cumsum([0, *(length or 0 for length in lengths)], dtype=np.int64)
    return pa.LargeListArray.from_arrays(
        pa.array(ends), _encoded_rows(flat, type_.value_type), type=type_, mask=pa.array(absent)
    )


def _encoded_rows(
    flat: Array, type_: pa.DataType, absent: NDArray[np.bool_] | None = None
) -> pa.Array:
    """(R, W) rows as ``list<number>[W]`` or ``binary[W]``, null where ``absent``."""
    if pa.types.is_fixed_size_binary(type_):
        if flat.dtype != np.uint8:
            raise ValueError(f"a value has dtype {flat.dtype}, wanted uint8")
        known = None if absent is None else pa.array(~absent).buffers()[1]
        values = pa.py_buffer(np.ascontiguousarray(flat))
        return pa.Array.from_buffers(type_, len(flat), [known, values])
    return pa.FixedSizeListArray.from_arrays(
        pa.array(flat.reshape(-1), type=type_.value_type),
        type=type_,
        mask=None if absent is None else pa.array(absent),
    )


def _row_width(type_: pa.DataType) -> int:
    row = type_.value_type if pa.types.is_large_list(type_) else type_
    width: int = row.byte_width if pa.types.is_fixed_size_binary(row) else row.list_size
    return width


# -- Arrow into numpy


def texts(column: pa.ChunkedArray | pa.Array) -> list[str | None]:
    """Decode the cells of a column of text; None for a null cell."""
    found: list[str | None] = column.to_pylist()
    return found


class Column:
    """The cells of a column of vectors or frames, as read-only views of its buffers."""

    def __init__(self, chunks: Iterable[pa.Array]) -> None:
        """Decode the chunks of one column, in order, without copies.

        Raises:
            IntegrityError: a number or a row in a cell that is not null is null.
        """
        self._blocks: list[Array] = []  # (R, W) each
        self.is_vector = True
        blocks, spans = [], []
        for chunk in chunks:
            self.is_vector = not pa.types.is_large_list(chunk.type)
            block, span = _decoded(chunk)
            blocks.append(np.full(len(span), len(self._blocks), dtype=np.int64))
            self._blocks.append(block)
            spans.append(span)
        self.block = np.concatenate(blocks) if blocks else np.zeros(0, np.int64)  # (N,)
        self.ends = np.concatenate(spans) if spans else np.zeros((0, 2), np.int64)
        """(N, 2) first row and end of every cell in its block; -1, -1 at a null cell."""

    def __len__(self) -> int:
        return len(self.ends)

    def has(self, cell: int) -> bool:
        """Whether a cell has a value."""
        return bool(self.ends[cell, 0] >= 0)

    def has_value(self, cells: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(B,) bool, whether each of these cells has a value."""
        known: NDArray[np.bool_] = self.ends[cells, 0] >= 0
        return known

    def value(self, cell: int) -> Array | None:
        """(W,) in a column of vectors, (n, W) in a column of frames; None at a null cell."""
        return self.vector(cell) if self.is_vector else self.frames(cell)

    def frames(self, cell: int) -> Array | None:
        """(n, W), or (1, W) in a column of vectors; None at a null cell."""
        start, end = self.ends[cell]
        return None if start < 0 else self._blocks[self.block[cell]][start:end]

    def vector(self, cell: int) -> Array | None:
        """(W,), the first row of a cell; None at a null cell."""
        start = self.ends[cell, 0]
        return None if start < 0 else self._blocks[self.block[cell]][start]

    def views(self, cells: NDArray[np.int64]) -> list[Array | None]:
        """:meth:`frames` of several cells."""
        spans = zip(self.block[cells].tolist(), self.ends[cells].tolist(), strict=True)
        return [None if at < 0 else self._blocks[block][at:end] for block, (at, end) in spans]

    def stacked(self, cells: NDArray[np.int64]) -> Array:
        """(B, W) copy of the first rows of several cells; no cell may be null."""
        starts, blocks = self.ends[cells, 0], self.block[cells]
        if len(self._blocks) == 1:
            rows: Array = self._blocks[0][starts]
            return rows
        width = self._blocks[0].shape[1] if self._blocks else 0
        stacked = np.empty((len(cells), width), self._blocks[0].dtype if self._blocks else None)
        for place, (block, start) in enumerate(zip(blocks.tolist(), starts.tolist(), strict=True)):
            stacked[place] = self._blocks[block][start]
        return stacked

    def lengths(self) -> NDArray[np.int64]:
        """(N,) rows of every cell, -1 at a null cell."""
        spans: NDArray[np.int64] = np.where(
            self.ends[:, 0] >= 0, self.ends[:, 1] - self.ends[:, 0], -1
        )
        return spans


def _decoded(chunk: pa.Array) -> tuple[Array, NDArray[np.int64]]:
    """Decode one chunk: rows (R, W), and (N, 2) first row and end of every cell, -1 at nulls."""
    cells = len(chunk)
    if not pa.types.is_large_list(chunk.type):
        rows = chunk
        starts = np.arange(cells, dtype=np.int64)
        spans = np.stack([starts, starts + 1], axis=1)
    else:
        rows = chunk.values
        # An array without cells may have no offsets.
        offsets = np.asarray(chunk.offsets, dtype=np.int64) if cells else np.zeros(1, np.int64)
        spans = np.stack([offsets[:-1], offsets[1:]], axis=1)
    if chunk.null_count:
        spans[np.asarray(chunk.is_null())] = -1
    block, has_null = _rows(rows)
    if has_null is not None:
        holes = np.cumsum([0, *has_null])
        known = spans[spans[:, 0] >= 0]
        if (holes[known[:, 1]] > holes[known[:, 0]]).any():
            raise IntegrityError(f"a value of a column of {chunk.type} holds a null number")
    return block, spans


def _rows(rows: pa.Array) -> tuple[Array, NDArray[np.bool_] | None]:
    """Decode a ``list<number>[W]`` or ``binary[W]`` array; rows may be null.

    Returns:
        Rows (R, W), and a mask (R,) of rows that are null or hold a null; None if there are none.
    """
    width, count = _row_width(rows.type), len(rows)
    has_null = np.asarray(rows.is_null()) if rows.null_count else None
    if pa.types.is_fixed_size_binary(rows.type):
        content = rows.buffers()[1]
        if content is None or not count:  # Arrow has no buffer if all cells are null
            return np.zeros((count, width), np.uint8), has_null
        flat = np.frombuffer(content, np.uint8, count * width, rows.offset * width)
        flat.flags.writeable = False
        return flat.reshape(count, width), has_null
    numbers = rows.values.slice(rows.offset * width, count * width)
    if numbers.null_count:
        inside: Any = np.asarray(numbers.is_null()).reshape(count, width).any(axis=1)
        if has_null is not None:
            inside |= has_null
        has_null = inside
        # Read the buffer itself: Arrow would turn nulls into NaN, and integers into floats.
        content = numbers.buffers()[1]
        if content is None:
            return np.zeros((count, width), numbers.type.to_pandas_dtype()), has_null
        numbers = pa.Array.from_buffers(
            numbers.type, len(numbers), [None, content], 0, numbers.offset
        )
    return numbers.to_numpy(zero_copy_only=True).reshape(count, width), has_null


class Lists:
    """Decodes a column of ``list<number>``: one array of any length per cell."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        """Decode a column without nulls.

        Raises:
            IntegrityError: a cell or a number is null.
        """
        array = column.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = array.chunk(0) if array.num_chunks else pa.array([], column.type)
        if array.null_count or array.values.null_count:
            raise IntegrityError(f"a column of {column.type} holds a null")
        self.values = array.values.to_numpy(zero_copy_only=True)
        self.offsets = np.asarray(array.offsets) if len(array) else np.zeros(1, np.int32)

    def __getitem__(self, cell: int) -> Array:
        found: Array = self.values[self.offsets[cell] : self.offsets[cell + 1]]
        return found

    def joined(self, cells: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
        """Concatenate the numbers of several cells; also return the count (B,) of each cell."""
        starts, ends = self.offsets[cells].tolist(), self.offsets[cells + 1].tolist()
        found = [self.values[at:end] for at, end in zip(starts, ends, strict=True)]
        counts = np.array([len(own) for own in found], np.int64)
        return np.concatenate(found) if found else self.values[:0], counts
