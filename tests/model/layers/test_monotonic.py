"""The best way through a line, against every way there is."""

from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from redub.model.layers.monotonic import monotonic_durations


def best_by_trying(scores):
    """Durations of the best path of (T, P) scores: every set of places where the next starts."""
    frames, phonemes = scores.shape
    best, found = -float("inf"), None
    for starts in combinations(range(1, frames), phonemes - 1):
        ends = (0, *starts, frames)
        durations = [after - before for before, after in pairwise(ends)]
        owner = torch.repeat_interleave(torch.arange(phonemes), torch.tensor(durations))
        total = float(scores[torch.arange(frames), owner].sum())
        if total > best:
            best, found = total, durations
    return found


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 5))
def test_it_is_the_best_of_all_ways(seed, frames, phonemes):
    phonemes = min(phonemes, frames)
    torch.manual_seed(seed)
    scores = torch.randn(2, 12, 6, dtype=torch.float64)
    valid = torch.arange(12) < torch.tensor([[frames], [12]])
    real = torch.arange(6) < torch.tensor([[phonemes], [6]])
    found = monotonic_durations(scores, valid, real)
    assert found[0, :phonemes].tolist() == best_by_trying(scores[0, :frames, :phonemes])
    assert found[1].tolist() == best_by_trying(scores[1])
    assert int(found[0, phonemes:].sum()) == 0


@pytest.mark.parametrize(("frames", "phonemes"), [(1, 4), (3, 5), (4, 5)])
def test_fewer_frames_than_phonemes_are_spread(frames, phonemes):
    scores = torch.randn(1, frames, phonemes)
    ones = torch.ones(1, frames, dtype=torch.bool), torch.ones(1, phonemes, dtype=torch.bool)
    found = monotonic_durations(scores, *ones)
    assert int(found.sum()) == frames
    assert set(found.flatten().tolist()) == {0, 1}


def test_scores_of_minus_infinity_are_a_way_of_last_resort():
    scores = torch.full((1, 4, 2), float("-inf"))
    ones = torch.ones(1, 4, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool)
    found = monotonic_durations(scores, *ones)
    assert int(found.sum()) == 4
    assert int(found.min()) >= 1
