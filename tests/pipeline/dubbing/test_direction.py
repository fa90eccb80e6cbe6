"""What is typed, or written in a file, is what a line is asked."""

import math

import numpy as np
import pytest

from redub.core.errors import ConfigError, UsageError
from redub.index.notes import Notes
from redub.pipeline.dubbing.direction import (
    Direction,
    EmotionTarget,
    LineDirection,
    parse_control,
    read_direction,
    shift_query,
    shift_retrieved,
)
from redub.training.data.lines import Hits
from redub.training.synthesis import VoiceControl


def test_units_are_those_a_director_says():
    control = parse_control(pitch="+3st", pitch_range="70%", energy="-4.5 dB", rate="1.25")
    assert control == VoiceControl(pitch=0.25, pitch_range=0.7, energy=-4.5, rate=1.25)
    assert parse_control(pitch="-12") == VoiceControl(pitch=-1.0)
    assert not parse_control()
    assert not VoiceControl(rate=1.0).of_prosody
    assert parse_control(rate="90%").of_prosody is False


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"pitch": "high"}, r"'high': wanted a number, as in \+2st"),
        ({"pitch": "+3dB"}, r"'\+3dB'"),
        ({"pitch": "40st"}, "at most 1.5 octaves"),
        ({"energy": "inf"}, "'inf'"),
        ({"rate": "0"}, "a rate from 0.25 to 4"),
        ({"pitch_range": "-1"}, "a range from 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked, said):
    with pytest.raises(UsageError, match=said):
        parse_control(**asked)


def test_a_feeling_has_a_name_and_a_share():
    assert EmotionTarget.parse("sadness:0.7") == EmotionTarget(emotion="sad", intensity=0.7)
    assert EmotionTarget.parse("angry").intensity == 1.0
    for words, said in (("sadd", "did you mean 'sad'"), ("sad:2", "0 to 1"), ("sad:much", "much")):
        with pytest.raises(UsageError, match=said):
            EmotionTarget.parse(words)


def test_a_file_directs_each_line(tmp_path):
    path = tmp_path / "take.toml"
    path.write_text(
        '[all]\nrate = 0.9\nemotion = "happy:0.5"\nmore = ["joy:0.2"]\n'
        '[line.3]\npitch = "+2st"\nvoice = "Ada"\nemotion = "sad"\nfilm = ["A", "B"]\n'
    )
    direction = read_direction(path)
    assert direction.on(1).control == VoiceControl(rate=0.9)
    assert direction.on(1).emotion_target == EmotionTarget(emotion="happy", intensity=0.5)
    third = direction.on(3)
    assert third.control == VoiceControl(rate=0.9, pitch=1 / 6)
    assert third.emotion_target == EmotionTarget(emotion="sad", intensity=1.0)
    assert third.voice == "Ada"
    assert third.notes == Notes.parse(more=["joy:0.2"], films=["A", "B"])
    assert third.controls.to_json() == {
        "pitch": 1 / 6,
        "rate": 0.9,
        "voice": "Ada",
        "emotion": {"emotion": "sad", "intensity": 1.0},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[all]\npich = 2\n", "did you mean 'pitch'"),
        ("[line.0]\nrate = 1\n", "numbered from 1"),
        ("[lines]\n", "unknown table 'lines'"),
        ('[line.2]\nrate = "fast"\n', r"\[line.2\]: 'fast'"),
        ("[all]\npitch = [1, 2]\n", "wanted words"),
        ("[all\n", "cannot be read"),
    ],
)
def test_a_file_with_a_slip_names_it(tmp_path, text, said):
    path = tmp_path / "take.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_direction(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_direction(tmp_path / "none.toml")


def test_lines_that_are_named_are_asked_and_no_others():
    asked = LineDirection(control=VoiceControl(energy=3.0))
    direction = Direction.of_lines(asked, [2, 4])
    assert [bool(direction.on(n)) for n in (1, 2, 3, 4)] == [False, True, False, True]
    assert Direction.of_lines(asked, []).on(7) == asked


class Library:
    """As much of an open index as a feeling reads."""

    class Clip:
        def __init__(self, emotion):
            self.emotion = emotion

    def __init__(self):
        self.clips = [self.Clip(e) for e in ("sad", "", "sad", "happy")]
        self.vectors = {"face": np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 9.0]], np.float32)}
        self.audio = np.array([[2.0], [9.0], [4.0], [7.0]], np.float32)

        class Own:
            rows = np.array([0, 2, 3])  # the second clip has no face

        self.modalities = {"face": Own()}


def test_a_feeling_moves_vectors_towards_the_mean_of_its_clips():
    library, own = Library(), np.array([0.0, 2.0], np.float32)
    for share in (0.0, 0.25, 1.0):
        moved = shift_query(library, "face", own, EmotionTarget(emotion="sad", intensity=share))
        assert moved.tolist() == pytest.approx([2.0 * share, 2.0 * (1 - share)])
    hits = Hits(
        vectors=np.ones((2, 2), np.float32),
        audio=np.array([[1.0], [5.0]], np.float32),
        scores=np.ones(2, np.float32),
    )
    louder = shift_retrieved(library, hits, EmotionTarget(emotion="sad", intensity=0.5))
    assert louder.audio[:, 0].tolist() == [2.0, 4.0]  # half way to the mean of 2 and 4
    assert louder.vectors is hits.vectors
    with pytest.raises(UsageError, match=r"labelled 'fear'; labels of the library: happy, sad"):
        shift_query(library, "face", own, EmotionTarget(emotion="fear", intensity=0.5))


def test_controls_have_bounds():
    assert VoiceControl(pitch=-1.5, pitch_range=0.0, energy=24.0, rate=0.25)
    for values in ({"pitch": math.nan}, {"rate": 5.0}, {"energy": -25.0}, {"pitch_range": 5.0}):
        with pytest.raises(UsageError):
            VoiceControl(**values)
