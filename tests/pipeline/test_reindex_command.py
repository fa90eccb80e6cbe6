"""`redub reindex`: equal to a rebuild, foretold by its dry run, and one step for readers."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest

from redub.core.errors import ConfigError, LockedError, StorageError, UsageError
from redub.pipeline import reindex as module
from redub.pipeline.reindex import Rows, foresee_reindex, reindex, sources_below
from redub.pipeline.store.index.build_record import current_build
from redub.pipeline.store.index.builds import newest_build, open_index
from redub.pipeline.store.index.neighbours import hits_of_build, stored_hits
from redub.pipeline.store.lock import project_lock
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.work.executor import Scheduler
from tests.pipeline.films import add_source, make_project

SYNC = Scheduler("sync", 1)
HISTORIES = int(os.environ.get("REDUB_HISTORIES", "12"))
"""A history takes about 10 CPU seconds; 50 were tried before the command was first released."""

TOML = "[index]\nk = 4\n"


def no_bar(*words):
    return nullcontext(lambda done, total: None)


def brought(root, **options):
    return reindex(open_project(root), SYNC, bar=no_bar, **options)


def foretold(root, **options):
    return foresee_reindex(open_project(root), SYNC, bar=no_bar, **options)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Six films that histories take from, each with its subtitles."""
    folder = tmp_path_factory.mktemp("pool")
    for number in range(6):
        add_source(folder, f"film_{number}", seed=number, lines=1)
    return folder


def put(pool, root, number, name):
    for suffix in (".mp4", ".srt"):
        shutil.copy2(pool / f"film_{number}{suffix}", root / "footage" / f"{name}{suffix}")


def all_train(root):
    """Every film is in the training split, so that the library is never empty."""
    names = sorted(path.name for path in (root / "footage").glob("*.mp4"))
    rows = "".join(f"{name},train\n" for name in names)
    (root / "footage" / "splits.csv").write_text(f"source,split\n{rows}")


@pytest.fixture(scope="module")
def three(pool, tmp_path_factory):
    root = make_project(tmp_path_factory.mktemp("three"), sources=0, toml=TOML)
    (root / "footage").mkdir()
    for number in range(3):
        put(pool, root, number, f"scene_{number}")
    all_train(root)
    found = brought(root)
    assert (found.sources, found.clips, found.build_before) == (3, Rows(3, 0, 0), "")
    return root


@pytest.fixture
def root(three, tmp_path):
    return shutil.copytree(three, tmp_path / "project")


def values(root):
    """(clip, feature) → the value's type, shape and bytes; and why values are absent."""
    store = Store(open_project(root))
    found = {}
    for name in store.keys.usable:
        for clip_id, value in store.read(name).items():
            array = np.asarray(value)
            found[clip_id, name] = (array.dtype.str, array.shape, array.tobytes())
        found |= {(clip_id, name, "absent"): why for clip_id, why in store.why_absent(name).items()}
    return found


def answers(root):
    """All rows of the neighbour table of live clips, with scores."""
    store = Store(open_project(root))
    live = {clip.clip_id for clip in store.clips()}
    rows = stored_hits(store, open_index(store)).select(
        "clip_id", "modality", "rank", "hit", "score"
    )
    return sorted(row for row in rows.iter_rows() if row[0] in live)


def neighbours(root):
    project = open_project(root)
    rows = hits_of_build(project, current_build(project).build)
    live = {clip.clip_id for clip in Store(project).clips()}
    return {clip: hits for clip, hits in rows.iter_rows() if clip in live}


def rebuilt(root, target):
    """A new project over the same footage."""
    target.mkdir()
    shutil.copytree(root / "footage", target / "footage")
    shutil.copy(root / "redub.toml", target / "redub.toml")
    brought(target)
    return target


def counts(found):
    """What a dry run and a run both say."""
    rows = {name: rows for name, rows in found.features.items() if rows}
    return (found.sources, found.unchanged, found.gone, found.clips, rows, found.remarks)


def check_equal_to_rebuild(root, target):
    new = rebuilt(root, target)
    assert values(root) == values(new)
    assert answers(root) == answers(new)


def test_new_changed_renamed_and_removed_films_are_brought_up_to_date(pool, root, tmp_path):
    footage = root / "footage"
    put(pool, root, 3, "scene_3")
    script = footage / "scene_0.srt"
    script.write_text(script.read_text().replace("hello", "good day"))
    for suffix in (".mp4", ".srt"):
        (footage / f"scene_1{suffix}").rename(footage / f"moved{suffix}")
        (footage / f"scene_2{suffix}").unlink()
    all_train(root)
    planned = foretold(root)
    before = current_build(open_project(root)).build
    assert planned.is_dry_run
    assert planned.clips == Rows(2, 1, 2)
    assert planned.features["mel"] == Rows(2, 0, 2)  # the words changed, not the sound
    assert planned.features["phonemes"] == Rows(2, 1, 2)
    assert (planned.build_before, planned.build_after) == (before, "")
    assert current_build(open_project(root)).build == before
    found = brought(root)
    assert counts(found) == counts(planned)
    assert found.build_before == before != found.build_after
    assert found.build_after == current_build(open_project(root)).build
    check_equal_to_rebuild(root, tmp_path / "new")


def test_nothing_to_do_is_said(root):
    planned = foretold(root)
    assert planned.is_nothing
    found = brought(root)
    assert found.is_nothing
    assert found.sentences()[-1] == f"index {found.build_after} is up to date"


def test_the_utterances_that_retrieve_others_are_named(pool, root):
    before = neighbours(root)
    put(pool, root, 3, "scene_3")
    all_train(root)
    found = brought(root)
    after = neighbours(root)
    changed = [clip for clip in before if before[clip] != after[clip]]
    assert sorted(found.differing) == sorted(changed)
    assert 0 < len(changed) <= 3
    assert found.queried == 4


def test_a_stop_before_the_end_leaves_the_old_index(pool, root, monkeypatch):
    before = current_build(open_project(root)).build
    opened = newest_build(Store(open_project(root)))
    put(pool, root, 3, "scene_3")
    all_train(root)

    def full(*given):
        raise StorageError("no space left", code="E-DISK-FULL")

    monkeypatch.setattr(module, "retrieve", full)
    with pytest.raises(StorageError):
        brought(root)
    assert current_build(open_project(root)).build == before
    monkeypatch.undo()
    found = brought(root)
    assert found.build_before == before != found.build_after
    assert len(opened.clips) == 3  # who opened the build before keeps it
    assert len(open_index(open_project(root)).clips) == 4


def test_a_second_writer_is_refused(root):
    with project_lock(root, stage="reindex"), pytest.raises(LockedError):
        brought(root)


def test_without_a_training_clip_there_are_features_and_no_index(pool, tmp_path):
    root = make_project(tmp_path, sources=0, toml=TOML)
    (root / "footage").mkdir()
    put(pool, root, 0, "scene_0")
    (root / "footage" / "splits.csv").write_text("source,split\nscene_0.mp4,test\n")
    found = brought(root)
    assert "training split" in found.without_index
    assert found.features["mel"] == Rows(1, 0, 0)
    assert len(Store(open_project(root)).read("mel")) == 1


def test_only_the_named_files_are_read(pool, root, tmp_path):
    footage = root / "footage"
    (footage / "new").mkdir()
    for number in (3, 4):
        put(pool, root, number, f"new/scene_{number}")
    put(pool, root, 5, "scene_5")
    project = open_project(root)
    only = sources_below(project, [footage / "new", footage / "scene_5.srt"])
    assert [only(name) for name in ("new/a.mp4", "scene_5.mp4", "scene_4.mp4", "newer.mp4")] == [
        True,
        True,
        False,
        False,
    ]
    found = brought(root, only=sources_below(project, [footage / "new" / "scene_3.mp4"]))
    assert (found.sources, found.clips) == (1, Rows(1, 0, 0))
    (footage / "scene_0.mp4").unlink()
    (footage / "scene_0.srt").unlink()
    all_train(root)
    found = brought(root, only=sources_below(project, [footage / "new"]))
    assert (found.sources, found.gone, found.clips) == (1, 0, Rows(1, 0, 0))
    found = brought(root, only=sources_below(project, [footage / "scene_0.mp4"]))
    assert (found.sources, found.gone, found.clips) == (0, 1, Rows(0, 0, 1))
    for wrong in (tmp_path / "elsewhere", footage / "splits.csv"):
        with pytest.raises(UsageError, match=wrong.name):
            sources_below(project, [wrong])


def test_a_dry_run_without_footage_says_so(tmp_path):
    root = make_project(tmp_path, sources=0)
    with pytest.raises(ConfigError, match="does not exist"):
        foretold(root)


def one_step(draw, pool, root):
    """Change the footage at random: add, change words, change a film, rename, or remove."""
    footage = root / "footage"
    names = sorted(path.stem for path in footage.glob("*.mp4"))
    what = draw.choice(["add", "words", "film", "rename", "remove"])
    if what == "add" or len(names) < 2:
        put(pool, root, draw.randrange(6), f"added_{draw.randrange(10**6)}")
        return
    name = draw.choice(names)
    if what == "words":
        script = footage / f"{name}.srt"
        words = draw.choice(["friend", "water", "home"])
        script.write_text(script.read_text().replace("my", words).replace("the", words))
    elif what == "film":
        put(pool, root, draw.randrange(6), name)
        os.utime(footage / f"{name}.mp4", ns=(0, draw.randrange(10**18)))
    else:
        for suffix in (".mp4", ".srt"):
            path = footage / f"{name}{suffix}"
            if what == "rename":
                path.rename(footage / f"renamed_{name}{suffix}")
            else:
                path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(HISTORIES))
def test_after_any_history_the_project_equals_a_new_one(pool, three, tmp_path, seed):
    draw = random.Random(seed)
    root = shutil.copytree(three, tmp_path / "project")
    for _ in range(draw.randrange(1, 3)):
        for _ in range(draw.randrange(1, 4)):
            one_step(draw, pool, root)
        all_train(root)
        planned = foretold(root) if draw.random() < 0.5 else None
        found = brought(root)
        assert planned is None or counts(found) == counts(planned)
    check_equal_to_rebuild(root, tmp_path / "new")


class Watched:
    """`redub reindex --watch` in a process of its own, and the lines that it has printed."""

    def __init__(self, root):
        words = ["-m", "redub", "reindex", "--watch", "footage", "--settle", "0.4"]
        self.process = subprocess.Popen(
            [sys.executable, *words, "--scheduler", "sync"],
            cwd=root,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines = []

    def until(self, words):
        """Read lines up to one with these words; a test that waits for ever is stopped outside."""
        for line in self.process.stderr:
            self.lines.append(line)
            if words in line:
                return line
        raise AssertionError(f"no line with {words!r} in {self.lines}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_watching_reads_what_arrives_and_ends_cleanly(pool, root, number):
    project = open_project(root)
    watched = Watched(root)
    try:
        watched.until("watching footage")
        watched.until("batch 1")
        with project_lock(root, stage="another"):
            put(pool, root, 3, "scene_3")
            all_train(root)
            watched.until("another run holds this project")
        line = watched.until("1 added")
        assert "2 files" in line or "3 files" in line
        assert len(open_index(project).clips) == 4
        (root / "footage" / "splits.csv").write_text("source,split\nnonesuch.mp4,train\n")
        assert "E-CFG-TABLE" in watched.until("nonesuch.mp4")
        (root / "footage" / "scene_3.mp4").unlink()
        (root / "footage" / "scene_3.srt").unlink()
        all_train(root)
        watched.until("1 removed")
        watched.process.send_signal(number)
        watched.until("stopped watching")
        assert watched.process.wait(60) == 0
    finally:
        watched.process.kill()
        watched.process.wait()
        watched.process.stderr.close()
    assert len(open_index(open_project(root)).clips) == 3
