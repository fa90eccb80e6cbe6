"""Dynamic time warping against a plain double loop, and paths that are paths."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from librosa.sequence import dtw

from redub.evaluation.alignment import frame_pairs, warp, warp_distances
from redub.evaluation.inputs import MetricInputError

distances = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.integers(0, 5).map(float),  # ties are common
)


def cheapest(cost):
    """The recursion as it is written in every textbook."""
    n, m = cost.shape
    total = np.full((n, m), np.inf)
    for i in range(n):
        for j in range(m):
            ways = [total[i - 1, j - 1]] if i and j else []
            ways += [total[i - 1, j]] if i else []
            ways += [total[i, j - 1]] if j else []
            total[i, j] = cost[i, j] + min(ways, default=0.0)
    return total[-1, -1]


@given(distances)
def test_the_cost_is_that_of_the_textbook_recursion_and_of_the_path(cost):
    path, total = warp_distances(cost)
    assert total == cheapest(cost) == cost[path[:, 0], path[:, 1]].sum()
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [cost.shape[0] - 1, cost.shape[1] - 1]
    steps = {tuple(step) for step in np.diff(path, axis=0).tolist()}
    assert steps <= {(1, 1), (1, 0), (0, 1)}


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 60), st.integers(2, 60), st.integers(0, 99))
def test_the_cost_is_librosas(n, m, seed):
    draw = np.random.default_rng(seed)
    one, other = draw.normal(size=(n, 3)), draw.normal(size=(m, 3))
    assert warp(one, other).cost == pytest.approx(dtw(one.T, other.T)[0][-1, -1])


def test_a_planted_stretch_is_found():
    # The second signal says every frame of the first 1, 3 and 2 times in turn.
    first = np.random.default_rng(0).normal(size=(30, 4))
    owner = np.repeat(np.arange(30), np.resize([1, 3, 2], 30))
    path, cost = warp(first, first[owner])
    assert cost == 0
    assert path.tolist() == [[int(i), j] for j, i in enumerate(owner)]


def test_equal_signals_are_aligned_frame_by_frame_even_in_silence():
    path, _ = warp(np.zeros((7, 2)), np.zeros((7, 2)))
    assert path.tolist() == [[i, i] for i in range(7)]


def test_nothing_cannot_be_aligned():
    for bad in (np.zeros((0, 2)), np.zeros((3, 5)), np.zeros(3), np.full((3, 2), np.nan)):
        with pytest.raises(MetricInputError):
            warp(bad, np.zeros((4, 2)))


def test_without_a_path_the_longer_is_cut():
    assert frame_pairs(2, 5, None).tolist() == [[0, 0], [1, 1]]
    assert frame_pairs(0, 5, None).shape == (0, 2)
    for bad in ([[0, 5]], [[-1, 0]], [0, 1], [[0.5, 1.0]]):
        with pytest.raises(MetricInputError, match="alignment"):
            frame_pairs(3, 3, bad)
