"""Published corpora become footage folders: facts from names and texts, no file unaccounted for."""

from __future__ import annotations

import csv
import errno
import itertools
import json
import os
import re
from dataclasses import asdict
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.core.errors import ConfigError, StorageError
from redub.footage.child import DecoderChild
from redub.footage.corpora import prepare
from redub.footage.corpora.grid import sentence, spoken_text
from redub.footage.corpora.lists import name_of, read_lists
from redub.footage.corpora.plan import CorpusLine, runs_of, scenes_of
from redub.footage.corpora.prepare import prepare_corpus, subtitle
from redub.footage.corpora.registry import LAYOUTS, reader_of
from redub.footage.folder import FolderRules, read_folder
from redub.pipeline.store import tables as store

from .media import make, steady


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """One second with picture and sound."""
    folder = tmp_path_factory.mktemp("media")
    return make(folder / "film.mp4", steady(25), sound="aac").read_bytes()


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    return make(folder / "s.wav", sound="pcm_s16le", sound_s=1.0, sound_rate_hz=16_000).read_bytes()


@pytest.fixture(scope="module")
def decoder():
    with DecoderChild() as child:
        yield child


def fill(root: Path, **files: bytes | str) -> Path:
    return fill_all(root, files)


def fill_all(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def clips_of(folder: Path, decoder) -> list:
    """What ``redub ingest`` would make of the folder; it may refuse nothing."""
    found = list(read_folder(folder, decoder=decoder, rules=FolderRules(allow_audio_only=True)))
    assert [fault for source in found for fault in source.faults] == []
    clips = [asdict(clip) for source in found for clip in source.clips]
    return in_order(store.clips_of(store.through_scenes(pl.DataFrame(clips))))


def in_order(clips):
    return sorted(clips, key=lambda clip: (clip.source, clip.start_frame))


def report(folder: Path) -> dict[str, tuple[str, str]]:
    with (folder / "corpus.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "became", "what"]
    assert len({name for name, *_ in rows}) == len(rows), "a file in two heaps"
    return {name: (became, what) for name, became, what in rows}


def all_files(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if not p.is_dir()}


# -- V2C-Animation

SRT = "\n".join(
    f"{n + 1}\n00:00:{n:02d},000 --> 00:00:{n:02d},900\n{text}\n"
    for n, text in enumerate(
        ["(BEGIN)", "Who's there?", "It's me,\nJudy!", "MAYOR: Come in.", "(SIGHS)\nThank you."]
    )
)


def v2c(root: Path, film: bytes) -> Path:
    """The authors' layout: numbers count the subtitle's cues from 0."""
    speeches = "zootopia/zootopia_speeches"
    return fill_all(
        root,
        {
            "zootopia/zootopia_videos/Judy/0002.mp4": film,
            "zootopia/zootopia_videos/Judy/0004.mp4": film,
            "zootopia/zootopia_videos/Nick/0001.mp4": film,
            "zootopia/zootopia_videos/Nick/0007.mp4": film,
            "zootopia/zootopia_videos/Mayor/0003.mp4": film,
            f"{speeches}/Judy/00/Judy-00-0002.normalized.txt": "It's me Judy ",
            f"{speeches}/Judy/00/Judy-00-0002.wav": b"RIFF",
            f"{speeches}/Judy/00/Judy-00-0004.normalized.txt": "Thank you so much",
            f"{speeches}/Nick/00/Nick-00-trans.txt": (
                "Nick-00-0001 Who's there \nNick-00-0007 Good night\n"
            ),
            f"{speeches}/Mayor/00/Mayor-00.trans.txt": "Mayor-00-0003 MAYOR Come in ",
            "SRT/Zootopia.srt": SRT,
            "emotions.json": json.dumps(
                {
                    "Zootopia@Judy_00_0002_00": 3, "Zootopia@Nick_00_0001_00": 2,
                    "Zootopia@Mayor_00_0003_00": 7, "Zootopia@Judy_00_0004_00": 4,
                    "Brave@Elinor_00_0001_00": 4,
                }
            ),
            "notes.docx": b"?",
        },
    )  # fmt: skip


def test_v2c_lines_keep_film_order_speaker_emotion_and_punctuation(tmp_path, film, decoder):
    val = tmp_path / "val.txt"
    val.write_text("Zootopia@Judy/Zootopia@Judy_00_0002_00.wav|ɪts miː|43\n")
    summary = prepare_corpus(
        "v2c", v2c(tmp_path / "V2C", film), tmp_path / "out", lists={"test": val}
    )
    found = [
        (c.position, c.scene, c.speaker, c.emotion, c.split, c.text)
        for c in clips_of(tmp_path / "out", decoder)
    ]
    assert found == [
        (1, "0001-0004", "Zootopia@Nick", "fear", "none", "Who's there?"),
        (2, "0001-0004", "Zootopia@Judy", "happy", "test", "It's me, Judy!"),
        (3, "0001-0004", "Zootopia@Mayor", "others", "none", "Come in."),
        (4, "0001-0004", "Zootopia@Judy", "neutral", "none", "Thank you so much"),
        (1, "0007", "Zootopia@Nick", "", "none", "Good night"),
    ]
    assert (summary.lines, summary.speakers, summary.triples) == (5, 3, 2)
    assert summary.splits == {"none": 4, "test": 1}
    assert (summary.unlisted, summary.missing) == (4, ())
    assert summary.notes == ("1 lines are not in emotions.json",)


def test_v2c_names_are_the_public_ones_so_that_lists_and_textgrids_fit(tmp_path, film):
    prepare_corpus("v2c", v2c(tmp_path / "V2C", film), tmp_path / "out")
    assert "Zootopia/0002/Zootopia@Judy_00_0002_00.mp4" in all_files(tmp_path / "out")


def test_v2c_as_the_dubbing_papers_name_it(tmp_path, film, sound, decoder):
    root = fill_all(
        tmp_path / "flat",
        {
            "Up@Carl/Up@Carl_00_0010_00.wav": sound,
            "Up@Carl/Up@Carl_00_0010_00.lab": "Adventure is out there!",
            "videos/Up@Carl_00_0010_00.mp4": film,
            "Up@Ellie/Up@Ellie_00_0011_00.mp4": film,
            "Up@Muntz/Up@Muntz_00_0011_00.mp4": film,
            "Up@Russell/Up@Russell_00_0012_00.wav": sound,
        },
    )
    train = tmp_path / "train.txt"
    train.write_text("Up@Ellie_00_0011_00|Up@Ellie|{Y EH1 S}|Yes, I do.\nUp@Kevin_00_0001_00\n")
    summary = prepare_corpus("v2c", root, tmp_path / "out", lists={"train": train})
    found = [
        (c.scene, c.position, c.speaker, c.split, c.text, c.has_video)
        for c in clips_of(tmp_path / "out", decoder)
    ]
    # Cue 11 is spoken by two: the second is adjacent to no line.
    assert found == [
        ("0010-0012", 1, "Up@Carl", "none", "Adventure is out there!", True),
        ("0010-0012", 2, "Up@Ellie", "train", "Yes, I do.", True),
        ("0011 Up@Muntz", 1, "Up@Muntz", "none", "", True),
        ("0010-0012", 3, "Up@Russell", "none", "", False),
    ]
    assert summary.missing == ("Up@Kevin_00_0001_00",)
    assert summary.without_words == 2
    heaps = report(tmp_path / "out")
    assert heaps["Up@Carl/Up@Carl_00_0010_00.wav"] == (
        "skipped",
        "the same line as videos/Up@Carl_00_0010_00.mp4",
    )


@pytest.mark.parametrize(
    "labels",
    [
        b"[1, 2]", b'{"a": 8}', b'{"a": true}', b'{"a": "sad"}', b"{", b"\xff", b"[" * 9000,
        b'{"a": "' + b"s" * 5000 + b'"}', b'{"a": ' + b"9" * 4000 + b"}",
    ],
    ids=range(9),
)  # fmt: skip
def test_labels_that_are_no_emotions_are_skipped_with_a_reason(tmp_path, film, labels):
    root = v2c(tmp_path / "V2C", film)
    (root / "emotions.json").write_bytes(labels)
    summary = prepare_corpus("v2c", root, tmp_path / "out")
    became, why = report(tmp_path / "out")["emotions.json"]
    assert (became, why in summary.skipped) == ("skipped", True)
    assert len(why) < 200
    assert summary.emotions == {}
    assert not (tmp_path / "out" / "emotions.csv").exists()
    # The file is there: to say "no emotions.json" would send people looking for it.
    assert summary.notes == (f"emotions.json was not used ({why})", "no line has an emotion")


def test_what_is_said_of_emotions_is_true_of_the_files(tmp_path, film):
    root = v2c(tmp_path / "V2C", film)
    (root / "more").mkdir()
    (root / "more" / "emotions.json").write_text('{"x": 99}')
    notes = prepare_corpus("v2c", root, tmp_path / "both").notes
    assert notes == (
        "more/emotions.json was not used (no table of names and emotions 0–7: found 99 for 'x')",
        "1 lines are not in emotions.json",
    )
    (root / "more" / "emotions.json").write_text("{}")
    (root / "emotions.json").unlink()
    notes = prepare_corpus("v2c", root, tmp_path / "empty").notes
    assert notes == ("5 lines are not in emotions.json",)
    (root / "more" / "emotions.json").unlink()
    notes = prepare_corpus("v2c", root, tmp_path / "none").notes
    assert notes == ("no emotions.json: no line has an emotion",)


# -- Chem


def test_adjacent_lines_of_chem_are_adjacent_in_the_film(tmp_path, film, decoder):
    videos = {"SUkBTHfKqf4": (0, 1, 2, 9), "-kBTHfK_f4x": (15, 16)}
    names = [f"{video}-{n:03d}" for video, numbers in videos.items() for n in numbers]
    root = fill_all(tmp_path / "Chem", {f"clips/{name}.mp4": film for name in names})
    fill_all(root, {"clips/readme.mp4": film, "-kBTHfK_f4x-016.lab": "Key point.\n"})
    train, test = root / "train.txt", root / "test.txt"
    train.write_text("".join(f"{name}|Sentence {name[-1]}.\n" for name in names[:4]))
    test.write_text("-kBTHfK_f4x-015|Apply the gas law.\nlpGVGcIVYs4-000|Not here.\n")
    summary = prepare_corpus("chem", root, tmp_path / "out", lists={"train": train, "test": test})
    found = [
        (c.film, c.scene, c.position, c.split, c.text) for c in clips_of(tmp_path / "out", decoder)
    ]
    assert found == [
        ("-kBTHfK_f4x", "0015-0016", 1, "test", "Apply the gas law."),
        ("-kBTHfK_f4x", "0015-0016", 2, "none", "Key point."),
        ("SUkBTHfKqf4", "0000-0002", 1, "train", "Sentence 0."),
        ("SUkBTHfKqf4", "0000-0002", 2, "train", "Sentence 1."),
        ("SUkBTHfKqf4", "0000-0002", 3, "train", "Sentence 2."),
        ("SUkBTHfKqf4", "0009", 1, "train", "Sentence 9."),
    ]
    assert (summary.triples, summary.speakers) == (1, 1)
    assert summary.missing == ("lpGVGcIVYs4-000",)
    heaps = report(tmp_path / "out")
    assert heaps["train.txt"] == ("read", "a split list")
    assert heaps["clips/readme.mp4"][1].startswith("its name is not VIDEO-NNN")


def test_a_clip_that_cannot_be_used_separates_the_lines_beside_it(tmp_path, film, decoder):
    names = [f"SUkBTHfKqf4-{n:03d}" for n in range(5)]
    root = fill_all(tmp_path / "Chem", {f"{name}.mp4": film for name in names})
    (root / f"{names[2]}.mp4").write_bytes(film[: len(film) // 2])
    summary = prepare_corpus("chem", root, tmp_path / "out")
    assert [c.scene for c in clips_of(tmp_path / "out", decoder)] == ["0000-0001"] * 2 + [
        "0003-0004"
    ] * 2
    assert (summary.lines, summary.triples) == (4, 0)
    assert report(tmp_path / "out")[f"{names[2]}.mp4"][0] == "skipped"


@given(st.sets(st.integers(0, 60)))
def test_runs_are_the_numbers_without_gaps(numbers):
    runs = runs_of(numbers)
    assert runs.keys() == numbers
    for number in numbers:
        first, _, last = runs[number].partition("-")
        own = set(range(int(first), int(last or first) + 1))
        assert number in own <= numbers
        assert not {min(own) - 1, max(own) + 1} & numbers
        assert {runs[other] for other in own} == {runs[number]}


def test_lines_without_numbers_are_scenes_of_their_own():
    line = CorpusLine(source="a.mp4", target="f/a.mp4", key="a", speaker="A")
    assert scenes_of([line]) == {}


# -- GRID


def test_a_letter_of_grid_is_said_by_its_british_name():
    # Cooke et al. 2006: the fourth word is a letter; a is no article, and z is "zed".
    from redub.features.text.pronunciation import LETTERS, pronounce

    for letter in "abcdefghijklmnopqrstuvxyz":
        said = pronounce(spoken_text(f"bba{letter}2n"))
        fourth = [phone for word in said[3:-2] for phone in word.phones]
        assert fourth == (["Z", "EH", "D"] if letter == "z" else list(LETTERS[letter.upper()]))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        # The first is the published example; the others are rows of a public split list.
        ("bbaf2n", "bin blue at f two now"),
        ("bwba2a", "bin white by a two again"),
        ("pbbczs", "place blue by c zero soon"),
        ("sgbi5n", "set green by i five now"),
        ("lrwr6a", "lay red with r six again"),
        ("pbio1p", "place blue in o one please"),
        ("swiu2n", "set white in u two now"),
    ],
)
def test_a_grid_name_is_its_sentence(code, said):
    assert sentence(code) == said


def test_every_code_is_another_sentence():
    # The corpus has 4·4·4·25·10·4 possible sentences (Cooke et al.): no letter w.
    letters = [c for c in "abcdefghijklmnopqrstuvwxyz" if c != "w"]
    codes = map("".join, itertools.product("blps", "bgrw", "abiw", letters, "z123456789", "anps"))
    assert len({sentence(code) for code in codes}) == 64_000
    assert not any(sentence(code) for code in ("bbaw2n", "bbaf0n", "xbaf2n", "bbaf2", "bbaf2na"))


def align(words: str) -> str:
    said = ["sil", *words.split(), "sil"]
    return "".join(f"{1000 * n} {1000 * n + 1000} {word}\n" for n, word in enumerate(said))


def test_grid_in_its_published_folders(tmp_path, film, sound, decoder):
    root = fill_all(
        tmp_path / "GRID",
        {
            "s1/bbaf2n.mpg": film,
            "s1/video/mpg_6000/swiu2n.mpg": film,
            "alignments/s1/bbaf2n.align": align("bin blue at f two sp now"),
            "alignments/s1/swiu2n.align": align("set white in u two soon"),
            "audio_25k/s1/bbaf2n.wav": sound,
            "audio_25k/s21/pbio1p.wav": sound,
            "s6-bwba2a.mp4": film,
            "s1/Thumbs.db": b"x",
            "bbaf2n.mpg": film,
        },
    )
    val = tmp_path / "Grid_val.txt"
    val.write_text("s6/s6-bwba2a.wav|bˈɪn wˈaɪt baɪ ɐ tˈuː ɐɡˈɛn |23\n")
    prepare_corpus("grid", root, tmp_path / "out", lists={"test": val})
    found = [
        (c.source, c.speaker, c.split, c.position, c.text)
        for c in clips_of(tmp_path / "out", decoder)
    ]
    assert found == [
        ("s1/s1-bbaf2n.mpg", "s1", "none", 1, "Bin blue at F two now."),
        ("s21/s21-pbio1p.wav", "s21", "none", 1, "Place blue in O one please."),
        ("s6/s6-bwba2a.mp4", "s6", "test", 1, "Bin white by A two again."),
    ]
    heaps = report(tmp_path / "out")
    assert heaps["s1/video/mpg_6000/swiu2n.mpg"][1] == (
        "its align file says 'set white in u two soon', its name 'set white in u two now'"
    )
    assert heaps["audio_25k/s1/bbaf2n.wav"][1] == "the same sentence as s1/bbaf2n.mpg"
    assert heaps["bbaf2n.mpg"][1].startswith("no talker")


def test_mixed_up_align_folders_are_noticed(tmp_path, film):
    # The published alignments of s5 lie in the folder s6: other talkers read other sentences.
    root = fill_all(
        tmp_path / "GRID",
        {
            **{f"s5/{code}.mpg": film for code in ("bbaf2n", "bbaf3s")},
            **{f"align/s5/{c}.align": align(sentence(c)) for c in ("swiu2n", "swiu3s")},
        },
    )
    (note,) = prepare_corpus("grid", root, tmp_path / "out").notes
    assert note.startswith("only 0 of 2 sentences of s5 have an align file")


# -- RAVDESS


def test_ravdess_names_say_everything(tmp_path, film, sound, decoder):
    root = fill_all(
        tmp_path / "RAVDESS",
        {
            "Actor_12/01-01-06-01-02-01-12.mp4": film,
            "Actor_12/02-01-06-01-02-01-12.mp4": film,
            "Actor_12/03-01-06-01-02-01-12.wav": sound,
            "Actor_12/03-01-02-02-01-02-12.wav": sound,
            "audio/Actor_12/03-01-02-02-01-02-12.wav": sound,
            "Actor_12/03-02-03-01-01-01-12.wav": sound,
            "Actor_12/03-01-09-01-01-01-12.wav": sound,
            "Actor_12/03-01-05-01-01-01-11.wav": sound,
            "Actor_12/take.wav": sound,
        },
    )
    summary = prepare_corpus("ravdess", root, tmp_path / "out")
    found = [
        (c.source, c.speaker, c.emotion, c.text, c.rights)
        for c in clips_of(tmp_path / "out", decoder)
    ]
    # 06 fearful, 02 calm; statements 02 and 01: the corpus' own page.
    assert found == [
        ("Actor_12/01-01-06-01-02-01-12.mp4", "Actor_12", "fear", "Dogs are sitting by the door.",
         "CC BY-NC-SA 4.0"),
        ("Actor_12/03-01-02-02-01-02-12.wav", "Actor_12", "others", "Kids are talking by the door.",
         "CC BY-NC-SA 4.0"),
    ]  # fmt: skip
    why = {name: what for name, (became, what) in report(tmp_path / "out").items() if
           became == "skipped"}  # fmt: skip
    assert why == {
        "Actor_12/02-01-06-01-02-01-12.mp4": "the same take as Actor_12/01-01-06-01-02-01-12.mp4",
        "Actor_12/03-01-06-01-02-01-12.wav": "the same take as Actor_12/01-01-06-01-02-01-12.mp4",
        "audio/Actor_12/03-01-02-02-01-02-12.wav": (
            "the same take as Actor_12/03-01-02-02-01-02-12.wav"
        ),
        "Actor_12/03-02-03-01-01-01-12.wav": "sung, not spoken",
        "Actor_12/03-01-09-01-01-01-12.wav": "its name has a number that RAVDESS does not use",
        "Actor_12/03-01-05-01-01-01-11.wav": "its name says actor 11, its folder Actor_12",
        "Actor_12/take.wav": "its name is not seven numbers of two digits",
    }
    assert summary.skipped["sung, not spoken"] == 1


# -- what all layouts share


@pytest.fixture
def small(tmp_path, film, sound):
    """Two good lines, a broken one, and what lies about in real folders."""
    root = fill_all(
        tmp_path / "corpus",
        {
            "Actor_01/03-01-01-01-01-01-01.wav": sound,
            "Actor_01/03-01-01-01-02-01-01.mp4": film,
            "Actor_01/03-01-03-01-01-01-01.wav": b"not sound at all",
            ".DS_Store": b"x",
            ".git/config": b"x",
            "README.md": b"about",
        },
    )
    (root / "gone.wav").symlink_to("nowhere.wav")
    (root / "linked").symlink_to(root / "Actor_01")
    return root


def test_every_file_is_in_exactly_one_heap(small, tmp_path):
    summary = prepare_corpus("ravdess", small, tmp_path / "out")
    heaps = report(tmp_path / "out")
    walked = {name for name in all_files(small) if not name.startswith(("linked/", ".git/"))}
    assert heaps.keys() == walked | {"linked", ".git"}
    assert (heaps[".git"], heaps[".DS_Store"]) == (("skipped", "hidden"),) * 2
    assert heaps["linked"] == ("skipped", "a link to a folder is not followed")
    assert heaps["gone.wav"][1].startswith("no regular file")
    assert "README.md" in heaps
    assert heaps["Actor_01/03-01-03-01-01-01-01.wav"][0] == "skipped"
    counted = summary.lines + summary.facts + sum(summary.skipped.values())
    assert counted == len(heaps)
    assert summary.lines == summary.hardlinked + summary.copied == 2


def test_the_folder_is_redubs_own(small, tmp_path, decoder):
    prepare_corpus("ravdess", small, tmp_path / "out")
    assert all_files(tmp_path / "out") == {
        "cast.csv", "corpus.csv", "emotions.csv", "speakers.csv",
        "Actor_01/03-01-01-01-01-01-01.wav", "Actor_01/03-01-01-01-01-01-01.srt",
        "Actor_01/03-01-01-01-02-01-01.mp4", "Actor_01/03-01-01-01-02-01-01.srt",
    }  # fmt: skip
    ends = [c.end_frame for c in clips_of(tmp_path / "out", decoder)]
    assert ends == [25, 25]  # one cue over the whole second


def test_links_share_the_file_and_copies_do_not(small, tmp_path):
    name = "Actor_01/03-01-01-01-01-01-01.wav"
    linked = prepare_corpus("ravdess", small, tmp_path / "a", placing="hardlink")
    copied = prepare_corpus("ravdess", small, tmp_path / "b", placing="copy")
    assert (linked.hardlinked, copied.copied) == (2, 2)
    assert os.path.samefile(small / name, tmp_path / "a" / name)
    assert not os.path.samefile(small / name, tmp_path / "b" / name)
    assert (tmp_path / "b" / name).read_bytes() == (small / name).read_bytes()


def test_a_link_inside_the_corpus_is_followed_and_one_out_of_it_is_counted(small, tmp_path, film):
    (small / "store.bin").write_bytes(film)
    inside = small / "Actor_01" / "01-01-05-01-01-01-01.mp4"
    inside.symlink_to(small / "store.bin")
    elsewhere = tmp_path / "private.mp4"
    elsewhere.write_bytes(film)
    outside = small / "Actor_01" / "01-01-06-01-01-01-01.mp4"
    outside.symlink_to(elsewhere)
    by_way = small / "Actor_01" / "01-01-04-01-01-01-01.mp4"
    by_way.symlink_to(outside)  # inside at first, outside at last
    (tmp_path / "alias").symlink_to(small)  # the corpus itself may be reached by a link
    summary = prepare_corpus("ravdess", tmp_path / "alias", tmp_path / "out")
    placed = tmp_path / "out" / "Actor_01" / inside.name
    assert placed.read_bytes() == film
    assert not placed.is_symlink()  # the ingest refuses links that lead out of its folder
    [(why, count)] = [(w, n) for w, n in summary.skipped.items() if "out of the corpus" in w]
    assert (count, why) == (
        2,
        "a link that leads out of the corpus is not followed; put a copy there",
    )
    heaps = report(tmp_path / "out")
    for link in (outside, by_way):
        assert heaps[f"Actor_01/{link.name}"] == ("skipped", why)
        assert not (tmp_path / "out" / "Actor_01" / link.name).exists()


def refusing(error: int):
    def link(source, target):
        raise OSError(error, os.strerror(error))

    return link


def test_another_disk_gets_copies_unless_links_were_asked_for(small, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare.os, "link", refusing(errno.EXDEV))
    assert prepare_corpus("ravdess", small, tmp_path / "out").copied == 2
    with pytest.raises(StorageError) as refusal:
        prepare_corpus("ravdess", small, tmp_path / "again", placing="hardlink")
    assert refusal.value.exit_code == 5
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("error", "becomes"),
    [(OSError(errno.ENOSPC, "No space left"), StorageError), (KeyboardInterrupt(), None)],
)
def test_a_run_that_stops_leaves_nothing(small, tmp_path, monkeypatch, error, becomes):
    def stop(*_):
        raise error

    monkeypatch.setattr(prepare, "_write_report", stop)
    with pytest.raises(becomes or type(error)):
        prepare_corpus("ravdess", small, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus"]


def test_what_a_killed_run_left_is_taken_away(small, tmp_path):
    fill(tmp_path / ".tmp-out", old=b"half")
    prepare_corpus("ravdess", small, tmp_path / "out")
    assert not (tmp_path / ".tmp-out").exists()
    assert not (tmp_path / "out" / "old").exists()


def test_a_folder_in_use_is_never_touched(small, tmp_path):
    fill(tmp_path / "used", mine=b"1")
    (tmp_path / "file").touch()
    for target in (tmp_path / "used", tmp_path / "file", small, small / "in", tmp_path):
        with pytest.raises(ConfigError) as refusal:
            prepare_corpus("ravdess", small, target)
        assert refusal.value.code == "E-CFG-EXISTS"
    assert (tmp_path / "used" / "mine").read_bytes() == b"1"
    (tmp_path / "empty").mkdir()
    assert prepare_corpus("ravdess", small, tmp_path / "empty").lines == 2


def test_preparing_twice_gives_the_same_bytes(small, tmp_path):
    for name in ("a", "b"):
        prepare_corpus("ravdess", small, tmp_path / name, placing="copy")
    assert all_files(tmp_path / "a") == all_files(tmp_path / "b")
    for name in all_files(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_rights_are_the_users_to_state_where_the_corpus_has_none(tmp_path, film, small):
    root = fill_all(tmp_path / "GRID", {"s1/bbaf2n.mpg": film})
    prepare_corpus("grid", root, tmp_path / "grid", rights="research")
    prepare_corpus("ravdess", small, tmp_path / "ravdess", rights="mine")
    assert (tmp_path / "grid" / "cast.csv").read_text() == "name,rights\ns1,research\n"
    assert "CC BY-NC-SA 4.0" in (tmp_path / "ravdess" / "cast.csv").read_text()


def test_names_that_differ_only_in_case_are_one_person(tmp_path, film, decoder):
    names = ["Coco@Coco_00_0001_00", "Coco@coco_00_0002_00"]
    root = fill_all(tmp_path / "V2C", {f"{name}.mp4": film for name in names})
    summary = prepare_corpus("v2c", root, tmp_path / "out")
    assert {c.speaker for c in clips_of(tmp_path / "out", decoder)} == {"Coco@Coco"}
    assert summary.speakers == 1


def test_two_lines_never_get_one_place(tmp_path, film):
    # Names that differ in case alone would be one file on many disks.
    names = ["Coco@Coco_00_0001_00", "Coco@coco_00_0001_00"]
    root = fill_all(tmp_path / "V2C", {f"{name}.mp4": film for name in names})
    assert prepare_corpus("v2c", root, tmp_path / "out").lines == 1
    assert report(tmp_path / "out")[f"{names[1]}.mp4"] == (
        "skipped",
        f"the same line as {names[0]}.mp4",
    )


def test_words_that_are_no_subtitle_skip_their_line_with_the_reason(tmp_path, film):
    names = ["Up@Carl_00_0001_00", "Up@Carl_00_0002_00"]
    root = fill_all(tmp_path / "V2C", {f"{name}.mp4": film for name in names})
    fill_all(root, {f"{names[0]}.txt": "long " * 300, f"{names[1]}.txt": "short"})
    summary = prepare_corpus("v2c", root, tmp_path / "out")
    assert summary.lines == 1
    assert "letters, the limit is 1000" in report(tmp_path / "out")[f"{names[0]}.mp4"][1]
    assert not list((tmp_path / "out").rglob("*0001*.srt"))


def test_progress_counts_every_line(small, tmp_path):
    seen = []
    prepare_corpus("ravdess", small, tmp_path / "out", progress=lambda *done: seen.append(done))
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("duration_s", "end"), [(0.04, "00:00:00,040"), (3661.0004, "01:01:01,001")]
)
def test_a_cue_is_never_shorter_than_its_file(duration_s, end):
    assert subtitle("Two\nwords", duration_s) == f"1\n00:00:00,000 --> {end}\nTwo words\n"


# -- refusals


def test_an_unknown_layout_names_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'ravdess'"):
        prepare_corpus("ravdes", tmp_path, tmp_path / "out")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_something_else_says_why_not(tmp_path, layout, film):
    root = fill_all(tmp_path / "other", {"holiday.mp4": film, "cv.pdf": b"x"})
    with pytest.raises(ConfigError, match="no line of the layout") as refusal:
        prepare_corpus(layout, root, tmp_path / "out")
    assert "1 × " in refusal.value.message
    assert not (tmp_path / "out").exists()
    assert callable(reader_of(layout))


def test_when_no_file_can_be_decoded_the_reason_is_named(tmp_path):
    root = fill_all(tmp_path / "GRID", {"s1/bbaf2n.mpg": b"no video"})
    with pytest.raises(ConfigError, match="can be used: 1 × "):
        prepare_corpus("grid", root, tmp_path / "out")
    with pytest.raises(ConfigError, match="is not a folder"):
        prepare_corpus("grid", tmp_path / "nowhere", tmp_path / "out")


# -- split lists


def test_lists_are_read_as_each_paper_writes_them(tmp_path):
    lists = {
        "train": "a_01|anna|{HH AY1}|Hi, there.\n\nfolder\\b_01.wav|haɪ|3\n",
        "validation": "c_01|So that's it.\n",
        "test": "\ufeffd.1\ns6/s6-bwba2a.wav\n",
    }
    found = read_lists({split: write(tmp_path / split, text) for split, text in lists.items()})
    assert found.splits == {
        "a_01": "train", "b_01": "train", "c_01": "validation", "d.1": "test", "s6-bwba2a": "test",
    }  # fmt: skip
    assert found.texts == {"a_01": "Hi, there.", "c_01": "So that's it."}
    assert name_of("x/Up@Carl_00_0001_00.MP4") == "Up@Carl_00_0001_00"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("lists", "says"),
    [
        ({"train": "a\n", "test": "b\na\n"}, r"test line 2 puts 'a' into test, another .* train"),
        ({"train": "a\n|no name\n"}, r"train line 2 has no name"),
        ({"dev": "a\n"}, r"'dev' is not a split"),
        ({"train": None}, r"cannot be read"),
    ],
)
def test_a_wrong_list_stops_before_any_work(tmp_path, small, lists, says):
    paths = {
        split: write(tmp_path / split, text) if text else tmp_path / "gone"
        for split, text in lists.items()
    }
    with pytest.raises(ConfigError, match=says) as refusal:
        prepare_corpus("ravdess", small, tmp_path / "out", lists=paths)
    assert refusal.value.code == "E-CFG-LIST"


def test_readers_know_every_row_of_their_documentation():
    # The pages promise a picture of the folder for every layout.
    pages = Path(__file__).parents[2] / "docs" / "corpora"
    assert {page.stem for page in pages.glob("*.md")} >= LAYOUTS.keys()
    for layout in LAYOUTS:
        page = (pages / f"{layout}.md").read_text()
        assert re.search(rf"redub corpus prepare {layout}\b", page), layout
