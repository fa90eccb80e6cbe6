"""The codec of feature columns against ``to_pylist``, wherever the nulls lie."""

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redub.core.columns import Column, Lists, encode, encode_rows, texts, value_type
from redub.core.errors import IntegrityError

TYPES = {
    "vector of float32": value_type("vector", 3, "float32"),
    "vector of float16": value_type("vector", 2, "float16"),
    "vector of int32": value_type("vector", 1, "int32"),
    "vector of bytes": value_type("vector", 5, "uint8", as_bytes=True),
    "vector of uint8": value_type("vector", 5, "uint8"),
    "frames of float32": value_type("frames", 4, "float32"),
    "frames of float16": value_type("frames", 3, "float16"),
    "frames of int32": value_type("frames", 2, "int32"),
    "frames of int16": value_type("frames", 1, "int16"),
    "frames of bytes": value_type("frames", 3, "uint8", as_bytes=True),
    "frames of uint8": value_type("frames", 3, "uint8"),
}
CELLS = 7
NULLS = {
    "none": (),
    "first": (0,),
    "middle": (3,),
    "last": (6,),
    "first two": (0, 1),
    "last two": (5, 6),
    "all but one": (0, 1, 2, 4, 5, 6),
    "every second": (1, 3, 5),
    "all": tuple(range(7)),
}


def dtype_of(type_):
    row = type_.value_type if pa.types.is_large_list(type_) else type_
    is_binary = pa.types.is_fixed_size_binary(row)
    return np.dtype("uint8" if is_binary else row.value_type.to_pandas_dtype())


def width_of(type_):
    row = type_.value_type if pa.types.is_large_list(type_) else type_
    return row.byte_width if pa.types.is_fixed_size_binary(row) else row.list_size


def made(type_, nulls, count=CELLS):
    """Values that all differ; of frames, one has no row."""
    numbers = itertools.count(1)
    values = []
    for cell in range(count):
        rows = (2, 0, 3, 1)[cell % 4] if pa.types.is_large_list(type_) else 1
        flat = [next(numbers) % 256 for _ in range(rows * width_of(type_))]
        value = np.array(flat, dtype_of(type_)).reshape(rows, width_of(type_))
        value = value if pa.types.is_large_list(type_) else value[0]
        values.append(None if cell in nulls else value)
    return values


def plain(cell):
    """A cell of ``to_pylist`` with bytes as numbers."""
    if cell is None or not len(cell):
        return cell
    return [list(row) if isinstance(row, bytes | list) else row for row in cell]


def as_numbers(column):
    return [plain(list(c) if isinstance(c, bytes) else c) for c in column.to_pylist()]


def through_parquet(array):
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({"value": array}), buffer)
    return pq.read_table(buffer.getvalue()).column("value").chunks


def through_ipc(array):
    buffer = pa.BufferOutputStream()
    batch = pa.record_batch({"value": array})
    with pa.ipc.new_file(buffer, batch.schema) as writer:
        writer.write_batch(batch)
    return pa.ipc.open_file(buffer.getvalue()).read_all().column("value").chunks


WAYS = {
    "as made": lambda array: [array],
    "from Parquet": through_parquet,
    "from an Arrow file": through_ipc,
    "sliced": lambda array: [array.slice(2, 3)],
    "sliced twice": lambda array: [array.slice(1).slice(1, 4)],
    "in three chunks": lambda array: [array[:2], array[2:5], array[5:]],
    "with empty chunks": lambda array: [array[:0], array[:4], array[4:4], array[4:], array[7:]],
    "the chunks of sliced Parquet": lambda a: [c.slice(1, 5) for c in through_parquet(a)],
    "no cell": lambda array: [array.slice(3, 0)],
    "no cell from Parquet": lambda array: through_parquet(array[:0]),
    "joined again": lambda array: [pa.concat_arrays([array[:3], array[3:]])],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TYPES)
def test_cells_are_those_of_to_pylist(name, way):
    for nulls in NULLS:
        assert_cells_are_those_of_to_pylist(name, nulls, way)


def assert_cells_are_those_of_to_pylist(name, nulls, way):
    chunks = WAYS[way](encode(made(TYPES[name], NULLS[nulls]), TYPES[name]))
    wanted = as_numbers(pa.chunked_array(chunks, TYPES[name]))
    column = Column(chunks)
    assert len(column) == len(wanted)
    found = [column.value(cell) for cell in range(len(column))]
    assert [None if value is None else value.tolist() for value in found] == wanted
    for value in found:
        assert value is None or value.dtype == dtype_of(TYPES[name])
        assert value is None or not value.flags.writeable
    everything = np.arange(len(column))
    assert column.has_value(everything).tolist() == [cell is not None for cell in wanted]
    assert [column.has(cell) for cell in everything] == [cell is not None for cell in wanted]
    is_vector = not pa.types.is_large_list(TYPES[name])
    lengths = [-1 if cell is None else 1 if is_vector else len(cell) for cell in wanted]
    assert column.lengths().tolist() == lengths
    views = column.views(everything[::-1])
    rows = [cell if cell is None or not is_vector else [cell] for cell in wanted[::-1]]
    assert [None if view is None else view.tolist() for view in views] == rows
    known = [cell for cell in range(len(wanted)) if lengths[cell] > 0][::-1]
    if known:
        first = [wanted[cell] if is_vector else wanted[cell][0] for cell in known]
        assert column.stacked(np.array(known)).tolist() == first


@pytest.mark.parametrize("nulls", NULLS)
@pytest.mark.parametrize("name", TYPES)
def test_what_is_encoded_is_what_was_given(name, nulls):
    values = made(TYPES[name], NULLS[nulls])
    array = encode(values, TYPES[name])
    array.validate(full=True)
    assert array.type == TYPES[name]
    assert as_numbers(array) == [None if value is None else value.tolist() for value in values]


def test_bytes_behind_a_null_are_always_the_same():
    # A pack is named by its content, and its parts are compared by SHA-256.
    type_ = value_type("vector", 2, "float32")
    array = encode([np.ones(2, np.float32), None], type_)
    assert array.values.to_pylist() == [1, 1, 0, 0]
    assert len(encode([None, None], value_type("frames", 2, "float32")).values) == 0


def test_no_chunk_is_no_cell():
    column = Column([])
    assert len(column) == 0
    assert column.lengths().shape == (0,)
    assert column.stacked(np.zeros(0, np.int64)).shape == (0, 0)
    assert Column(pa.chunked_array([], value_type("frames", 2, "float32")).chunks).ends.size == 0


@given(data=st.data())
@settings(max_examples=150)
def test_random_nulls_slices_and_chunks_are_read_as_to_pylist_reads_them(data):
    type_ = TYPES[data.draw(st.sampled_from(sorted(TYPES)))]
    count = data.draw(st.integers(0, 12))
    nulls = data.draw(st.sets(st.integers(0, 11)))
    array = encode(made(type_, nulls, count), type_)
    chunks = []
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, count))
        piece = array.slice(start, data.draw(st.integers(0, count)))
        in_parquet = data.draw(st.booleans())
        chunks += through_parquet(piece) if in_parquet else [piece]
    column = Column(chunks)
    found = [column.value(cell) for cell in range(len(column))]
    assert [None if v is None else v.tolist() for v in found] == as_numbers(
        pa.chunked_array(chunks, type_)
    )


# -- what Arrow allows and this project does not write


def test_a_null_cell_of_frames_may_hide_rows():
    rows = pa.FixedSizeListArray.from_arrays(pa.array(range(10), pa.int32()), 2)
    known = pa.py_buffer(np.packbits([True, False, True], bitorder="little").tobytes())
    offsets = pa.py_buffer(np.array([0, 1, 4, 5], np.int64))
    array = pa.Array.from_buffers(
        value_type("frames", 2, "int32"), 3, [known, offsets], children=[rows]
    )
    column = Column([array])
    assert [array[0].as_py(), None, array[2].as_py()] == [[[0, 1]], None, [[8, 9]]]
    assert [None if v is None else v.tolist() for v in map(column.value, range(3))] == [
        [[0, 1]],
        None,
        [[8, 9]],
    ]
    assert column.lengths().tolist() == [1, -1, 1]


def test_rows_of_frames_may_begin_anywhere_in_their_array():
    rows = pa.FixedSizeListArray.from_arrays(pa.array(range(12), pa.float32()), 2)
    array = pa.LargeListArray.from_arrays(pa.array([0, 2, 3], pa.int64()), rows.slice(2, 4))
    assert array.to_pylist() == [[[4, 5], [6, 7]], [[8, 9]]]
    column = Column([array])
    assert [column.value(cell).tolist() for cell in range(2)] == array.to_pylist()
    numbers = pa.array(range(12), pa.float32()).slice(4)
    vectors = pa.FixedSizeListArray.from_arrays(numbers, 2).slice(1, 2)
    assert [v.tolist() for v in map(Column([vectors]).value, range(2))] == vectors.to_pylist()


@pytest.mark.parametrize(
    ("type_", "cells"),
    [
        (value_type("vector", 2, "float32"), [[1, 2], [None, 4], None]),
        (value_type("vector", 2, "int32"), [[1, None], None]),
        (value_type("frames", 2, "float32"), [[[1, 2]], [[3, 4], [5, None]]]),
        (value_type("frames", 2, "float32"), [[[1, 2], None]]),
        (value_type("frames", 2, "uint8", as_bytes=True), [[b"ab", None], [b"cd"]]),
    ],
)
def test_a_null_number_inside_of_a_value_is_refused(type_, cells):
    array = pa.array(cells, type_)
    for chunks in ([array], through_parquet(array)):
        with pytest.raises(IntegrityError, match="holds a null number"):
            Column(chunks)


def test_numbers_behind_null_cells_keep_their_dtype():
    # Arrow itself would hand out float64 with NaN.
    column = Column([pa.array([[2**24 + 1, 3], None], value_type("vector", 2, "int32"))])
    assert column.value(0).dtype == np.int32
    assert column.value(0).tolist() == [2**24 + 1, 3]


@pytest.mark.parametrize(
    ("kind", "shape"), [("vector", (3,)), ("vector", (1, 2)), ("frames", (2,)), ("frames", (4, 1))]
)
def test_a_value_of_another_shape_is_refused(kind, shape):
    with pytest.raises(ValueError, match="wanted rank"):
        encode([None, np.zeros(shape, np.float32)], value_type(kind, 2, "float32"))


def test_numbers_that_do_not_fit_the_type_are_refused():
    with pytest.raises(pa.ArrowInvalid):
        encode([np.array([2**40, 0])], value_type("vector", 2, "int32"))
    with pytest.raises(ValueError, match="uint8"):
        encode([np.array([1, 2])], value_type("vector", 2, "uint8", as_bytes=True))


def test_rows_end_to_end_are_cut_by_their_lengths():
    flat = np.arange(8, dtype=np.float32).reshape(4, 2)
    array = encode_rows(flat, [None, 3, 0, None, 1], value_type("frames", 2, "float32"))
    assert array.to_pylist() == [None, [[0, 1], [2, 3], [4, 5]], [], None, [[6, 7]]]


@pytest.mark.parametrize("nulls", NULLS)
def test_texts_come_back_as_they_went_in(nulls):
    said = [None if cell in NULLS[nulls] else ("", "é" * cell)[cell % 2] for cell in range(CELLS)]
    array = encode(said, value_type("text", 0, ""))
    assert texts(array) == said
    assert texts(pa.chunked_array([array[:2], array[2:]])) == said
    assert texts(pa.chunked_array(through_parquet(array))) == said


@pytest.mark.parametrize("cut", [(0, 5), (1, 3), (2, 0), (4, 1)])
def test_lists_of_numbers_are_those_of_to_pylist(cut):
    array = pa.array([[1, 2], [], [3], [4, 5, 6], [7]], pa.list_(pa.int32())).slice(*cut)
    wanted = array.to_pylist()
    for column in (pa.chunked_array([array]), pa.chunked_array([array[:1], array[1:]])):
        lists = Lists(column)
        assert [lists[cell].tolist() for cell in range(len(wanted))] == wanted
        cells = np.arange(len(wanted))[::-1]
        numbers, counts = lists.joined(cells)
        assert numbers.tolist() == [number for cell in wanted[::-1] for number in cell]
        assert counts.tolist() == [len(cell) for cell in wanted[::-1]]


def test_no_list_is_no_number():
    lists = Lists(pa.chunked_array([], pa.list_(pa.float32())))
    numbers, counts = lists.joined(np.zeros(0, np.int64))
    assert (numbers.size, numbers.dtype, counts.size) == (0, np.float32, 0)


@pytest.mark.parametrize("cells", [[[1], None], [[1, None]]])
def test_a_null_in_a_column_of_lists_is_refused(cells):
    with pytest.raises(IntegrityError, match="holds a null"):
        Lists(pa.chunked_array([pa.array(cells, pa.list_(pa.int32()))]))
