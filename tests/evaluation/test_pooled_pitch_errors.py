"""How much lower one run's pitch errors are: pooled over frames, over the same drawn lines."""

import numpy as np
import pytest

from redub.evaluation.pitch_errors import PitchErrors, pooled_difference, pooled_interval


def line(gross, voiced, voicing=0, pairs=100):
    return PitchErrors(
        gross_errors=gross, voiced_in_both=voiced, voicing_errors=voicing, pairs=pairs
    )


def test_the_difference_is_that_of_the_pooled_rates():
    one = [line(10, 50), line(0, 10), line(5, 40)]
    other = [line(30, 50), line(10, 20), line(5, 30)]
    value, low, high = pooled_difference(one, other, "gpe", seed=0, resamples=500)
    assert value == pytest.approx(45 / 100 - 15 / 100)
    assert low < value < high
    assert pooled_difference(other, one, "gpe", seed=0, resamples=500) == pytest.approx(
        (-value, -high, -low)
    )
    of_all, _, _ = pooled_difference(one, other, "ffe", seed=0, resamples=500)
    assert of_all == pytest.approx(45 / 300 - 15 / 300)


def test_pairing_knows_more_than_two_intervals_do():
    rng = np.random.default_rng(0)
    hard = rng.integers(5, 80, 60)
    one, other = [line(h, 100) for h in hard], [line(h + 4, 100) for h in hard]
    value, low, high = pooled_difference(one, other, "gpe", seed=0, resamples=500)
    assert (value, low, high) == pytest.approx((0.04, 0.04, 0.04))
    _, _, highest = pooled_interval(one, "gpe", seed=0, resamples=500)
    _, lowest, _ = pooled_interval(other, "gpe", seed=0, resamples=500)
    assert lowest < highest  # the two overlap


def test_a_run_is_not_better_than_itself_and_nothing_voiced_is_not_0():
    same = [line(3, 9), line(1, 2)]
    assert pooled_difference(same, same, "gpe", seed=0, resamples=100) == (0.0, 0.0, 0.0)
    silent = [line(0, 0), line(0, 0)]
    assert all(np.isnan(pooled_difference(silent, same, "gpe", seed=0, resamples=100)))
