"""`redub bad retry` on faults that ingest found: the next ingest reads their files again."""

import os

import pytest

from redub.core.errors import ClipError
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.project import open_project
from redub.pipeline.store.quarantine import held_rows, release
from redub.pipeline.store.tables import Store
from redub.pipeline.work.executor import Scheduler
from tests.pipeline.films import make_project

SYNC = Scheduler("sync", 1)


def overwrite(path, content):
    """Change bytes and keep the size and the time, as a mend that ingest cannot notice."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def spoil_file(footage):
    path = footage / "scene_1.mp4"
    content = path.read_bytes()
    overwrite(path, bytes(len(content)))
    return lambda: overwrite(path, content)


def unreadable_name(footage):
    """A link that leaves the folder, until the file behind it is there."""
    path, kept = footage / "scene_1.mp4", footage / "kept.bin"
    path.rename(kept)
    path.symlink_to("kept.bin.gone")
    return lambda: (path.unlink(), kept.rename(path))


SPOILT = {"file": spoil_file, "link": unreadable_name}


def state(project):
    clips = {clip.clip_id for clip in Store(project).clips()}
    return clips, [(row.clip_id, row.code) for row in held_rows(project).rows]


@pytest.mark.parametrize("kind", SPOILT)
def test_a_fault_that_stays_is_listed_again_after_each_retry(tmp_path, kind):
    project = open_project(make_project(tmp_path, sources=2))
    SPOILT[kind](project.footage_root)
    ingest(project, scheduler=SYNC)
    before = state(project)
    assert [clip for clip, _ in before[1]] == ["scene_1.mp4"]
    for _ in range(3):
        assert release(project, ["scene_1.mp4"]) == 1
        read = ingest(project, scheduler=SYNC)
        assert (read.sources, read.unchanged, read.quarantined) == (1, 1, 1)
        assert state(project) == before
        assert ingest(project, scheduler=SYNC).sources == 0  # once per retry


@pytest.mark.parametrize("kind", SPOILT)
def test_clips_of_a_mended_file_appear_after_a_retry(tmp_path, kind):
    project = open_project(make_project(tmp_path, sources=2))
    mend = SPOILT[kind](project.footage_root)
    ingest(project, scheduler=SYNC)
    mend()
    release(project, [])
    assert ingest(project, scheduler=SYNC).sources == 1
    clips = {f"scene_{source}-000{line}" for source in (0, 1) for line in (1, 2)}
    assert state(project) == (clips, [])
    assert ingest(project, scheduler=SYNC).sources == 0


def test_clips_of_a_file_with_one_wrong_line_stay_while_the_line_is_tried_again(tmp_path):
    project = open_project(make_project(tmp_path, sources=1))
    path = project.footage_root / "scene_0.srt"
    path.write_text(path.read_text() + "\n\n3\n00:09:00,000 --> 00:09:01,000\nANN: too late\n")
    ingest(project, scheduler=SYNC)
    before = state(project)
    assert before[0] == {"scene_0-0001", "scene_0-0002"}
    assert [clip for clip, _ in before[1]] == ["scene_0-0003"]
    release(project, [])
    assert state(project) == (before[0], [])
    ingest(project, scheduler=SYNC)
    assert state(project) == before


def test_a_worker_that_died_once_is_forgiven_after_a_retry(tmp_path, monkeypatch):
    """The file itself is right, so only a second reading can tell."""
    project = open_project(make_project(tmp_path, sources=1))

    def broken(*arguments, **options):
        raise ClipError("planted", code="E-DEC-CRASH")

    with monkeypatch.context() as patch:
        patch.setattr("redub.footage.folder._look_at", broken)
        ingest(project, scheduler=SYNC)
    assert state(project) == (set(), [("scene_0.mp4", "E-DEC-CRASH")])
    release(project, [])
    ingest(project, scheduler=SYNC)
    assert state(project) == ({"scene_0-0001", "scene_0-0002"}, [])
