"""Which candidates become hits: cuts, steps and diversity against plain definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.core.config import from_mapping
from redub.core.errors import ConfigError
from redub.index.base import Hits
from redub.index.selection import Selection, choose
from redub.pipeline.store.index.builds import selection_of
from redub.pipeline.store.settings import IndexConfig


def chosen(scores, selection, between=None):
    """Rows 10, 11, … with these scores through the rules: (rows, margins)."""
    rows = np.arange(10, 10 + len(scores))
    candidates = Hits(rows[None], np.array([scores], dtype=np.float32))

    def alike(wanted):
        assert between is not None, "similarities were asked for without diversity"
        return np.array(between, dtype=np.float32)[np.ix_(wanted - 10, wanted - 10)]

    found = choose(candidates, selection, alike)
    assert found.rows.shape == (1, selection.k)
    is_hit = found.rows[0] >= 0
    assert (np.isnan(found.scores[0]) == ~is_hit).all()
    return found.rows[0][is_hit].tolist(), found.margins[0][is_hit].tolist()


def test_without_rules_the_best_are_hits_and_margins_are_over_the_next():
    rows, margins = chosen([0.9, 0.5, 0.25, 0.125], Selection(k=3))
    assert rows == [10, 11, 12]
    assert margins == pytest.approx([0.775, 0.375, 0.125])


def test_where_nothing_was_passed_over_there_is_no_margin():
    rows, margins = chosen([0.9, 0.5], Selection(k=3))
    assert rows == [10, 11]
    assert all(map(math.isnan, margins))


def test_a_candidate_below_the_least_score_is_no_hit_even_if_none_is_left():
    assert chosen([0.9, 0.5, 0.2], Selection(k=3, min_score=0.5))[0] == [10, 11]
    rows, margins = chosen([0.9, 0.5, 0.25], Selection(k=2, min_score=0.6))
    assert rows == [10]
    assert margins == pytest.approx([0.4])  # over the one that was too bad
    assert chosen([0.4, 0.3], Selection(k=2, min_score=0.5))[0] == []


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([0.9, 0.3, 0.29, 0.28], 1),  # one stands out
        ([0.9, 0.88, 0.3, 0.29], 2),
        ([0.9, 0.88, 0.86, 0.3], 3),  # the step after the third counts too
        ([0.9, 0.8, 0.7, 0.6], 3),  # of equal steps the last
        ([0.5, 0.5, 0.5, 0.5], 3),
        ([0.9], 1),
        ([], 0),
    ],
)
def test_hits_end_before_the_largest_step_down(scores, kept):
    exact = [round(score * 128) / 128 for score in scores] if kept == 3 else scores
    assert len(chosen(exact, Selection(k=3, adaptive="gap"))[0]) == kept


def plain_mmr(scores, between, k, diversity):
    picked, left = [], list(range(len(scores)))
    while left and len(picked) < k:

        def value(i):
            near = max((between[i][j] for j in picked), default=0.0)
            return (1 - diversity) * scores[i] - diversity * near

        best = max(left, key=lambda i: (value(i), -i)) if picked else left[0]
        picked.append(best)
        left.remove(best)
    return picked


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 9),
    k=st.integers(1, 4),
    diversity=st.sampled_from([0.1, 0.5, 0.9]),
)
def test_diversity_is_maximal_marginal_relevance(seed, count, k, diversity):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, 3))
    between = np.round(vectors @ vectors.T, 3).astype(np.float32)
    scores = np.sort(rng.normal(size=count).astype(np.float32))[::-1]
    rows, margins = chosen(scores, Selection(k=k, diversity=diversity), between)
    expected = plain_mmr(scores.astype(float), between.astype(float), k, diversity)
    assert rows == [10 + i for i in expected]
    passed = [scores[i] for i in range(count) if i not in expected]
    if passed:
        assert margins == pytest.approx([scores[i] - max(passed) for i in expected], abs=1e-6)


def test_a_double_of_the_best_gives_way_to_another_voice_of_the_same_feeling():
    between = [[1.0, 0.999, 0.2], [0.999, 1.0, 0.2], [0.2, 0.2, 1.0]]
    scores = [0.9, 0.89, 0.8]
    assert chosen(scores, Selection(k=2, diversity=0.3), between)[0] == [10, 12]
    assert chosen(scores, Selection(k=2))[0] == [10, 11]


def test_one_more_than_the_hits_is_ranked_and_more_with_diversity():
    assert Selection(k=3).pool == 4
    assert Selection(k=3, diversity=0.2).pool == 13


def test_the_settings_reach_the_rules_and_bad_ones_are_refused():
    config = from_mapping(
        IndexConfig, {"k": 5, "min_score": 0.25, "adaptive": "gap", "diversity": 0.5}
    )
    assert selection_of(config) == Selection(k=5, min_score=0.25, adaptive="gap", diversity=0.5)
    assert selection_of(config, 2).k == 2
    for wrong in (
        {"diversity": 1.0},
        {"diversity": -0.1},
        {"adaptive": "gaps"},
        {"recall_floor": 2},
    ):
        with pytest.raises(ConfigError):
            from_mapping(IndexConfig, wrong)
