"""What is costly to make and only read: made once for a whole run of the suite, for all workers.

pytest makes a session fixture once in each worker. A folder made with ``made_once`` is made by the
first worker that needs it and read by all; a test that changes files works on a copy.
"""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(temporary: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder ``name`` that ``make`` filled, once in the whole run.

    Another worker that asks meanwhile waits. Where ``make`` raises, the next one that asks tries
    again from an empty folder.
    """
    top = temporary.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        top = top.parent  # each worker has a folder of its own in that of the run
    place, made = top / "shared" / name, top / "shared" / f"{name}.made"
    place.parent.mkdir(exist_ok=True)
    with (top / "shared" / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if not made.exists():
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
                make(place)
                made.touch()
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # a forked process may hold the file open
    return place
