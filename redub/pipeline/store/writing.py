"""Write access to a project: one command at a time holds its lock."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from redub.core.durable import remove_leftovers
from redub.core.stopping import Stopped
from redub.pipeline.store.lock import project_lock
from redub.pipeline.store.project import Project
from redub.pipeline.store.timings import note_stage

WRITTEN = (
    "sources",
    "clips",
    "features",
    "quarantine",
    "index",
    "neighbours",
    "packs",
    "runs",
    "vocoders",
    ".redub",
)


@contextlib.contextmanager
def writing(project: Project, stage: str, run: str = "") -> Iterator[None]:
    """Hold the project lock, remove temp files of killed runs, and note the stage's wall time.

    Args:
        run: the training run that the stage works on, if any.

    Raises:
        LockedError: another live process holds the lock.
    """
    with project_lock(project.root, stage=stage, run=run), stoppable(stage):
        for name in WRITTEN:
            remove_leftovers(project.root / name)
        began = time.perf_counter()
        yield
        note_stage(project, f"{stage} {run}".strip(), time.perf_counter() - began)


@contextlib.contextmanager
def stoppable(stage: str) -> Iterator[None]:
    """Write the stage's name into a :class:`Stopped` that the block raises."""
    try:
        yield
    except Stopped as stopped:
        stopped.stage = stopped.stage or stage
        raise
