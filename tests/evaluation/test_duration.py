"""Slot and phoneme durations, by hand and by property."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.evaluation.duration_error import phoneme_error_ms, slot_error_ms
from redub.evaluation.inputs import MetricInputError

SIL = 87


def test_a_line_half_a_second_over_its_slot():
    assert slot_error_ms(24_000, 16_000, sample_rate_hz=16_000) == 500
    assert slot_error_ms(0, 640, sample_rate_hz=16_000) == -40  # one 25 fps frame of silence
    assert slot_error_ms(7, 7, sample_rate_hz=16_000) == 0


@pytest.mark.parametrize(("generated", "slot", "rate"), [(-1, 5, 5), (5, 0, 5), (5, 5, 0)])
def test_impossible_lengths_are_refused(generated, slot, rate):
    with pytest.raises(MetricInputError):
        slot_error_ms(generated, slot, sample_rate_hz=rate)


def test_phonemes_worked_by_hand():
    # |4-6|, |10-10|, |3-0| frames of 10 ms: a mean of 5/3 frames; the pause does not count.
    reference = [[5, 4], [SIL, 30], [9, 10], [5, 3]]
    generated = [[SIL, 8], [5, 6], [9, 10], [5, 0], [SIL, 2]]
    found = phoneme_error_ms(reference, generated, frame_ms=10, pauses={SIL})
    assert found == pytest.approx(50 / 3)


lines = st.lists(st.tuples(st.integers(1, 80), st.integers(0, 50)), min_size=1, max_size=9)


@given(lines, st.integers(0, 20), st.sampled_from([5.0, 10.0, 11.6]))
def test_stretching_every_phoneme_alike_costs_exactly_that(line, longer, frame_ms):
    stretched = [(phoneme, frames + longer) for phoneme, frames in line]
    assert phoneme_error_ms(line, stretched, frame_ms=frame_ms) == pytest.approx(longer * frame_ms)
    assert phoneme_error_ms(stretched, line, frame_ms=frame_ms) == pytest.approx(longer * frame_ms)


def test_other_phonemes_are_refused_at_the_first_that_differs():
    with pytest.raises(MetricInputError, match="place 1"):
        phoneme_error_ms([[1, 2], [2, 2], [3, 3]], [[1, 2], [4, 2], [5, 3]], frame_ms=10)
    with pytest.raises(MetricInputError, match=r"3 and 2 phonemes .* place 2"):
        phoneme_error_ms([[1, 2], [2, 2], [3, 3]], [[1, 2], [2, 2]], frame_ms=10)


@pytest.mark.parametrize("bad", [[[1, -1]], [[1.5, 2.0]], [1, 2]])
def test_other_tables_than_ids_and_frames_are_refused(bad):
    with pytest.raises(MetricInputError):
        phoneme_error_ms([[1, 1]], bad, frame_ms=10)


def test_nothing_but_pauses_has_no_error():
    assert math.isnan(phoneme_error_ms([[SIL, 3]], [[SIL, 5]], frame_ms=10, pauses=[SIL]))
