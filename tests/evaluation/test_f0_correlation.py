"""Correlation of contours: affine copies, a known angle, scipy, and the undefined cases."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from redub.evaluation.f0_correlation import energy_correlation, f0_correlation


def test_a_track_worked_by_hand():
    # Voiced in both: (100, 1), (200, 2), (300, 4) -> centred (-100, 0, 100), (-4/3, -1/3, 5/3):
    # r = 300 / √(20000 · 42/9)
    reference, generated = [0, 100, 200, 300, 500], [50, 1, 2, 4, 0]
    assert f0_correlation(reference, generated) == pytest.approx(300 / math.sqrt(20000 * 42 / 9))


contours = st.lists(st.integers(1, 400), min_size=3, max_size=20).filter(lambda f: len({*f}) > 1)


@given(contours, st.floats(0.5, 3), st.floats(0, 50))
def test_a_voice_in_another_register_correlates_fully(contour, scale, shift):
    moved = np.multiply(contour, scale) + shift
    assert f0_correlation(contour, moved) == pytest.approx(1)
    assert energy_correlation(contour, -moved) == pytest.approx(-1)


@given(contours, st.integers(0, 99))
def test_it_is_scipys_r(contour, seed):
    other = np.random.default_rng(seed).uniform(50, 300, len(contour))
    assert energy_correlation(contour, other) == pytest.approx(pearsonr(contour, other).statistic)


def test_unvoiced_frames_and_the_tail_are_left_out():
    assert f0_correlation([100, 0, 200, 300], [110, 400, 220, 330, 5]) == pytest.approx(1)
    assert energy_correlation([0, 1], [0, 2, 9]) == pytest.approx(1)


def test_a_path_pairs_the_frames_it_names():
    reference, generated = [100, 200, 100, 100], [100, 100, 200, 100]
    assert f0_correlation(reference, generated) == pytest.approx(-1 / 3)
    path = [[0, 0], [0, 1], [1, 2], [2, 3], [3, 3]]
    assert f0_correlation(reference, generated, alignment=path) == pytest.approx(1)


@pytest.mark.parametrize("generated", [[], [0, 0, 0], [0, 0, 90], [90, 90, 90]])
def test_too_little_or_flat_voicing_has_no_correlation(generated):
    assert math.isnan(f0_correlation([100, 120, 140], generated))
