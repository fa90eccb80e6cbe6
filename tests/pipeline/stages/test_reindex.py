"""The index kept current: new footage is a new segment, answers are those of a new index."""

import shutil

import numpy as np
import polars as pl
import pytest

from redub.core.errors import ConfigError, IntegrityError
from redub.core.types import MODALITIES
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.index import build_index
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.index.build_record import current_build, records_of_builds
from redub.pipeline.store.index.builds import open_index
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store, frame_digest
from redub.pipeline.work.executor import Scheduler
from redub.pipeline.work.query import query_clip
from tests.pipeline.films import INDEXED, add_source, make_project

SYNC = Scheduler("sync", 1)


def brought_up_to_date(root, **options):
    project = open_project(root)
    ingest(project, scheduler=SYNC)
    extract(project, scheduler=SYNC, features=INDEXED)
    return project, build_index(project, **options)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = make_project(tmp_path_factory.mktemp("index"), sources=3, toml="[index]\nk = 9\n")
    (root / "footage" / "splits.csv").write_text(
        "source,split\n" + "".join(f"scene_{k}.mp4,train\n" for k in range(3))
    )
    brought_up_to_date(root)
    return root


@pytest.fixture
def root(small, tmp_path):
    return shutil.copytree(small, tmp_path / "project")


def add(root, number):
    add_source(root / "footage", f"scene_{number}", seed=number)
    with (root / "footage" / "splits.csv").open("a") as table:
        table.write(f"scene_{number}.mp4,train\n")


def answers(project, every=1):
    """Hits and scores of every so many clips, without margins' NaN in the way of comparing."""
    return {
        (clip.clip_id, modality): [(hit.clip_id, hit.score) for hit in hits]
        for clip in Store(project).clips()[::every]
        for modality, hits in query_clip(project, clip.clip_id).items()
    }


def test_new_footage_is_a_new_segment_and_answers_like_a_new_index(root):
    before = current_build(open_project(root)).segments
    for number in (3, 4):
        add(root, number)
        project, summary = brought_up_to_date(root)
        assert summary.fresh
    segments = current_build(project).segments
    assert [len(segments[m]) for m in ("scene", "text")] == [3, 3]
    assert all(segments[m][0] == before[m][0] for m in ("scene", "text"))
    found = answers(project, every=3)
    assert sum(map(len, found.values())) > 15
    build_index(project, compact=True)
    assert [len(current_build(project).segments[m]) for m in ("scene", "text")] == [1, 1]
    assert answers(project, every=3) == found


def test_a_removed_clip_is_not_retrieved_and_its_rows_are_dropped(root):
    add(root, 3)
    brought_up_to_date(root)
    (root / "footage" / "splits.csv").write_text(
        "source,split\nscene_1.mp4,train\nscene_3.mp4,train\n"
    )
    for path in (root / "footage").glob("scene_0.*"):
        path.unlink()
    project, _ = brought_up_to_date(root)
    gone = {hit for hits in answers(project).values() for hit, _ in hits if "scene_0" in hit}
    assert gone == set()
    index = open_index(project)
    assert not [c for c in index.clips if "scene_0" in c.clip_id]
    assert any((~one.is_live).any() for one in index.modalities["scene"].backend.placed), (
        "the old segment was not kept"
    )


def test_other_words_replace_a_row(root):
    script = root / "footage" / "scene_1.srt"
    script.write_text(script.read_text().replace("home", "away at once"))
    project, _ = brought_up_to_date(root)
    record = current_build(project)
    assert len(record.segments["text"]) == 2
    assert len(record.segments["scene"]) == 1  # the pictures are the same
    index = open_index(project)
    values = Store(project).read("text_emotion")
    own = index.modalities["text"]
    for row, vector in zip(own.rows, index.vectors["text"], strict=True):
        np.testing.assert_array_equal(vector, values[index.clips[row].clip_id])


def test_many_small_segments_are_made_into_one(root, monkeypatch):
    monkeypatch.setattr("redub.pipeline.work.index_segments.MOST_SEGMENTS", 2)
    for number in (3, 4):
        add(root, number)
        project, _ = brought_up_to_date(root)
    assert len(current_build(project).segments["scene"]) == 1


def test_segments_of_few_rows_answer_like_one(root):
    project = open_project(root)
    whole = answers(project, every=3)
    settings = root / "redub.toml"
    settings.write_text(settings.read_text() + "segment_rows = 2\n")
    project, _ = brought_up_to_date(root, compact=True)
    assert len(current_build(project).segments["scene"]) > 1
    assert answers(project, every=3) == whole


def test_a_damaged_segment_is_made_again(root):
    project = open_project(root)
    name = current_build(project).segments["scene"][0]
    file = root / "index" / "scene" / name / "vectors.npy"
    right = file.read_bytes()
    file.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    build_index(project)
    assert file.read_bytes() == right
    assert open_index(project).modalities["scene"].backend.count == 6


def test_a_kept_segment_is_not_read_again_but_readers_and_the_next_build_see_damage(root):
    name = current_build(open_project(root)).segments["scene"][0]
    file = root / "index" / "scene" / name / "vectors.npy"
    right = file.read_bytes()
    file.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    add(root, 3)
    project, summary = brought_up_to_date(root)
    assert summary.fresh
    assert name in current_build(project).segments["scene"]
    with pytest.raises(IntegrityError, match="other bytes"):
        open_index(project)
    assert build_index(project).fresh
    assert file.read_bytes() == right
    assert open_index(project).modalities["scene"].backend.count == 8


def test_a_kept_segment_that_was_cut_short_is_made_again_at_once(root):
    name = current_build(open_project(root)).segments["scene"][0]
    file = root / "index" / "scene" / name / "vectors.npy"
    right = file.read_bytes()
    file.write_bytes(right[:-1])
    add(root, 3)
    project, _ = brought_up_to_date(root)
    assert open_index(project).modalities["scene"].backend.count == 8


def test_a_damaged_record_is_refused_and_a_new_build_mends_it(root):
    project = open_project(root)
    (path,) = records_of_builds(project)
    path.write_text(path.read_text().replace("scene", "scenf"))
    with pytest.raises(IntegrityError, match="is damaged"):
        open_index(project)
    assert build_index(project).fresh
    assert answers(project)


def test_who_may_be_retrieved_is_asked_at_every_search_and_needs_no_new_build(root):
    settings = root / "redub.toml"
    settings.write_text(settings.read_text() + 'speaker = "same"\nmin_score = 0.0\n')
    project = open_project(root)
    assert not build_index(project).fresh
    speakers = {clip.clip_id: clip.speaker for clip in Store(project).clips()}
    pairs = [(key[0], hit) for key, hits in answers(project).items() for hit, _ in hits]
    assert pairs
    assert all(speakers[one] == speakers[other] for one, other in pairs)


def test_rows_per_segment_must_be_at_least_one(root):
    settings = root / "redub.toml"
    settings.write_text(settings.read_text() + "segment_rows = 0\n")
    with pytest.raises(ConfigError, match="segment_rows"):
        open_project(root)


def test_modalities_are_all_there(root):
    assert set(current_build(open_project(root)).segments) == set(MODALITIES)


def test_the_digest_of_a_frame_tells_every_cell_and_column_apart():
    frame = pl.DataFrame({"a": ["x", "yz", ""], "b": [1, 2, 3], "c": [True, False, True]})
    others = [
        frame.with_columns(a=pl.Series(["xy", "z", ""])),
        frame.with_columns(a=pl.Series(["x", "yz", None])),
        frame.with_columns(b=pl.Series([1, 3, 2])),
        frame.with_columns(c=pl.Series([True, True, True])),
        frame.rename({"a": "d"}),
        frame.select("b", "a", "c"),
        frame[:2],
        frame.reverse(),
    ]
    found = {frame_digest(one) for one in (frame, *others)}
    assert len(found) == 1 + len(others)
    pieces = pl.concat([frame[:1], frame[1:]], rechunk=False)
    assert frame_digest(pieces) == frame_digest(frame)
    assert frame_digest(pl.concat([frame, frame])[3:]) == frame_digest(frame)


def test_rows_are_read_in_the_order_asked_for(root):
    store = Store(open_project(root))
    values = store.read("text_emotion")
    ids = sorted(values, reverse=True)
    ids = [*ids, ids[0]]
    rows = store.read_rows("text_emotion", ids)
    np.testing.assert_array_equal(rows, np.stack([values[clip_id] for clip_id in ids]))
    with pytest.raises(IntegrityError, match="no committed text_emotion of no_clip"):
        store.read_rows("text_emotion", ["no_clip"])
