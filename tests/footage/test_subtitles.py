"""Subtitles: who says what when, and which cue is refused for which reason."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from redub.footage.subtitles import fit_to_media, read_subtitles

SRT = """1
00:00:01,000 --> 00:00:02,500
ANNA: Where were <i>you</i>?

2
00:00:03,000 --> 00:00:04,000
At the harbour,
all night.
"""
VTT = """WEBVTT

NOTE made for a test

one
00:01.000 --> 00:02.500 align:left
<v Anna>Where were <i>you</i>?

00:00:03.000 --> 00:00:04.000
<v.loud John Trenchard>At the harbour,
all night.

NOTE this belongs to no cue
"""
ASS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname
Style: Default,Arial

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:01.00,0:00:02.50,Default,Anna,0,0,0,,Where were {\\i1}you{\\i0}?
Comment: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,not spoken
Dialogue: 0,0:00:03.00,0:00:04.00,Default,,0,0,0,,At the harbour,\\Nall night.
"""


@pytest.fixture
def read(tmp_path):
    def reader(text, name="x.srt", **settings):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_subtitles(path, **settings)

    return reader


def seen(subtitles):
    return [(c.index, c.start_s, c.end_s, c.speaker, c.text) for c in subtitles.cues]


def codes(subtitles):
    return [(fault.line, fault.code) for fault in subtitles.faults]


def cues(*spans):
    """An SRT text with one line of words per span; times in milliseconds."""

    def stamp(ms):
        sign, ms = ("-", -ms) if ms < 0 else ("", ms)
        return f"{sign}{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"

    return "\n".join(
        f"{k}\n{stamp(a)} --> {stamp(b)}\nwords {k}\n" for k, (a, b) in enumerate(spans, start=1)
    )


@pytest.mark.parametrize(
    ("text", "name", "speakers"),
    [
        (SRT, "x.srt", ("ANNA", "")),
        (VTT, "x.vtt", ("Anna", "John Trenchard")),
        (ASS, "x.ass", ("Anna", "")),
        (SRT.replace("\n", "\r\n"), "x.srt", ("ANNA", "")),
        ("\ufeff" + SRT, "x.SRT", ("ANNA", "")),
        (SRT.encode("utf-16"), "x.srt", ("ANNA", "")),
        (b"\xfe\xff" + SRT.encode("utf-16-be"), "x.srt", ("ANNA", "")),
    ],
)
def test_the_three_formats_say_the_same(read, text, name, speakers):
    found = read(text, name)
    assert found.faults == ()
    assert seen(found) == [
        (1, 1.0, 2.5, speakers[0], "Where were you?"),
        (2, 3.0, 4.0, speakers[1], "At the harbour, all night."),
    ]


@pytest.mark.parametrize(
    ("text", "cast", "speaker", "words"),
    [
        ("JOHN: Run!", (), "JOHN", "Run!"),
        ("- DR. O'NEIL-2: Run!", (), "DR. O'NEIL-2", "Run!"),
        ("ÉLISE: Cours !", (), "ÉLISE", "Cours !"),
        ("John: Run!", (), "", "John: Run!"),
        ("John: Run!", ("John",), "John", "Run!"),
        ("JOHN: Run!", ("John",), "John", "Run!"),
        ("Remember this: run!", ("John",), "", "Remember this: run!"),
        ("At 10:30 we run", (), "", "At 10:30 we run"),
        ("A: run", (), "", "A: run"),
    ],
)
def test_a_name_before_a_colon_speaks_if_in_capitals_or_in_the_cast(
    read, text, cast, speaker, words
):
    (cue,) = read(f"1\n00:00:01,000 --> 00:00:02,000\n{text}\n", cast=cast).cues
    assert (cue.speaker, cue.text) == (speaker, words)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([(0, 1000), (2000, 1500), (3000, 4000)], [(2, "E-SUB-REVERSED")]),
        ([(0, 1000), (2000, 2000), (3000, 4000)], [(2, "E-SUB-ZERO")]),
        ([(0, 1000), (2000, 2015), (3000, 4000)], [(2, "E-SUB-ZERO")]),
        ([(-500, 1000), (2000, 2500)], [(1, "E-SUB-NEGATIVE")]),
        ([(0, 1000), (500, 1500), (1500, 2000)], [(2, "E-SUB-OVERLAP")]),
        # The first refused cue bars no other cue: the third overlaps only what was refused.
        ([(0, 1000), (500, 2500), (2000, 3000)], [(2, "E-SUB-OVERLAP")]),
        ([(2000, 3000), (0, 2500)], [(1, "E-SUB-OVERLAP")]),
    ],
)
def test_a_bad_cue_is_refused_alone(read, spans, expected):
    found = read(cues(*spans))
    assert codes(found) == expected
    assert [cue.index for cue in sorted(found.cues, key=lambda c: c.index)] == [
        k for k in range(1, len(spans) + 1) if k not in dict(expected)
    ]


def test_cues_that_touch_with_a_few_milliseconds_are_clipped(read):
    found = read(cues((0, 1000), (970, 2000)))
    assert found.faults == ()
    assert [(cue.start_s, cue.end_s) for cue in found.cues] == [(0.0, 1.0), (1.0, 2.0)]


def test_unreadable_times_do_not_leak_into_the_cue_before(read):
    text = cues((0, 1000), (2000, 3000), (4000, 5000)).replace("00:00:02,000", "00:xx:02,000")
    found = read(text)
    assert codes(found) == [(2, "E-SUB-FORMAT")]
    assert [(cue.index, cue.text) for cue in found.cues] == [(1, "words 1"), (3, "words 3")]


def test_a_missing_number_changes_nothing(read):
    found = read(cues((0, 1000), (2000, 3000)).replace("2\n00:00:02", "00:00:02"))
    assert [(cue.index, cue.text) for cue in found.cues] == [(1, "words 1"), (2, "words 2")]


def test_a_cue_without_words_is_refused(read):
    found = read(SRT.replace("At the harbour,\nall night.", "<i> </i>"))
    assert codes(found) == [(2, "E-SUB-EMPTY")]


def test_an_endless_cue_is_refused_and_the_rest_kept(read):
    found = read(SRT.replace("all night.", "all night. " * 1000))
    assert codes(found) == [(2, "E-SUB-TEXT")]
    assert len(found.cues) == 1


def test_control_characters_are_no_text(read):
    (cue, _) = read(SRT.replace("Where", "\x1b[2JWhere\0")).cues
    assert cue.text == "[2JWhere were you?"


@pytest.mark.parametrize(
    ("data", "code", "where"),
    [
        (SRT.encode().replace(b"harbour", b"harb\xe9r"), "E-SUB-ENCODING", "(line 7)"),
        (SRT.encode("utf-16")[2:], "E-SUB-ENCODING", "byte 1 (line 1)"),
        (SRT.encode("utf-16")[:-1], "E-SUB-ENCODING", "not UTF-16"),
        (b"no subtitles at all", "E-SUB-FORMAT", "no timed line"),
        (b"\n", "E-SUB-FORMAT", "no timed line"),
        (b"", "E-IN-EMPTY", "zero bytes"),
        (b"x" * (9 << 20), "E-SUB-FORMAT", "larger than"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_fault(read, data, code, where):
    found = read(data)
    assert found.cues == ()
    assert codes(found) == [(0, code)]
    assert where in found.faults[0].message


def test_the_byte_of_an_encoding_error_is_counted_by_hand(read):
    (fault,) = read(b"1\n00:00:01,000 --> 00:00:02,000\nab\xff\n").faults
    # "1\n" is 2 bytes, the timing line 30 with its end, then "ab"
    assert "byte 34 (line 3) is 0xff" in fault.message


@pytest.mark.parametrize("name", ["x.srt", "x.vtt", "x.ass"])
def test_an_ass_file_with_broken_times_is_a_fault_not_an_error(read, name):
    found = read(ASS.replace("0:00:03.00", "soon"), name)
    assert found.faults
    assert all(fault.code.startswith("E-SUB-") for fault in found.faults)


def test_negative_times_of_ass_are_refused(read):
    found = read(ASS.replace("0,0:00:01.00,0:00:02.50", "0,-0:00:01.00,0:00:02.50"), "x.ass")
    assert codes(found) == [(1, "E-SUB-NEGATIVE")]
    assert [cue.index for cue in found.cues] == [2]


def test_cues_past_the_end_of_the_media_are_refused_and_small_overshoot_is_clipped(read):
    found = read(cues((0, 1000), (1000, 2400), (2000, 9000), (9000, 9500), (10_000, 80_000)))
    fitted = fit_to_media(found, source="x.mp4", end_s=2.0, max_clip_s=60)
    assert codes(fitted) == [(3, "E-SUB-OVERLAP"), (4, "E-SUB-PASTEND"), (5, "E-SUB-PASTEND")]
    assert [(cue.start_s, cue.end_s) for cue in fitted.cues] == [(0.0, 1.0), (1.0, 2.0)]
    longer = fit_to_media(found, source="x.mp4", end_s=100, max_clip_s=60)
    assert codes(longer)[-1] == (5, "E-IN-TOOLONG")


@example([(0, 21), (0, 21), (0, 21)])  # within the tolerance, but nothing is left of the second
@given(
    st.lists(st.tuples(st.integers(-2000, 9000), st.integers(-2000, 9000)), min_size=1, max_size=8)
)
def test_every_cue_is_used_or_refused_once_and_used_ones_never_overlap(tmp_path_factory, spans):
    path = tmp_path_factory.mktemp("s") / "x.srt"
    path.write_text(cues(*spans))
    found = read_subtitles(path)
    numbers = [cue.index for cue in found.cues] + [fault.line for fault in found.faults]
    assert sorted(numbers) == list(range(1, len(spans) + 1))
    for before, after in zip(found.cues, found.cues[1:], strict=False):
        assert 0 <= before.start_s < before.end_s <= after.start_s


@given(st.text(max_size=200), st.sampled_from(["x.srt", "x.vtt", "x.ass"]))
def test_no_text_at_all_breaks_the_reader(tmp_path_factory, text, name):
    path = tmp_path_factory.mktemp("s") / name
    path.write_text(SRT + "\n" + text, encoding="utf-8", errors="replace")
    found = read_subtitles(path)
    assert found.cues or found.faults
