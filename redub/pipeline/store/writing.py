"""Who may write: one command at a time holds the project."""

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
    """Hold the project, clear what a killed run left, and note how long the stage took.

    Args:
        run: the run that the stage is about, if it is about one.
    """
    with project_lock(project.root, stage=stage, run=run), stoppable(stage):
        for name in WRITTEN:
            remove_leftovers(project.root / name)
        began = time.perf_counter()
        yield
        note_stage(project, f"{stage} {run}".strip(), time.perf_counter() - began)


@contextlib.contextmanager
def stoppable(stage: str) -> Iterator[None]:
    """Name the stage in a :class:`Stopped` that passes."""
    try:
        yield
    except Stopped as stopped:
        stopped.stage = stopped.stage or stage
        raise
