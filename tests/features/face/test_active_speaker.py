"""Two drawn faces and a sound: whose mouth goes with it."""

import numpy as np
import pytest

from redub.features.face.active_speaker import (
    LEAST,
    MouthTraces,
    agreement,
    loudness_of,
    mouth_traces,
)
from redub.features.face.detector import Box
from redub.features.face.following import Track
from redub.features.face.track import FaceTrackConfig, FaceTrackExtractor
from tests.features.drawn_faces import media_of, talking

EXTRACTOR = FaceTrackExtractor(FaceTrackConfig())
SIZE = 192
COUNT = 40
CLOCK = np.arange(COUNT)
SPEECH = (CLOCK // 8) % 2 == 0  # said in bursts of 8 frames, with pauses as long


def level(loud):
    """What the feature ``speech_level`` holds of a sound that is loud or silent frame by frame."""
    return np.where(loud, -20.0, -80.0).astype(np.float32)[:, None]


def chewing(when, depth, **settings):
    """A mouth that opens and closes from frame to frame, at the given frames only."""
    return talking(np.where(when & (CLOCK % 2 == 0), depth, 0.1), **settings)


def side(left, right, **features):
    rows = EXTRACTOR.extract(media_of(np.concatenate([left, right], axis=2), **features))
    middle = rows[:, 0] + rows[:, 2] / 2
    assert (middle < SIZE).all() or (middle > SIZE).all()
    return "left" if middle[0] < SIZE else "right"


@pytest.mark.parametrize("speaker_is_left", [True, False])
def test_the_mouth_that_moves_with_the_sound_beats_one_that_moves_more_out_of_phase(
    speaker_is_left,
):
    speaker, other = chewing(SPEECH, 0.5), chewing(~SPEECH, 1.0)
    pair = (speaker, other) if speaker_is_left else (other, speaker)
    expected, louder = ("left", "right") if speaker_is_left else ("right", "left")
    assert side(*pair, speech_level=level(SPEECH)) == expected
    assert side(*pair) == louder  # without sound, the motion alone decides
    assert side(*pair, speech_level=level(~SPEECH)) == louder  # and the sound is what decided


def test_a_mouth_that_opens_when_it_is_loud_beats_one_that_opens_more_when_it_is_silent():
    # Both openings are the same curve but for half a period: they move equally at every moment.
    wave = 0.5 - 0.5 * np.cos(2 * np.pi * CLOCK / 20)
    speaker, other = talking(0.1 + 0.5 * wave), talking(0.1 + 0.8 * (1 - wave))
    sound = (20 * np.log10(0.01 + wave)).astype(np.float32)[:, None]
    assert side(speaker, other, speech_level=sound) == "left"
    assert side(other, speaker, speech_level=sound) == "right"


def test_a_nodding_listener_does_not_pass_for_the_speaker():
    speaker = chewing(SPEECH, 0.5)
    nods = [(0.5, 0.5 + 0.02 * (SPEECH[k] and k % 2)) for k in CLOCK]  # all of the face moves
    listener = talking([0.1] * COUNT, centre=nods)
    assert side(speaker, listener, speech_level=level(SPEECH)) == "left"
    assert side(listener, speaker, speech_level=level(SPEECH)) == "right"


@pytest.mark.parametrize("decibels", [-100.0, -20.0])
def test_silence_and_steady_noise_leave_the_choice_to_the_motion(decibels):
    steady = np.full((COUNT, 1), decibels, dtype=np.float32)
    speaker, other = chewing(SPEECH, 0.5), chewing(~SPEECH, 1.0)
    assert side(speaker, other, speech_level=steady) == side(speaker, other) == "right"


def test_the_sound_changes_nothing_where_there_is_one_face():
    frames = chewing(SPEECH, 0.5)
    plain = EXTRACTOR.extract(media_of(frames))
    with_speech = EXTRACTOR.extract(media_of(frames, speech_level=level(~SPEECH)))
    np.testing.assert_array_equal(plain, with_speech)


def test_the_choice_is_made_in_each_shot_by_the_sound_of_that_shot():
    wall = {"background": (235, 225, 200)}  # another room, so that the cut is seen
    before = np.concatenate([chewing(SPEECH, 0.5), chewing(~SPEECH, 1.0)], axis=2)
    after = np.concatenate([chewing(SPEECH, 1.0, **wall), chewing(~SPEECH, 0.5, **wall)], axis=2)
    sound = np.concatenate([level(SPEECH), level(~SPEECH)])
    rows = EXTRACTOR.extract(media_of(np.concatenate([before, after]), speech_level=sound))
    middle = rows[:, 0] + rows[:, 2] / 2
    assert (middle[:COUNT] < SIZE).all()
    assert (middle[COUNT:] > SIZE).all()


def test_loudness_is_relative_to_the_loudest_and_silence_has_a_floor():
    levels = np.array([[-60], [-35], [-25], [-100]], dtype=np.float32)
    assert loudness_of(levels).tolist() == [-35, -10, 0, -40]
    assert loudness_of(np.full((3, 1), -100, np.float32)).tolist() == [0, 0, 0]


def test_agreement_is_at_most_one_per_trace_and_turns_with_the_sound():
    sound = np.where(SPEECH, 0.0, -40.0)
    motion = np.where(SPEECH, 60.0, 0.0)
    traces = MouthTraces(motion, np.zeros(COUNT), motion)
    assert agreement(traces, sound) == pytest.approx(2, abs=0.01)
    assert agreement(traces, -40 - sound) == pytest.approx(-2, abs=0.01)
    shaking = MouthTraces(motion, 2 * motion, np.zeros(COUNT))  # the head explains it all
    assert agreement(shaking, sound) == pytest.approx(0, abs=1e-9)
    faint = MouthTraces(motion / 600, np.zeros(COUNT), motion / 600)  # a tenth of a grey level
    assert 0 < agreement(faint, sound) < LEAST


def test_traces_of_a_drawn_mouth_follow_its_drawing():
    openings = np.array([0.1, 0.1, 0.9, 0.9, 0.1])
    frames = talking(openings)
    box = Box(*EXTRACTOR.extract(media_of(frames))[0, :4], 1)
    traces = mouth_traces(frames, Track(boxes={0: box, 4: box}), (0, 5))
    assert (traces.motion > 1).tolist() == [False, True, False, True, True]  # the last is repeated
    assert (traces.opening[[2, 3]] > traces.opening[[0, 1, 4]].max() + 5).all()
    assert np.abs(traces.head).max() == 0
