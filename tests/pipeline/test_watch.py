"""Waiting for footage: files that grow, arrive together, change, and vanish."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redub.pipeline.watch import LONGEST_S, FolderWatch


class Folder:
    """A folder and a watch whose clocks the test moves."""

    def __init__(self, root, settle_s=5.0):
        self.root, self.now = root, 1000.0
        self.watch = FolderWatch(root, settle_s, clock=lambda: self.now, wall=lambda: self.now)

    def write(self, name, size=1):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        os.utime(path, (self.now, self.now))

    def look(self, after=0.0):
        self.now += after
        return self.watch.look()


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path)
    assert made.look() is None
    return made


def test_a_file_is_taken_when_it_has_stopped_growing(folder):
    for size in (1, 2, 3):
        folder.write("a.mp4", size)
        assert folder.look(2) is None
    assert folder.look(2) is None
    batch = folder.look(3)
    assert list(batch.files) == ["a.mp4"]
    folder.watch.took(batch)
    assert folder.look(100) is None


def test_a_batch_is_returned_until_it_was_worked_on(folder):
    folder.write("a.mp4")
    folder.look()
    first = folder.look(6)
    assert folder.look(1) == first
    folder.watch.took(first)
    assert folder.look(1) is None


def test_files_that_arrive_together_are_one_batch(folder):
    folder.write("a.mp4")
    folder.look()
    folder.write("b.mp4", 1)
    assert folder.look(4) is None
    assert folder.look(4) is None  # a has arrived, b has not
    assert list(folder.look(3).files) == ["a.mp4", "b.mp4"]


def test_a_file_that_never_ends_does_not_hold_up_the_others(folder):
    folder.write("a.mp4")
    size, waited, batch = 1, 0, None
    while batch is None:
        size, waited = size + 1, waited + 1
        folder.write("endless.mp4", size)
        batch = folder.look(1)
    assert list(batch.files) == ["a.mp4"]
    assert batch.growing == {"endless.mp4"}
    assert LONGEST_S <= waited <= LONGEST_S + 10
    assert batch.may_read("a.mp4")
    assert not batch.may_read("endless.mp4")


def test_a_film_whose_subtitles_grow_waits_for_them(folder):
    folder.write("x/film.mp4")
    folder.write("film.mp4")
    folder.look()
    for size in range(1, 80):
        folder.write("x/film.en.srt", size)
        batch = folder.look(1)
        if batch:
            break
    assert not batch.may_read("x/film.mp4")
    assert batch.may_read("film.mp4")


def test_changes_and_departures_are_batches_too(folder):
    folder.write("a.mp4")
    folder.write("b.mp4")
    folder.look()
    folder.watch.took(folder.look(6))
    folder.write("a.mp4", 5)
    (folder.root / "b.mp4").unlink()
    folder.look(1)
    batch = folder.look(6)
    assert batch.files["b.mp4"] is None
    assert batch.files["a.mp4"][0] == 5
    folder.watch.took(batch)
    assert folder.look(10) is None
    folder.write("b.mp4")  # it comes back
    folder.look(1)
    assert list(folder.look(6).files) == ["b.mp4"]


def test_a_file_that_vanishes_before_it_arrives_is_nothing(folder):
    folder.write("a.mp4")
    assert folder.look(1) is None
    (folder.root / "a.mp4").unlink()
    assert folder.look(1) is None
    assert folder.look(100) is None


def test_what_was_there_before_need_not_wait_again(tmp_path):
    made = Folder(tmp_path)
    made.write("old.mp4")
    made.now += 60
    made.write("fresh.mp4")
    made.now += 1
    assert made.look() is None  # fresh.mp4 may still grow
    assert list(made.look(5).files) == ["fresh.mp4", "old.mp4"]
    other = Folder(tmp_path)
    other.now = made.now + 60
    assert list(other.look().files) == ["fresh.mp4", "old.mp4"]


def test_hidden_files_and_broken_links_are_not_looked_at(folder):
    folder.write(".part.mp4")
    folder.write(".trash/a.mp4")
    (folder.root / "gone.mp4").symlink_to("nowhere")
    folder.look()
    assert folder.look(10) is None


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.sampled_from([0.5, 2.0, 7.0])),
        max_size=12,
    )
)
def test_after_any_changes_the_taken_files_are_those_that_are_there(tmp_path_factory, steps):
    """Size 0 removes a file. No batch is lost, and none is returned twice."""
    made = Folder(tmp_path_factory.mktemp("watch"))
    there = {}
    taken = {}
    for name, size, pause in [*steps, ("a", 0, 0.5)]:
        if size:
            made.write(name, size)
            there[name] = size
        elif name in there:
            (made.root / name).unlink()
            del there[name]
        for after in (0.0, pause):
            batch = made.look(after)
            if batch:
                made.watch.took(batch)
                for file, state in batch.files.items():
                    before = taken.pop(file, None)
                    if state is not None:
                        assert before != state
                        taken[file] = state
    for _ in range(3):
        batch = made.look(10.0)
        if batch:
            made.watch.took(batch)
            taken |= batch.files
    sizes = {name: state[0] for name, state in taken.items() if state is not None}
    assert sizes == there
    assert made.look(100.0) is None
