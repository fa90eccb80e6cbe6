"""Segments: any history of batches answers like one index built at once, and nothing old leaks."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redub.core.errors import IntegrityError
from redub.index.base import IndexInputError
from redub.index.registry import BuildSettings
from redub.index.segments import LiveSegments, Segment, SegmentRecord, read_names

WIDTH = 6


def vector_of(clip_id, digest):
    draw = np.random.default_rng([*clip_id.encode(), *digest.encode()])
    return draw.normal(size=WIDTH).astype(np.float32)


def segment_of(rows, *, backend="auto", metric="cosine", **options):
    """A segment of {clip id: digest}."""
    ids = sorted(rows)
    vectors = [vector_of(i, rows[i]) for i in ids]
    stacked = np.array(vectors, dtype=np.float32).reshape(-1, WIDTH)
    settings = BuildSettings(backend=backend, metric=metric)
    return Segment.build(
        "scene", ids, [rows[i] for i in ids], stacked, settings=settings, **options
    )


def live(segments, wanted):
    return LiveSegments.of(segments, wanted, sorted(wanted))


QUERIES = np.stack([vector_of(f"query {k}", "") for k in range(7)])


def same_answers(one, other, k, eligible=None):
    for a, b in zip(
        one.search(QUERIES, k, eligible), other.search(QUERIES, k, eligible), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("backend", ["exact", "hnsw"])
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_any_order_of_batches_answers_like_one_index_built_at_once(backend, data):
    names = [f"clip-{k:03d}" for k in range(60)]
    history, wanted = [], {}
    for batch in range(data.draw(st.integers(1, 5))):
        changed = data.draw(st.lists(st.sampled_from(names), unique=True, max_size=30))
        gone = data.draw(st.lists(st.sampled_from(names), unique=True, max_size=5))
        for name in gone:
            wanted.pop(name, None)
        rows = {name: f"v{data.draw(st.integers(0, 2))}-{batch % 2}" for name in changed}
        wanted.update(rows)
        if rows:
            history.append(segment_of(rows, backend=backend))
    # The library of the day may want an older value again: whoever holds it answers.
    held = {(i, d) for s in history for i, d in zip(s.clip_ids, s.digests, strict=True)}
    assert set(wanted.items()) <= held
    order = data.draw(st.permutations(history))
    whole = live([segment_of(wanted, backend="exact")], wanted) if wanted else None
    parts = live(order, wanted)
    assert parts.count == len(wanted)
    if whole is None:
        assert (parts.search(QUERIES, 3).rows == -1).all()
        return
    k = data.draw(st.sampled_from([1, 3, 70]))
    same_answers(parts, whole, k)
    eligible = np.random.default_rng(k).random((len(QUERIES), len(wanted))) < 0.4
    same_answers(parts, whole, k, eligible)
    np.testing.assert_array_equal(parts.vectors, whole.vectors)
    np.testing.assert_array_equal(parts.raw, whole.raw)


def test_equal_scores_across_segments_stand_in_clip_order():
    same = np.ones((1, WIDTH), dtype=np.float32)
    parts = [Segment.build("scene", [name], [""], same) for name in ("c", "a", "d", "b")]
    found = live(parts, dict.fromkeys("abcd", "")).search(same, 3)
    assert found.rows.tolist() == [[0, 1, 2]]


def test_a_replaced_clip_is_found_by_its_new_value_only():
    old, new = segment_of({"a": "1", "b": "1"}), segment_of({"a": "2"})
    both = live([old, new], {"a": "2", "b": "1"})
    hit = both.search(vector_of("a", "1")[None], 2)
    assert hit.scores[0].max() < 0.999  # the old value would score 1
    assert both.search(vector_of("a", "2")[None], 1).rows.tolist() == [[0]]
    np.testing.assert_array_equal(both.vectors[0], vector_of("a", "2"))


def test_a_clip_that_no_segment_holds_is_stale():
    with pytest.raises(IntegrityError, match="no segment of the index holds b"):
        live([segment_of({"a": "1"})], {"a": "1", "b": "1"})
    with pytest.raises(IntegrityError, match="holds a as it is now"):
        live([segment_of({"a": "1"})], {"a": "2"})


def test_one_whole_segment_is_not_copied():
    rows = {f"c{k}": "" for k in range(9)}
    segment = segment_of(rows)
    assert live([segment], rows).vectors is segment.backend.vectors
    fewer = dict.fromkeys(list(rows)[::2], "")
    assert live([segment], fewer).vectors.shape == (5, WIDTH)


@pytest.mark.parametrize("backend", ["exact", "hnsw"])
@pytest.mark.parametrize("halves", [False, True])
def test_a_saved_segment_answers_as_before(backend, halves, tmp_path):
    rows = {f"clip-{k:03d}": str(k % 5) for k in range(300)}
    segment = segment_of(rows, backend=backend, halves=halves, feature_key="f00d")
    text = segment.save(tmp_path).to_json()
    record = SegmentRecord.from_json(text)
    assert record.to_json() == text
    loaded = Segment.load(tmp_path, record)
    same_answers(live([segment], rows), live([loaded], rows), 5)
    np.testing.assert_array_equal(loaded.raw, segment.raw)
    assert (loaded.modality, loaded.feature_key, loaded.halves) == ("scene", "f00d", halves)
    assert read_names(tmp_path, record) == (loaded.clip_ids, loaded.digests)


@pytest.mark.parametrize("name", ["names.parquet", "raw.npy", "vectors.npy", "vectors.hnsw"])
def test_a_changed_byte_of_any_file_is_found_before_it_is_parsed(name, tmp_path):
    segment = segment_of({f"c{k:03d}": "" for k in range(100)}, backend="hnsw", halves=True)
    record = segment.save(tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IntegrityError, match=name.replace(".", r"\.")):
        Segment.load(tmp_path, record)


def test_files_of_two_segments_do_not_pass_for_one(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = segment_of({"a": "", "b": ""}).save(tmp_path / "a")
    two = segment_of({"a": "", "b": "", "c": ""}).save(tmp_path / "b")
    (tmp_path / "a" / "names.parquet").write_bytes((tmp_path / "b" / "names.parquet").read_bytes())
    with pytest.raises(IntegrityError):
        Segment.load(tmp_path / "a", one)
    with pytest.raises(IntegrityError, match="3 names for 2 vectors"):
        Segment.load(tmp_path / "a", dataclasses.replace(one, names=two.names))


@pytest.mark.parametrize(
    ("ids", "digests"),
    [(["b", "a"], ["", ""]), (["a", "a"], ["", ""]), (["a"], [""]), (["a", "b"], [""])],
)
def test_names_that_are_not_ascending_or_not_one_per_vector_are_refused(ids, digests):
    with pytest.raises(IndexInputError):
        Segment.build("scene", ids, digests, np.ones((2, WIDTH), dtype=np.float32))


def test_an_index_without_any_segment_answers_with_nothing():
    nothing = live([], {})
    assert nothing.search(QUERIES, 2).rows.tolist() == [[-1, -1]] * len(QUERIES)
    assert nothing.recall is None
