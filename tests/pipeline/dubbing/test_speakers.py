"""No line of a script gets another character's voice without a word."""

import pytest

from redub.core.errors import ConfigError
from redub.footage.subtitles import Cue
from redub.pipeline.dubbing.speakers import check_speakers


def cue(index, speaker, part=""):
    return Cue(
        index=index, start_s=0.0, end_s=1.0, text="Hi.", speaker=speaker, part=part,
        file_line=4 * index,
    )  # fmt: skip


def check(*cues, voices=("RUBY", "JOHN"), cast=(), chosen=()):
    return check_speakers(
        "s.srt", cues, voices=voices, cast=cast, has_voice=lambda cue: cue.index in chosen
    )


def test_speakers_of_the_library_pass_in_silence():
    assert check(cue(1, "RUBY"), cue(2, "JOHN")) == []


def test_every_unknown_name_is_refused_with_its_line_and_the_nearest_name():
    with pytest.raises(ConfigError) as refused:
        check(cue(1, "RUBI"), cue(2, "JOHN"), cue(3, "JOHM", part="b"))
    assert refused.value.code == "E-VOICE"
    for words in (
        "line 1 (file line 4) names 'RUBI': did you mean 'RUBY'?",
        "line 3b (file line 12) names 'JOHM': did you mean 'JOHN'?",
    ):
        assert words in refused.value.message


def test_many_unknown_names_are_counted():
    with pytest.raises(ConfigError, match="and 4 more lines"):
        check(*(cue(n, f"X{n}") for n in range(1, 10)))


def test_a_chosen_voice_makes_the_name_of_the_speaker_free():
    assert check(cue(1, "RUBI"), chosen=(1,)) == []
    with pytest.raises(ConfigError, match="line 2 "):
        check(cue(1, "RUBI"), cue(2, "RUBI"), chosen=(1,))


def test_a_member_of_the_cast_without_a_recording_is_said():
    (note,) = check(cue(1, "ANNE"), cast=("ANNE",))
    assert "ANNE: no recording in the library" in note


def test_lines_without_a_speaker_are_said():
    (note,) = check(*(cue(n, "") for n in range(1, 9)))
    assert "line 1, 2, 3, 4, 5 and 3 more" in note
