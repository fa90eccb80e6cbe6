"""The emotion map out of a real store, and holes that were planted to be found."""

import dataclasses
import io
import re

import av
import numpy as np
import pytest

from redub.core.errors import ConfigError, UsageError
from redub.core.types import MODALITIES, Clip
from redub.index.policy import ClipFacts
from redub.index.similarity import cosine
from redub.pages import emotion_map as page_of
from redub.pipeline.reports.index import emotion_map as module
from redub.pipeline.reports.index.emotion_map import emotion_map, spread, write_map
from redub.pipeline.reports.index.map_holes import Found, alone_holes, label_holes, region_holes
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.index import build_index
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.index.builds import open_index, policy_of
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.work.executor import Scheduler
from tests.pipeline.films import add_source

SYNC = Scheduler("sync", 1)
FEATURES = ["waveform", *(f"{modality}_emotion" for modality in (*MODALITIES, "audio"))]
FEELINGS = ("happy", "sad", "angry")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two films of two scenes, five lines each, and one scene held out; no clip shows a face."""
    root = tmp_path_factory.mktemp("map")
    footage = root / "footage"
    for seed, name in enumerate(("alpha/scene_0", "alpha/scene_1", "beta/scene_2", "beta/scene_3")):
        film, scene = name.split("/")
        add_source(footage / film, scene, seed=seed, lines=5)
    add_source(footage / "beta", "held", seed=7, lines=2)
    (footage / "splits.csv").write_text("source,split\nbeta/held.mp4,test\n")
    rows = [
        f"{film}/scene_{scene}.mp4,{line},{FEELINGS[(scene + (line + 1) // 2) % 2]}"
        for scene, film in enumerate(("alpha", "alpha", "beta", "beta"))
        for line in range(1, 6)
    ]
    rows += ["beta/held.mp4,1,fear", "beta/held.mp4,2,happy"]
    (footage / "emotions.csv").write_text("\n".join(["source,line,emotion", *rows]) + "\n")
    (root / "redub.toml").write_text('name = "small"\n', encoding="utf-8")
    project = open_project(root)
    ingest(project, scheduler=SYNC)
    with pytest.raises(ConfigError, match="redub index build"):
        write_map(project, root / "map.html")
    extract(project, scheduler=SYNC, features=FEATURES)
    build_index(project)
    return project


@pytest.fixture(scope="module")
def shown(project):
    return emotion_map(project, modality="audio", media="auto", count=8)


def test_the_points_are_the_library_and_nothing_else(project, shown):
    index = open_index(project)
    assert len(index.clips) == 20
    assert [p.clip_id for p in shown.points] == [c.clip_id for c in index.clips]
    for point, clip in zip(shown.points, index.clips, strict=True):
        assert (point.text, point.emotion, point.film) == (clip.text, clip.emotion, clip.film)
        assert point.start_s == pytest.approx(clip.start_frame / 25)
        assert abs(point.x) <= 1
        assert abs(point.y) <= 1
    assert len({(p.x, p.y) for p in shown.points}) > 15


@pytest.mark.parametrize("modality", ["audio", "scene"])
def test_each_point_names_its_three_nearest_vectors(project, modality):
    index = open_index(project)
    found = emotion_map(project, modality=modality, media="none", count=0)
    vectors = index.audio if modality == "audio" else index.vectors[modality]
    alike = cosine(vectors, vectors)
    np.fill_diagonal(alike, -np.inf)
    for row, point in enumerate(found.points):
        scores = [score for _, score in point.neighbours]
        np.testing.assert_allclose(scores, np.sort(alike[row])[::-1][:3], atol=1e-5)
        np.testing.assert_allclose(scores, [alike[row, k] for k, _ in point.neighbours], atol=1e-5)


def test_text_points_are_alike_by_the_mean_of_two_cosines(project):
    index = open_index(project)
    found = emotion_map(project, modality="text", media="none", count=0)
    vectors = index.vectors["text"]
    half = vectors.shape[1] // 2
    alike = (
        cosine(vectors[:, :half], vectors[:, :half]) + cosine(vectors[:, half:], vectors[:, half:])
    ) / 2
    for row, point in enumerate(found.points):
        for other, score in point.neighbours:
            assert score == pytest.approx(alike[row, other], abs=1e-5)
    assert found.similarity == "mean cosine of both halves of text_emotion"


def test_the_same_store_gives_the_same_page_to_the_byte(project, tmp_path):
    one = write_map(project, tmp_path / "one.html", count=3).read_bytes()
    other = write_map(project, tmp_path / "deep" / "two.html", count=3).read_bytes()
    assert one == other
    assert one.startswith(b"<!doctype html>")


def test_embedded_sound_is_the_clips_own_and_lasts_as_long(project, shown):
    having = [p for p in shown.points if p.sound]
    assert len(having) == 8
    assert all(p.poster.startswith(b"\xff\xd8") for p in having)
    assert sum("8 of 20 clips are in this page" in note for note in shown.notes) == 1
    stored = Store(project).read("waveform", [p.clip_id for p in having])
    for point in having:
        with av.open(io.BytesIO(point.sound)) as media:
            decoded = np.concatenate([f.to_ndarray()[0] for f in media.decode(audio=0)])
        wanted = np.asarray(stored[point.clip_id])[:, 0] / 32768
        assert len(decoded) == pytest.approx(len(wanted), abs=3 * 1024)
        # The encoder's delay is taken off by the container or is a whole number of frames.
        best = max(
            np.corrcoef(decoded[d : d + 9000], wanted[: len(decoded[d : d + 9000])])[0, 1]
            for d in (0, 1024, 2048)
        )
        assert best > 0.9


def test_how_much_is_embedded_is_the_users_choice(project, monkeypatch):
    def count(media, number):
        found = emotion_map(project, modality="audio", media=media, count=number)
        return sum(bool(p.sound) for p in found.points), found.notes

    assert count("none", 400)[0] == 0
    assert "No clip is embedded" in count("none", 400)[1][-1]
    assert count("auto", 400) == (20, ())
    assert count("auto", 0)[0] == 0
    assert count("all", 1)[0] == 20
    monkeypatch.setattr(module, "MOST_MEDIA_BYTES", 30_000)
    assert 0 < count("auto", 400)[0] < 20


def test_a_source_that_is_gone_costs_its_pictures_only(project, tmp_path):
    source = project.footage_root / "alpha" / "scene_0.mp4"
    source.rename(tmp_path / "away.mp4")
    try:
        found = emotion_map(project, modality="audio", media="all", count=0)
    finally:
        (tmp_path / "away.mp4").rename(source)
    assert {p.source for p in found.points if not p.poster} == {"alpha/scene_0.mp4"}
    assert all(p.sound for p in found.points)


def test_what_cannot_be_drawn_is_refused_with_the_nearest_known_name(project, tmp_path):
    with pytest.raises(UsageError, match=r"unknown modality 'adio'.*audio"):
        write_map(project, tmp_path / "m.html", modality="adio")
    with pytest.raises(UsageError, match=r"unknown media 'al'.*all"):
        write_map(project, tmp_path / "m.html", media="al")
    with pytest.raises(UsageError, match="-1 clips"):
        write_map(project, tmp_path / "m.html", count=-1)
    with pytest.raises(ConfigError, match="no library clip has a face emotion vector"):
        write_map(project, tmp_path / "m.html", modality="face")
    assert not (tmp_path / "m.html").exists()


def test_the_picture_says_how_far_it_may_be_trusted(project, shown):
    how, trust = shown.drawn_by
    assert "Distances between far groups and the size of a group have no meaning." in how
    value, shuffled = map(float, re.findall(r"\d\.\d{3}", trust))
    assert "K = 9" in trust  # of 20 points, 10 would be half
    assert value > shuffled


def test_the_holes_of_the_project_are_the_planted_ones(project, shown):
    lists = {held.title: held for held in shown.holes}
    missing = [hole.said for hole in lists["Emotions that are missing"].holes]
    assert missing == ["No clip of the library is labelled fear, and 1 held-out line is."]
    assert lists["Emotions by speaker"].holes == ()
    assert lists["Emotions by film"].holes == ()
    assert "22 lines without a face vector" in lists["Lines that stand alone in face"].note


def test_lines_that_stand_alone_are_those_that_a_plain_search_finds(project, shown):
    store, index = Store(project), open_index(project)
    values, clips = store.read("scene_emotion"), store.clips()
    policy = policy_of(project.config.index)
    library = np.stack([values[c.clip_id] for c in index.clips]).astype(np.float32)
    best = {}
    for clip in clips:
        scores = cosine(np.asarray(values[clip.clip_id], np.float32)[None], library)[0]
        best[clip.clip_id] = scores[policy.eligible(ClipFacts.of(clip), index.table)].max()
    limit = np.percentile([best[c.clip_id] for c in index.clips], 5)
    wanted = {clip_id for clip_id, score in best.items() if score < limit - 1e-6}
    (held,) = (h for h in shown.holes if h.title == "Lines that stand alone in scene")
    assert {hole.clips[0] for hole in held.holes} == wanted
    assert f"scores {limit:.3f} or better" in held.note


# -- planted holes


def clip(number, emotion, *, speaker="Ann", film="alpha", split="train", text="Oh."):
    return Clip(
        clip_id=f"c{number:03d}",
        source=f"{film}.mp4",
        source_digest="d",
        start_frame=20 * number,
        end_frame=20 * number + 20,
        film=film,
        scene="s",
        position=number,
        speaker=speaker,
        emotion=emotion,
        split=split,
        text=text,
    )


def library_of(cells):
    """Clips from {(speaker, film, emotion): count}."""
    rows = [key for key, count in cells.items() for _ in range(count)]
    return [clip(n, e, speaker=s, film=f) for n, (s, f, e) in enumerate(rows)]


def said_of(lists, title):
    return [hole.said for held in lists if held.title == title for hole in held.holes]


def test_cells_with_fewer_than_k_clips_are_found_and_only_those():
    cells = {(s, "alpha", e): 5 for s in ("Ann", "Bea", "Cy") for e in ("fear", "happy", "sad")}
    cells["Bea", "alpha", "fear"] = 0
    cells["Cy", "alpha", "sad"] = 2
    cells["Cy", "alpha", "happy"] = 3
    lists = label_holes(library_of(cells), [], 3)
    # 35 clips: Bea has 10, fear 10 of them; Cy 10, sad 12.
    assert said_of(lists, "Emotions by speaker") == [
        "No clip of Bea is labelled fear; 2.9 would be expected.",
        "Only 2 clips of Cy are labelled sad; 3.4 would be expected.",
    ]
    assert [held.title for held in lists] == ["Emotions that are missing", "Emotions by speaker"]
    assert lists[0].holes == ()


def test_cells_that_held_out_lines_ask_for_come_first():
    cells = {(s, f, e): 4 for s, f in (("Ann", "alpha"), ("Bea", "beta")) for e in ("sad", "happy")}
    cells["Ann", "alpha", "sad"] = 30
    cells["Bea", "beta", "sad"] = 0
    cells["Bea", "beta", "happy"] = 1
    held = [clip(900 + k, "happy", speaker="Bea", film="beta", split="test") for k in range(2)]
    lists = label_holes(library_of(cells), held, 3)
    for by, of in (("speaker", "of Bea"), ("film", "of film beta")):
        first, second = said_of(lists, f"Emotions by {by}")
        assert first.startswith(f"Only 1 clip {of} is labelled happy, and 2 held-out lines are;")
        assert second.startswith(f"No clip {of} is labelled sad;")


def test_who_is_not_in_the_library_at_all_is_one_hole_and_so_is_an_emotion():
    cells = {(s, "alpha", e): 4 for s in ("Ann", "Bea") for e in ("fear", "happy")}
    held = [clip(900, "sad", speaker="Zoe", split="test"), clip(901, "fear", speaker="Zoe")]
    lists = label_holes(library_of(cells), held, 3)
    assert said_of(lists, "Emotions that are missing") == [
        "No clip of the library is labelled sad, and 1 held-out line is."
    ]
    assert said_of(lists, "Emotions by speaker") == [
        "No labelled clip of the library is by Zoe, and 2 held-out lines are."
    ]


def test_a_library_without_labels_says_so():
    (only,) = label_holes([clip(1, ""), clip(2, "")], [clip(3, "sad")], 3)
    assert "No library clip has an emotion label" in only.note


def test_long_lists_are_cut_and_say_how_much_is_left():
    cells = {(f"S{k:02d}", "alpha", e): 4 for k in range(15) for e in ("sad", "happy")}
    for k in range(13):
        cells[f"S{k:02d}", "alpha", "sad"] = 1
    (held,) = (h for h in label_holes(library_of(cells), [], 3) if h.title.endswith("speaker"))
    assert (len(held.holes), held.more) == (10, 3)


def test_lines_below_the_librarys_own_scores_stand_alone_and_only_those():
    # 41 library scores 0.60, 0.61 … 1.00: the 5th percentile is the third lowest, 0.62.
    library = [clip(k, "sad") for k in range(41)]
    held = [clip(100 + k, "sad", split="test", text=f"Held {k}.") for k in range(4)]
    best = np.array([*(0.60 + 0.01 * k for k in range(41)), 0.63, 0.5, np.nan, 0.62], np.float32)
    is_library = np.arange(45) < 41
    found = alone_holes("scene", library + held, best, is_library, 3)
    assert [hole.clips[0] for hole in found.holes] == ["c102", "c101", "c000", "c001"]
    assert found.holes[0].said == "“Held 2.” (test) stands alone in scene: no clip is eligible"
    assert found.holes[1].said.endswith("its best hit scores 0.500")
    assert "best hit scores 0.620 or better. It scores lower for 2 of 4 other lines" in found.note
    assert "and 2 of 41" in found.note
    assert "3 lines without a scene vector cannot be compared." in found.note


def test_without_library_scores_nothing_is_below_them():
    asking = [clip(1, "sad"), clip(2, "sad", split="test")]
    found = alone_holes(
        "face", asking, np.array([np.nan, 0.1], np.float32), np.array([True, False])
    )
    assert [hole.clips for hole in found.holes] == [("c001",)]
    assert "No library clip has an eligible clip." in found.note
    assert alone_holes("face", [], np.zeros(0, np.float32), np.zeros(0, bool)).holes == ()


def test_emotions_that_lie_among_others_are_found_and_only_those():
    found = [
        *(Found(clip(k, "sad"), True, ("sad", "sad", "happy")) for k in range(6)),
        Found(clip(10, "happy"), True, ("happy", "happy")),
        Found(clip(11, "happy"), True, ("happy", "sad")),  # half: not most
        Found(clip(12, "happy"), True, ()),  # no labelled point near: not counted
        Found(clip(20, "fear"), True, ("fear", "sad", "sad")),
        Found(clip(21, "fear", split="test"), False, ("angry", "sad", "happy")),
        Found(clip(22, "fear"), True, ("fear", "fear", "sad")),
        Found(clip(30, ""), True, ("sad", "sad", "sad")),
    ]
    library = {"sad": 12, "happy": 6, "fear": 6, "": 9}
    (hole,) = region_holes("audio", found, library, 3).holes
    # By chance: at most one of three has its label, p = 6/24: 3 · (0.75³ + 3 · 0.25 · 0.75²) = 2.5.
    assert hole.said == (
        "2 of 3 clips labelled fear lie among other emotions, most often sad (3 of their 6 "
        "neighbours); not in the library: 1. Random labels would give 2.5."
    )
    assert hole.clips == ("c021", "c020")
    clean = region_holes("audio", found[:9], library, 3)
    assert clean.holes == ()
    assert clean.note.startswith("None")


# -- an even choice


def test_a_choice_is_even_over_emotions_and_speakers():
    cells = {("Ann", "a", "sad"): 50, ("Ann", "a", "fear"): 3, ("Bea", "a", "sad"): 10}
    clips = library_of(cells)

    def counts(numbers):
        pairs = [(clips[k].speaker, clips[k].emotion) for k in numbers]
        return [pairs.count(pair) for pair in (("Ann", "sad"), ("Ann", "fear"), ("Bea", "sad"))]

    chosen = spread(clips, 15)
    assert sorted(counts(chosen)) == [3, 6, 6]
    assert counts(chosen)[1] == 3
    assert counts(chosen[:6]) == [2, 2, 2]  # the first ones are spread as well
    own = [k for k in chosen if k < 50]
    assert own == [round(k * 49 / (len(own) - 1)) for k in range(len(own))]
    assert sorted(spread(clips, 999)) == list(range(63))
    assert spread(clips, 0) == []
    assert spread([], 5) == []


def test_a_single_clip_is_a_map(project, monkeypatch):
    monkeypatch.setattr(module, "MOST_DRAWN", 1)
    found = emotion_map(project, modality="text", media="none", count=0)
    assert [(p.x, p.y, p.neighbours) for p in found.points] == [(0.0, 0.0, ())]
    assert len(found.drawn_by) == 1  # one point cannot be out of place
    assert 'id="dot-0"' in page_of.render_map(found)


def test_a_vector_of_no_length_is_not_drawn_and_does_not_ask(project, monkeypatch):
    index = open_index(project)
    audio = index.audio.copy()
    audio[4] = 0
    monkeypatch.setattr(module, "open_index", lambda _: dataclasses.replace(index, audio=audio))
    found = emotion_map(project, modality="audio", media="none", count=0)
    assert len(found.points) == 19
    assert index.clips[4].clip_id not in {p.clip_id for p in found.points}
    assert "Not drawn: 1 clip of the library without an audio vector." in found.notes


def test_a_library_too_large_to_draw_is_drawn_in_part_and_says_so(project, monkeypatch):
    monkeypatch.setattr(module, "MOST_DRAWN", 12)
    found = emotion_map(project, modality="audio", media="none", count=0)
    assert len(found.points) == 12
    assert any("Drawn are 12 of 20 clips" in note for note in found.notes)
    assert all(k < 12 for p in found.points for k, _ in p.neighbours)
    assert "Coverage holes" in page_of.render_map(found)
