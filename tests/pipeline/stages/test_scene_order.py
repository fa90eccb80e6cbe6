"""What stands before and after a line: through the files of a scene, and not over a gap."""

import pytest

from redub.core.errors import UsageError
from redub.footage.probe import probe
from redub.pipeline.dubbing.script import read_script, script_clips
from redub.pipeline.dubbing.take import DubSummary
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.index import build_index
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.index.builds import open_index
from redub.pipeline.store.packs.lines import adjacent_in_scene
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.work.executor import Scheduler
from redub.pipeline.work.run_settings import training_settings
from tests.pipeline.films import INDEXED, add_source, make_project

SYNC = Scheduler("sync", 1)


def beside(project):
    """Names of the lines by what follows them."""
    before, after = adjacent_in_scene(Store(project).clips())
    assert {second: first for first, second in after.items()} == before
    return after


@pytest.fixture
def root(tmp_path):
    """Two files of one scene, two lines each, and a file of another."""
    root = make_project(tmp_path / "p", sources=3)
    (root / "footage" / "scenes.csv").write_text(f"source,line,scene\n{in_the_hall('scene_0')}")
    with (root / "footage" / "scenes.csv").open("a") as table:
        table.write(in_the_hall("scene_1"))
    return root


def in_the_hall(name):
    return f"{name}.mp4,1,hall\n{name}.mp4,2,hall\n"


def test_a_scene_goes_on_in_the_next_file(root):
    project = open_project(root)
    ingest(project, scheduler=SYNC)
    places = {clip.clip_id: (clip.scene, clip.position) for clip in Store(project).clips()}
    assert places == {
        "scene_0-0001": ("hall", 1), "scene_0-0002": ("hall", 2),
        "scene_1-0001": ("hall", 3), "scene_1-0002": ("hall", 4),
        "scene_2-0001": ("scene_2", 1), "scene_2-0002": ("scene_2", 2),
    }  # fmt: skip
    assert beside(project) == {
        "scene_0-0001": "scene_0-0002", "scene_0-0002": "scene_1-0001",
        "scene_1-0001": "scene_1-0002", "scene_2-0001": "scene_2-0002",
    }  # fmt: skip


def test_a_file_that_comes_later_and_stands_before_moves_the_others(root):
    project = open_project(root)
    ingest(project, scheduler=SYNC)
    extract(project, scheduler=SYNC, features=INDEXED)
    build_index(project)
    add_source(root / "footage", "before", seed=9)
    table = root / "footage" / "scenes.csv"
    table.write_text(table.read_text() + in_the_hall("before"))
    ingest(open_project(root), scheduler=SYNC)
    extract(open_project(root), scheduler=SYNC, features=INDEXED)
    build_index(open_project(root))
    store = Store(open_project(root))
    places = {clip.clip_id: clip.position for clip in store.clips()}
    assert [places[f"{name}-0001"] for name in ("before", "scene_0", "scene_1")] == [1, 3, 5]
    index = open_index(store.project)
    searched = dict(zip(index.table.clip_id.tolist(), index.table.position.tolist(), strict=True))
    assert searched == places


def test_a_quarantined_line_leaves_a_gap(root):
    words = root / "footage" / "scene_2.srt"
    add_source(root / "footage", "scene_2", seed=2, lines=3)
    words.write_text(words.read_text().replace("00:00:01,880", "00:00:01,080"))  # no time at all
    project = open_project(root)
    report = ingest(project, scheduler=SYNC)
    assert report.quarantined
    places = {c.clip_id: c.position for c in Store(project).clips() if c.scene == "scene_2"}
    assert places == {"scene_2-0001": 1, "scene_2-0003": 3}
    assert "scene_2-0001" not in beside(project)


def test_a_script_line_that_cannot_be_spoken_leaves_a_gap(root, tmp_path):
    project = open_project(root)
    script = tmp_path / "script.srt"
    script.write_text(
        "1\n00:00:00,100 --> 00:00:00,500\nhello\n\n2\n00:00:00,600 --> 00:00:00,600\nno\n\n"
        "3\n00:00:01,000 --> 00:00:01,500\nthank you\n\n4\n00:00:01,600 --> 00:00:01,900\nno\n"
    )
    video = root / "footage" / "scene_2.mp4"
    lines = read_script(project, video, script, probe(video), DubSummary("", ""), cast=())
    clips = script_clips(project, video, probe(video), lines)
    assert [(clip.clip_id[-4:], clip.position) for clip in clips] == [
        ("0001", 1), ("0003", 3), ("0004", 4),
    ]  # fmt: skip


def test_no_baseline_of_a_system_without_retrieval_and_graphs(root):
    project = open_project(root)
    training_settings(project, baseline=True)
    for name in ("hpm_dubbing", "m2ci_dubber", "fastspeech2"):
        with pytest.raises(UsageError, match=f"{name} has neither"):
            training_settings(project, model=name, baseline=True)
