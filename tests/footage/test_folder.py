"""A folder becomes clips and faults: who gets which line, name, scene, split and place."""

from __future__ import annotations

import hashlib
import os
import random
import string
from dataclasses import asdict

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.core.errors import ConfigError
from redub.core.types import Clip
from redub.footage.child import DecoderChild
from redub.footage.folder import (
    FolderRules,
    clip_id_of,
    film_of,
    read_folder,
    read_source,
    read_tables,
    scene_of,
)
from redub.footage.limits import DecodeLimits
from redub.footage.listing import list_files, list_sources
from redub.footage.subtitles.places import positions
from redub.footage.tables import TABLE_NAMES
from redub.pipeline.store.tables import clips_of, through_scenes

from .media import make, steady

LINES = """1
00:00:00,200 --> 00:00:00,800
ANNA: Where were you?

2
00:00:01,000 --> 00:00:01,500
BEN: At the harbour.

3
00:00:01,200 --> 00:00:01,900
Both at once.
"""


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make(tmp_path_factory.mktemp("media") / "film.mp4", steady(50), sound="aac").read_bytes()


@pytest.fixture(scope="module")
def decoder():
    with DecoderChild() as child:
        yield child


@pytest.fixture
def root(tmp_path, film):
    folder = tmp_path / "footage"
    (folder / "Moonfleet").mkdir(parents=True)
    (folder / "Moonfleet" / "harbour.mp4").write_bytes(film)
    (folder / "Moonfleet" / "harbour.srt").write_text(LINES)
    (folder / "trailer.mp4").write_bytes(film)
    return folder


def read(root, decoder, **settings):
    found = list(read_folder(root, decoder=decoder, **settings))
    return [c for s in found for c in s.clips], [f for s in found for f in s.faults]


def test_cues_become_clips_and_a_file_without_subtitles_is_one(root, decoder, film):
    clips, faults = read(root, decoder)
    digest = hashlib.sha256(film).hexdigest()
    common = {"source_digest": digest, "decoder": "decord"}
    assert clips == [
        Clip(
            clip_id="Moonfleet~harbour-0001",
            source="Moonfleet/harbour.mp4",
            start_frame=5,
            end_frame=20,
            film="Moonfleet",
            scene="harbour",
            position=1,
            speaker="ANNA",
            text="Where were you?",
            **common,
        ),
        Clip(
            clip_id="Moonfleet~harbour-0002",
            source="Moonfleet/harbour.mp4",
            start_frame=25,
            end_frame=38,
            film="Moonfleet",
            scene="harbour",
            position=2,
            speaker="BEN",
            text="At the harbour.",
            **common,
        ),
        Clip(
            clip_id="trailer-0001",
            source="trailer.mp4",
            start_frame=0,
            end_frame=50,
            film="footage",
            scene="trailer",
            position=1,
            **common,
        ),
    ]
    assert [(f.clip_id, f.line, f.code) for f in faults] == [
        ("Moonfleet~harbour-0003", 3, "E-SUB-OVERLAP")
    ]


def test_one_source_alone_gives_what_it_gives_in_the_folder(root, decoder):
    together = {s.source: s for s in read_folder(root, decoder=decoder)}
    tables = read_tables(root)
    for source in reversed(list_sources(root)):
        assert read_source(root, source, tables, decoder=decoder) == together[source]
    assert together["trailer.mp4"].info.frames == 50


def test_tables_add_what_subtitles_cannot_say(root, decoder):
    (root / "cast.csv").write_text("name,rights,note\nAnna,mine,\nBen,licensed 2026,x\nCleo,,\n")
    (root / "emotions.csv").write_text("source,line,emotion\nMoonfleet/harbour.mp4,1,angry\n")
    (root / "scenes.csv").write_text("source,line,scene\nMoonfleet/harbour.mp4,2,night\n")
    (root / "speakers.csv").write_text("source,line,speaker\ntrailer.mp4,,Cleo\n")
    (root / "splits.csv").write_text("source,scene,split\n,night,test\ntrailer.mp4,,none\n")
    clips, _ = read(root, decoder)
    found = [(c.speaker, c.rights, c.emotion, c.scene, c.split, c.position) for c in clips]
    assert found == [
        ("Anna", "mine", "angry", "harbour", "train", 1),
        ("Ben", "licensed 2026", "", "night", "test", 1),
        ("Cleo", "", "", "trailer", "none", 1),
    ]


def test_the_language_is_that_of_the_table_else_of_the_subtitles_else_of_the_settings(
    root, decoder
):
    def languages(**settings):
        clips, _ = read(root, decoder, rules=FolderRules(**settings))
        return [c.language for c in clips]

    assert languages() == ["en", "en", "en"]
    assert languages(language="en-GB") == ["en-GB"] * 3
    harbour = root / "Moonfleet" / "harbour.srt"
    harbour.rename(harbour.with_name("harbour.de.srt"))
    assert languages() == ["de", "de", "en"]
    (root / "languages.csv").write_text("source,line,language\nMoonfleet/harbour.mp4,2,fr\n")
    assert languages(language="de-AT") == ["de-AT", "fr", "de-AT"]


def test_a_language_that_is_no_tag_is_a_mistake_of_the_table(root, decoder):
    (root / "languages.csv").write_text("source,line,language\ntrailer.mp4,,German!\n")
    with pytest.raises(ConfigError, match=r"languages\.csv line 2 has the language 'German!'"):
        read(root, decoder)


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_a_table_that_links_out_of_the_folder_is_refused_and_not_quoted(
    root, decoder, tmp_path, name
):
    (tmp_path / "secret").write_text("password: harbour\n")
    (root / name).symlink_to(tmp_path / "secret")
    with pytest.raises(ConfigError, match="outside the footage folder") as refused:
        read(root, decoder)
    assert name in refused.value.message
    assert "password" not in refused.value.message
    (root / name).unlink()
    (root / name).symlink_to("nowhere.csv")
    with pytest.raises(ConfigError, match="link without a target"):
        read(root, decoder)


def test_with_a_cast_everybody_else_is_refused(root, decoder):
    (root / "cast.csv").write_text("name\nAnna\n")
    clips, faults = read(root, decoder)
    assert [clip.clip_id for clip in clips] == ["Moonfleet~harbour-0001"]
    refused = {fault.clip_id: fault for fault in faults if fault.code == "E-IN-CAST"}
    assert set(refused) == {"Moonfleet~harbour-0002", "trailer-0001"}
    assert "'BEN' is not in cast.csv (known: Anna)" in refused["Moonfleet~harbour-0002"].message
    assert "has no speaker" in refused["trailer-0001"].message


def test_a_row_about_a_line_that_is_not_there_is_a_fault(root, decoder):
    (root / "emotions.csv").write_text(
        "source,line,emotion\nMoonfleet/harbour.mp4,3,sad\nMoonfleet/harbour.mp4,9,sad\n"
    )
    _, faults = read(root, decoder)
    (fault,) = [fault for fault in faults if fault.code == "E-IN-ROW"]
    assert "emotions.csv line 3 " in fault.message


HEAD = "source,line,emotion\n"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "emotions.csv",
            HEAD + "trailer.mp4,1,angri\n",
            r"emotions.csv line 2 .*did you mean 'angry'",
        ),
        ("emotions.csv", HEAD + "\ntrailr.mp4,1,sad\n", r"line 3 .*did you mean 'trailer.mp4'"),
        ("emotions.csv", HEAD + "trailer.mp4,zero,sad\n", r"line 2 has the line 'zero'"),
        ("emotions.csv", HEAD + "trailer.mp4,0,sad\n", r"line 2 has the line '0'"),
        ("emotions.csv", HEAD + "trailer.mp4,1,\n", r"line 2 has no emotion"),
        ("emotions.csv", HEAD + "trailer.mp4,1\n", r"line 2 has 2 cells, the header has 3"),
        ("emotions.csv", HEAD + "trailer.mp4,1,sad\ntrailer.mp4,1,sad\n", r"line 3 says again"),
        ("emotions.csv", "source,emotion\n", r"line 1 lacks the column 'line'"),
        ("emotions.csv", HEAD.replace("\n", ",moood\n"), r"line 1 has the unknown column 'moood'"),
        ("emotions.csv", "", r"zero bytes"),
        ("emotions.csv", b"source,line,emotion\n\xff", r"line 2 is not UTF-8"),
        ("emotions.csv", HEAD + 'trailer.mp4,1,"sad\n', r"is not valid CSV"),
        ("emotions.csv", HEAD + "../x.mp4,1,sad\n", r"line 2 names '../x.mp4'"),
        ("emotions.csv", "a," * 100 + "b\n", r"has 101 cells"),
        ("splits.csv", "source,split\ntrailer.mp4,tets\n", r"line 2 .*did you mean 'test'"),
        ("splits.csv", "split\ntest\n", r"line 1 lacks the column 'source or scene'"),
        ("splits.csv", "scene,split\ntrailor,test\n", r"line 2 .*did you mean 'trailer'"),
        ("splits.csv", "source,scene,split\ntrailer.mp4,trailer,test\n", r"line 2 wants either"),
        ("cast.csv", "nmae\nAnna\n", r"cast.csv line 1 lacks the column 'name'"),
        ("cast.csv", "name\nAnna\nANNA\n", r"cast.csv line 3 names 'ANNA' again"),
        ("cast.csv", "name,rights\n,mine\n", r"cast.csv line 2 has no name"),
    ],
)
def test_a_mistake_in_a_table_stops_all_with_file_and_line(root, decoder, name, text, says):
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=says) as caught:
        read(root, decoder)
    assert caught.value.exit_code == 4


def test_bad_sources_are_faults_beside_good_ones(root, decoder, tmp_path):
    (root / "empty.mp4").touch()
    (root / "noise.mkv").write_bytes(random.Random(1).randbytes(3000))
    (root / "gone.mp4").symlink_to("nowhere.mp4")
    (root / "outside.mp4").symlink_to("/etc/passwd")
    (root / "folder.mp4").mkdir()
    os.mkfifo(root / "pipe.mp4")
    make(root / "song.wav", sound="pcm_s16le", sound_s=1.0)
    make(root / "silent.mp4", steady(10))
    (root / ".hidden.mp4").touch()
    (root / "notes.txt").touch()
    clips, faults = read(root, decoder)
    assert {fault.source: fault.code for fault in faults if fault.line == 0} == {
        "empty.mp4": "E-IN-EMPTY",
        "noise.mkv": "E-IN-FORMAT",
        "gone.mp4": "E-IN-MISSING",
        "outside.mp4": "E-SEC-ESCAPE",
        "folder.mp4": "E-IN-NOTFILE",
        "pipe.mp4": "E-IN-NOTFILE",
        "song.wav": "E-IN-NOVIDEO",
    }
    assert [clip.clip_id for clip in clips if not clip.has_audio] == ["silent-0001"]
    assert len(clips) == 4


def test_hidden_files_and_links_to_folders_are_named(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    for name in (".film.mp4", ".film.srt", "._harbour.mp4", ".DS_Store", "Moonfleet/.take.wav"):
        (root / name).touch()
    files = list_files(root)
    reasons = {unused.path: unused.reason for unused in files.beside.all_unused()}
    assert set(reasons) == {"linked", ".film.mp4", ".film.srt", "Moonfleet/.take.wav"}
    assert "not followed" in reasons["linked"]
    assert "begin with a dot" in reasons[".film.mp4"]
    assert not [name for name in [*files.sources, *files.others] if "/." in f"/{name}"]


def test_a_table_with_nearly_the_right_name_is_named(root):
    for name in ("Cast.csv", "speaker.csv", "Moonfleet/cast.csv", "numbers.csv"):
        (root / name).write_text("name\nANN\n")
    reasons = {one.path: one.reason for one in list_files(root).beside.all_unused()}
    assert set(reasons) == {"Cast.csv", "speaker.csv", "Moonfleet/cast.csv"}
    assert "'speakers.csv'" in reasons["speaker.csv"]


def test_rules_say_what_a_source_must_have(root, decoder):
    make(root / "song.wav", sound="pcm_s16le", sound_s=1.0)
    make(root / "silent.mp4", steady(10))
    rules = FolderRules(allow_audio_only=True, allow_silent=False, film="One")
    clips, faults = read(root, decoder, rules=rules)
    assert {clip.film for clip in clips} == {"One"}
    (song,) = [clip for clip in clips if clip.source == "song.wav"]
    assert (song.clip_id, song.has_video, song.end_frame) == ("song+wav-0001", False, 25)
    assert [fault.code for fault in faults if fault.source == "silent.mp4"] == ["E-IN-NOAUDIO"]


def test_subtitles_that_cannot_be_used_give_no_clips(root, decoder):
    (root / "trailer.vtt").write_bytes(b"WEBVTT\n\xff")
    (root / "Moonfleet" / "harbour.srt").unlink()
    (root / "Moonfleet" / "harbour.srt").symlink_to("/etc/passwd")
    clips, faults = read(root, decoder)
    assert clips == []
    assert {f.source: f.code for f in faults} == {
        "trailer.mp4": "E-SUB-ENCODING",
        "Moonfleet/harbour.mp4": "E-SEC-ESCAPE",
    }


def test_a_long_source_needs_subtitles(root):
    with DecoderChild(DecodeLimits(max_clip_s=1.5)) as strict:
        clips, faults = read(root, strict)
    assert [clip.source for clip in clips] == ["Moonfleet/harbour.mp4"] * 2
    (fault,) = [fault for fault in faults if fault.line == 0]
    assert (fault.source, fault.code) == ("trailer.mp4", "E-IN-TOOLONG")


def test_the_content_decides_not_the_ending(root, decoder):
    (root / "trailer.mp4").rename(root / "trailer.avi")
    clips, _ = read(root, decoder)
    assert clips[-1].clip_id == "trailer+avi-0001"


def test_odd_names_work(tmp_path, film, decoder):
    names = ["-rf.mp4", "zwei\nZeilen.mp4", "Příběh 映画.mp4", "a~b.mp4"]
    for name in names:
        (tmp_path / name).write_bytes(film)
    clips, faults = read(tmp_path, decoder)
    assert faults == []
    assert {clip.clip_id for clip in clips} == {
        "%2Drf-0001",
        "zwei%0AZeilen-0001",
        "Příběh%20映画-0001",
        "a%7Eb-0001",
    }


def test_a_name_that_is_not_utf_8_is_one_fault_and_the_others_are_read(tmp_path, film, decoder):
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    for name in (b"good.mp4", b"\xff.mp4", b"caf\xe9/film.mp4", b"\xff.srt"):
        (tmp_path / os.fsdecode(name)).write_bytes(film)
    clips, faults = read(tmp_path, decoder)
    assert [clip.source for clip in clips] == ["good.mp4"]
    assert [(f.source, f.code) for f in faults] == [
        ("\\xff.mp4", "E-IN-NAME"),
        ("caf\\xe9/film.mp4", "E-IN-NAME"),
    ]
    (unused,) = list_files(tmp_path).beside.all_unused()
    assert (unused.path, "not UTF-8" in unused.reason) == ("\\xff.srt", True)


def test_known_sources_are_left_out_and_progress_is_reported(root, decoder):
    reported = []
    found = list(
        read_folder(
            root, decoder=decoder, known={"trailer.mp4"}, progress=lambda *now: reported.append(now)
        )
    )
    assert [source.source for source in found] == ["Moonfleet/harbour.mp4"]
    assert reported == [(1, 1, "Moonfleet/harbour.mp4")]


def test_a_root_that_is_no_folder_is_a_setting_error(tmp_path, decoder):
    with pytest.raises(ConfigError, match="not a folder"):
        read(tmp_path / "absent", decoder)


def test_film_and_scene_come_from_the_path():
    assert (film_of("a.mp4", "root"), scene_of("a.mp4")) == ("root", "a")
    assert (film_of("f/a.mp4", "root"), scene_of("f/a.mp4")) == ("f", "a")
    assert (film_of("f/disc 2/a.b.mp4", "root"), scene_of("f/disc 2/a.b.mp4")) == (
        "f",
        "disc 2/a.b",
    )


@given(st.permutations(range(6)))
def test_positions_count_through_a_scene_that_spans_sources(order):
    def clip(source, start, scene, position):
        return Clip(
            clip_id=f"{source}-{start}",
            source=source,
            source_digest="",
            start_frame=start,
            end_frame=start + 1,
            film="f",
            scene=scene,
            position=position,
        )

    rows = [
        ("a", 0, "x", 1),
        ("a", 9, "y", 1),
        ("a", 30, "x", 3),  # the second of x could not be used
        ("b", 0, "x", 1),
        ("b", 5, "x", 2),
        ("c", 0, "y", 1),
    ]
    frame = pl.DataFrame([asdict(clip(*rows[k])) for k in order])
    numbered = {clip.clip_id: clip.position for clip in clips_of(through_scenes(frame))}
    wanted = (1, 1, 3, 4, 5, 2)
    assert numbered == {f"{r[0]}-{r[1]}": place for r, place in zip(rows, wanted, strict=True)}


@pytest.mark.parametrize(
    ("numbers", "unusable", "places"),
    [
        ([], [2], []),
        ([1, 2, 3], [], [1, 2, 3]),
        ([1, 3], [2], [1, 3]),
        ([1, 3], [], [1, 2]),  # line 2 is of another scene
        ([2, 6, 7], [1, 3, 4, 5, 8], [1, 3, 4]),
        ([3, 1, 2], [], [1, 2, 3]),  # a file that is not in the order of time
        ([5, 2, 3], [4], [1, 3, 4]),
    ],
)
def test_a_line_that_could_not_be_used_leaves_a_gap(numbers, unusable, places):
    assert positions(numbers, unusable) == places


NAMES = st.text("ab.~+%-/ é\n\udcff" + string.digits, min_size=1, max_size=12).filter(
    lambda name: all(part not in ("", ".", "..") for part in name.split("/"))
)


@given(st.sets(st.tuples(NAMES, st.sampled_from([".mp4", ".MP4", ".mkv"])), max_size=30))
def test_no_two_lines_share_an_id_and_ids_are_one_safe_word(names):
    sources = {name + ending for name, ending in names}
    ids = {clip_id_of(source, line) for source in sources for line in (1, 2, 10_000)}
    assert len(ids) == 3 * len(sources)
    for word in ids:
        assert not word.startswith("-")
        assert all(c.isalnum() or c in "._-~+%" for c in word)


def test_very_long_paths_have_ids_that_fit_a_file_name():
    long = "/".join(["x" * 200] * 10)
    first, second = clip_id_of(long + "/a.mp4", 1), clip_id_of(long + "/b.mp4", 1)
    assert first != second
    assert len(first) <= 165


TWO_SPEAKERS = """1
00:00:00,000 --> 00:00:00,800
- Who is there?
- Only the wind.

2
00:00:00,800 --> 00:00:01,000
[DOOR SLAMS]

3
00:00:01,000 --> 00:00:02,000
RENE\u0301E (O.S.): Come in!
"""


def test_two_speakers_of_one_cue_have_clips_and_table_rows_of_their_own(root, decoder):
    (root / "Moonfleet" / "harbour.srt").write_text(TWO_SPEAKERS)
    (root / "speakers.csv").write_text(
        "source,line,speaker\nMoonfleet/harbour.mp4,1,Anna\nMoonfleet/harbour.mp4,1b,Ben\n"
    )
    (root / "emotions.csv").write_text(
        "source,line,emotion\nMoonfleet/harbour.mp4,1,sad\nMoonfleet/harbour.mp4,3,happy\n"
    )
    (root / "scenes.csv").write_text("source,line,scene\nMoonfleet/harbour.mp4,1b,night\n")
    clips, faults = read(root, decoder)
    assert faults == []
    found = [(c.clip_id[-5:], c.speaker, c.emotion, c.scene, c.text) for c in clips[:3]]
    assert found == [
        ("-0001", "Anna", "sad", "harbour", "Who is there?"),
        ("0001b", "Ben", "sad", "night", "Only the wind."),
        ("-0003", "RENÉE", "happy", "harbour", "Come in!"),
    ]
    assert [c.start_frame for c in clips[:3]] == [0, 10, 25]  # 10 of 21 letters in 20 frames


def test_a_row_about_the_first_speaker_says_nothing_about_the_second(root, decoder):
    (root / "Moonfleet" / "harbour.srt").write_text(TWO_SPEAKERS)
    (root / "speakers.csv").write_text("source,line,speaker\nMoonfleet/harbour.mp4,1,Anna\n")
    clips, _ = read(root, decoder)
    assert [c.speaker for c in clips[:3]] == ["Anna", "", "RENÉE"]


def test_a_row_about_a_sound_says_that_it_is_not_spoken(root, decoder):
    (root / "Moonfleet" / "harbour.srt").write_text(TWO_SPEAKERS)
    (root / "emotions.csv").write_text("source,line,emotion\nMoonfleet/harbour.mp4,2,sad\n")
    _, (fault,) = read(root, decoder)
    assert fault.code == "E-IN-ROW"
    assert "line 2 of 'Moonfleet/harbour.mp4', which is not spoken (sound desc" in fault.message


@pytest.mark.parametrize("line", ["1a", "b", "1bb", "-1", "1.0", "１"])
def test_a_line_of_a_table_is_a_number_and_at_most_one_letter(root, line):
    (root / "speakers.csv").write_text(f"source,line,speaker\ntrailer.mp4,{line},Anna\n")
    with pytest.raises(ConfigError, match=r"speakers.csv line 2 has the line"):
        read_tables(root)


def test_names_in_tables_and_subtitles_meet_with_their_accents_apart(root, decoder):
    (root / "Moonfleet" / "harbour.srt").write_text(TWO_SPEAKERS)
    (root / "cast.csv").write_text("name\nRene\u0301e\nAnna\n")
    (root / "speakers.csv").write_text(
        "source,line,speaker\nMoonfleet/harbour.mp4,1,Anna\nMoonfleet/harbour.mp4,1b,Ren\u00e9e\n"
        "trailer.mp4,,Rene\u0301e\n"
    )
    clips, faults = read(root, decoder)
    assert faults == []
    assert [c.speaker for c in clips] == ["Anna", "Renée", "Renée", "Renée"]


def test_speakers_that_overlap_are_both_clips(root, decoder):
    (root / "Moonfleet" / "harbour.srt").write_text(
        "1\n00:00:00,000 --> 00:00:01,500\nANNA: Wait for me!\n\n"
        "2\n00:00:01,000 --> 00:00:02,000\nBEN: I cannot.\n"
    )
    clips, faults = read(root, decoder)
    assert faults == []
    assert [(c.speaker, c.start_frame, c.end_frame) for c in clips[:2]] == [
        ("ANNA", 0, 38),
        ("BEN", 25, 50),
    ]
