"""Durable, atomic writes: temp file in the target's folder, fsync, rename, fsync of the folder.

All of redub's writes use this module. A reader sees either the old or the new state, whenever the
writer is killed. An error of the disk becomes a :class:`StorageError` that names the free space.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from redub.core.config import canonical
from redub.core.errors import IntegrityError, StorageError

TEMP_PREFIX = ".tmp-"
_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EIO: "the disk reports an input/output error",
    errno.EMFILE: "too many open files (raise `ulimit -n`)",
    errno.ENFILE: "too many open files on this machine",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
}


@contextlib.contextmanager
def storage_errors(target: Path) -> Iterator[None]:
    """Turn an OSError of the disk into a :class:`StorageError` with a plain sentence (exit 5)."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0)
        if reason is None and error.errno is None and "requested and" in str(error):
            reason = f"the disk took only a part of it ({error})"  # numpy drops the errno
        if reason is None:
            raise
        free = ""
        with contextlib.suppress(OSError):
            anchor = next(p for p in (target, *target.parents) if p.exists())
            free = f" ({shutil.disk_usage(anchor).free / 2**20:.1f} MiB free)"
        raise StorageError(
            f"cannot write {target.name}: {reason}{free}; nothing half-written will be read. "
            "Make room or fix the folder, then run the same command again."
        ) from error


def sync_file(path: Path) -> None:
    """Make the content of a file survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def refuse_unsafe_target(target: Path) -> None:
    """Refuse a target that exists and is no regular file; a rename would replace a device or link.

    Raises:
        StorageError: E-STORE-TARGET.
    """
    with contextlib.suppress(FileNotFoundError):
        mode = target.lstat().st_mode
        if not stat.S_ISREG(mode):
            raise StorageError(
                f"{target} is not a regular file; refusing to replace it", code="E-STORE-TARGET"
            )


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Yield a temp path in the target's folder to fill, then rename it to ``target``.

    Raises:
        StorageError: a disk error; the temp file is removed and the target is unchanged.
    """
    refuse_unsafe_target(target)
    temp = target.with_name(f"{TEMP_PREFIX}{target.name}")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temp
            sync_file(temp)
            os.replace(temp, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temp.unlink()
            raise
        sync_folder(target.parent)


def commit_file(target: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temp file in the target's folder, then rename it to ``target``.

    Raises:
        StorageError: a disk error; the temp file is removed and the target is unchanged.
    """
    with new_file(target) as temp:
        write(temp)


def commit_bytes(target: Path, content: bytes) -> None:
    """Atomically write a whole small file."""
    commit_file(target, lambda temp: write_all(temp, content))


def write_all(path: Path, content: bytes) -> None:
    """Write a file that no reader sees yet, for example in the folder of :func:`new_folder`.

    Unlike ``Path.write_bytes``, it raises an error if the disk takes only a part.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(handle, view) :]
    finally:
        os.close(handle)


def commit_json(target: Path, value: Any) -> None:
    """Atomically write canonical JSON with a final newline."""
    commit_bytes(target, canonical(value).encode() + b"\n")


def read_json(path: Path) -> Any:
    """Read a JSON file that redub wrote.

    Raises:
        IntegrityError: E-INT-JSON, the file is not JSON.
        FileNotFoundError: no such file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, IsADirectoryError) as error:  # decoders raise ValueErrors
        raise IntegrityError(f"{path} is damaged: {error}", code="E-INT-JSON") from error


def file_digest(file: Path | BufferedIOBase) -> str:
    """SHA-256 of a file, streamed; an open file is read from its position on."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a temp folder to fill, then rename it to ``target``; an existing target is replaced.

    The existing target is renamed first and deleted last, so one of the two always exists.

    Raises:
        StorageError: a disk error; the temp folder is removed.
    """
    temp = target.with_name(f"{TEMP_PREFIX}{target.name}")
    old = target.with_name(f"{TEMP_PREFIX}old-{target.name}")
    with storage_errors(target):
        try:
            shutil.rmtree(temp, ignore_errors=True)
            temp.mkdir(parents=True)
            yield temp
            for path in sorted(temp.rglob("*")):
                sync_file(path)
            shutil.rmtree(old, ignore_errors=True)
            if target.exists():
                os.replace(target, old)
            os.replace(temp, target)
        except BaseException:
            shutil.rmtree(temp, ignore_errors=True)
            raise
        sync_folder(target.parent)
        shutil.rmtree(old, ignore_errors=True)


def folder_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by relative path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): file_digest(p) for p in files}


def check_folder(folder: Path, digests: Mapping[str, str]) -> None:
    """Check that the named files of a folder have their committed bytes.

    Raises:
        IntegrityError: a file is gone (E-INT-GONE) or changed.
    """
    for name, wanted in digests.items():
        path = folder / name
        if not path.is_file():
            raise IntegrityError(f"{path} was committed but is gone", code="E-INT-GONE")
        if file_digest(path) != wanted:
            raise IntegrityError(f"{path} holds other bytes than were committed")


def remove_leftovers(root: Path) -> int:
    """Remove temp files and folders of killed runs, by their prefix; returns how many.

    The caller must hold the project lock.
    """
    removed = 0
    for folder, folders, names in os.walk(root):
        for name in [n for n in folders if n.startswith(TEMP_PREFIX)]:
            shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
            folders.remove(name)
            removed += 1
        for name in names:
            if name.startswith(TEMP_PREFIX):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, name))
                    removed += 1
    return removed
