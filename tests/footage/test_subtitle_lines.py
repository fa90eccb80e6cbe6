"""Lines that were meant as times or as markup, and text that must not be taken for them."""

from __future__ import annotations

import pytest

from redub.footage.subtitles import Kind, read_subtitles


@pytest.fixture
def read(tmp_path):
    def reader(text, name="x.srt"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read_subtitles(tmp_path / name)

    return reader


def three(second, numbers):
    """Three cues of which the second one has the given line of times."""
    stamps = ("00:00:01,000 --> 00:00:02,000", second, "00:00:03,000 --> 00:00:04,000")
    bodies = zip(range(1, 4), stamps, ("One.", "Two.", "Three."), strict=True)
    return "\n".join(f"{n}\n{s}\n{t}\n" if numbers else f"{s}\n{t}\n" for n, s, t in bodies)


@pytest.mark.parametrize("numbers", [True, False])
@pytest.mark.parametrize(
    "line",
    [
        "0:00:02.000 to 0:00:03.000",
        "00:00:02 000 --> 00:00:03 000",
        "00.00.02,000 --> 00.00.03,000",
        "00;00;02,000 --> 00;00;03,000",
        "00:00:02:00 --> 00:00:03:00",
        "00:00:02’000 --> 00:00:03’000",
        "00:00:02,000  00:00:03,000",
        "[00:00:02,000 --> 00:00:03,000]",
        "(00:00:02,000) --> (00:00:03,000)",
        "00:00:2O,000 --> 00:00:03,000",
    ],
)
def test_two_clocks_alone_on_a_line_are_never_spoken(read, line, numbers):
    found = read(three(line, numbers))
    assert [cue.text for cue in found.cues] == ["One.", "Three."]
    (fault,) = found.faults
    assert fault.code == "E-SUB-FORMAT"
    assert fault.file_line == (6 if numbers else 4)
    assert " ".join(line.split()) in fault.message
    assert "Two." in fault.text


@pytest.mark.parametrize("mark", ["\ufeff", "\u200e", "\u200f", "\u202b", "\u200b"])
@pytest.mark.parametrize("where", ["before the number", "before the times", "after both"])
def test_invisible_marks_beside_numbers_and_times_change_nothing(read, mark, where):
    number, stamp = "2", "00:00:02,000 --> 00:00:03,000"
    if where == "before the number":
        number = mark + number
    elif where == "before the times":
        stamp = mark + stamp
    else:
        number, stamp = number + mark, stamp + mark
    found = read(
        f"1\n00:00:01,000 --> 00:00:02,000\nOne.\n\n{number}\n{stamp}\nTwo.\n\n"
        "3\n00:00:03,000 --> 00:00:04,000\nThree.\n"
    )
    assert [cue.text for cue in found.cues] == ["One.", "Two.", "Three."]
    assert found.faults == ()


@pytest.mark.parametrize(
    "line",
    [
        "from 00:00:01,000 to 00:00:02,000",
        "10:30 - 11:30",
        "a --> b",
        "00:00:01,000 is the time",
        "It is 10:30:00.",
    ],
)
def test_words_with_times_in_them_are_spoken(read, line):
    found = read(f"1\n00:00:01,000 --> 00:00:02,000\nHear this:\n{line}\n")
    assert [cue.text for cue in found.cues] == [f"Hear this: {line}"]
    assert found.faults == ()


@pytest.mark.parametrize("bad", ["0:00:03.0,0:00:0x", "0:00:0x.0,0:00:04.0"])
def test_unreadable_times_of_sbv_are_a_fault_of_their_own(read, bad):
    found = read(
        f"0:00:01.000,0:00:02.000\nOne.\n\n{bad}\nTwo.\n\n0:00:04.000,0:00:05.000\n1:0, he won\n",
        "x.sbv",
    )
    assert [cue.text for cue in found.cues] == ["One.", "1:0, he won"]
    (fault,) = found.faults
    assert (fault.file_line, fault.code) == (4, "E-SUB-FORMAT")


@pytest.mark.parametrize("token", ["<Enter>", "<ann@example.com>", "{sigh}", "</end>"])
def test_what_only_looks_like_markup_is_named(read, token):
    found = read(
        f"1\n00:00:01,000 --> 00:00:02,000\nPress {token} now\n\n"
        f"2\n00:00:02,000 --> 00:00:03,000\nand {token} again\n"
    )
    assert [cue.text for cue in found.cues] == ["Press now", "and again"]
    assert [other.text for other in found.others if other.kind in (Kind.MARKUP, Kind.COMMENT)] == [
        token,
        token,
    ]
    assert [notice.text for notice in found.notices] == [
        f"line 1: '{token}' is read as markup; if it is spoken, write it without the brackets"
    ]


@pytest.mark.parametrize(
    "text",
    ["<i>a</i>", '<font color="red">a</font>', "{\\an8}a", "<c.yellow>a</c>", "<B>a</B>", "{y:i}a"],
)
def test_markup_that_players_know_is_not_noted(read, text):
    found = read(f"1\n00:00:01,000 --> 00:00:02,000\n{text}\n")
    assert [cue.text for cue in found.cues] == ["a"]
    assert found.notices == ()


def test_the_dash_before_a_voice_is_a_label_and_a_ruby_text_is_not_spoken(read):
    found = read(
        "WEBVTT\n\n00:01.000 --> 00:03.000\n- <v Ann>Hi.\n- <v Bob>Ho.\n\n"
        "00:03.000 --> 00:04.000\n<ruby>A<rt>pron</rt></ruby> it is.\n",
        "x.vtt",
    )
    assert [(cue.speaker, cue.text) for cue in found.cues] == [
        ("Ann", "Hi."),
        ("Bob", "Ho."),
        ("", "A it is."),
    ]
    labels = [other.text for other in found.others if other.kind is Kind.LABEL]
    assert labels == ["-", "<v Ann>", "-", "<v Bob>"]
    assert "<rt>pron</rt>" in [other.text for other in found.others if other.kind is Kind.MARKUP]


def spoken(found):
    return [(cue.speaker, cue.text) for cue in found.cues]


def one(text, seconds=3):
    return f"1\n00:00:00,000 --> 00:00:0{seconds},000\n{text}\n"


@pytest.mark.parametrize(
    ("text", "cues", "lyrics"),
    [
        ("♪ la la\nANN: Hello Bob", [("ANN", "Hello Bob")], ["♪ la la"]),
        ("BOB: Stop it. ♪", [("BOB", "Stop it.")], ["♪"]),
        ("I ♪ you", [("", "I you")], ["♪"]),
        ("ANN: ♪ la la ♪\nBOB: Stop it.", [("BOB", "Stop it.")], ["♪ la la ♪"]),
        ("la la la ♪", [], ["la la la ♪"]),
        ("Stop it. ♪ la la", [("", "Stop it.")], ["♪ la la"]),
        ("# You want it\nYou got it #", [], ["# You want it\nYou got it #"]),
        ("#1 of all songs", [("", "#1 of all songs")], []),
    ],
)
def test_a_song_ends_where_another_speaker_is_named(read, text, cues, lyrics):
    found = read(one(text))
    assert spoken(found) == cues
    assert [other.text for other in found.others if other.kind is Kind.LYRICS] == lyrics


@pytest.mark.parametrize("text", ["\u200fANN: Hi", "\u202aANN:\u202c Hi", "\u2066ANN\u2069: Hi"])
def test_marks_of_direction_do_not_hide_a_name(read, text):
    assert spoken(read(one(text))) == [("ANN", "Hi")]


def test_several_listed_speakers_say_a_line_together(tmp_path, read):
    names = ("ANN", "BOB", "CY")
    for text in ("ANN, BOB & CY: Hi", "ANN, BOB, AND CY: Hi", "ANN & BOB & CY: Hi"):
        assert spoken(read(one(text))) == [(name, "Hi") for name in names]
    assert spoken(read(one("LONDON, 1984: rain"))) == [("", "LONDON, 1984: rain")]
    path = tmp_path / "cast.srt"
    path.write_text(one("Ann, Bob: Hi"))
    assert spoken(read_subtitles(path, cast=["Ann", "Bob"])) == [("Ann", "Hi"), ("Bob", "Hi")]


def test_a_name_in_capitals_that_is_read_as_words_is_not_told_to_be_in_capitals(read):
    (notice,) = read(one("HE SAID: GO")).notices
    assert "cast.csv" in notice.text
    assert "capitals" not in notice.text


@pytest.mark.parametrize(
    "letter", ["-", ">", "=", "♪", "#", "(", "[", "{", "<", "&", ":", ".", "1"]
)
def test_a_long_line_of_one_sign_is_read_at_once(read, letter):
    """A search that begins again at every sign would take hours for such a line."""
    found = read(one(letter * 1_000_000))
    assert found.cues == ()
    assert found.faults or found.others


def test_brackets_inside_brackets_are_one_description(read):
    found = read(one("[a [b] c] Go."))
    assert spoken(found) == [("", "Go.")]
    assert [o.text for o in found.others if o.kind is Kind.SOUND] == ["[a [b] c]"]
