"""Where a project stands, read from its logs and commits; writes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from redub.pipeline.index import current_build
from redub.pipeline.ledger import LedgerLine, ledger
from redub.pipeline.project import Project
from redub.pipeline.retrieve import neighbours_of_build
from redub.pipeline.runs import list_runs
from redub.pipeline.store import Store


@dataclass(frozen=True, slots=True)
class Status:
    """``lacking``: features whose weights are not recorded, with what to type.

    ``neighbours``: rows of the newest build under the settings of now.
    """

    sources: int
    clips: int
    splits: dict[str, int]
    quarantined: int
    ledger: list[LedgerLine]
    lacking: dict[str, str]
    index: str | None
    neighbours: int
    runs: list[str]
    next_command: str


def project_status(project: Project) -> Status:
    """Count rows where they lie and say what to type next."""
    store = Store(project)
    clips = store.clip_frame()
    lines = ledger(store, store.keys.usable)
    build = current_build(project)
    asked = [] if build is None else neighbours_of_build(project, build["build"]).parts()
    runs = [run.name for run in list_runs(project)]
    if clips.is_empty():
        following = "redub ingest"
    elif store.keys.lacking:
        following = "redub weights add KIND PATH"
    elif any(line.pending for line in lines):
        following = "redub extract"
    elif build is None:
        following = "redub index build"
    elif not asked:
        following = "redub retrieve"
    elif not runs:
        following = "redub train"
    else:
        following = f"redub evaluate {runs[0]}"
    splits = dict(clips["split"].value_counts().sort("split").iter_rows())
    return Status(
        sources=len(store.source_frame()),
        clips=len(clips),
        splits=splits,
        quarantined=len(store.quarantined()),
        ledger=lines,
        lacking={name: error.message for name, error in store.keys.lacking.items()},
        index=None if build is None else str(build["build"]),
        neighbours=sum(part.rows for part in asked),
        runs=runs,
        next_command=following,
    )
