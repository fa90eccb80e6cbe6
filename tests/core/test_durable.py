"""Atomic writes: a reader sees the old or the new state, whenever the writer stops."""

import hashlib
import io
import os

import pytest

from redub.core import durable
from redub.core.durable import TEMP_PREFIX, file_digest, new_file, new_folder
from redub.core.errors import StorageError


class Killed(BaseException):
    pass


def killed(*_):
    raise Killed


def file_of(target, content, *, then):
    with new_file(target) as temp:
        temp.write_text(content)
        then()


def folder_of(target, content, *, then):
    with new_folder(target) as temp:
        (temp / "x").write_text(content)
        then()


def files_of(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_file_that_is_not_finished_leaves_the_old_one_and_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(Killed):
        file_of(tmp_path / "a.txt", "ne", then=killed)
    assert files_of(tmp_path) == {"a.txt": b"old"}


def test_a_folder_that_is_not_finished_leaves_the_old_one_and_nothing_else(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("old")
    with pytest.raises(Killed):
        folder_of(tmp_path / "a", "ne", then=killed)
    assert files_of(tmp_path) == {"a/x": b"old"}


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for content in ("one", "two"):
        with new_folder(tmp_path / "a") as temp:
            (temp / content).write_text(content)
    assert files_of(tmp_path) == {"a/two": b"two"}


@pytest.mark.parametrize("renames", [0, 1])
def test_old_or_new_folder_exists_at_every_rename(tmp_path, monkeypatch, renames):
    with new_folder(tmp_path / "a") as temp:
        (temp / "x").write_text("old")
    rename, left = os.replace, [renames]

    def cut_off(source, target):
        if not left[0]:
            raise Killed
        left[0] -= 1
        rename(source, target)

    monkeypatch.setattr(os, "replace", cut_off)
    with pytest.raises(Killed), new_folder(tmp_path / "a") as temp:
        (temp / "x").write_text("new")
    assert b"old" in files_of(tmp_path).values()


def test_every_file_of_a_new_folder_reaches_the_disk_before_its_name_exists(tmp_path, monkeypatch):
    synced = []

    def noted(path):
        assert not (tmp_path / "a").exists()
        synced.append(path.name)

    monkeypatch.setattr(durable, "sync_file", noted)
    with new_folder(tmp_path / "a") as temp:
        for name in ("x", "y"):
            (temp / name).write_text(name)
    assert sorted(synced) == ["x", "y"]


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_a_target_that_is_no_regular_file_is_refused(tmp_path, kind):
    (tmp_path / "real").write_text("real")
    target = tmp_path / "target"
    target.symlink_to("real") if kind == "link" else target.mkdir()
    with pytest.raises(StorageError, match="E-STORE-TARGET"), new_file(target):
        pass
    assert (tmp_path / "real").read_text() == "real"


def test_leftovers_go_and_other_files_stay(tmp_path):
    (tmp_path / "deep" / f"{TEMP_PREFIX}folder").mkdir(parents=True)
    (tmp_path / "deep" / f"{TEMP_PREFIX}file").write_text("half")
    (tmp_path / "deep" / "kept").write_text("kept")
    assert durable.remove_leftovers(tmp_path) == 2
    assert files_of(tmp_path) == {"deep/kept": b"kept"}


def test_digests_of_a_path_and_of_an_open_file_are_sha_256(tmp_path):
    content = bytes(range(256)) * 999
    (tmp_path / "a").write_bytes(content)
    expected = hashlib.sha256(content).hexdigest()
    assert file_digest(tmp_path / "a") == file_digest(io.BytesIO(content)) == expected
