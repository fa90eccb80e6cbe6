"""One writer per project: the second run is refused with the first one's pid and host.

The kernel holds the lock (``flock``), so it disappears with the process that held it, however
that process died; the text inside the file is only there to tell people who it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from redub.core.durable import storage_errors
from redub.core.errors import LockedError

TRIES, PAUSE_S = 5, 0.02  # :func:`holder` has the lock for an instant; that refuses nobody


@dataclass(frozen=True, slots=True)
class Holder:
    """Who writes to a project: ``stage`` is a stage's name, ``run`` the run it is about, or ''."""

    pid: int
    host: str
    stage: str = ""
    run: str = ""

    def __str__(self) -> str:
        at_work = f" ({self.stage}{' ' if self.run else ''}{self.run})" if self.stage else ""
        return f"pid {self.pid} on {self.host}{at_work}"


@contextlib.contextmanager
def project_lock(root: Path, *, stage: str = "", run: str = "") -> Iterator[None]:
    """Hold the project while its store is written.

    Args:
        stage: what is done, for whoever asks :func:`holder`; ``run`` the run that it is about.

    Raises:
        LockedError: another live run holds it (exit 7).
    """
    path = _path(root)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not any(_taken(handle) for _ in range(TRIES)):
            other = _written(path) or "a process that has just started"
            raise LockedError(
                f"another run holds this project: {other}. Wait for it or stop it, then try again."
            )
        with storage_errors(path):
            owner = Holder(os.getpid(), socket.gethostname(), stage, run)
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(asdict(owner)).encode(), 0)
        yield
    finally:
        os.close(handle)


def holder(root: Path) -> Holder | None:
    """Who writes to a project now; None where nobody does, or has just begun to."""
    path = _path(root)
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None  # nobody wrote here yet
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _written(path)
    finally:
        os.close(handle)
    return None


def _path(root: Path) -> Path:
    return root / ".redub" / "lock"


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(PAUSE_S)
        return False
    return True


def _written(path: Path) -> Holder | None:
    try:
        said = json.loads(path.read_text())
        known = {field.name: said[field.name] for field in fields(Holder) if field.name in said}
        return Holder(**known)
    except (OSError, ValueError, TypeError):
        return None
