"""What may not matter: threads, the order of the rows, the size of a block, who else is asked."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from threadpoolctl import threadpool_info, threadpool_limits

from redub.index.exact import ExactBackend
from redub.index.hnsw import HnswBackend
from redub.index.registry import BACKENDS, backend_class

METRICS = ("cosine", "dot", "negative_euclidean")
THREADS = (1, 2, 4)


def plain_score(metric, query, row):
    """One score of whole numbers, in Python's own arithmetic: every sum is exact."""
    if metric == "negative_euclidean":
        return -math.sqrt(sum((a - b) ** 2 for a, b in zip(query, row, strict=True)))
    product = sum(a * b for a, b in zip(query, row, strict=True))
    if metric == "dot":
        return float(product)
    return product / math.sqrt(sum(a * a for a in query) * sum(b * b for b in row))


def plain_search(metric, queries, library, k, eligible):
    """Rows of the K best: score as float32 descending, then row; -1 where there are fewer."""
    answer = []
    for query, mask in zip(queries, eligible, strict=True):
        scored = [
            (-np.float32(plain_score(metric, query, row)), place)
            for place, row in enumerate(library)
            if mask[place]
        ]
        rows = [place for _, place in sorted(scored)[:k]]
        answer.append(rows + [-1] * (k - len(rows)))
    return answer


@st.composite
def whole_problems(draw):
    """Small whole numbers: many twins and ties."""
    count, asked = draw(st.sampled_from([1, 2, 17, 60])), draw(st.integers(1, 3))
    width, whole = draw(st.integers(1, 4)), st.integers(-3, 3)
    library = draw(hnp.arrays(np.int64, (count, width), elements=whole))
    queries = draw(hnp.arrays(np.int64, (asked, width), elements=whole))
    for rows in (library, queries):
        rows[~rows.any(axis=1), 0] = 1  # cosine refuses zero rows
    eligible = draw(
        st.one_of(
            hnp.arrays(np.bool_, (asked, count)),
            st.just(np.ones((asked, count), dtype=np.bool_)),
            st.just(np.eye(asked, count, dtype=np.bool_)),  # so few that each is asked alone
        )
    )
    return draw(st.sampled_from(METRICS)), library, queries, draw(st.integers(1, 9)), eligible


@pytest.mark.parametrize("name", sorted(BACKENDS))
@settings(max_examples=60, deadline=None)
@given(problem=whole_problems(), seed=st.integers(0, 9))
def test_any_threads_and_any_order_of_the_rows_give_the_plain_answer(name, problem, seed):
    metric, library, queries, k, eligible = problem
    order = np.random.default_rng(seed).permutation(len(library))
    for ids in (np.arange(len(library)), order):
        rows, masks = library[ids], eligible[:, ids]
        expected = plain_search(metric, queries.tolist(), rows.tolist(), k, masks.tolist())
        index = backend_class(name).build(rows.astype(np.float32), metric=metric)
        for threads in THREADS:
            with threadpool_limits(limits=threads):
                asked = index.with_threads(threads) if name == "hnsw" else index
                hits = asked.search(queries.astype(np.float32), k, masks)
            assert hits.rows.tolist() == expected
        for query, found, scores in zip(queries, hits.rows, hits.scores, strict=True):
            # The clip that a row stands for is found with the score of that clip.
            own = [plain_score(metric, query, library[ids[row]]) for row in found if row >= 0]
            assert scores[: len(own)].tolist() == np.array(own, dtype=np.float32).tolist()


def clustered(count, width, seed):
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(width).normal(size=(40, width))
    noise = draw.normal(size=(count, width))
    return (centres[draw.integers(0, 40, count)] + 0.3 * noise).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_threads_change_no_bit_where_the_product_and_the_graph_use_them(name, metric):
    # Large enough that BLAS divides the product, and that the graph is searched.
    assert any(pool["user_api"] == "blas" for pool in threadpool_info())
    library, queries = clustered(3000, 64, 1), clustered(70, 64, 2)
    mask = np.random.default_rng(3).random((70, 3000)) < 0.5
    index = backend_class(name).build(library, metric=metric)
    answers = []
    for threads in THREADS:
        with threadpool_limits(limits=threads):
            asked = index.with_threads(threads) if name == "hnsw" else index
            answers += [[asked.search(queries, 5, one) for one in (None, mask[0], mask)]]
    for other in answers[1:]:
        for hits, same in zip(answers[0], other, strict=True):
            np.testing.assert_array_equal(hits.rows, same.rows)
            np.testing.assert_array_equal(hits.scores, same.scores)


def float64_best(metric, queries, library, k, eligible):
    q, v = queries.astype(np.float64), library.astype(np.float64)
    if metric == "negative_euclidean":
        scores = -np.sqrt(((q[:, None] - v) ** 2).sum(-1))
    else:
        scores = (q[:, None] * v).sum(-1)
    if metric == "cosine":
        scores /= np.sqrt((q * q).sum(-1)[:, None] * (v * v).sum(-1))
    scores = np.where(eligible, scores.astype(np.float32), -np.inf)
    best = np.lexsort((np.broadcast_to(np.arange(len(v)), scores.shape), -scores))[:, :k]
    return np.where(np.take_along_axis(eligible, best, axis=1), best, -1)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.3, 1.0])
@pytest.mark.parametrize("metric", METRICS)
def test_masks_of_any_share_and_blocks_of_any_size_give_one_answer(metric, share, monkeypatch):
    library, queries = clustered(2000, 24, 4), clustered(11, 24, 5)
    library[1000:] = library[:1000]  # every neighbour has a twin in another block
    masks = np.random.default_rng(6).random((11, 2000)) < share
    together = np.zeros_like(masks)
    together[:, 400:900] = True  # a run of rows is no copy
    index = ExactBackend.build(library, metric=metric)
    for scores, values, alone in ((1 << 21, 1 << 18, 10), (64, 48, 10), (1 << 10, 1 << 9, 10**9)):
        monkeypatch.setattr("redub.index.exact.BLOCK_SCORES", scores)
        monkeypatch.setattr("redub.index.exact.GATHERED_VALUES", values)
        monkeypatch.setattr("redub.index.exact.ALONE", alone)
        for mask in (masks, together):
            expected = float64_best(metric, queries, library, 6, mask)
            np.testing.assert_array_equal(index.search(queries, 6, mask).rows, expected)
            first = np.broadcast_to(mask[0], mask.shape)
            expected = float64_best(metric, queries, library, 6, first)
            np.testing.assert_array_equal(index.search(queries, 6, mask[0]).rows, expected)


def test_the_better_rows_of_later_blocks_push_out_the_earlier_ones(monkeypatch):
    # Every row is better than all before it: each block changes the K best of every query.
    monkeypatch.setattr("redub.index.exact.BLOCK_SCORES", 32)
    library = np.linspace(1, 2, 500, dtype=np.float32)[:, None] * np.ones(3, dtype=np.float32)
    hits = ExactBackend.build(library, metric="dot").search(library[:3], 4)
    assert hits.rows.tolist() == [[499, 498, 497, 496]] * 3


@pytest.mark.parametrize("metric", METRICS)
def test_rows_join_the_graph_in_pieces_without_changing_a_byte(metric, tmp_path, monkeypatch):
    library, digests = clustered(900, 16, 7), []
    for rows in (10**6, 64, 7):
        monkeypatch.setattr("redub.index.hnsw.JOINED_ROWS", rows)
        folder = tmp_path / str(rows)
        folder.mkdir()
        record = HnswBackend.build(library, metric=metric).save(folder)
        digests.append([file.sha256 for file in record.files])
    assert digests[0] == digests[1] == digests[2]


def test_a_masked_graph_search_keeps_its_recall():
    # Gaussian rows of width 24 need a wide beam; the wider answers of a mask need a wider one.
    draw = np.random.default_rng(8)
    library = draw.normal(size=(8000, 24)).astype(np.float32)
    queries = draw.normal(size=(200, 24)).astype(np.float32)
    index = HnswBackend.build(library, metric="cosine")
    for share in (0.05, 0.1, 0.5, 0.99):
        mask = draw.random(8000) < share
        hits, truth = index.search(queries, 3, mask), index.exact.search(queries, 3, mask)
        assert (hits.rows >= 0).all()
        assert mask[hits.rows].all()
        assert (hits.scores >= truth.scores[:, -1:]).mean() >= 0.98


def test_a_mask_around_other_clusters_still_gets_every_hit():
    # What may be retrieved lies where no query is: the graph alone would never get there.
    library = np.concatenate([clustered(6000, 16, 9), clustered(60, 16, 9) - 50])
    queries = clustered(20, 16, 10)
    mask = np.arange(len(library)) >= 6000
    index = HnswBackend.build(library.astype(np.float32), metric="negative_euclidean")
    for k in (3, 60, 70):
        hits = index.search(queries, k, mask)
        truth = index.exact.search(queries, k, mask)
        np.testing.assert_array_equal(hits.rows, truth.rows)
        assert ((hits.rows >= 0).sum(axis=1) == min(k, 60)).all()


def test_loaded_rows_stay_in_their_file(tmp_path):
    library = clustered(4000, 64, 11)
    record = HnswBackend.build(library, metric="cosine").save(tmp_path)
    index = HnswBackend.load(tmp_path, record)
    base = index.vectors
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    np.testing.assert_array_equal(index.vectors, library)  # also after their pages were let go
