"""The one way anything reaches the disk: temp file beside the target, fsync, rename, fsync(dir).

A reader therefore sees the old state or the new one, whatever moment the writer dies at. Every
refusal of the disk becomes a :class:`StorageError` that says how much room there is.
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
    """Turn the disk's refusals into one plain sentence and exit code 5."""
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


def sync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def refuse_unsafe_target(target: Path) -> None:
    """Write only to absent paths and regular files: a rename would replace a device or a link."""
    with contextlib.suppress(FileNotFoundError):
        mode = target.lstat().st_mode
        if not stat.S_ISREG(mode):
            raise StorageError(
                f"{target} is not a regular file; refusing to replace it", code="E-STORE-TARGET"
            )


def commit_file(target: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temp file beside ``target``, then make it appear whole.

    Raises:
        StorageError: the disk refused; the temp file is gone and the target is as it was.
    """
    refuse_unsafe_target(target)
    temp = target.with_name(f"{TEMP_PREFIX}{target.name}")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temp)
            handle = os.open(temp, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            os.replace(temp, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temp.unlink()
            raise
        sync_folder(target.parent)


def commit_bytes(target: Path, content: bytes) -> None:
    """Atomically write a whole small file."""
    commit_file(target, lambda temp: _write_all(temp, content))


def _write_all(path: Path, content: bytes) -> None:
    # Not Path.write_bytes: a short write on a full disk must raise here, not be noticed later.
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
    """Read one of our own JSON records.

    Raises:
        IntegrityError: the file is not JSON, so something other than redub wrote to it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, IsADirectoryError) as error:  # decoders raise ValueErrors
        raise IntegrityError(f"{path} is damaged: {error}", code="E-INT-JSON") from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file, streamed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Fill a folder beside ``target`` and make it appear whole; an existing target is replaced.

    Only a folder that no commit names is ever replaced: what a killed run left behind.
    """
    temp = target.with_name(f"{TEMP_PREFIX}{target.name}")
    with storage_errors(target):
        shutil.rmtree(temp, ignore_errors=True)
        temp.mkdir(parents=True)
        try:
            yield temp
            for path in sorted(temp.rglob("*")):
                handle = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
            shutil.rmtree(target, ignore_errors=True)
            os.replace(temp, target)
        except BaseException:
            shutil.rmtree(temp, ignore_errors=True)
            raise
        sync_folder(target.parent)


def folder_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by relative path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): file_digest(p) for p in files}


def check_folder(folder: Path, digests: Mapping[str, str]) -> None:
    """Raise IntegrityError unless the folder holds exactly the committed bytes."""
    for name, wanted in digests.items():
        path = folder / name
        if not path.is_file():
            raise IntegrityError(f"{path} was committed but is gone", code="E-INT-GONE")
        if file_digest(path) != wanted:
            raise IntegrityError(f"{path} holds other bytes than were committed")


def remove_leftovers(root: Path) -> int:
    """Remove temp files and folders of a killed run; call only while holding the project lock.

    Only folders that redub writes are walked, and only names with our prefix go.
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
