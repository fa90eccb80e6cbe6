"""The law of subtitles: no character of a file is lost, and nothing is said that is not dialogue.

Files are generated with unique words, and the generator knows where each word belongs: in which
cue, in which fault, or in which kind of text that is not spoken.
"""

from __future__ import annotations

import html
import itertools
import unicodedata
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field

import pysubs2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redub.footage.subtitles import Kind, read_subtitles

FORMATS = ("srt", "srt without index lines", "vtt", "ass", "ttml", "sbv", "microdvd")
SUFFIX = {"srt without index lines": "srt", "microdvd": "sub"}
HTML = ("srt", "srt without index lines", "vtt")
FPS = 25
ACCENTS = ("", "", "", "é", "e\u0301", "ß", "я", "名", "ِ")


@dataclass
class Plan:
    """A file as text, and where each of its words belongs: word → (kind of place, cue)."""

    text: str = ""
    places: dict[str, tuple[str, int]] = field(default_factory=dict)
    spoken: list[tuple[int, str, str]] = field(default_factory=list)  # cue, speaker, text


class Author:
    """Writes one file from the choices of hypothesis."""

    def __init__(self, draw, name, plain):
        self.draw, self.name, self.plain, self.plan = draw, name, plain, Plan()
        self.numbers = itertools.count()

    def flip(self, share=3):
        return self.draw(st.integers(0, share)) == 0

    def words(self, place, cue, count=None):
        """New words that belong to a place; letters that form no name, sound or style."""
        new = []
        for _ in range(count or self.draw(st.integers(1, 3))):
            number = next(self.numbers)
            letters = "".join(chr(ord("b") + int(digit)) for digit in str(number))
            new.append(f"q{letters}{self.draw(st.sampled_from(ACCENTS))}x")
            self.plan.places[unicodedata.normalize("NFC", new[-1])] = (place, cue)
        return " ".join(new)

    def say(self, cue, speaker, words):
        self.plan.spoken.append((cue, speaker, unicodedata.normalize("NFC", words)))

    def marked(self, words):
        """The words in the markup of the format, as some programs write it."""
        if not self.flip() or self.name == "sbv":
            return words
        if self.name in HTML:
            return f"<i>{words}</i>"
        return {
            "ass": f"{{\\i1}}{words}{{\\i0}}",
            "ttml": f"<span>{words}</span>",
            "microdvd": f"{{y:i}}{words}",
        }[self.name]

    def content(self, cue, is_good):
        """Lines of the text of one cue; ``is_good``: the cue can be used."""
        if not is_good:
            return [self.words("fault", cue) for _ in range(self.draw(st.integers(1, 2)))]
        kind = "words" if self.plain else self.draw(st.sampled_from(CONTENTS))
        if kind == "dashes":
            parts = [self.words("cue", cue) for _ in range(2)]
            for part in parts:
                self.say(cue, "", part)
            return [f"- {self.marked(part)}" for part in parts]
        if kind == "label":
            words = self.words("cue", cue)
            self.say(cue, "RUTH", words)
            return [f"RUTH: {self.marked(words)}"]
        if kind in (Kind.SOUND, Kind.LYRICS):
            words = self.words(kind, cue)
            around = ("[", "]") if kind == Kind.SOUND else ("♪ ", " ♪")
            lines = [around[0] + words + around[1]]
            if self.flip(1):
                said = self.words("cue", cue)
                self.say(cue, "", said)
                lines.append(said)
            return lines
        lines = [self.words("cue", cue) for _ in range(self.draw(st.integers(1, 3)))]
        if kind == "sign of reference" and self.name not in ("sbv", "ass", "microdvd"):
            written = [f"{lines[0]} &amp; {lines[0].split()[0]}", *lines[1:]]
            self.say(cue, "", " ".join([html.unescape(written[0]), *lines[1:]]))
            return written
        self.say(cue, "", " ".join(lines))
        if kind == "blank line inside" and self.name in (*HTML, "sbv"):
            lines[1:1] = [""]
        return [self.marked(line) if line else line for line in lines]


CONTENTS = (
    *("words", "words", "dashes", "label", "sign of reference", "blank line inside"),
    *(Kind.SOUND, Kind.LYRICS),
)
BLOCKS = {
    "vtt": (Kind.NOTE, Kind.STYLE, Kind.REGION),
    "ass": (Kind.COMMENT, Kind.SIGN, Kind.KARAOKE, Kind.DRAWING, "style", "attachment"),
    "ttml": (Kind.COMMENT, Kind.HEADER),
}


def stamp(name, ms):
    hours, rest = divmod(ms, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    whole, ms = divmod(rest, 1000)
    if name == "ass":
        return f"{hours}:{minutes:02}:{whole:02}.{ms // 10:02}"
    mark = "," if name.startswith("srt") else "."
    return f"{hours:02}:{minutes:02}:{whole:02}{mark}{ms:03}"


def cue_text(author, index, start, end, lines, fault):
    """The text of one cue; ``fault`` spoils its times."""
    name = author.name
    if fault == "reversed":
        start, end = end, start
    if name == "microdvd":
        frames = f"{{{start * FPS // 1000}}}{{{end * FPS // 1000}}}"
        return ("{12}" if fault == "unreadable" else frames) + "|".join(lines)
    first = "1x:00:99" if fault == "unreadable" else stamp(name, start)
    last = stamp(name, end)
    if name == "ass":
        words = "\\N".join(lines)
        return f"Dialogue: 0,{first},{last},Default,,0,0,0,,{words}"
    if name == "ttml":
        return f'<p begin="{first}" end="{last}">{"<br/>".join(lines)}</p>'
    if name == "sbv":
        return "\n".join([f"{first},{last}", *lines, ""])
    rows = [f"{first} --> {last}", *lines, ""]
    return "\n".join([str(index), *rows] if name == "srt" else rows)


def block_text(author, kind):
    """Text that is not dialogue and stands between the cues."""
    words = author.words(str(kind), 0)
    event = "0:00:00.00,0:00:09.00"
    return {
        ("vtt", Kind.NOTE): f"NOTE {words}\n",
        ("vtt", Kind.STYLE): f"STYLE\n{words}\n",
        ("vtt", Kind.REGION): f"REGION\n{words}\n",
        ("ass", Kind.COMMENT): f"Comment: 0,{event},Default,,0,0,0,,{words}",
        ("ass", Kind.SIGN): f"Dialogue: 0,{event},Signs,,0,0,0,,{words}",
        ("ass", Kind.KARAOKE): f"Dialogue: 0,{event},Default,,0,0,0,,{{\\k20}}{words}",
        ("ass", Kind.DRAWING): f"Dialogue: 0,{event},Default,,0,0,0,,{{\\p1}}{words}{{\\p0}}",
        ("ass", "style"): f"Style: {words}",
        ("ass", "attachment"): f"[Fonts]\nfontname: {words}\n[Events]",
        ("ttml", Kind.COMMENT): f"<!-- {words} -->",
        ("ttml", Kind.HEADER): f"<metadata>{words}</metadata>",
    }[author.name, kind]


@st.composite
def files(draw, name, *, plain=False):
    """A file of one format; ``plain``: only words, as every reader must understand them."""
    author = Author(draw, name, plain)
    parts, index, at_ms = [], 0, draw(st.integers(0, 100)) * 40
    count = draw(st.integers(1, 6))
    for place in range(count):
        is_last = place == count - 1 and not index  # a file without a cue is refused
        if not plain and name in BLOCKS and not is_last and author.flip():
            kind = draw(st.sampled_from(BLOCKS[name]))
            parts.append(block_text(author, kind))
            index += name == "ass" and parts[-1].startswith("Dialogue")
            continue
        index += 1
        fault = ""
        if not plain and author.flip(5) and not (name == "sbv" and index == 1):
            fault = draw(st.sampled_from(["reversed", "unreadable"]))
            fault = "reversed" if name == "sbv" else fault
        length = draw(st.integers(50, 100)) * 40
        lines = author.content(index, not fault)
        parts.append(cue_text(author, index, at_ms, at_ms + length, lines, fault))
        at_ms += length + draw(st.integers(1, 50)) * 40
    head, tail = {
        "vtt": ("WEBVTT\n\n", ""),
        "ass": ("[Script Info]\nTitle: x\n\n[Events]\n" + EVENT_FIELDS, ""),
        "ttml": ('<tt xmlns="http://www.w3.org/ns/ttml"><body><div>\n', "\n</div></body></tt>"),
        "microdvd": (f"{{1}}{{1}}{FPS}\n", ""),
    }.get(name, ("", ""))
    author.plan.text = head + "\n".join(parts) + tail
    return author.plan


EVENT_FIELDS = "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"


def read(folder, name, text):
    path = folder / f"x.{SUFFIX.get(name, name)}"
    path.write_text(text, encoding="utf-8")
    return read_subtitles(path)


def visible(text):
    return Counter(
        c for c in text if not c.isspace() and unicodedata.category(c) not in ("Cc", "Cf")
    )


def characters_of(name, text):
    """The visible characters of a file, counted without the reader."""
    if name != "ttml":
        return visible(unicodedata.normalize("NFC", html.unescape(text)))
    tree = ET.XML(text, ET.XMLParser(target=ET.TreeBuilder(insert_comments=True)))
    return visible(unicodedata.normalize("NFC", "".join(tree.itertext())))  # with comments


def check_law(name, plan, found):
    kept = Counter()
    for text in [
        *(cue.text for cue in found.cues),
        *(fault.text for fault in found.faults),
        *(html.unescape(other.text) for other in found.others),
    ]:
        kept += visible(html.unescape(text))
    assert kept == characters_of(name, plan.text)


def check_places(plan, found):
    rows = [unicodedata.normalize("NFC", row) for row in plan.text.split("\n")]
    line_of = {word: k for k, row in enumerate(rows, 1) for word in plan.places if word in row}
    for word, (place, number) in plan.places.items():
        in_cues = {cue.index for cue in found.cues if word in cue.text.split()}
        in_faults = {fault.line for fault in found.faults if word in fault.text}
        in_kinds = {
            str(other.kind)
            for other in found.others
            if word in other.text
            and other.line <= line_of[word] <= other.line + other.text.count("\n")
        }
        assert (in_cues, in_faults, in_kinds) == (
            {number} if place == "cue" else set(),
            {number} if place == "fault" else set(),
            {str(place)} if place not in ("cue", "fault") else set(),
        )
    assert [(cue.index, cue.speaker, cue.text) for cue in found.cues] == plan.spoken
    for fault in found.faults:
        assert fault.file_line > 0
        assert f"line {fault.file_line}" in fault.message


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("law")


def obeys_the_law(name, folder, data):
    plan = data.draw(files(name))
    found = read(folder, name, plan.text)
    check_law(name, plan, found)
    check_places(plan, found)


def agrees_with_pysubs2(name, folder, data):
    plan = data.draw(files(name, plain=True))
    text = unicodedata.normalize("NFC", plan.text)
    options = {"fps": None} if name == "microdvd" else {}
    theirs = pysubs2.SSAFile.from_string(text, format_=name.split()[0], **options)
    ours = read(folder, name, plan.text)
    assert ours.faults == ()
    assert [
        (round(cue.start_s * 1000), round(cue.end_s * 1000), cue.text) for cue in ours.cues
    ] == [(event.start, event.end, " ".join(event.plaintext.split())) for event in theirs]


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60)
@given(data=st.data())
def test_every_character_is_in_a_cue_in_a_fault_or_in_a_named_kind(name, folder, data):
    obeys_the_law(name, folder, data)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=2000)
@given(data=st.data())
def test_two_thousand_files_of_every_format_lose_no_character(name, folder, data):
    obeys_the_law(name, folder, data)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "sbv"])
@settings(max_examples=40)
@given(data=st.data())
def test_plain_files_are_read_as_pysubs2_reads_them(name, folder, data):
    agrees_with_pysubs2(name, folder, data)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "sbv"])
@settings(max_examples=2000)
@given(data=st.data())
def test_two_thousand_plain_files_are_read_as_pysubs2_reads_them(name, folder, data):
    agrees_with_pysubs2(name, folder, data)


@pytest.mark.parametrize("name", ["x.srt", "x.vtt", "x.ass", "x.sbv", "x.sub"])
@settings(max_examples=100)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=30),
            st.sampled_from(
                [
                    *("1", "2", "", " ", "-", "00:00:01,000 --> 00:00:02,000", "WEBVTT", "NOTE x"),
                    *("0:00:01.000,0:00:02.000", "{10}{20}a|b", "{1}{1}25", "[Events]", "[a]"),
                    *("Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,a", "♪", "A: b", "- c"),
                    *(
                        "RUTH: ♪ a",
                        "<i>",
                        "<v Ann>b",
                        "{\\p1}",
                        "&amp;",
                        "--> 00:00:03,000",
                        "a --> b",
                    ),
                ]
            ),
        ),
        max_size=12,
    )
)
def test_no_character_of_any_text_is_lost(name, folder, rows):
    path = folder / name
    path.write_text("\n".join(rows), encoding="utf-8", newline="")
    found = read_subtitles(path)
    if any(fault.code.startswith(("E-IN", "E-SUB-ENCODING")) for fault in found.faults):
        return
    kept = Counter()
    for text in [
        *(cue.text for cue in found.cues),
        *(fault.text for fault in found.faults),
        *(other.text for other in found.others),
    ]:
        kept += visible(text)
    text = unicodedata.normalize("NFC", "\n".join(rows))
    assert not visible(text) - kept - visible("&amp;" * text.count("&amp;"))
