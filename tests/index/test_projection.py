"""The flat picture: what it keeps of the vectors, that it is the same every time, and its edges."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist
from sklearn.manifold import TSNE
from sklearn.manifold import trustworthiness as reference_trustworthiness
from threadpoolctl import threadpool_limits

from redub.core.errors import ConfigError
from redub.index.projection import (
    FEWEST_EMBEDDED,
    MOST_EMBEDDED,
    _neighbour_weights,
    lay_out,
    trustworthiness,
)


def clusters(count, size, width, *, spread=0.3, seed=0):
    """``count`` balls of ``size`` points around random directions of length 4."""
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(count, width))
    middles *= 4 / np.linalg.norm(middles, axis=1, keepdims=True)
    vectors = np.repeat(middles, size, axis=0) + rng.normal(0, spread, (count * size, width))
    return vectors.astype(np.float32), np.repeat(np.arange(count), size)


def plain_trustworthiness(vectors, places, k):
    """The definition, point by point, with exact distances."""
    count, penalty = len(vectors), 0
    for i in range(count):
        others = [j for j in range(count) if j != i]
        true = sorted(others, key=lambda j: (math.dist(vectors[i], vectors[j]), j))
        drawn = sorted(others, key=lambda j: (math.dist(places[i], places[j]), j))
        for j in set(drawn[:k]) - set(true[:k]):
            penalty += true.index(j) + 1 - k
    return 1 - 2 / (count * k * (2 * count - 3 * k - 1)) * penalty


def test_well_separated_groups_stay_together():
    vectors, group = clusters(6, 20, 24)
    layout = lay_out(vectors)
    assert layout.method == "t-SNE"
    apart = cdist(layout.places, layout.places)
    np.fill_diagonal(apart, np.inf)
    near = np.argsort(apart, axis=1)[:, :10]
    assert (group[near] == group[:, None]).all()


def test_the_picture_keeps_neighbours_that_pca_loses():
    # Twelve directions do not fit on two axes; the neighbours of every point do.
    vectors, _ = clusters(12, 15, 40)
    drawn = trustworthiness(vectors, lay_out(vectors).places)
    centred = vectors - vectors.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    flat = trustworthiness(vectors, centred @ axes.T)
    assert drawn.value > 0.97
    assert drawn.value > flat.value + 0.02
    assert drawn.shuffled == pytest.approx(0.5, abs=0.05)


def test_the_same_vectors_give_the_same_places_to_the_byte_on_any_number_of_threads():
    vectors, _ = clusters(5, 30, 300, spread=1.0)
    pictures = []
    for threads in (1, 2, 2):
        with threadpool_limits(threads):
            pictures.append(lay_out(vectors.copy()).places.tobytes())
    assert len(set(pictures)) == 1


def test_turned_and_mirrored_vectors_give_the_same_principal_picture():
    vectors, _ = clusters(3, 3, 7, spread=0.8)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(7, 7)))[0]
    turn[:, 0] *= -1
    one, other = lay_out(vectors), lay_out(vectors.astype(np.float64) @ turn)
    np.testing.assert_allclose(one.places, other.places, atol=1e-5)


def test_few_points_are_placed_by_pca_as_a_singular_value_decomposition_places_them():
    vectors = np.random.default_rng(2).normal(size=(9, 5)) * [5, 1, 3, 0.2, 0.1]
    layout = lay_out(vectors)
    centred = vectors - vectors.mean(axis=0)
    left, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    wanted = left[:, :2] * strengths[:2]
    assert layout.method == "PCA"
    assert layout.explained == pytest.approx((strengths[:2] ** 2).sum() / (strengths**2).sum())
    # Distances are kept up to the one scale of the picture.
    scale = cdist(layout.places, layout.places) / (cdist(wanted, wanted) + np.eye(9))
    np.testing.assert_allclose(scale[~np.eye(9, dtype=bool)], scale[0, 1], rtol=1e-4)


def test_many_points_are_placed_by_pca():
    vectors = np.random.default_rng(3).normal(size=(MOST_EMBEDDED + 1, 3)).astype(np.float32)
    assert lay_out(vectors).method == "PCA"
    assert lay_out(vectors[:FEWEST_EMBEDDED]).method == "t-SNE"


@pytest.mark.parametrize("count", [1, 2, 3, 9, 10, 40])
def test_the_picture_fills_its_frame(count):
    places = lay_out(np.random.default_rng(count).normal(size=(count, 4))).places
    assert places.shape == (count, 2)
    if count > 1:
        np.testing.assert_allclose([places[:, 0].min(), places[:, 0].max()], [-1, 1])
    assert np.abs(places).max(initial=0) <= 1
    assert places[:, 1].max() == pytest.approx(-places[:, 1].min(), abs=2e-6)


def test_no_vectors_no_width_and_equal_vectors_have_a_place():
    assert lay_out(np.zeros((0, 8))).places.shape == (0, 2)
    assert lay_out(np.zeros((3, 0))).places.tolist() == [[0, 0]] * 3
    same = lay_out(np.full((25, 8), 0.7, dtype=np.float32))
    assert same.method == "PCA"
    assert same.places.tolist() == [[0, 0]] * 25
    line = lay_out(np.arange(4.0)[:, None])
    np.testing.assert_allclose(np.sort(line.places[:, 0]), [-1, -1 / 3, 1 / 3, 1], atol=1e-6)


def test_equal_vectors_lie_in_the_same_place():
    one, others = np.ones((1, 6), np.float32), clusters(3, 8, 6, seed=5)[0]
    vectors = np.concatenate([np.repeat(one, 40, axis=0), others])
    places = lay_out(vectors).places
    assert np.isfinite(places).all()
    assert np.ptp(places[:40], axis=0).max() < 1e-5
    assert len(np.unique(places[40:], axis=0)) == 24


@pytest.mark.parametrize("bad", [np.zeros(4), np.array([[0.0, np.nan]]), np.array([[np.inf, 1.0]])])
def test_what_cannot_be_drawn_is_refused(bad):
    with pytest.raises(ConfigError, match="cannot draw"):
        lay_out(bad)


def test_every_row_of_weights_has_the_wanted_perplexity():
    vectors, _ = clusters(4, 12, 6)
    apart = cdist(vectors, vectors, "sqeuclidean")
    joint = _neighbour_weights(apart, 9.0)
    np.testing.assert_allclose(joint, joint.T)
    assert joint.sum() == pytest.approx(1.0)
    # For points in a ring all rows are alike, so that a row of P is its conditional row over N.
    angle = 2 * np.pi * np.arange(24) / 24
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    row = 24 * _neighbour_weights(cdist(ring, ring, "sqeuclidean"), 5.0)[0]
    entropy = -(row[row > 0] * np.log(row[row > 0])).sum()
    assert np.exp(entropy) == pytest.approx(5.0, rel=1e-6)


@pytest.mark.parametrize(("groups", "members"), [(2, 5), (2, 6), (3, 8), (6, 20)])
def test_the_descent_ends_as_low_as_that_of_scikit_learn(groups, members):
    vectors, _ = clusters(groups, members, 12, spread=1.0)
    layout = lay_out(vectors)
    reference = TSNE(perplexity=layout.perplexity, method="exact", init="pca", random_state=0)
    reference.fit(vectors)
    joint = _neighbour_weights(cdist(vectors, vectors, "sqeuclidean"), layout.perplexity)
    # The frame hides the embedding's size: the lowest divergence over all sizes is the picture's.
    sizes = np.geomspace(1, 300, 400)
    reached = min(divergence(joint, size * layout.places) for size in sizes)
    assert 0 < reached < 1.02 * reference.kl_divergence_


def divergence(joint, places):
    """Equation 2 with equation 4, written out."""
    close = 1 / (1 + cdist(places, places, "sqeuclidean"))
    np.fill_diagonal(close, 0)
    drawn, real = close / close.sum(), joint > 1e-300
    return (joint[real] * np.log(joint[real] / drawn[real])).sum()


@settings(max_examples=30, deadline=None)
@given(
    st.integers(3, 14).flatmap(
        lambda n: st.tuples(
            arrays(np.float64, (n, 3), elements=st.integers(-3, 3).map(float)),
            arrays(np.float64, (n, 2), elements=st.integers(-3, 3).map(float)),
            st.integers(1, 12),
        )
    )
)
def test_trustworthiness_is_its_definition_ties_by_row(case):
    vectors, places, k = case
    found = trustworthiness(vectors, places, k)
    assert found.k == min(k, (len(vectors) - 1) // 2)
    assert found.value == pytest.approx(plain_trustworthiness(vectors, places, found.k), abs=1e-12)


@pytest.mark.parametrize("count", [40, 700])
def test_trustworthiness_is_that_of_scikit_learn(count):
    rng = np.random.default_rng(count)
    vectors, places = rng.normal(size=(count, 9)), rng.normal(size=(count, 2))
    found = trustworthiness(vectors, places, 10)
    assert found.value == pytest.approx(
        reference_trustworthiness(vectors, places, n_neighbors=10), abs=1e-12
    )


def test_a_picture_of_flat_vectors_is_perfect_and_too_few_points_cannot_be_wrong():
    flat = np.random.default_rng(4).normal(size=(30, 2))
    assert trustworthiness(flat, flat * 3 + 1).value == 1.0
    for count in (0, 1, 2):
        assert trustworthiness(np.zeros((count, 3)), np.zeros((count, 2))) == (1.0, 1.0, 0)
