"""Subtitle tracks inside a media file, as muxers write them."""

import contextlib
from fractions import Fraction

import av
import pytest
from av.stream import Disposition

from redub.core.errors import ClipError
from redub.footage.child import DecoderChild
from redub.footage.folder import FolderRules, read_source
from redub.footage.tables import Tables

from .media import make, steady

MS = Fraction(1, 1000)
CUES = [(200, 800, "ANNA: Where were you?"), (1000, 1600, "BEN: At the harbour.")]


@pytest.fixture(scope="module")
def decoder():
    with DecoderChild() as child:
        yield child


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make(tmp_path_factory.mktemp("media") / "film.mp4", steady(50))


def packet_of(text, codec, number):
    if codec == "mov_text":
        return len(text.encode()).to_bytes(2, "big") + text.encode()
    if codec == "ass":
        return f"{number},0,Default,,0,0,0,,{text}".encode()
    return text.encode()


ASS_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname\n"
    b"Style: Default,Arial\n\n[Events]\n"
    b"Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)


def with_tracks(film, target, *tracks, shift_ms=0):
    """The film with subtitle tracks: (codec, language, cues, title, disposition)."""
    with av.open(str(film)) as given, av.open(str(target), "w") as made:
        copied = {s.index: made.add_stream_from_template(s) for s in given.streams}
        texts = []
        for codec, language, cues, *more in tracks:
            stream = made.add_stream(codec)
            stream.codec_context.time_base = MS
            stream.codec_context.subtitle_header = ASS_HEADER
            stream.metadata["language"] = language
            if more and more[0]:
                stream.metadata["title"] = more[0]
            stream.disposition = more[1] if len(more) > 1 else Disposition(0)
            texts.append((stream, codec, cues))
        packets = []
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = copied[packet.stream.index]
                packets.append((float(packet.dts * packet.time_base), packet))
        for stream, codec, cues in texts:
            for number, (start, end, text) in enumerate(cues):
                packet = av.Packet(packet_of(text, codec, number))
                packet.stream, packet.time_base = stream, MS
                packet.pts = packet.dts = start + shift_ms
                packet.duration = end - start
                packets.append(((start + shift_ms) / 1000, packet))
        for _, packet in sorted(packets, key=lambda pair: pair[0]):
            made.mux(packet)
    return target


def read(path, decoder, **rules):
    rules = FolderRules(**rules)
    return read_source(path.parent, path.name, Tables(), decoder=decoder, rules=rules)


def said(found):
    return [(c.start_frame, c.end_frame, c.speaker, c.text) for c in found.clips]


SPOKEN = [(5, 20, "ANNA", "Where were you?"), (25, 40, "BEN", "At the harbour.")]


@pytest.mark.parametrize(
    ("codec", "name"),
    [("subrip", "a.mkv"), ("mov_text", "a.mp4"), ("ass", "a.mkv"), ("webvtt", "a.mkv")],
)
def test_a_text_track_gives_the_utterances(film, tmp_path, decoder, codec, name):
    path = with_tracks(film, tmp_path / name, (codec, "eng", CUES))
    found = read(path, decoder)
    assert found.faults == ()
    assert said(found) == SPOKEN
    assert codec in found.subtitles
    assert "eng" in found.subtitles


def test_a_file_beside_the_film_wins_over_a_track(film, tmp_path, decoder):
    path = with_tracks(film, tmp_path / "a.mkv", ("subrip", "eng", CUES))
    (tmp_path / "a.srt").write_text("1\n00:00:00,200 --> 00:00:00,800\nAnother line.\n")
    assert [c.text for c in read(path, decoder).clips] == ["Another line."]


def test_the_language_and_the_marks_of_tracks_decide(film, tmp_path, decoder):
    def told(words):
        return [(200, 800, words)]

    path = with_tracks(
        film,
        tmp_path / "a.mkv",
        ("subrip", "ger", told("Deutsch.")),
        ("subrip", "eng", told("Foreign parts."), "", Disposition.forced),
        ("subrip", "eng", told("With sounds."), "English SDH"),
        ("subrip", "eng", told("Plain."), "English"),
        ("subrip", "eng", told("Talk about it."), "Commentary"),
    )
    english = read(path, decoder)
    assert [c.text for c in english.clips] == ["Plain."]
    assert len(english.notices) == 4
    german = read(path, decoder, subtitles_language="German")
    assert [c.text for c in german.clips] == ["Deutsch."]
    french = read(path, decoder, subtitles_language="fr")
    assert [c.text for c in french.clips] == [""]
    assert sum("wanted fr" in notice.text for notice in french.notices) == 3


def test_tracks_in_several_languages_without_english_are_a_fault(film, tmp_path, decoder):
    path = with_tracks(film, tmp_path / "a.mkv", ("subrip", "ger", CUES), ("subrip", "fre", CUES))
    (fault,) = read(path, decoder).faults
    assert (fault.code, "de, fr" in fault.message) == ("E-SUB-CHOICE", True)


def test_times_of_a_track_count_from_the_beginning_of_the_film(film, tmp_path, decoder):
    late = make(tmp_path / "late.mkv", steady(50, start=10))
    path = with_tracks(late, tmp_path / "a.mkv", ("subrip", "eng", CUES), shift_ms=10_000)
    assert said(read(path, decoder)) == SPOKEN


def test_a_cue_without_a_length_ends_at_the_next_one(film, tmp_path, decoder):
    cues = [(start, start, text) for start, _, text in CUES]
    path = with_tracks(film, tmp_path / "a.mkv", ("subrip", "eng", cues))
    first, second = read(path, decoder).clips
    assert first.end_frame == 25
    assert second.start_frame == 25


def test_words_of_a_track_are_never_lost(film, tmp_path, decoder):
    cues = [(200, 900, "One,\n\ntwo, <i>four</i> & five"), (1000, 1600, "1984")]
    path = with_tracks(film, tmp_path / "a.mkv", ("subrip", "eng", cues))
    assert [c.text for c in read(path, decoder).clips] == [
        "One, two, four & five",
        "1984",
    ]


def test_a_film_without_tracks_is_one_utterance(film, decoder):
    found = read(film, decoder)
    assert (said(found), found.subtitles) == ([(0, 50, "", "")], "")


def test_a_damaged_film_is_a_fault_and_no_crash(film, tmp_path, decoder):
    path = with_tracks(film, tmp_path / "a.mkv", ("subrip", "eng", CUES))
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 400] = bytes(400)
    path.write_bytes(content)
    with contextlib.suppress(ClipError):
        assert decoder.subtitles(path).track in ("", "subtitle track 1 (subrip, eng)")
    assert said(read(film, decoder)) == [(0, 50, "", "")]
