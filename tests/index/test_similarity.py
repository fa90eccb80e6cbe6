"""Three formulas with three orders, and the mean of two cosines as one inner product."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from redub.index.base import IndexInputError
from redub.index.similarity import (
    SIMILARITIES,
    cosine,
    dot,
    negative_euclidean,
    pair_scores,
    prepare_halves,
)


def rows(*values):
    return np.array(values, dtype=np.float32)


def random_rows(count, width, seed):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def test_the_three_formulas_on_a_triangle_worked_by_hand():
    # q = (3, 4): |q| = 5. v = (6, 8) = 2q: cosine 1, dot 50, distance 5.
    # w = (4, -3): at right angles, |q - w| = |(-1, 7)| = √50.
    query, library = rows([3, 4]), rows([6, 8], [4, -3])
    np.testing.assert_allclose(cosine(query, library), [[1.0, 0.0]], atol=1e-7)
    np.testing.assert_allclose(dot(query, library), [[50.0, 0.0]])
    np.testing.assert_allclose(negative_euclidean(query, library), [[-5.0, -math.sqrt(50)]])


def test_each_formula_prefers_another_row():
    query = rows([1, 0])
    library = rows([0.5, 0.0], [9, 9], [1, 0.1])  # same direction, long, near
    best = {name: int(np.argmax(formula(query, library))) for name, formula in SIMILARITIES.items()}
    assert best == {"cosine": 0, "dot": 1, "negative_euclidean": 2}


@pytest.mark.parametrize("width", [1, 7, 1024])
def test_matrices_agree_with_scipy(width):
    queries, library = random_rows(5, width, 1), random_rows(9000, width, 2)  # more than one block
    np.testing.assert_allclose(
        cosine(queries, library), 1 - cdist(queries, library, "cosine"), atol=2e-6
    )
    np.testing.assert_allclose(
        negative_euclidean(queries, library), -cdist(queries, library), rtol=1e-5
    )
    exact = queries.astype(np.float64) @ library.astype(np.float64).T
    np.testing.assert_allclose(dot(queries, library), exact, atol=2e-6 * width)
    assert dot(queries, library).dtype == np.float32


def test_equal_vectors_are_at_distance_exactly_zero():
    vectors = random_rows(50, 300, 3) * 1000
    assert (np.diag(negative_euclidean(vectors, vectors)) == 0).all()


def test_a_zero_vector_has_cosine_zero_with_everything():
    assert (cosine(rows([0, 0]), rows([1, 2], [0, 0])) == 0).all()
    assert (pair_scores("cosine", rows([0, 0], [1, 1]), rows([1, 2], [0, 0])) == 0).all()


@given(
    hnp.arrays(np.float32, (4, 6), elements=st.floats(-8, 8, width=16)),
    hnp.arrays(np.float32, (4, 6), elements=st.floats(-8, 8, width=16)),
    st.sampled_from(sorted(SIMILARITIES)),
)
def test_pairs_agree_with_the_matrix_and_are_symmetric(one, other, metric):
    pairs = pair_scores(metric, one, other)
    np.testing.assert_array_equal(pairs, pair_scores(metric, other, one))
    np.testing.assert_allclose(pairs, np.diag(SIMILARITIES[metric](one, other)), atol=1e-4)


def test_a_pair_scores_the_same_bits_alone_as_in_any_batch():
    one, other = random_rows(700, 333, 4), random_rows(700, 333, 5)
    for metric in SIMILARITIES:
        together = pair_scores(metric, one, other)
        alone = [pair_scores(metric, one[i : i + 1], other[i : i + 1])[0] for i in range(700)]
        np.testing.assert_array_equal(together, alone)


def test_cosine_ignores_a_power_of_two_to_the_bit():
    one, other = random_rows(50, 33, 6), random_rows(50, 33, 7)
    np.testing.assert_array_equal(
        pair_scores("cosine", one, other), pair_scores("cosine", 4 * one, other)
    )


@pytest.mark.parametrize("half", [1, 5, 1024])
def test_prepared_halves_make_a_dot_product_the_mean_of_two_cosines(half):
    queries, library = random_rows(3, 2 * half, 8), random_rows(20, 2 * half, 9)
    queries[:, :half] *= 100  # halves of very different length: a plain cosine would differ
    mean = (
        2
        - cdist(queries[:, :half], library[:, :half], "cosine")
        - cdist(queries[:, half:], library[:, half:], "cosine")
    ) / 2
    scores = dot(prepare_halves(queries), prepare_halves(library))
    np.testing.assert_allclose(scores, mean, atol=1e-6)
    if half > 1:
        assert np.abs(cosine(queries, library) - mean).max() > 0.01


def test_a_zero_half_counts_as_cosine_zero():
    # Self halves equal (cosine 1), one reaction half missing (0): the mean is a half.
    scores = dot(prepare_halves(rows([1, 2, 0, 0])), prepare_halves(rows([1, 2, 5, 5])))
    np.testing.assert_allclose(scores, [[0.5]], atol=1e-7)
    assert (prepare_halves(rows([0, 0, 0, 0])) == 0).all()


def test_an_odd_width_has_no_halves():
    with pytest.raises(IndexInputError, match="width 3 is odd"):
        prepare_halves(rows([1, 2, 3]))
