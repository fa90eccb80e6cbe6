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
from collections.abc import Iterator
from pathlib import Path

from redub.core.errors import LockedError
from redub.pipeline.files import storage_errors


@contextlib.contextmanager
def project_lock(root: Path) -> Iterator[None]:
    """Hold the project while its store is written.

    Raises:
        LockedError: another live run holds it (exit 7).
    """
    path = root / ".redub" / "lock"
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(_who(path)) from None
        with storage_errors(path):
            os.ftruncate(handle, 0)
            owner = {"pid": os.getpid(), "host": socket.gethostname()}
            os.pwrite(handle, json.dumps(owner).encode(), 0)
        yield
    finally:
        os.close(handle)


def _who(path: Path) -> str:
    try:
        owner = json.loads(path.read_text())
        name = f"pid {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, KeyError):
        name = "a process that has just started"
    return f"another run holds this project: {name}. Wait for it or stop it, then try again."
