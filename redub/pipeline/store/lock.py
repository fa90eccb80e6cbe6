"""One writer per project: a second writer is refused, with the pid and host of the first.

The kernel holds the lock (``flock``), so it ends with the process that took it, however that
process ends. The text in the lock file is only for messages.
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

TRIES, PAUSE_S = 5, 0.02  # :func:`holder` takes the lock for an instant; a writer tries again


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that writes to a project; ``stage`` and ``run`` are empty where not known."""

    pid: int
    host: str
    stage: str = ""
    run: str = ""

    def __str__(self) -> str:
        at_work = f" ({self.stage}{' ' if self.run else ''}{self.run})" if self.stage else ""
        return f"pid {self.pid} on {self.host}{at_work}"


@contextlib.contextmanager
def project_lock(root: Path, *, stage: str = "", run: str = "") -> Iterator[None]:
    """Hold the project's lock while its store is written.

    Args:
        stage: name of the stage, which :func:`holder` reports to other processes.
        run: the training run that the stage works on, if any.

    Raises:
        LockedError: another live process holds the lock (exit 7).
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
    """The process that writes to a project now; None if there is none or it has just started."""
    path = _path(root)
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None  # no process has ever written to this project
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
        stored = json.loads(path.read_text())
        known = {own.name: stored[own.name] for own in fields(Holder) if own.name in stored}
        return Holder(**known)
    except (OSError, ValueError, TypeError):
        return None
