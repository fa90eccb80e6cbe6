"""Part tables: only commits exist, damage is seen, writing twice gives the same bytes."""

import errno
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from redub.core import durable as files
from redub.core.durable import commit_bytes, commit_file, remove_leftovers
from redub.core.errors import IntegrityError, LockedError, StorageError
from redub.pipeline.store.lock import project_lock
from redub.pipeline.store.parts import PartTable

SCHEMA = pa.schema([("name", pa.string()), ("value", pa.list_(pa.float32(), 3))])


def rows(*names: str) -> pa.Table:
    values = [[float(len(n)), 1.0, 2.0] for n in names]
    return pa.table({"name": list(names), "value": values}, schema=SCHEMA)


def filled(root: Path) -> PartTable:
    table = PartTable(root, SCHEMA)
    table.commit([table.write_part("part-a.parquet", rows("one", "two"), shard="a")])
    table.commit([table.write_part("part-b.parquet", rows("three"), shard="b")])
    return table


def test_rows_come_back_in_commit_order(tmp_path):
    filled(tmp_path)
    names = PartTable(tmp_path, SCHEMA).read(["name"]).column("name").to_pylist()
    assert names == ["one", "two", "three"]


def test_a_part_no_commit_names_is_never_read(tmp_path):
    table = filled(tmp_path)
    table.write_part("part-c.parquet", rows("ghost"), shard="c")
    (tmp_path / "part-zero.parquet").touch()
    assert PartTable(tmp_path, SCHEMA).read().num_rows == 3


def test_the_same_rows_give_the_same_bytes(tmp_path):
    a = filled(tmp_path / "a").root
    b = filled(tmp_path / "b").root
    for path in sorted(a.rglob("*.*")):
        assert path.read_bytes() == (b / path.relative_to(a)).read_bytes(), path.name


def test_every_flipped_byte_of_a_part_is_seen(tmp_path):
    table = filled(tmp_path)
    path = tmp_path / "part-a.parquet"
    good = path.read_bytes()
    for position in range(0, len(good), 7):
        bad = bytearray(good)
        bad[position] ^= 0x10
        path.write_bytes(bytes(bad))
        with pytest.raises(IntegrityError):
            PartTable(tmp_path, SCHEMA).read()
    path.write_bytes(good)
    assert table.verify() == []


@pytest.mark.parametrize("harm", ["gone", "truncated", "swapped"])
def test_a_damaged_part_is_named(tmp_path, harm):
    filled(tmp_path)
    a, b = tmp_path / "part-a.parquet", tmp_path / "part-b.parquet"
    if harm == "gone":
        a.unlink()
    elif harm == "truncated":
        a.write_bytes(a.read_bytes()[:40])
    else:
        a.write_bytes(b.read_bytes())
    wrong = PartTable(tmp_path, SCHEMA).verify()
    assert len(wrong) == 1
    assert "part-a.parquet" in wrong[0]


def test_an_edited_or_missing_commit_is_seen(tmp_path):
    filled(tmp_path)
    first = tmp_path / "commits" / "00000001.json"
    text = first.read_text()
    first.write_text(text.replace('"rows":2', '"rows":1'))
    with pytest.raises(IntegrityError, match="follow"):
        PartTable(tmp_path, SCHEMA).commits()
    first.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        PartTable(tmp_path, SCHEMA).commits()


def test_a_commit_of_a_newer_redub_is_refused_by_its_number(tmp_path):
    filled(tmp_path)
    path = tmp_path / "commits" / "00000001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(IntegrityError, match="newer redub"):
        PartTable(tmp_path, SCHEMA).commits()


def test_a_writer_that_fails_leaves_the_old_file_and_no_rest(tmp_path):
    target = tmp_path / "x.json"
    commit_bytes(target, b"old")

    def fails(temp: Path) -> None:
        temp.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match="the disk is full") as caught:
        commit_file(target, fails)
    assert caught.value.exit_code == 5
    assert target.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.json"]


@pytest.mark.parametrize("call", ["fsync", "write", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_every_failing_call_keeps_the_table_readable(tmp_path, monkeypatch, call, code):
    # The SQLite way: fail the n-th call, look, n += 1, until a run goes through untouched.
    for n in range(200):
        root = tmp_path / f"{n}"
        table = filled(root)
        count = 0
        real = getattr(os, call)

        def failing(*arguments, real=real, n=n):
            nonlocal count
            count += 1
            if count == n + 1:
                raise OSError(code, os.strerror(code))
            return real(*arguments)

        monkeypatch.setattr(files.os, call, failing)
        try:
            table.commit([table.write_part("part-c.parquet", rows("four"), shard="c")])
            failed = False
        except StorageError:
            failed = True
        monkeypatch.setattr(files.os, call, real)
        seen = PartTable(root, SCHEMA).read().num_rows
        assert seen in ((3, 4) if failed else (4,))
        if not failed and count <= n:
            assert n > 0, f"{call} is never called"
            return
    pytest.fail("no run went through")


def test_writing_through_a_link_or_onto_a_device_is_refused(tmp_path):
    real = tmp_path / "real"
    real.write_bytes(b"keep")
    link = tmp_path / "link"
    link.symlink_to(real)
    with pytest.raises(StorageError, match="not a regular file"):
        commit_bytes(link, b"new")
    assert real.read_bytes() == b"keep"


def test_leftovers_of_a_killed_run_are_ours_only(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".tmp-part.parquet").touch()
    (tmp_path / "a" / "tmp-notes.txt").touch()
    assert remove_leftovers(tmp_path) == 1
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["tmp-notes.txt"]


def test_a_second_run_is_refused_with_the_first_ones_pid(tmp_path):
    with (
        project_lock(tmp_path),
        pytest.raises(LockedError, match=f"pid {os.getpid()} on"),
        project_lock(tmp_path),
    ):
        pass
    with project_lock(tmp_path):
        pass  # free again


def test_a_lock_file_of_a_dead_process_does_not_hold(tmp_path):
    path = tmp_path / ".redub" / "lock"
    path.parent.mkdir()
    path.write_text('{"pid": 999999999, "host": "elsewhere"}')
    with project_lock(tmp_path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
