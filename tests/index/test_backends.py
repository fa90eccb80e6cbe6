"""One suite over every backend: an oracle of a few numpy lines, hostile input, broken files."""

import dataclasses
import os
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from redub.core.errors import ConfigError, IntegrityError, StorageError
from redub.index.base import IndexInputError, IndexRecord, RecallBelowFloor
from redub.index.exact import ExactBackend, true_places
from redub.index.hnsw import HnswBackend
from redub.index.registry import BACKENDS, backend_class

METRICS = ("cosine", "dot", "negative_euclidean")


@pytest.fixture(params=sorted(BACKENDS))
def backend(request):
    return backend_class(request.param)


def oracle(metric, queries, library, k, eligible=None):
    """Score everything in float64, sort by (score descending, row), cut at K."""
    q, v = queries.astype(np.float64), library.astype(np.float64)
    if metric == "negative_euclidean":
        scores = -np.sqrt(((q[:, None] - v[None]) ** 2).sum(-1))
    else:
        scores = (q[:, None] * v[None]).sum(-1)
    if metric == "cosine":
        scores /= np.sqrt((q * q).sum(-1)[:, None] * (v * v).sum(-1)[None])
    scores = scores.astype(np.float32)
    mask = np.broadcast_to(True if eligible is None else eligible, scores.shape)
    rows = np.full((len(q), k), -1)
    values = np.full((len(q), k), np.nan, dtype=np.float32)
    for i in range(len(q)):
        best = sorted(np.flatnonzero(mask[i]), key=lambda r, i=i: (-scores[i, r], r))[:k]
        rows[i, : len(best)], values[i, : len(best)] = best, scores[i, best]
    return rows, values


def assert_is_oracle(hits, metric, queries, library, k, eligible=None):
    rows, scores = oracle(metric, queries, library, k, eligible)
    np.testing.assert_array_equal(hits.rows, rows)
    np.testing.assert_array_equal(hits.scores, scores)
    assert hits.rows.dtype == np.int64
    assert hits.scores.dtype == np.float32


def random_rows(count, width, seed):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def clustered(count, width, seed):
    """Rows around forty centres that depend on the width only: one world, many draws."""
    centres, draw = random_rows(40, width, width), np.random.default_rng(seed)
    return centres[draw.integers(0, 40, count)] + 0.3 * random_rows(count, width, seed + 1000)


def recall(hits, truth):
    """Share of hits at least as alike as the last true one, so that ties are no errors."""
    return float((hits.scores >= truth[1][:, -1:]).mean())


# --- right answers ---------------------------------------------------------------------------


# Small whole numbers: many duplicates, many ties, and float64 sums that are exact in any order.
@st.composite
def tied_problems(draw):
    count, width = draw(st.sampled_from([0, 1, 2, 3, 9, 40])), draw(st.integers(1, 5))
    whole = st.integers(-2, 2)
    library = draw(hnp.arrays(np.int8, (count, width), elements=whole)).astype(np.float32)
    queries = draw(hnp.arrays(np.int8, (draw(st.integers(0, 3)), width), elements=whole))
    queries = queries.astype(np.float32)
    library[~library.any(axis=1), 0] = 1.0  # cosine refuses zero rows
    queries[~queries.any(axis=1), 0] = 1.0
    shape = draw(st.sampled_from([None, (count,), (len(queries), count)]))
    eligible = None if shape is None else draw(hnp.arrays(np.bool_, shape))
    return draw(st.sampled_from(METRICS)), library, queries, draw(st.integers(0, 12)), eligible


@pytest.mark.parametrize("name", sorted(BACKENDS))
@settings(max_examples=150, deadline=None)
@given(problem=tied_problems())
def test_few_rows_with_ties_are_answered_as_the_oracle_does(name, problem):
    metric, library, queries, k, eligible = problem
    index = backend_class(name).build(library, metric=metric)
    hits = index.search(queries, k, eligible)
    assert_is_oracle(hits, metric, queries, library, k, eligible)


@pytest.mark.parametrize("metric", METRICS)
def test_exact_search_over_many_blocks_is_the_oracle(metric, monkeypatch):
    monkeypatch.setattr("redub.index.exact.BLOCK_SCORES", 1 << 12)
    monkeypatch.setattr("redub.index.exact.BLOCK_QUERIES", 7)
    library, queries = clustered(3000, 24, 1), clustered(20, 24, 2)
    library[1500:] = library[:1500]  # every neighbour has a twin in another block
    eligible = np.random.default_rng(3).random((20, 3000)) < 0.5
    index = ExactBackend.build(library, metric=metric)
    assert_is_oracle(index.search(queries, 10), metric, queries, library, 10)
    assert_is_oracle(index.search(queries, 10, eligible), metric, queries, library, 10, eligible)
    assert_is_oracle(
        index.search(queries, 10, eligible[0]), metric, queries, library, 10, eligible[0]
    )


@pytest.mark.parametrize("metric", METRICS)
def test_rounding_of_the_matrix_product_never_decides(metric):
    # Rows at right angles to the query, up to float32: all that is left of their scores is of the
    # size of the product's own rounding error.
    draw = np.random.default_rng(4)
    query = draw.normal(size=512)
    rows = draw.normal(size=(3000, 512))
    rows -= np.outer(rows @ query, query) / (query @ query)
    rows *= 20 / np.linalg.norm(rows, axis=1, keepdims=True)
    queries, library = query[None].astype(np.float32), rows.astype(np.float32)
    hits = ExactBackend.build(library, metric=metric).search(queries, 25)
    assert_is_oracle(hits, metric, queries, library, 25)


@pytest.mark.parametrize("metric", METRICS)
def test_the_graph_finds_what_exact_search_finds_on_clustered_rows(metric):
    library, queries = clustered(4000, 32, 5), clustered(100, 32, 6)
    index = HnswBackend.build(library, metric=metric)
    assert index.graph is not None
    hits = index.search(queries, 5)
    assert recall(hits, oracle(metric, queries, library, 5)) >= 0.98
    assert (np.diff(hits.scores, axis=1) <= 0).all()  # order is by exact score


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.01, 0.001, 0.0])
@pytest.mark.parametrize("metric", ["cosine", "negative_euclidean"])
def test_a_policy_of_any_selectivity_gets_all_the_hits_that_exist(metric, share):
    library, queries = clustered(4000, 16, 6), clustered(30, 16, 7)
    eligible = np.random.default_rng(8).random((30, 4000)) < share
    hits = HnswBackend.build(library, metric=metric).search(queries, 7, eligible)
    found = hits.rows >= 0
    assert (found.sum(axis=1) == np.minimum(7, eligible.sum(axis=1))).all()
    assert np.take_along_axis(eligible, np.where(found, hits.rows, 0), axis=1)[found].all()
    _, scores = oracle(metric, queries, library, 7, eligible)
    assert np.count_nonzero(hits.scores[found] >= scores[found]) >= 0.98 * found.sum()


def test_eligible_rows_on_the_far_side_are_found():
    # The nearest 2000 of 4000 rows are forbidden: over-fetching has to give way to exact search.
    library, query = clustered(4000, 16, 9), clustered(1, 16, 10)
    nearest = oracle("cosine", query, library, 2000)[0][0]
    eligible = np.ones(4000, dtype=np.bool_)
    eligible[nearest] = False
    hits = HnswBackend.build(library, metric="cosine").search(query, 4, eligible)
    assert_is_oracle(hits, "cosine", query, library, 4, eligible)


def test_k_beyond_the_library_returns_what_exists(backend):
    library = clustered(1500, 8, 11)
    hits = backend.build(library, metric="cosine").search(library[:2], 1600)
    assert (hits.rows[:, :1500] >= 0).all()
    assert (hits.rows[:, 1500:] == -1).all()
    assert np.isnan(hits.scores[:, 1500:]).all()
    assert len(set(hits.rows[0, :1500].tolist())) == 1500


def test_an_empty_library_answers_with_nothing(backend):
    index = backend.build(np.empty((0, 4), dtype=np.float32), metric="cosine")
    hits = index.search(random_rows(2, 4, 0), 3)
    assert (hits.rows == -1).all()
    assert np.isnan(hits.scores).all()


# --- the same answer, always -----------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_permuting_the_library_permutes_the_rows_and_nothing_else(metric):
    library, queries = clustered(2500, 48, 12), clustered(40, 48, 13)
    order = np.random.default_rng(14).permutation(2500)
    hits = ExactBackend.build(library, metric=metric).search(queries, 10)
    moved = ExactBackend.build(library[order], metric=metric).search(queries, 10)
    np.testing.assert_array_equal(moved.scores, hits.scores)
    np.testing.assert_array_equal(order[moved.rows], hits.rows)


def test_permuting_the_library_leaves_the_graph_within_its_floor():
    library, queries = clustered(2500, 16, 15), clustered(50, 16, 16)
    order = np.random.default_rng(17).permutation(2500)
    truth = oracle("cosine", queries, library, 5)
    for rows in (library, library[order]):
        assert recall(HnswBackend.build(rows, metric="cosine").search(queries, 5), truth) >= 0.98


def test_a_query_alone_gets_the_bits_it_gets_in_a_batch(backend):
    library, queries = clustered(3000, 64, 18), clustered(60, 64, 19)
    index = backend.build(library, metric="cosine")
    together = index.search(queries, 5)
    for i in range(0, 60, 7):
        alone = index.search(queries[i : i + 1], 5)
        np.testing.assert_array_equal(alone.rows[0], together.rows[i])
        np.testing.assert_array_equal(alone.scores[0], together.scores[i])


THREADED_SEARCH = """
    import numpy as np
    from redub.index.registry import backend_class
    draw = np.random.default_rng(20)
    library = draw.normal(size=(3000, 8)).round(1).astype(np.float32) + np.float32(0.05)
    index = backend_class({name!r}).build(library, metric="cosine")
    if hasattr(index, "with_threads"):
        index = index.with_threads({threads})
    hits = index.search(library[:300], 10)
    import hashlib
    print(hashlib.sha256(hits.rows.tobytes() + hits.scores.tobytes()).hexdigest())
"""


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_the_number_of_threads_changes_no_bit(name):
    answers = set()
    for threads in (1, 3):
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        environment["OPENBLAS_NUM_THREADS"] = str(threads)
        code = textwrap.dedent(THREADED_SEARCH).format(name=name, threads=threads)
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, check=True
        )
        answers.add(run.stdout)
    assert len(answers) == 1


def test_concurrent_searches_with_different_k_do_not_disturb_each_other(backend):
    # K decides the beam, and hnswlib keeps the beam in the index: on noise, a search that ran
    # with another one's beam finds other rows.
    library, queries = random_rows(6000, 32, 21), random_rows(40, 32, 22)
    options = {"recall_floor": 0.6} if backend is HnswBackend else {}
    index = backend.build(library, metric="cosine", **options)
    expected = {k: index.search(queries, k).rows for k in (1, 25)}
    jobs = [1, 25] * 40
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda k: index.search(queries, k).rows, jobs))
    for k, rows in zip(jobs, found, strict=True):
        np.testing.assert_array_equal(rows, expected[k])


def test_the_same_seed_builds_the_same_bytes(backend, tmp_path):
    library = clustered(1200, 16, 22)
    digests = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        record = backend.build(library, metric="cosine", seed=5).save(tmp_path / name)
        digests.append([file.sha256 for file in record.files])
    assert digests[0] == digests[1]


# --- recall ----------------------------------------------------------------------------------


def test_a_graph_below_its_floor_is_refused_with_the_measured_recall():
    noise = random_rows(3000, 256, 23)  # no structure: the hard end
    with pytest.raises(RecallBelowFloor) as caught:
        HnswBackend.build(noise, metric="cosine", m=2, ef_construction=4)
    assert 0.0 < caught.value.recall < 0.99
    assert f"{caught.value.recall:.3f}" in caught.value.message
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.message, again.recall) == (caught.value.message, caught.value.recall)


def test_the_beam_is_widened_until_the_floor_holds():
    noise, queries = random_rows(3000, 24, 24), random_rows(200, 24, 25)
    index = HnswBackend.build(noise, metric="cosine", m=6, ef_construction=40)
    assert index.facts.ef > 50
    assert index.facts.recall >= 0.99
    measured = recall(index.search(queries, 10), oracle("cosine", queries, noise, 10))
    assert measured >= 0.98  # on queries that the measurement never saw


# --- what may not enter ----------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_a_bad_value_is_refused_and_its_row_named(backend, bad):
    library = random_rows(9, 4, 26)
    library[6, 2] = bad
    with pytest.raises(IndexInputError, match="library: row 6"):
        backend.build(library, metric="dot")
    index = backend.build(random_rows(9, 4, 27), metric="dot")
    with pytest.raises(IndexInputError, match="queries: row 6"):
        index.search(library, 1)


def test_a_zero_vector_has_no_cosine_but_has_a_dot_product(backend):
    library = random_rows(5, 4, 28)
    library[3] = 0
    with pytest.raises(IndexInputError, match="row 3 has length below"):
        backend.build(library, metric="cosine")
    index = backend.build(library, metric="dot")
    assert set(index.search(library[3:4], 5).scores[0].tolist()) == {0.0}


@pytest.mark.parametrize("width", [3, 5, 1])
def test_a_query_of_another_width_is_refused(backend, width):
    index = backend.build(random_rows(9, 4, 29), metric="cosine")
    with pytest.raises(IndexInputError, match=f"queries: width {width}, wanted 4"):
        index.search(random_rows(2, width, 30), 1)


@pytest.mark.parametrize(
    "vectors",
    [np.ones((3, 4)), np.ones(4, np.float32), np.ones((3, 0), np.float32), [[1.0]]],
    ids=["float64", "1-D", "no width", "list"],
)
def test_other_arrays_than_float32_matrices_are_refused(backend, vectors):
    with pytest.raises(IndexInputError, match="library: "):
        backend.build(vectors, metric="cosine")


@pytest.mark.parametrize("k", [-1, 1.5, "3", True])
def test_k_must_be_a_count(backend, k):
    index = backend.build(random_rows(9, 4, 31), metric="cosine")
    with pytest.raises(IndexInputError, match="k is"):
        index.search(random_rows(1, 4, 32), k)


def test_a_mask_of_another_shape_is_refused(backend):
    index = backend.build(random_rows(9, 4, 33), metric="cosine")
    for mask in (np.ones(8, np.bool_), np.ones((3, 9), np.bool_), np.ones(9, np.int8)):
        with pytest.raises(IndexInputError, match="eligible"):
            index.search(random_rows(2, 4, 34), 1, mask)


# --- files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("count", [0, 1, 2, 1500])
def test_a_saved_index_answers_as_before(backend, metric, count, tmp_path):
    library, queries = clustered(count, 12, 35), clustered(20, 12, 36)
    index = backend.build(library, metric=metric)
    before = index.search(queries, 4)
    record = IndexRecord.from_json(index.save(tmp_path).to_json())
    loaded = backend.load(tmp_path, record)
    after = loaded.search(queries, 4)
    np.testing.assert_array_equal(after.rows, before.rows)
    np.testing.assert_array_equal(after.scores, before.scores)
    assert (record.metric, record.width, record.count) == (metric, 12, count)
    assert loaded.save(tmp_path) == record
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f.name for f in record.files)


def test_every_mutation_of_every_file_is_caught_before_it_is_parsed(backend, tmp_path):
    library = clustered(900, 8, 37)
    record = backend.build(library, metric="cosine").save(tmp_path)
    draw = np.random.default_rng(38)
    for file in record.files:
        path = tmp_path / file.name
        whole = path.read_bytes()
        for trial in range(150):
            data = bytearray(whole)
            if trial % 3 == 0:  # a byte of the header, where a wrong number kills the process
                data[int(draw.integers(0, 96))] ^= int(draw.integers(1, 256))
            elif trial % 3 == 1:
                data[int(draw.integers(0, len(data)))] ^= 1 << int(draw.integers(0, 8))
            else:
                data = data[: int(draw.integers(0, len(data)))]
            path.write_bytes(data)
            with pytest.raises(IntegrityError, match="SHA-256"):
                backend.load(tmp_path, record)
        path.unlink()
        with pytest.raises(IntegrityError, match="cannot be read"):
            backend.load(tmp_path, record)
        path.write_bytes(whole)
    assert backend.load(tmp_path, record).count == 900


def test_the_beam_comes_back_from_the_record(tmp_path):
    noise = random_rows(3000, 24, 39)
    index = HnswBackend.build(noise, metric="cosine", m=6, ef_construction=40)
    record = index.save(tmp_path)
    assert HnswBackend.load(tmp_path, record).facts.ef == index.facts.ef > 50


@pytest.mark.parametrize("change", [{"width": 6}, {"count": 11}, {"files": ()}])
def test_a_record_that_contradicts_the_files_is_refused(backend, change, tmp_path):
    record = backend.build(random_rows(12, 8, 40), metric="cosine").save(tmp_path)
    with pytest.raises(IntegrityError):
        backend.load(tmp_path, dataclasses.replace(record, **change))


def test_a_record_of_another_backend_is_refused(tmp_path):
    record = ExactBackend.build(random_rows(12, 8, 41), metric="cosine").save(tmp_path)
    with pytest.raises(IntegrityError, match="backend 'exact'"):
        HnswBackend.load(tmp_path, record)


def test_a_recorded_recall_below_the_floor_is_not_served(tmp_path):
    record = HnswBackend.build(clustered(900, 8, 42), metric="cosine").save(tmp_path)
    low = dataclasses.replace(record, graph=dataclasses.replace(record.graph, recall=0.5))
    with pytest.raises(IntegrityError, match="below"):
        HnswBackend.load(tmp_path, low)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"backend": "exact"}', '{"nonsense": 1}', '{"format": 99}']
)
def test_a_damaged_record_is_an_integrity_error(text):
    with pytest.raises(IntegrityError):
        IndexRecord.from_json(text)


SHORT_DISK = """
    import resource, signal, sys
    from pathlib import Path
    import numpy as np
    from redub.core.errors import StorageError
    from redub.index.registry import backend_class
    library = np.random.default_rng(43).normal(size=(900, 8)).astype(np.float32)
    index = backend_class({name!r}).build(library, metric="cosine")
    folder = Path({folder!r})
    before = index.save(folder)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))  # rows need 28.9 kB, the graph more
    if {name!r} == "exact":
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))
    try:
        index.save(folder)
    except StorageError as error:
        print("StorageError", error.code)
    backend_class({name!r}).load(folder, before)
    print(sorted(p.name for p in folder.iterdir()) == sorted(f.name for f in before.files))
"""


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_a_full_disk_is_an_error_and_leaves_the_old_index(name, tmp_path):
    code = textwrap.dedent(SHORT_DISK).format(name=name, folder=str(tmp_path))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = "E-STORE-SHORT" if name == "hnsw" else "E-STORE"  # hnswlib reports nothing itself
    assert run.stdout.split() == ["StorageError", expected, "True"]


def test_a_missing_folder_is_a_storage_error(backend, tmp_path):
    index = backend.build(random_rows(9, 4, 44), metric="cosine")
    with pytest.raises(StorageError):
        index.save(tmp_path / "absent")


def test_index_errors_are_config_errors():
    assert issubclass(IndexInputError, ConfigError)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 1000])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.6, 1.0])
def test_places_of_a_mask_are_all_of_it_in_order(count, share):
    mask = np.random.default_rng(count).random(2 * count)[::2] < share
    np.testing.assert_array_equal(true_places(mask), np.flatnonzero(mask))
