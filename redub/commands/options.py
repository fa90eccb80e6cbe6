"""Options that several commands have, and how a command opens its project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # `redub --help` loads nothing that it does not show
    from redub.index.notes import Notes

ProjectDir = Annotated[
    Path, typer.Option("-C", "--project", help="the project folder (found upwards from here)")
]


Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]


Workers = Annotated[int, typer.Option("-j", "--workers", help="worker processes")]


SchedulerName = Annotated[
    str, typer.Option("--scheduler", help="sync | processes | tcp://host:port")
]


DryRun = Annotated[
    bool, typer.Option("-n", "--dry-run", help="say what would be done, write nothing")
]


ProfileName = Annotated[
    str | None, typer.Option("--profile", help="builtin | paper; overrides [features] profile")
]


More = Annotated[
    list[str] | None,
    typer.Option("--more", help="more of an emotion, as anger or anger:0.4 (repeatable)"),
]


Less = Annotated[list[str] | None, typer.Option("--less", help="less of an emotion (repeatable)")]


Like = Annotated[list[str] | None, typer.Option("--like", help="like this library clip")]


Unlike = Annotated[list[str] | None, typer.Option("--not", help="never this library clip")]


Films = Annotated[list[str] | None, typer.Option("--film", help="only from this film")]


def scheduler_of(name: str, workers: int) -> Any:
    from redub.pipeline.work.executor import Scheduler

    return Scheduler(name, workers)


def project_of(folder: Path, profile: str | None = None) -> Any:
    from redub.pipeline.store.project import open_project, with_profile

    project = open_project(folder)
    return project if profile is None else with_profile(project, profile)


def notes_of(
    more: list[str] | None,
    less: list[str] | None,
    like: list[str] | None,
    unlike: list[str] | None,
    films: list[str] | None,
) -> Notes:
    from redub.index.notes import Notes

    return Notes.parse(
        more=more or (), less=less or (), like=like or (), unlike=unlike or (), films=films or ()
    )
