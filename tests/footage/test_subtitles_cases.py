"""Subtitles as other programs write them: odd times, two speakers, signs, rolling captions."""

from __future__ import annotations

import pytest

from redub.footage.subtitles import Kind, read_subtitles

HEAD = "[Script Info]\nScriptType: v4.00+\n\n[Events]\n"
EVENTS = "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"


@pytest.fixture
def read(tmp_path):
    def reader(text, name="x.srt", **settings):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_subtitles(path, **settings)

    return reader


@pytest.fixture
def say(read):
    """Read one SRT cue of 10 s with the given text."""

    def sayer(text, **settings):
        return read(f"1\n00:00:00,000 --> 00:00:10,000\n{text}\n", **settings)

    return sayer


def words(found):
    return [(f"{cue.index}{cue.part}", cue.text) for cue in found.cues]


def spoken(found):
    return [(cue.speaker, cue.text) for cue in found.cues]


def times(found):
    return [(cue.start_s, cue.end_s) for cue in found.cues]


def kinds(found, *wanted):
    return [(other.kind, other.text) for other in found.others if other.kind in wanted]


def ass(*events):
    return HEAD + EVENTS + "".join(f"Dialogue: 0,{event}\n" for event in events)


# --- times and lines of SRT --------------------


@pytest.mark.parametrize(
    ("line", "start_s", "end_s"),
    [
        ("00:00:01,000 --> 00:00:02,000", 1, 2),
        ("0:00:01.5 --> 0:00:02.25", 1.5, 2.25),
        ("00:01,000 --> 01:02,000", 1, 62),
        ("1:2:3,4 -> 1:2:4,4", 3723.4, 3724.4),
        ("00:00:01:000 --> 00:00:02:000", 1, 2),
        ("00:00:01 --> 00:00:02", 1, 2),
        ("00:00:01,000 – 00:00:02,000", 1, 2),
        ("00:00:01,000 —> 00:00:02,000", 1, 2),
        ("00:00:01,000 --&gt; 00:00:02,000", 1, 2),
        ("  00:00:01,000-->00:00:02,000  ", 1, 2),
        ("00: 00: 01, 000 --> 00: 00: 02, 000", 1, 2),
        ("00:00:01,000 --> 00:00:02,000 X1:10 X2:20 Y1:30 Y2:40", 1, 2),
        ("100:00:01,000 --> 100:00:02,000", 360001, 360002),
        ("1234:00:00,000 --> 1234:00:01,000", 4442400, 4442401),
    ],
)
def test_times_are_read_however_they_are_typed(read, line, start_s, end_s):
    found = read(f"1\n{line}\nWe sail at dawn\n")
    assert found.faults == ()
    ((start, end),) = times(found)
    assert (start, end) == pytest.approx((start_s, end_s))
    assert words(found) == [("1", "We sail at dawn")]


@pytest.mark.parametrize(
    "line",
    [
        "00:xx:01,000 --> 00:00:02,000",
        "00:00:61,000 --> 00:01:02,000",
        "00:61:00,000 --> 01:02:00,000",
        "00:00:01:12 --> 00:00:02:10",
        "00.00.01,000 --> 00.00.02,000",
        "soon --> later",
    ],
)
def test_a_timing_line_that_has_no_meaning_refuses_its_own_cue_alone(read, line):
    found = read(
        f"1\n00:00:00,000 --> 00:00:00,900\nFirst\n\n2\n{line}\nLost words\n\n"
        "3\n00:00:03,000 --> 00:00:04,000\nThird\n"
    )
    assert words(found) == [("1", "First"), ("3", "Third")]
    (fault,) = found.faults
    assert (fault.line, fault.code, fault.file_line) == (2, "E-SUB-FORMAT", 6)
    assert "Lost words" in fault.text
    assert "Lost words" in fault.message
    assert "line 6" in fault.message


def test_hour_100_is_past_the_end_and_never_hour_0(read):
    found = read("1\n100:00:00,000 --> 100:00:02,000\nFar away\n", end_s=60)
    assert [(f.line, f.code, f.text) for f in found.faults] == [(1, "E-SUB-PASTEND", "Far away")]


def test_an_index_without_times_is_one_fault(read):
    found = read(
        "1\n00:00:00,000 --> 00:00:01,000\nFirst\n\n2\nSecond\n\n"
        "3\n00:00:03,000 --> 00:00:04,000\nThird\n"
    )
    assert words(found) == [("1", "First"), ("3", "Third")]
    assert [(f.line, f.code, f.text) for f in found.faults] == [(2, "E-SUB-FORMAT", "2\nSecond")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # no index lines: numbers are words
        ("{a}\nIn the year\n1812\n\n{b}\nWar\n", ["In the year 1812", "War"]),
        ("{a}\n42\n\n{b}\nNo\n", ["42", "No"]),
        ("{a}\n2\n\n{b}\nNo\n", ["2", "No"]),
        ("{a}\n1\n{b}\n7\n", ["1", "7"]),
        # with index lines
        ("1\n{a}\n1812\n\n2\n{b}\nWar\n", ["1812", "War"]),
        ("1\n{a}\nCount\n\n1\n\n2\n{b}\n3\n", ["Count 1", "3"]),
        ("7\n{a}\nSeven\n\n12\n{b}\nTwelve\n", ["Seven", "Twelve"]),
        ("1\n{a}\nOne\n2\n{b}\nTwo\n", ["One", "Two"]),
        ("1\n{a}\nIn\n1812\n{b}\nWar\n", ["In 1812", "War"]),
        # a blank line after every line
        ("1\n\n{a}\n\nOne\n\n2\n\n{b}\n\nTwo\n", ["One", "Two"]),
        # blank lines inside a cue
        (
            "1\n{a}\nHere\n\nand there\n\n\nand home\n\n2\n{b}\nEnd\n",
            ["Here and there and home", "End"],
        ),
        ("{a}\nHere\n\nand there\n\n{b}\nEnd\n", ["Here and there", "End"]),
    ],
)
def test_words_of_srt_are_neither_lost_nor_joined_by_index_lines(read, text, expected):
    stamps = {"a": "00:00:00,000 --> 00:00:02,000", "b": "00:00:03,000 --> 00:00:05,000"}
    found = read(text.format(**stamps))
    assert [cue.text for cue in found.cues] == expected
    assert found.faults == ()


@pytest.mark.parametrize(
    "line",
    ["Turn left --> then right", "a -> b", "9 --> 5", "It is 5:30 --> go", "2:1 is the score"],
)
def test_an_arrow_between_words_is_text(read, line):
    found = read(
        f"1\n00:00:00,000 --> 00:00:02,000\nLook\n{line}\n\n2\n00:00:03,000 --> 00:00:05,000\nYes\n"
    )
    assert words(found) == [("1", f"Look {line}"), ("2", "Yes")]


def test_words_behind_the_times_are_words(read):
    found = read("1\n00:00:00,000 --> 00:00:02,000 Where are you?\nHere.\n")
    assert words(found) == [("1", "Where are you? Here.")]


def test_text_above_the_first_times_is_a_fault_with_its_line(read):
    found = read("Ripped by somebody\n\n1\n00:00:00,000 --> 00:00:02,000\nHello\n")
    assert words(found) == [("1", "Hello")]
    assert [(f.line, f.file_line, f.text) for f in found.faults] == [(0, 1, "Ripped by somebody")]


def test_the_content_decides_the_format_and_not_the_suffix(read):
    found = read("WEBVTT\n\n00:00.000 --> 00:01.000\n<v Ann>Fish &amp; chips\n", "x.srt")
    assert spoken(found) == [("Ann", "Fish & chips")]
    found = read(ass("0:00:00.00,0:00:01.00,Default,Ann,0,0,0,,Chips"), "x.srt")
    assert spoken(found) == [("Ann", "Chips")]


# --- WebVTT --------------------


def test_entities_are_the_characters_that_they_stand_for(read):
    found = read(
        "WEBVTT\n\n00:00.000 --> 00:09.000\n"
        "Salt &amp; pepper&nbsp;for 2 &lt; 3 &gt; 1, &quot;please&quot; "
        "&#8217;&#x41;&rlm; &unknown; AT&T\n",
        "x.vtt",
    )
    assert found.cues[0].text == 'Salt & pepper for 2 < 3 > 1, "please" ’A &unknown; AT&T'


def test_blocks_of_vtt_that_are_no_cue_are_named(read):
    found = read(
        "WEBVTT - made by hand\nKind: captions\n\nSTYLE\n::cue { color: red }\n\nREGION\nid:one\n\n"
        "NOTE\nfor the\ntranslator\n\nintro\n00:00.000 --> 00:02.000 region:one line:0\n"
        "<c.loud>Good <b>evening</b></c>\n\nNOTE one line\n\n00:03.000 --> 00:04.000\nNOTE this\n",
        "x.vtt",
    )
    assert words(found) == [("1", "Good evening"), ("2", "NOTE this")]
    assert kinds(found, Kind.HEADER, Kind.STYLE, Kind.REGION, Kind.NOTE, Kind.NUMBER) == [
        (Kind.HEADER, "WEBVTT - made by hand\nKind: captions"),
        (Kind.STYLE, "STYLE\n::cue { color: red }"),
        (Kind.REGION, "REGION\nid:one"),
        (Kind.NOTE, "NOTE\nfor the\ntranslator"),
        (Kind.NUMBER, "intro"),
        (Kind.NOTE, "NOTE one line"),
    ]
    assert found.faults == ()


def test_two_voices_in_one_vtt_cue_are_two_speakers(read):
    found = read(
        "WEBVTT\n\n00:00.000 --> 00:06.000\n"
        "<v Ann>Are you there?</v>\n<v.low Bob Gray>I am here.\n",
        "x.vtt",
    )
    assert spoken(found) == [("Ann", "Are you there?"), ("Bob Gray", "I am here.")]


ROLLING = [  # (times, lines): a scrolling display of two lines
    (
        "00:00:01.000 --> 00:00:03.000",
        " \nred<00:00:01.500><c> apples</c><00:00:02.000><c> grow</c>",
    ),
    ("00:00:03.000 --> 00:00:03.010", "red apples grow\n "),
    ("00:00:03.010 --> 00:00:05.000", "red apples grow\non<00:00:03.500><c> trees</c>"),
    ("00:00:05.000 --> 00:00:05.010", "on trees\n "),
    ("00:00:05.010 --> 00:00:07.000", "on trees\non<00:00:05.500><c> trees</c>"),
    ("00:00:07.000 --> 00:00:07.010", "on trees\n "),
    ("00:00:08.000 --> 00:00:09.000", " \nno"),
]


@pytest.mark.parametrize("suffix", [".vtt", ".srt"])
def test_each_word_of_rolling_captions_is_said_once(read, suffix):
    body = "\n\n".join(f"{when}\n{lines}" for when, lines in ROLLING)
    found = read(
        f"WEBVTT\nKind: captions\n\n{body}\n" if suffix == ".vtt" else f"{body}\n", "x" + suffix
    )
    assert [(c.start_s, c.end_s, c.text) for c in found.cues] == [
        (1.0, 3.0, "red apples grow"),
        (3.01, 5.0, "on trees"),
        (5.01, 7.0, "on trees"),
        (8.0, 9.0, "no"),
    ]
    assert found.faults == ()
    assert len(kinds(found, Kind.REPEAT)) == 5


def test_rolling_captions_without_inline_times_are_known_by_their_short_cues(read):
    body = "\n\n".join(
        f"{when.replace('.', ',')}\n{lines}"
        for when, lines in [
            ("00:00:01.000 --> 00:00:03.000", "red apples grow"),
            ("00:00:03.000 --> 00:00:03.010", "red apples grow"),
            ("00:00:03.010 --> 00:00:05.000", "red apples grow\non trees"),
        ]
    )
    assert [cue.text for cue in read(body).cues] == ["red apples grow", "on trees"]


def test_words_that_are_said_twice_in_ordinary_subtitles_stay(read):
    found = read("1\n00:00:00,000 --> 00:00:01,000\nNo.\n\n2\n00:00:01,000 --> 00:00:02,000\nNo.\n")
    assert words(found) == [("1", "No."), ("2", "No.")]


# --- ASS and SSA --------------------


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("0:00:01.00,0:00:02.00,Sign,,0,0,0,,HARBOUR OFFICE", Kind.SIGN),
        ("0:00:01.00,0:00:02.00,Episode Title,,0,0,0,,HARBOUR OFFICE", Kind.SIGN),
        ("0:00:01.00,0:00:02.00,TS_top,,0,0,0,,HARBOUR OFFICE", Kind.SIGN),
        ("0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\an8\\pos(3,4)}HARBOUR OFFICE", Kind.SIGN),
        ("0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\move(1,2,3,4)}HARBOUR OFFICE", Kind.SIGN),
        ("0:00:01.00,0:00:02.00,Default,,0,0,0,Scroll up;1;2;3,HARBOUR OFFICE", Kind.SIGN),
        ("0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\K50}Oh{\\K50}la", Kind.KARAOKE),
        ("0:00:01.00,0:00:02.00,ED-English,,0,0,0,,Oh la", Kind.KARAOKE),
        ("0:00:01.00,0:00:02.00,Default,,0,0,0,fx,Oh la", Kind.KARAOKE),
        ("0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\p1}m 0 0 l 1 1{\\p0}", Kind.DRAWING),
    ],
)
def test_what_is_only_shown_in_ass_is_named_and_not_spoken(read, event, kind):
    found = read(ass("0:00:00.00,0:00:03.00,Default,Ann,0,0,0,,Look there", event), "x.ass")
    assert spoken(found) == [("Ann", "Look there")]
    assert found.faults == ()
    assert [k for k, _ in kinds(found, Kind.SIGN, Kind.KARAOKE, Kind.DRAWING)] == [kind]


@pytest.mark.parametrize(
    "style", ["Ed", "Edward", "Subtitle", "Option", "Designer", "Default - top"]
)
def test_styles_that_only_resemble_those_of_signs_are_dialogue(read, style):
    found = read(ass(f"0:00:00.00,0:00:03.00,{style},Ann,0,0,0,,{{\\an8}}Look there"), "x.ass")
    assert spoken(found) == [("Ann", "Look there")]


def test_a_setting_makes_a_style_dialogue(read):
    text = ass("0:00:00.00,0:00:03.00,Signs,,0,0,0,,{\\pos(1,2)}It is late")
    unnamed = read(text, "x.ass")
    assert (unnamed.cues, unnamed.faults) == ((), ())
    assert "no dialogue (not spoken: 1 sign); name a style" in unnamed.notices[0].text
    assert words(read(text, "x.ass", styles=["signs"])) == [("1", "It is late")]


def test_the_format_line_of_ass_says_where_the_fields_are(read):
    found = read(
        "[Events]\nFormat: Start, End, Name, Text\n"
        "Dialogue: 0:00:01.00,0:00:02.50,Ann,Well, well, well\n",
        "x.ass",
    )
    assert spoken(found) == [("Ann", "Well, well, well")]
    assert times(found) == [(1.0, 2.5)]


def test_one_bad_event_is_one_fault(read):
    found = read(
        ass(
            "0:00:00.00,0:00:01.00,Default,Ann,0,0,0,,One",
            "soon,0:00:02.00,Default,Ann,0,0,0,,Two",
            "100:00:00.00,100:00:02.00,Default,Ann,0,0,0,,Three",
            "0:00:03.00",
            "0:00:04.00,0:00:05.00,Default,Ann,0,0,0,,Five",
        ),
        "x.ass",
    )
    assert words(found) == [("1", "One"), ("5", "Five")]
    assert [(f.line, f.code, f.file_line) for f in found.faults] == [
        (2, "E-SUB-FORMAT", 7),
        (3, "E-SUB-FORMAT", 8),
        (4, "E-SUB-FORMAT", 9),
    ]
    assert "Two" in found.faults[0].message


def test_ssa_is_read_as_ass(read):
    found = read(
        "[Script Info]\nScriptType: v4.00\n\n[V4 Styles]\nStyle: Default,Arial\n\n[Events]\n"
        "Format: Marked, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        "Dialogue: Marked=0,0:00:01.00,0:00:02.00,*Default,Ann,0000,0000,0000,,Good\\Nmorning\n",
        "x.ssa",
    )
    assert spoken(found) == [("Ann", "Good morning")]


# --- TTML, SBV, MicroDVD --------------------

TTML = """<?xml version="1.0" encoding="UTF-8"?>
<tt xmlns="{ns}" xmlns:ttm="{ns}#metadata" xmlns:ttp="{ns}#parameter" ttp:frameRate="24"
    ttp:frameRateMultiplier="1000 1001" ttp:tickRate="1000">
 <head><metadata><ttm:title>A film</ttm:title>
  <ttm:agent xml:id="a1" type="person"><ttm:name>Ann</ttm:name></ttm:agent></metadata></head>
 <body><!-- checked --><div begin="10s">
{body}
 </div></body></tt>
"""


@pytest.mark.parametrize(
    ("paragraph", "start_s", "end_s", "text"),
    [
        (
            '<p begin="00:00:01.500" end="00:00:02.000">Good <span>old</span><br/>days</p>',
            11.5,
            12,
            "Good old days",
        ),
        ('<p begin="1s" dur="500ms">Fish &amp; chips</p>', 11, 11.5, "Fish & chips"),
        ('<p begin="24f" end="48f">Hi</p>', 10 + 24 * 1.001 / 24, 10 + 48 * 1.001 / 24, "Hi"),
        ('<p begin="00:00:01:12" end="2s">Hi</p>', 11 + 12 * 1.001 / 24, 12, "Hi"),
        ('<p begin="1500t" end="0.05m">Hi</p>', 11.5, 13, "Hi"),
        ('<p begin="00:01.5" end="2">Hi</p>', 11.5, 12, "Hi"),
        ('<p><span begin="1s" end="2s">Hi</span></p>', 11, 12, "Hi"),
    ],
)
def test_times_of_ttml_count_from_the_element_above(read, paragraph, start_s, end_s, text):
    for ns in ("http://www.w3.org/ns/ttml", "http://www.w3.org/2006/10/ttaf1"):
        found = read(TTML.format(ns=ns, body=paragraph), "x.ttml")
        assert found.faults == ()
        ((start, end),) = times(found)
        assert (start, end) == pytest.approx((start_s, end_s))
        assert words(found) == [("1", text)]


def test_elements_in_sequence_begin_where_the_one_before_ends(read):
    found = read(
        "<tt><body timeContainer='seq'><div><p begin='0s' end='2s'>One</p></div>"
        "<div timeContainer='seq'><p dur='1s'>Two</p><p begin='1s' dur='1s'>Three</p></div>"
        "</body></tt>",
        "x.dfxp",
    )
    assert [(*span, text) for span, (_, text) in zip(times(found), words(found), strict=True)] == [
        (0.0, 2.0, "One"),
        (2.0, 3.0, "Two"),
        (4.0, 5.0, "Three"),
    ]


def test_a_ttml_file_names_its_speakers_and_its_bad_paragraphs(read):
    found = read(
        TTML.format(
            ns="http://www.w3.org/ns/ttml",
            body='<p begin="1s" end="2s" ttm:agent="a1">Hello</p>\n'
            '<p begin="soon" end="3s">Lost</p>\n'
            '<p>Timeless</p>\n<p begin="5s" end="6s">Bye</p>',
        ),
        "x.ttml",
    )
    assert spoken(found) == [("Ann", "Hello"), ("", "Bye")]
    assert [(f.line, f.code, f.text) for f in found.faults] == [
        (2, "E-SUB-FORMAT", "Lost"),
        (3, "E-SUB-FORMAT", "Timeless"),
    ]
    assert kinds(found, Kind.COMMENT) == [(Kind.COMMENT, "checked")]


LAUGHS = "".join(f"<!ENTITY b{k} '{f'&b{k - 1};' * 10}'>" for k in range(1, 12))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            f"<!DOCTYPE tt [<!ENTITY b0 'ha'>{LAUGHS}]><tt><body>&b11;</body></tt>",
            "XML entity 'b0'",
        ),
        ("<!DOCTYPE tt [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><tt>&x;</tt>", "XML entity 'x'"),
        ("<!DOCTYPE tt [<!ENTITY % x SYSTEM 'file:///etc/passwd'> %x;]><tt/>", "XML entity 'x'"),
        ("<tt>" + "<div>" * 5000 + "</div>" * 5000 + "</tt>", "levels deep"),
        ("<tt><body><p>never closed", "not well-formed"),
        ("<tt>&undefined;</tt>", "not well-formed"),
    ],
)
def test_hostile_xml_is_one_fault(read, text, says):
    found = read(text, "x.ttml")
    assert found.cues == ()
    assert [(f.line, f.code) for f in found.faults] == [(0, "E-SUB-FORMAT")]
    assert says in found.faults[0].message


def test_sbv_and_subviewer_are_read(read):
    found = read(
        "0:00:01.000,0:00:02.500\nGood\nmorning\n\n0:00:03.000,0:00:04.000\nBye\n", "x.sbv"
    )
    assert (words(found), times(found)) == (
        [("1", "Good morning"), ("2", "Bye")],
        [(1.0, 2.5), (3.0, 4.0)],
    )
    found = read(
        "[INFORMATION]\n[AUTHOR]Someone\n[END INFORMATION]\n[SUBTITLE]\n"
        "00:00:01.00,00:00:02.50\nGood[br]morning\n",
        "x.sub",
    )
    assert words(found) == [("1", "Good morning")]
    assert found.faults == ()


@pytest.mark.parametrize(
    ("first", "fps", "rate"),
    [
        ("{1}{1}25.000\n", 0, 25),
        ("{1}{1}23,976\n", 0, 23.976),
        ("", 30, 30),
        ("{0}{0}50\n", 25, 50),
    ],
)
def test_frames_of_microdvd_count_at_the_stated_rate_or_that_of_the_film(read, first, fps, rate):
    found = read(
        first + "{DEFAULT}{}{C:$FFFFFF}\n{30}{60}{y:i}Good|morning\n{90}{120}/Bye\n",
        "x.sub",
        fps=fps,
    )
    assert words(found) == [("1", "Good morning"), ("2", "Bye")]
    expected = [(30 / rate, 60 / rate), (90 / rate, 120 / rate)]
    assert [t for span in times(found) for t in span] == pytest.approx(
        [t for span in expected for t in span]
    )
    assert len(found.notices) == (1 if fps and first else 0)


def test_pictures_of_words_are_refused_with_that_reason(read):
    (fault,) = read(b"\x00\x00\x01\xba\x44\x00\xff", "x.sub").faults
    assert (fault.code, "pictures of words" in fault.message) == ("E-SUB-FORMAT", True)


def test_microdvd_without_any_rate_is_refused_line_by_line(read):
    found = read("{30}{60}Good morning\n{90}{}Bye\n", "x.sub")
    assert [(f.line, f.code) for f in found.faults] == [(1, "E-SUB-FORMAT"), (2, "E-SUB-FORMAT")]
    assert "frame rate is unknown" in found.faults[0].message
    assert [
        f.line for f in read("{30}{60}Good\nnonsense\n{90}{}Bye\n", "x.sub", fps=25).faults
    ] == [2, 3]


# --- speakers --------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- Who is it?\n- Only me.", [("", "Who is it?"), ("", "Only me.")]),
        ("-Who is it?\n-Only me.", [("", "Who is it?"), ("", "Only me.")]),
        ("– Who is it?\n– Only me.", [("", "Who is it?"), ("", "Only me.")]),
        ("Who is it?\n- Only me.", [("", "Who is it?"), ("", "Only me.")]),
        ("- Who is it? - Only me.", [("", "Who is it?"), ("", "Only me.")]),
        ("- Who is it,\nout there?\n- Only me.", [("", "Who is it, out there?"), ("", "Only me.")]),
        (">> Who is it?\n>> Only me.", [("", "Who is it?"), ("", "Only me.")]),
        ("&gt;&gt; Who is it? &gt;&gt; Only me.", [("", "Who is it?"), ("", "Only me.")]),
        (">> RUTH: Who is it?", [("RUTH", "Who is it?")]),
        ("RUTH: Who is it? OTTO: Only me.", [("RUTH", "Who is it?"), ("OTTO", "Only me.")]),
        ("RUTH: Who is it?\nOTTO: Only me.", [("RUTH", "Who is it?"), ("OTTO", "Only me.")]),
        ("RUTH:\nWho is it?", [("RUTH", "Who is it?")]),
        ("- RUTH: Who is it? - OTTO: Only me.", [("RUTH", "Who is it?"), ("OTTO", "Only me.")]),
        ("- <i>RUTH: Who is it?</i>\n- Only me.", [("RUTH", "Who is it?"), ("", "Only me.")]),
        (">> Ruth: Who is it?\n>> Otto Berg: Me.", [("Ruth", "Who is it?"), ("Otto Berg", "Me.")]),
        ("RUTH: Yes.\nRUTH: Come in.", [("RUTH", "Yes. Come in.")]),
        ("[RUTH] Who is it?", [("RUTH", "Who is it?")]),
        ("[RUTH]\nWho is it?", [("RUTH", "Who is it?")]),
        ("[RUTH] Who is it?\n[OTTO] Me.", [("RUTH", "Who is it?"), ("OTTO", "Me.")]),
        ("RUTH & OTTO: Come in!", [("RUTH", "Come in!"), ("OTTO", "Come in!")]),
        ("RUTH AND OTTO: Come in!", [("RUTH", "Come in!"), ("OTTO", "Come in!")]),
        ("GUARD 2: Halt!", [("GUARD 2", "Halt!")]),
        ("C-3PO: Oh no.", [("C-3PO", "Oh no.")]),
        ("ST. JOHN-SMYTHE: Oh no.", [("ST. JOHN-SMYTHE", "Oh no.")]),
        ("O’HARA: Oh no.", [("O’HARA", "Oh no.")]),
        ("K9: Oh no.", [("K9", "Oh no.")]),
        ("MAN #2: Oh no.", [("MAN #2", "Oh no.")]),
        ("McCOY: Oh no.", [("McCOY", "Oh no.")]),
        ("RUTH's FATHER: Oh no.", [("RUTH's FATHER", "Oh no.")]),
        ("MR. GROß: Ah. MRS. LEE: Oh.", [("MR. GROß", "Ah."), ("MRS. LEE", "Oh.")]),
        ("RUTH:Who is it?", [("RUTH", "Who is it?")]),
        ("RUTH : Who is it?", [("RUTH", "Who is it?")]),
        ("ÅSA: Oh no.", [("ÅSA", "Oh no.")]),
        ("ИРИНА: Oh no.", [("ИРИНА", "Oh no.")]),
        # no speakers
        ("NOTE: bring bread", [("", "NOTE: bring bread")]),
        ("WARNING: thin ice", [("", "WARNING: thin ice")]),
        ("STEP 2: stir it", [("", "STEP 2: stir it")]),
        ("I HAVE ONE QUESTION: WHY?", [("", "I HAVE ONE QUESTION: WHY?")]),
        ("It is 10:30 now", [("", "It is 10:30 now")]),
        ("- Only one speaks here", [("", "Only one speaks here")]),
        ("-5 degrees, and falling", [("", "-5 degrees, and falling")]),
        ("a well\n-known man", [("", "a well -known man")]),
        ("He came – late - but he came", [("", "He came – late - but he came")]),
    ],
)
def test_every_part_of_a_cue_has_its_own_speaker(say, text, expected):
    found = say(text)
    assert spoken(found) == expected
    assert found.faults == ()


def test_parts_share_the_time_by_their_letters_and_have_numbers_of_their_own(say):
    found = say("- Abcd.\n- Abcdefgh.\n- Abcdefghijklm!")
    assert words(found) == [("1", "Abcd."), ("1b", "Abcdefgh."), ("1c", "Abcdefghijklm!")]
    assert [t for span in times(found) for t in span] == pytest.approx(
        [0, 1.6, 1.6, 4.8, 4.8, 10]  # 10 s for 4 + 8 + 13 letters
    )
    (notice,) = found.notices
    assert "3 speakers" in notice.text
    assert "1, 1b, 1c" in notice.text


def test_speakers_that_say_the_same_together_share_the_whole_time(say):
    assert times(say("RUTH & OTTO: Come in!")) == [(0.0, 10.0), (0.0, 10.0)]


def test_a_cue_that_is_too_short_for_its_speakers_is_a_fault_that_names_it(read):
    found = read("1\n00:00:00,000 --> 00:00:00,200\n- Yes!\n- No!\n")
    assert found.cues == ()
    assert [(f.line, f.code, f.text) for f in found.faults] == [(1, "E-SUB-SPEAKERS", "Yes!\nNo!")]


@pytest.mark.parametrize(
    ("text", "speaker"),
    [
        ("RUTH (O.S.): I see.", "RUTH"),
        ("RUTH (V.O.): I see.", "RUTH"),
        ("RUTH [off-screen]: I see.", "RUTH"),
        ("RUTH (ON PHONE): I see.", "RUTH"),
        ("MAN ON RADIO: I see.", "MAN ON RADIO"),
        ("Ruth (O.S.): I see.", "Ruth"),
        ("RUTH (O.S. CONT'D): I see.", "RUTH"),
        ("RUTH (V.O.)\nI see.", "RUTH"),
        ("(O.S.) I see.", ""),
        ("RUTH: (V.O.) I see.", "RUTH"),
        ("[RUTH, O.S.] I see.", "RUTH"),
    ],
)
def test_off_screen_is_a_property_of_the_cue(say, text, speaker):
    (cue,) = say(text).cues
    assert (cue.speaker, cue.text, cue.off_screen) == (speaker, "I see.", True)


@pytest.mark.parametrize(
    "text", ["RUTH: I see.", "RUTH (whispering): I see.", "RUTH: (sighs) I see."]
)
def test_speakers_are_in_the_picture_unless_the_label_says_otherwise(say, text):
    (cue,) = say(text).cues
    assert (cue.speaker, cue.text, cue.off_screen) == ("RUTH", "I see.", False)


def test_a_name_with_its_accents_apart_is_the_same_name(read):
    found = read(
        "1\n00:00:00,000 --> 00:00:01,000\nRENÉE: One\n\n"
        "2\n00:00:01,000 --> 00:00:02,000\nRENE\u0301E: Two\n",
        cast=["Rene\u0301e"],
    )
    assert {cue.speaker for cue in found.cues} == {"Rene\u0301e"}  # as the cast writes it
    assert {cue.text for cue in found.cues} == {"One", "Two"}


@pytest.mark.parametrize(
    ("text", "cast", "expected"),
    [
        ("Note: bring bread", ["Note"], [("Note", "bring bread")]),
        ("Ruth: Yes.\nOtto: No.", ["Ruth", "Otto"], [("Ruth", "Yes."), ("Otto", "No.")]),
        ("Ruth and Otto: Yes.", ["Ruth", "Otto"], [("Ruth", "Yes."), ("Otto", "Yes.")]),
        ("SALT & PEPPER: Yes.", ["Salt & Pepper"], [("Salt & Pepper", "Yes.")]),
        ("[Ruth] Yes.", ["Ruth"], [("Ruth", "Yes.")]),
        ("(Ruth) Yes.", ["Ruth"], [("Ruth", "Yes.")]),
        ("[LAUGHS] Yes.", ["Laughs"], [("Laughs", "Yes.")]),
        ("Q: Yes.", ["Q"], [("Q", "Yes.")]),
    ],
)
def test_the_cast_decides_what_a_name_is(say, text, cast, expected):
    assert spoken(say(text, cast=cast)) == expected


@pytest.mark.parametrize("text", ["- Yes. - No.", "-Yes. -No.", "–Yes. –No.", "-Yes.\n-No."])
def test_dashes_on_one_line_are_two_speakers_with_and_without_a_space(read, text):
    found = read(f"1\n00:00:01,000 --> 00:00:03,000\n{text}\n", "x.srt")
    assert spoken(found) == [("", "Yes."), ("", "No.")]


def test_a_hyphen_in_a_word_or_before_a_number_is_no_speaker(read):
    found = read("1\n00:00:01,000 --> 00:00:03,000\n- Well-known. At -5 degrees.\n", "x.srt")
    assert spoken(found) == [("", "Well-known. At -5 degrees.")]


def test_a_name_field_with_two_names_is_shared_by_two_dashes(read):
    found = read(ass("0:00:00.00,0:00:04.00,Default,RUTH/OTTO,0,0,0,,- Yes.\\N- No."), "x.ass")
    assert spoken(found) == [("RUTH", "Yes."), ("OTTO", "No.")]
    found = read(ass("0:00:00.00,0:00:04.00,Default,RUTH,0,0,0,,- Yes.\\N- No."), "x.ass")
    assert spoken(found) == [("RUTH", "Yes."), ("", "No.")]


def test_a_field_with_two_names_and_no_dash_is_said_by_both(read):
    found = read("WEBVTT\n\n00:00.000 --> 00:01.000\n<v Ann & Bob>Come in!\n", "x.vtt")
    assert spoken(found) == [("Ann", "Come in!"), ("Bob", "Come in!")]


def test_the_table_of_speakers_wins_and_lets_two_cues_overlap(read):
    text = (
        "1\n00:00:00,000 --> 00:00:03,000\nWhere to?\n\n2\n00:00:02,000 --> 00:00:05,000\nHome.\n"
    )
    assert [f.code for f in read(text).faults] == ["E-SUB-OVERLAP"]
    found = read(text, speakers={"1": "Ruth", "2": "Otto"})
    assert (spoken(found), times(found)) == (
        [("Ruth", "Where to?"), ("Otto", "Home.")],
        [(0.0, 3.0), (2.0, 5.0)],
    )


# --- what is not spoken --------------------


@pytest.mark.parametrize(
    ("text", "kind", "taken", "left"),
    [
        ("[GLASS BREAKS]", Kind.SOUND, ["[GLASS BREAKS]"], []),
        ("[GLASS BREAKS\nIN THE DISTANCE]", Kind.SOUND, ["[GLASS BREAKS\nIN THE DISTANCE]"], []),
        ("[GLASS BREAKS] Who is it?", Kind.SOUND, ["[GLASS BREAKS]"], ["Who is it?"]),
        ("Who is it? [knocking] Well?", Kind.SOUND, ["[knocking]"], ["Who is it? Well?"]),
        ("(coughs) Well.", Kind.SOUND, ["(coughs)"], ["Well."]),
        ("(DOG BARKING)", Kind.SOUND, ["(DOG BARKING)"], []),
        ("- [GLASS BREAKS]\n- Who is it?", Kind.SOUND, ["[GLASS BREAKS]"], ["Who is it?"]),
        ("*coughs* Well.", Kind.SOUND, ["*coughs*"], ["Well."]),
        ("♪ Row, row, row ♪", Kind.LYRICS, ["♪ Row, row, row ♪"], []),
        ("♪ Row, row,\nrow your boat ♪", Kind.LYRICS, ["♪ Row, row,\nrow your boat ♪"], []),
        ("♪♪", Kind.LYRICS, ["♪♪"], []),
        ("[♪♪♪]", Kind.LYRICS, ["[♪♪♪]"], []),
        ("“♪ Row, row ♪.”", Kind.LYRICS, ["♪ Row, row ♪"], []),
        ("[[GLASS BREAKS]]", Kind.SOUND, ["[[GLASS BREAKS]]"], []),
        ("Well (CHUCKLES) come in", Kind.SOUND, ["(CHUCKLES)"], ["Well come in"]),
        ("Ask the Bureau (FBI).", Kind.SOUND, [], ["Ask the Bureau (FBI)."]),
        ("♫ Row, row, row", Kind.LYRICS, ["♫ Row, row, row"], []),
        ("Row, row, row ♪", Kind.LYRICS, ["Row, row, row ♪"], []),
        ("# Row, row, row #", Kind.LYRICS, ["# Row, row, row #"], []),
        ("♪ Row, row ♪\n- Be quiet!", Kind.LYRICS, ["♪ Row, row ♪"], ["Be quiet!"]),
        ("- ♪ Row, row\n- Be quiet!", Kind.LYRICS, ["♪ Row, row"], ["Be quiet!"]),
        ("RUTH: ♪ Row, row ♪", Kind.LYRICS, ["♪ Row, row ♪"], []),
        ("He was late (as usual).", Kind.SOUND, [], ["He was late (as usual)."]),
        ("(I was there.)", Kind.SOUND, [], ["(I was there.)"]),
        ("We are # 1", Kind.LYRICS, [], ["We are # 1"]),
        ("He said *no* twice * three", Kind.SOUND, [], ["He said *no* twice * three"]),
    ],
)
def test_sounds_and_lyrics_are_kinds_of_their_own(say, text, kind, taken, left):
    found = say(text)
    assert [text for _, text in kinds(found, Kind.SOUND, Kind.LYRICS)] == taken
    assert all(k == kind for k, _ in kinds(found, Kind.SOUND, Kind.LYRICS))
    assert [cue.text for cue in found.cues] == left
    assert found.faults == ()


def test_a_label_without_words_is_no_cue(say):
    found = say("RUTH:")
    assert [(f.line, f.code) for f in found.faults] == [(1, "E-SUB-EMPTY")]
    assert kinds(found, Kind.LABEL) == [(Kind.LABEL, "RUTH:")]


# --- two cues --------------------


def pair(first, second, when="00:00:02,000 --> 00:00:05,000"):
    return f"1\n00:00:00,000 --> 00:00:03,000\n{first}\n\n2\n{when}\n{second}\n"


@pytest.mark.parametrize(
    ("first", "second", "codes"),
    [
        ("RUTH: One", "OTTO: Two", []),
        ("RUTH: One", "RUTH: Two", [(2, "E-SUB-OVERLAP")]),
        ("RUTH: One", "Two", [(2, "E-SUB-OVERLAP")]),
        ("One", "OTTO: Two", [(2, "E-SUB-OVERLAP")]),
        ("One", "Two", [(2, "E-SUB-OVERLAP")]),
    ],
)
def test_only_two_known_speakers_may_talk_at_the_same_time(read, first, second, codes):
    found = read(pair(first, second))
    assert [(f.line, f.code) for f in found.faults] == codes
    assert len(found.cues) == 2 - len(codes)


def test_a_third_speaker_is_compared_with_all_and_not_only_with_the_last(read):
    found = read(
        pair("RUTH: One", "OTTO: Two") + "\n3\n00:00:02,500 --> 00:00:04,000\nRUTH: Three\n"
    )
    assert [(f.line, f.code) for f in found.faults] == [(3, "E-SUB-OVERLAP")]


def test_the_same_cue_twice_is_a_named_repeat(read):
    found = read(pair("RUTH: One", "RUTH: One", "00:00:00,000 --> 00:00:03,000"))
    assert words(found) == [("1", "One")]
    assert [(o.line, o.cue, o.kind, o.text) for o in found.others if o.kind == Kind.REPEAT] == [
        (7, 2, Kind.REPEAT, "One")
    ]
    assert found.faults == ()
    both = read(pair("RUTH: One", "OTTO: One", "00:00:00,000 --> 00:00:03,000"))
    assert spoken(both) == [("RUTH", "One"), ("OTTO", "One")]


@pytest.mark.parametrize(
    ("end", "text", "noticed"),
    [
        ("00,080", "Seven words do not fit in here", True),
        ("01,000", "Yes", False),
        ("02,000", "Seven words do fit in here", False),
        ("00,100", "Never", True),
        ("16,000", "Yes", False),
    ],
)
def test_a_time_that_is_too_short_for_the_words_is_noticed(read, end, text, noticed):
    found = read(f"1\n00:00:00,000 --> 00:00:{end}\n{text}\n")
    assert words(found) == [("1", text)]
    assert [n.cue for n in found.notices] == ([1] if noticed else [])


LONG = 300_000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.ass", HEAD + "[" + "a" * LONG),
        ("x.ass", ass("0:00:00.00,0:00:01.00,Default,,0,0,0,," + "{" * LONG)),
        ("x.srt", "1\n00:00:00,000 --> 00:00:09,000\n" + "<a" * LONG),
        ("x.srt", "1\n00:00:00,000 --> 00:00:09,000\n" + "[(♪ " * 4_000),
        ("x.srt", "1\n00:00:00,000 --> 00:00:09,000\n" + "ANN: b. - " * 1_900),
        ("x.srt", "1:" * LONG + " --> 00:00:01,000"),
        ("x.sub", "{" * LONG),
        ("x.ttml", "<tt " + "a" * LONG),
    ],
)
def test_long_lines_of_unclosed_marks_are_read_in_one_pass(read, name, text):
    found = read(text, name)  # a search that begins again at every mark would take hours
    assert found.cues == ()
    assert found.faults or found.others


def test_what_could_be_a_name_in_small_letters_is_noted_once(tmp_path):
    """It is read as words, as before; who meant a speaker is told what to do."""
    path = tmp_path / "a.srt"
    path.write_text(
        "1\n00:00:00,000 --> 00:00:01,000\nRuby: Hi.\n\n"
        "2\n00:00:01,000 --> 00:00:02,000\nRuby: Hello.\n\n"
        "3\n00:00:02,000 --> 00:00:03,000\nOne more thing: stay.\n\n"
        "4\n00:00:03,000 --> 00:00:04,000\nANN: Yes.\n\n"
        "5\n00:00:04,000 --> 00:00:05,000\nNote: bring bread.\n"
    )
    read = read_subtitles(path, source="a.mp4")
    assert [cue.text for cue in read.cues][:2] == ["Ruby: Hi.", "Ruby: Hello."]
    notes = [notice.text for notice in read.notices if "read as words" in notice.text]
    assert notes == [
        "line 1: 'Ruby:' is read as words; if it names a speaker, add it to cast.csv or write it "
        "in capitals"
    ]
    known = read_subtitles(path, source="a.mp4", cast=["Ruby"])
    assert not [notice for notice in known.notices if "read as words" in notice.text]
