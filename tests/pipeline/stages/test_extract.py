"""Ingest and extract: what is committed, what is quarantined, what is computed again and why."""

import dataclasses
import shutil

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from redub.core.columns import Column, texts
from redub.core.errors import ClipError, ConfigError, FeatureAbsent
from redub.features.base import FeatureSchema
from redub.features.registry import EXTRACTORS
from redub.pipeline.reports.plan import plan
from redub.pipeline.reports.why import explain_rows
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.ledger import check_ledger, ledger
from redub.pipeline.store.project import open_project
from redub.pipeline.store.quarantine import held_rows, release
from redub.pipeline.store.schemas import FeatureRow, feature_table
from redub.pipeline.store.tables import Store
from redub.pipeline.work.clip_work import checked_value
from redub.pipeline.work.executor import Scheduler
from tests.pipeline.films import add_source, make_project, tree_digest

SYNC = Scheduler("sync", 1)
FAST = ["mel", "f0", "energy", "scene_caption", "scene_emotion", "text_emotion", "phonemes"]


def run(root, features=None):
    project = open_project(root)
    read = ingest(project, scheduler=SYNC)
    return read, extract(project, scheduler=SYNC, features=features or FAST)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project with all features of three small sources; tests copy it before they change it."""
    root = make_project(tmp_path_factory.mktemp("finished"))
    read, done = run(root, list(EXTRACTORS))
    assert (read.clips, read.quarantined, done.clips, done.quarantined) == (6, 0, 6, 0)
    return root


@pytest.fixture
def project(finished, tmp_path):
    root = tmp_path / "project"
    shutil.copytree(finished, root)
    return root


def test_every_feature_of_every_clip_has_a_row(finished):
    store = Store(open_project(finished))
    lines = {line.feature: line for line in ledger(store, list(EXTRACTORS))}
    assert set(lines) == set(EXTRACTORS)
    assert all((x.listed, x.committed, x.pending) == (6, 6, 0) for x in lines.values())
    assert lines["mel"].nulls == 0
    assert lines["face_track"].nulls == 6  # there is no face in this film


def test_a_null_names_the_reason_and_its_upstream(finished):
    rows = Store(open_project(finished)).live_features("lips").sort("clip_id")
    assert rows["valid"].to_list() == [False] * 6
    assert "mouth_crop: face_track: E-FEAT-NOFACE" in rows["why_not"][0]


def test_lengths_follow_the_video_grid(finished):
    store = Store(open_project(finished))
    clips = {clip.clip_id: clip for clip in store.clips()}
    mels, waves = store.read("mel"), store.read("waveform")
    for clip_id, clip in clips.items():
        assert clip.video_frames == 20
        assert mels[clip_id].shape == (80, 80)  # 20 pictures, 4 mel frames each
        assert waves[clip_id].shape == (20 * 640, 1)


def test_a_second_run_does_nothing(project):
    before = tree_digest(project)
    read, done = run(project)
    assert (read.sources, read.unchanged, done.clips, done.rows) == (0, 3, 0, 0)
    assert tree_digest(project) == before


def test_new_footage_computes_only_its_own_rows(project):
    before = tree_digest(project)
    add_source(project / "footage", "scene_9", seed=9)
    read, done = run(project)
    assert (read.sources, read.clips, done.clips) == (1, 2, 2)
    after = tree_digest(project)
    assert {name: after[name] for name in before} == before  # nothing was touched
    new = set(after) - set(before)
    assert len([n for n in new if n.startswith("features/mel/")]) == 2  # one part, one commit


def test_rows_do_not_depend_on_how_footage_came_in(finished, tmp_path):
    # The same sources one by one: other parts, equal values.
    root = tmp_path / "grown"
    (root / "footage").mkdir(parents=True)
    shutil.copy(finished / "redub.toml", root)
    for number in (2, 0, 1):
        for suffix in (".mp4", ".srt"):
            shutil.copy2(finished / "footage" / f"scene_{number}{suffix}", root / "footage")
        run(root)
    one, other = Store(open_project(finished)), Store(open_project(root))
    for name in FAST:
        a, b = one.read(name), other.read(name)
        assert a.keys() == b.keys()
        for clip_id, value in a.items():
            np.testing.assert_array_equal(value, b[clip_id])


def test_one_changed_byte_makes_exactly_its_source_stale(project):
    add_source(project / "footage", "scene_1", seed=77)
    open_one = open_project(project)
    ingest(open_one, scheduler=SYNC)
    lines = {line.feature: line for line in plan(Store(open_one))}
    assert (lines["mel"].up_to_date, lines["mel"].changed, lines["mel"].new) == (4, 2, 0)
    assert "bytes, span, decoder or words" in lines["mel"].why
    assert lines["phonemes"].up_to_date == 6  # the words are the same
    done = extract(open_one, scheduler=SYNC, features=FAST)
    assert done.clips == 2
    check_ledger(Store(open_one), FAST)


def test_changed_words_leave_the_sound_alone(project):
    path = project / "footage" / "scene_0.srt"
    path.write_text(path.read_text().replace("hello", "goodbye"))
    open_one = open_project(project)
    ingest(open_one, scheduler=SYNC)
    lines = {line.feature: line for line in plan(Store(open_one))}
    assert lines["mel"].up_to_date == 6
    assert (lines["phonemes"].up_to_date, lines["phonemes"].changed) == (5, 1)


def test_a_changed_setting_names_itself_and_what_depends_on_it(project):
    config = project / "redub.toml"
    config.write_text(config.read_text() + "[audio]\nfmax_hz = 7600.0\n")
    lines = {line.feature: line for line in plan(Store(open_project(project)))}
    assert lines["mel"].changed == 6
    assert "fmax_hz 8000.0→7600.0" in lines["mel"].why
    assert lines["scene_caption"].up_to_date == 6  # pictures do not hear


def test_plan_writes_nothing_and_equals_what_extract_does(project):
    add_source(project / "footage", "scene_9", seed=9)
    open_one = open_project(project)
    ingest(open_one, scheduler=SYNC)
    before = tree_digest(project)
    promised = {line.feature: line.new + line.changed for line in plan(Store(open_one))}
    assert tree_digest(project) == before
    done = extract(open_one, scheduler=SYNC)
    assert done.rows == sum(promised.values())


def test_a_removed_line_is_no_longer_listed(project):
    path = project / "footage" / "scene_0.srt"
    path.write_text(path.read_text().split("\n\n")[0] + "\n")
    open_one = open_project(project)
    ingest(open_one, scheduler=SYNC)
    assert len(Store(open_one).clips()) == 5


def test_an_extractor_that_fails_costs_one_row_by_name(project, monkeypatch):
    from redub.features.sound.energy import EnergyExtractor

    add_source(project / "footage", "scene_9", seed=9)
    monkeypatch.setattr(
        EnergyExtractor, "extract", lambda self, media: np.full((80, 1), np.nan, np.float32)
    )
    run(project, ["energy", "mel"])
    rows = held_rows(open_project(project)).rows
    assert {(r.feature, r.code) for r in rows} == {("energy", "E-FEAT-NONFINITE")}
    assert len(rows) == 2
    monkeypatch.undo()
    store = Store(open_project(project))
    assert len(store.live_features("mel")) == 8
    # Held rows stay held until they are released; then they are computed.
    assert run(project, ["energy"])[1].clips == 0
    assert release(open_project(project), []) == 2
    assert run(project, ["energy"])[1].clips == 2
    assert held_rows(open_project(project)).rows == ()


def test_a_bug_in_one_extractor_is_named_and_what_reads_it_is_held(project, monkeypatch):
    from redub.features.picture.scene_caption import SceneCaptionExtractor

    def broken(self, media):
        raise ZeroDivisionError("planted")

    add_source(project / "footage", "scene_9", seed=9, lines=1)
    monkeypatch.setattr(SceneCaptionExtractor, "extract", broken)
    run(project)
    held = held_rows(open_project(project)).rows
    rows = {row.feature: (row.code, row.message) for row in held}
    assert rows["scene_caption"][0] == "E-FEAT-ERROR"
    assert "ZeroDivisionError: planted" in rows["scene_caption"][1]
    assert rows["scene_emotion"][0] == "E-FEAT-UPSTREAM"


def test_a_source_that_changes_after_ingest_is_held(project):
    add_source(project / "footage", "scene_9", seed=9)
    open_one = open_project(project)
    ingest(open_one, scheduler=SYNC)
    add_source(project / "footage", "scene_9", seed=10)
    extract(open_one, scheduler=SYNC, features=["mel", "phonemes"])
    rows = held_rows(open_one).rows
    assert [row.code for row in rows] == ["E-IN-CHANGED"] * 2
    lines = {x.feature: x for x in ledger(Store(open_one), ["mel", "phonemes"])}
    assert (lines["mel"].committed, lines["mel"].quarantined) == (6, 2)
    assert lines["phonemes"].committed == 8  # words need no media


def test_extract_before_ingest_names_the_stage_to_run(tmp_path):
    root = make_project(tmp_path, sources=1)
    with pytest.raises(ConfigError, match="redub ingest"):
        extract(open_project(root), scheduler=SYNC)


def test_why_says_everything_a_row_depends_on(finished):
    project = open_project(finished)
    clip = Store(project).clips()[0]
    [row] = explain_rows(project, clip.clip_id, "mel").rows
    assert row.state == "committed"
    assert row.document["settings"]["fields"]["audio"]["hop_samples"] == 160
    assert clip.source_digest in row.source
    assert row.decoder.split()[0] in ("pyav", "decord")


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        (FeatureSchema(kind="vector", width=3), [np.arange(3, dtype=np.float32), None]),
        (FeatureSchema(kind="frames", width=2, dtype="int32"), [np.ones((4, 2), np.int32), None]),
        (FeatureSchema(kind="frames", width=1, dtype="int16"), [None, np.ones((0, 1), np.int16)]),
        (
            FeatureSchema(kind="vector", width=3, dtype="uint8"),
            [None, np.arange(3, dtype=np.uint8)],
        ),
        (
            FeatureSchema(kind="frames", width=5, dtype="uint8"),
            [
                np.arange(10, dtype=np.uint8).reshape(2, 5),
                None,
                np.ones((0, 5), np.uint8),
                np.arange(250, 255, dtype=np.uint8).reshape(1, 5),
            ],
        ),
        (FeatureSchema(kind="text"), ["a line", None]),
    ],
)
def test_values_come_back_as_they_went_in(schema, values):
    rows = [FeatureRow(str(i), "d", v, "", 1.0) for i, v in enumerate(values)]
    buffer = pa.BufferOutputStream()
    pq.write_table(feature_table(schema, rows), buffer)
    column = pq.read_table(buffer.getvalue()).column("value")
    if schema.kind == "text":
        found = texts(column)
    else:
        cells = Column(column.chunks)
        found = [cells.value(number) for number in range(len(cells))]
    for back, value in zip(found, values, strict=True):
        if value is None or isinstance(value, str):
            assert back == value
        else:
            assert back.dtype == value.dtype
            np.testing.assert_array_equal(back, value)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (np.zeros(4, np.float32), "E-FEAT-SHAPE"),
        (np.zeros((1, 3), np.float32), "E-FEAT-SHAPE"),
        (np.zeros(3, np.float64), "E-FEAT-SHAPE"),
        ("text", "E-FEAT-SHAPE"),
        (np.array([0, np.inf, 0], np.float32), "E-FEAT-NONFINITE"),
        (np.array([0, np.nan, 0], np.float32), "E-FEAT-NONFINITE"),
    ],
)
def test_what_would_poison_an_index_is_refused(value, code):
    with pytest.raises(ClipError) as caught:
        checked_value(value, FeatureSchema(kind="vector", width=3))
    assert caught.value.code == code


def test_an_absent_feature_is_not_an_error():
    assert issubclass(FeatureAbsent, ClipError)


def test_the_ledger_notices_a_clip_listed_twice(project):
    open_one = open_project(project)
    store = Store(open_one)
    frame = store.clip_frame()
    doubled = pl.concat([frame, frame.head(1)])
    store.clip_frame = lambda: doubled
    with pytest.raises(Exception, match="listed twice"):
        check_ledger(store, ["mel"])


def test_shard_size_changes_files_but_no_value(finished, tmp_path):
    root = tmp_path / "other"
    shutil.copytree(finished / "footage", root / "footage")
    (root / "redub.toml").write_text('name = "small"\n[store]\nshard_clips = 5\n')
    run(root, ["mel"])
    one, other = Store(open_project(finished)), Store(open_project(root))
    assert one.keys.by_name["mel"].key == other.keys.by_name["mel"].key
    a, b = one.read("mel"), other.read("mel")
    assert all(np.array_equal(a[i], b[i]) for i in a)
    assert len(one.feature_parts("mel").parts()) == 3
    assert len(other.feature_parts("mel").parts()) == 2


def test_the_size_of_pictures_is_in_the_key_of_whoever_sees_them(finished):
    from redub.pipeline.store.keys import FeatureKeys

    project = open_project(finished)
    smaller = dataclasses.replace(
        project.config, video=dataclasses.replace(project.config.video, max_side=128)
    )
    before = FeatureKeys(project).by_name
    after = FeatureKeys(dataclasses.replace(project, config=smaller)).by_name
    changed = {name for name in before if before[name].key != after[name].key}
    assert {"face_track", "mouth_crop", "lips", "scene_caption", "scene_emotion"} <= changed
    assert not {"mel", "f0", "speaker", "text_emotion", "phonemes"} & changed


def test_settings_that_only_change_how_it_is_run_are_not_in_the_key(finished):
    project = open_project(finished)
    other = dataclasses.replace(
        project.config, store=dataclasses.replace(project.config.store, shard_clips=99)
    )
    from redub.pipeline.store.keys import FeatureKeys

    assert {
        n: k.key for n, k in FeatureKeys(dataclasses.replace(project, config=other)).by_name.items()
    } == {n: k.key for n, k in FeatureKeys(project).by_name.items()}


def test_footage_that_leaves_and_comes_back_again_and_again_is_there(project):
    """The rows of its first reading are committed already, and were taken out since."""
    project = open_project(project)
    scene = project.footage_root / "scene_1.mp4"
    kept = {path: path.read_bytes() for path in scene.parent.glob("scene_1.*")}
    before = {clip.clip_id for clip in Store(project).clips()}
    for _ in range(3):
        for path in kept:
            path.unlink()
        assert ingest(project, scheduler=SYNC).gone == 1
        assert len(Store(project).clips()) < len(before)
        for path, content in kept.items():
            path.write_bytes(content)
        assert ingest(project, scheduler=SYNC).sources == 1
        assert {clip.clip_id for clip in Store(project).clips()} == before
        assert ingest(project, scheduler=SYNC).sources == 0


def test_a_clip_that_fails_again_after_its_release_is_held_again(project, monkeypatch):
    def broken(self, media):
        raise ClipError("no", code="E-FEAT-ERROR")

    project = open_project(project)
    shutil.rmtree(project.root / "features" / "mel")
    monkeypatch.setattr("redub.features.sound.mel.MelExtractor.extract", broken)
    for _ in range(3):
        extract(project, scheduler=SYNC, features=["mel"])
        held = Store(project).quarantined()
        assert set(held["feature"]) == {"mel"}
        assert len(held) == len(Store(project).clips())
        assert extract(project, scheduler=SYNC, features=["mel"]).clips == 0
        release(project, [])
        assert Store(project).quarantined().is_empty()
