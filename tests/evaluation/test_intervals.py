"""Statistics against closed forms, scipy, sklearn, and coverage of planted truths."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score

from redub.core.errors import ConfigError
from redub.evaluation.inputs import MetricInputError
from redub.evaluation.intervals import (
    bootstrap_difference,
    bootstrap_mean,
    macro_f1,
    majority_baseline,
    pearson,
    pearson_interval,
    permutation_p,
    wilson,
)


def test_the_bootstrap_of_a_large_sample_is_the_normal_interval():
    scores = np.random.default_rng(0).normal(5, 2, 2000)
    value, low, high = bootstrap_mean(scores, seed=1, resamples=8000)
    half = 1.96 * scores.std() / math.sqrt(2000)
    assert value == pytest.approx(scores.mean())
    assert (low, high) == pytest.approx((value - half, value + half), abs=0.006)


def test_a_wider_level_is_a_wider_interval_and_the_seed_fixes_it():
    scores = np.random.default_rng(2).normal(size=50)
    narrow, wide = (bootstrap_mean(scores, seed=3, level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    assert bootstrap_mean(scores, seed=3) == bootstrap_mean(scores, seed=3)
    assert bootstrap_mean(scores, seed=3) != bootstrap_mean(scores, seed=4)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    draw = np.random.default_rng(5)
    covered = 0
    for trial in range(300):
        _, low, high = bootstrap_mean(draw.exponential(1, 60), seed=trial, resamples=400)
        covered += low <= 1 <= high
    assert 0.88 <= covered / 300 <= 0.98  # 95 %, less the known shortfall on skewed data


def test_lines_of_a_scene_count_as_one_when_scenes_are_drawn():
    # Twenty scenes of 30 equal lines know no more than twenty numbers do.
    means = np.random.default_rng(6).normal(size=20)
    lines, scenes = np.repeat(means, 30), np.repeat(np.arange(20), 30).tolist()
    clustered = bootstrap_mean(lines, seed=7, clusters=scenes)
    assert clustered == pytest.approx(bootstrap_mean(means, seed=7))
    naive = bootstrap_mean(lines, seed=7)
    ratio = (clustered.high - clustered.low) / (naive.high - naive.low)
    assert ratio == pytest.approx(math.sqrt(30), rel=0.1)


def test_the_order_of_lines_within_scenes_does_not_matter_to_the_clustered_mean():
    lines, scenes = [1.0, 5.0, 2.0, 8.0], ["a", "b", "a", "b"]
    one = bootstrap_mean(lines, seed=8, clusters=scenes)
    other = bootstrap_mean([2.0, 8.0, 1.0, 5.0], seed=8, clusters=scenes)
    assert one == other
    # Two scenes: drawn a a (mean 1.5), b b (6.5) or one of each (4): those are the ends.
    assert one == (4.0, 1.5, 6.5)


def test_a_longer_scene_weighs_more_within_a_draw():
    # One of each scene is drawn half of the time, so the middle 40 % are the mean of all lines.
    value = bootstrap_mean([9.0, 1.0, 1.0, 1.0], seed=9, clusters="abbb", level=0.4)
    assert value == (3.0, 3.0, 3.0)


def test_one_line_has_a_mean_but_no_interval():
    for value in (bootstrap_mean([3.0], seed=0), bootstrap_mean([2, 4], seed=0, clusters="aa")):
        assert value.value == 3
        assert math.isnan(value.low)
        assert math.isnan(value.high)
    with pytest.raises(MetricInputError, match="none"):
        bootstrap_mean([], seed=0)
    with pytest.raises(MetricInputError, match="NaN"):
        bootstrap_mean([1.0, math.nan], seed=0)
    with pytest.raises(ConfigError, match="level"):
        bootstrap_mean([1.0, 2.0], seed=0, level=95)


def test_pairing_removes_what_the_lines_share():
    draw = np.random.default_rng(9)
    line, noise = draw.normal(0, 10, 200), draw.normal(0, 0.1, (2, 200))
    first, second = line + noise[0] + 0.1, line + noise[1]
    value, low, high = bootstrap_difference(first, second, seed=1)
    assert value == pytest.approx((first - second).mean())
    assert 0 < low < value < high < 0.2
    swapped = bootstrap_difference(second, first, seed=1)
    assert swapped == pytest.approx((-value, -high, -low))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=7))
def test_p_of_few_lines_counts_all_sign_patterns(gaps):
    observed = abs(sum(gaps))
    patterns = list(itertools.product((1, -1), repeat=len(gaps)))
    extreme = sum(
        abs(sum(s * g for s, g in zip(p, gaps, strict=True))) >= observed for p in patterns
    )
    assert permutation_p(gaps, [0] * len(gaps), seed=0) == extreme / len(patterns)


def test_p_is_scipys():
    draw = np.random.default_rng(10)
    first, second = draw.normal(0.3, 1, 60), draw.normal(0, 1, 60)
    expected = stats.permutation_test(
        (first, second),
        lambda a, b, axis: np.abs((a - b).mean(axis=axis)),
        permutation_type="samples",
        vectorized=True,
        alternative="greater",
        n_resamples=20_000,
        rng=1,
    ).pvalue
    assert permutation_p(first, second, seed=2, permutations=20_000) == pytest.approx(
        expected, abs=0.01
    )


def test_p_is_symmetric_never_zero_and_one_for_equal_systems():
    first, second = np.arange(40.0) + 100, np.arange(40.0)
    assert permutation_p(first, second, seed=3) == permutation_p(second, first, seed=3)
    assert permutation_p(first, second, seed=3, permutations=999) == 1 / 1000
    assert permutation_p(first, first, seed=3) == 1
    with pytest.raises(MetricInputError, match="40 and 39"):
        permutation_p(first, second[1:], seed=3)


@pytest.mark.parametrize(("hits", "total"), [(0, 1), (1, 1), (0, 10), (3, 10), (1300, 2779)])
@pytest.mark.parametrize("level", [0.95, 0.5])
def test_wilson_is_scipys(hits, total, level):
    expected = stats.binomtest(hits, total).proportion_ci(level, method="wilson")
    found = wilson(hits, total, level=level)
    assert found == pytest.approx((hits / total, expected.low, expected.high))


def test_impossible_shares_are_refused():
    for hits, total in ((0, 0), (-1, 5), (6, 5)):
        with pytest.raises(MetricInputError):
            wilson(hits, total)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abce")), min_size=1))
def test_macro_f1_is_sklearns(pairs):
    labels, said = zip(*pairs, strict=True)
    expected = f1_score(labels, said, average="macro", zero_division=0)
    assert macro_f1(labels, said) == pytest.approx(expected)


def test_always_saying_the_commonest_label_scores_the_baseline():
    # The published test list of V2C-Animation: 1,300 neutral lines of 2,779 are 46.78 %.
    labels = ["neutral"] * 1300 + ["happy"] * 800 + ["sad"] * 679
    assert round(100 * majority_baseline(labels), 2) == 46.78
    # F1 of neutral: 2·1300 / (1300 + 2779); the other two classes have none.
    assert macro_f1(labels, ["neutral"] * 2779) == pytest.approx(2600 / 4079 / 3)


def test_nothing_to_classify_is_undefined():
    assert math.isnan(macro_f1([], []))
    assert math.isnan(majority_baseline([]))
    with pytest.raises(MetricInputError, match="1 labels for 2"):
        macro_f1(["a"], ["a", "b"])


def test_pearson_and_its_interval_are_scipys():
    draw = np.random.default_rng(11)
    first = draw.normal(size=40)
    second = 0.5 * first + draw.normal(size=40)
    truth = stats.pearsonr(first, second)
    ends = truth.confidence_interval(0.95)
    expected = (truth.statistic, ends.low, ends.high)
    assert pearson_interval(first, second) == pytest.approx(expected)
    assert pearson(first, second) == pytest.approx(truth.statistic)


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1.0, 1e9, 1e300])
def test_pearson_survives_any_scale(scale):
    assert pearson(np.array([1.0, 2, 4]) * scale, [1, 2, 4]) == pytest.approx(1)


def test_pearson_of_too_little_is_undefined():
    assert math.isnan(pearson([1.0], [2.0]))
    assert math.isnan(pearson([1.0, 1.0], [2.0, 3.0]))
    short = pearson_interval([1.0, 2.0, 4.0], [1.0, 3.0, 2.0])
    assert not math.isnan(short.value)
    assert math.isnan(short.low)
    assert pearson_interval([1, 2, 3, 4], [2, 4, 6, 8]) == pytest.approx((1, 1, 1))
