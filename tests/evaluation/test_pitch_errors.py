"""GPE, VDE, FFE: hand-worked tracks, a plain loop, and what must not move them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.evaluation.inputs import MetricInputError
from redub.evaluation.pitch_errors import (
    f0_frame_error,
    gross_pitch_error,
    pitch_errors,
    pooled,
    voicing_decision_error,
)


def test_a_track_worked_by_hand():
    #            ok   gross  exactly 20 %  lost voicing  false voicing  both unvoiced
    reference = [100, 100, 100, 100, 0, 0, 200, 200]
    generated = [110, 121, 120, 0, 100, 0, 200, 159]
    # voiced in both: places 0, 1, 2, 6, 7; gross: 121 (21 %) and 159 (20.5 %); voicing: 3 and 4
    errors = pitch_errors(reference, generated)
    assert (errors.pairs, errors.voiced_in_both) == (8, 5)
    assert errors.gpe == gross_pitch_error(reference, generated) == 2 / 5
    assert errors.vde == voicing_decision_error(reference, generated) == 2 / 8
    assert errors.ffe == f0_frame_error(reference, generated) == 4 / 8


tracks = st.lists(st.sampled_from([0.0, 80.0, 95.0, 96.0, 100.0, 120.0, 121.0, 300.0]), max_size=12)


@given(tracks, tracks)
def test_the_counts_are_those_of_a_plain_loop(reference, generated):
    gross = both = voicing = 0
    for f, g in zip(reference, generated, strict=False):  # cut to the shorter
        if (f > 0) != (g > 0):
            voicing += 1
        elif f > 0:
            both += 1
            gross += abs(g - f) / f > 0.2
    errors = pitch_errors(reference, generated)
    assert (errors.gross_errors, errors.voiced_in_both, errors.voicing_errors) == (
        gross,
        both,
        voicing,
    )
    assert errors.pairs == min(len(reference), len(generated))


@given(tracks)
def test_a_track_against_itself_has_no_error(track):
    errors = pitch_errors(track, track)
    assert errors.gross_errors == errors.voicing_errors == 0
    assert math.isnan(errors.gpe) == (not any(track))
    assert math.isnan(errors.ffe) == (not track)


@given(tracks, tracks, st.sampled_from([0.5, 2.0, 4.0]))
def test_transposing_both_voices_changes_nothing(reference, generated, factor):
    moved = pitch_errors(np.multiply(reference, factor), np.multiply(generated, factor))
    assert moved == pitch_errors(reference, generated)


@given(tracks, tracks)
def test_voicing_errors_do_not_care_which_track_is_the_reference(one, other):
    assert pitch_errors(one, other).voicing_errors == pitch_errors(other, one).voicing_errors


def test_the_reference_is_what_twenty_percent_are_taken_of():
    assert pitch_errors([100], [124]).gross_errors == 1  # 24 % of 100
    assert pitch_errors([124], [100]).gross_errors == 0  # 19.4 % of 124


def test_a_path_pairs_the_frames_it_names():
    # The generated voice is one frame late: cut, the onset and the end are errors; paired, nothing.
    reference, generated = [0, 100, 200, 0], [0, 0, 100, 200]
    assert pitch_errors(reference, generated).ffe == 3 / 4
    path = np.array([[0, 1], [1, 2], [2, 3]])
    assert pitch_errors(reference, generated, alignment=path).ffe == 0


@given(st.lists(st.tuples(tracks, tracks), max_size=4))
def test_a_corpus_is_one_long_utterance(lines):
    lines = [(a[: len(b)], b[: len(a)]) for a, b in lines]
    together = pitch_errors([f for a, _ in lines for f in a], [f for _, b in lines for f in b])
    assert pooled(pitch_errors(a, b) for a, b in lines) == together


@pytest.mark.parametrize("bad", [[-1.0], [math.nan], [math.inf], [[100.0]]])
def test_impossible_tracks_are_refused(bad):
    with pytest.raises(MetricInputError):
        pitch_errors([100.0], bad)
