"""Ingest and dub say what the subtitles have beside dialogue, and which cues are doubtful."""

from __future__ import annotations

import json

import pytest

from redub.footage.probe import probe
from redub.pipeline.dubbing.script import read_script, script_clips
from redub.pipeline.dubbing.take import DubSummary, line_number
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.keys import media_digest
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.work.executor import Scheduler
from tests.pipeline.films import make_project

SYNC = Scheduler("sync", 1)
LINES = (
    "1\n00:00:00,000 --> 00:00:00,800\n- Who is there?\n- Only me.\n\n"
    "2\n00:00:00,800 --> 00:00:01,000\n[DOOR SLAMS]\n\n"
    "3\n00:00:01,000 --> 00:00:01,200\n♪ Row the boat ♪\n\n"
    "4\n00:00:01,200 --> 00:00:01,800\n(coughs) Come in!\n"
)


@pytest.fixture
def root(tmp_path):
    root = make_project(tmp_path / "p", sources=2)
    (root / "footage" / "scene_1.srt").write_text(LINES)
    return root


def test_ingest_counts_and_keeps_what_is_not_spoken(root):
    project = open_project(root)
    summary = ingest(project, scheduler=SYNC)
    assert summary.not_spoken == {"sound description": 2, "lyrics": 1}
    (notice,) = summary.notices
    assert notice.startswith("scene_1.mp4: line 1 has 2 speakers; name those of 1, 1b")
    rows = Store(project).source_frame()
    info = json.loads(dict(rows.select("source", "info").iter_rows())["scene_1.mp4"])
    assert [(row["line"], row["cue"], row["kind"], row["text"]) for row in info["not_spoken"]] == [
        (8, 2, "sound description", "[DOOR SLAMS]"),
        (12, 3, "lyrics", "♪ Row the boat ♪"),
        (16, 4, "sound description", "(coughs)"),
    ]
    assert info["notices"] == [notice.removeprefix("scene_1.mp4: ")]
    ids = [clip.clip_id for clip in Store(project).clips() if clip.source == "scene_1.mp4"]
    assert ids == ["scene_1-0001", "scene_1-0001b", "scene_1-0004"]
    again = ingest(open_project(root), scheduler=SYNC)
    assert (again.sources, again.not_spoken) == (0, {})


def test_off_screen_is_a_property_of_the_utterance_that_takes_its_face_away(root):
    (root / "footage" / "scene_1.srt").write_text(
        "1\n00:00:00,000 --> 00:00:00,800\nANN: Hi.\n\n"
        "2\n00:00:00,800 --> 00:00:01,600\nANN (O.S.): Hello.\n"
    )
    project = open_project(root)
    ingest(project, scheduler=SYNC)
    clips = {clip.clip_id: clip for clip in Store(project).clips()}
    assert not clips["scene_1-0001"].off_screen
    assert clips["scene_1-0002"].off_screen
    extract(project, scheduler=SYNC, features=["lips", "mel"])
    table = Store(project).feature_parts("face_track").read().to_pylist()
    reasons = {row["clip_id"]: row["why_not"] for row in table}
    assert reasons["scene_1-0002"].startswith("E-FEAT-OFFSCREEN")
    assert not reasons["scene_1-0001"].startswith("E-FEAT-OFFSCREEN")
    assert "scene_1-0002" in Store(project).read("mel")


def test_a_line_that_moves_off_screen_is_looked_at_again(root):
    text = "1\n00:00:00,000 --> 00:00:00,800\nANN{}: Hi.\n"
    digests = []
    for label in ("", " (O.S.)", ""):
        (root / "footage" / "scene_1.srt").write_text(text.format(label))
        project = open_project(root)
        ingest(project, scheduler=SYNC)
        (clip,) = [c for c in Store(project).clips() if c.source == "scene_1.mp4"]
        digests.append(media_digest(clip))
    assert digests[0] == digests[2] != digests[1]


def test_a_new_setting_of_dialogue_styles_reads_the_subtitles_again(root):
    (root / "footage" / "scene_1.srt").unlink()
    (root / "footage" / "scene_1.ass").write_text(
        "[Events]\nFormat: Layer, Start, End, Style, Name, Effect, Text\n"
        "Dialogue: 0,0:00:00.00,0:00:01.00,Signs,ANN,,Hello there\n"
    )
    summary = ingest(open_project(root), scheduler=SYNC)
    assert summary.not_spoken == {"sign": 1}
    assert "no dialogue" in summary.notices[0]
    settings = root / "redub.toml"
    settings.write_text(settings.read_text() + '[footage]\ndialogue_styles = ["Signs"]\n')
    summary = ingest(open_project(root), scheduler=SYNC)
    assert (summary.sources, summary.not_spoken) == (2, {})
    clips = [c for c in Store(open_project(root)).clips() if c.source == "scene_1.mp4"]
    assert [(clip.speaker, clip.text) for clip in clips] == [("ANN", "Hello there")]


def test_a_dub_notes_speakers_without_names_and_what_is_not_spoken(root, tmp_path):
    project = open_project(root)
    script = tmp_path / "script.srt"
    script.write_text(LINES)
    summary = DubSummary("", "")
    video = root / "footage" / "scene_1.mp4"
    lines = read_script(project, video, script, probe(video), summary, cast=())
    clips = script_clips(project, video, probe(video), lines)
    assert [(clip.clip_id, line_number(clip)) for clip in clips] == [
        ("scene_1-0001", 1),
        ("scene_1-0001b", 1),
        ("scene_1-0004", 4),
    ]
    assert "2 speakers" in summary.notes[0]
    assert summary.notes[-1] == "not spoken: 2 sound descriptions, 1 lyrics"


def test_names_that_differ_only_in_capitals_are_named_until_the_cast_says_one(root):
    said = "1\n00:00:00,000 --> 00:00:00,800\n{}: Come in!\n"
    for number, name in enumerate(("ANN", "Ann")):
        (root / "footage" / f"scene_{number}.srt").write_text(said.format(name))
    (root / "footage" / "speakers.csv").write_text("source,line,speaker\nscene_1.mp4,1,Ann\n")
    project = open_project(root)
    summary = ingest(project, scheduler=SYNC)
    assert summary.alike == ["'ANN' and 'Ann'"]
    assert any("differ only in capitals" in remark for remark in summary.remarks())
    (root / "footage" / "cast.csv").write_text("name\nAnn\n")
    assert ingest(open_project(root), scheduler=SYNC).alike == []
    assert {clip.speaker for clip in Store(project).clips()} == {"Ann"}
