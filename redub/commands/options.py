"""Options that several commands share, and how a command opens its project."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from redub.commands.invocation import INVOCATION, command
from redub.core.errors import UsageError

if TYPE_CHECKING:  # `redub --help` imports only what it shows
    from redub.index.notes import Notes

ProjectDir = Annotated[
    Path, typer.Option("-C", "--project", help="project folder, or a folder inside it")
]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout")]
Workers = Annotated[int, typer.Option("-j", "--workers", help="number of worker processes")]
SchedulerName = Annotated[
    str, typer.Option("--scheduler", help="sync | processes | tcp://host:port")
]
DryRun = Annotated[
    bool, typer.Option("-n", "--dry-run", help="print the plan (as `redub plan`), write nothing")
]
ProfileName = Annotated[
    str | None,
    typer.Option("--profile", help="builtin | packaged | paper; overrides [features] profile"),
]
Neighbours = Annotated[int | None, typer.Option("-k", "--k", help="number of neighbours")]
ClipId = Annotated[str, typer.Argument(help="a clip id")]

More = Annotated[
    list[str] | None,
    typer.Option("--more", help="prefer clips with this emotion: anger or anger:0.4 (repeatable)"),
]
Less = Annotated[
    list[str] | None, typer.Option("--less", help="avoid clips with this emotion (repeatable)")
]
Like = Annotated[
    list[str] | None, typer.Option("--like", help="prefer clips similar to this library clip")
]
Unlike = Annotated[list[str] | None, typer.Option("--not", help="exclude this library clip")]
Films = Annotated[list[str] | None, typer.Option("--film", help="retrieve from this film only")]


def scheduler_of(name: str, workers: int) -> Any:
    """The scheduler that ``--scheduler`` and ``--workers`` name.

    Raises:
        UsageError: an unknown scheduler, or fewer than one worker.
    """
    from redub.pipeline.work.executor import Scheduler

    return Scheduler(name, workers)


def project_of(folder: Path, profile: str | None = None) -> Any:
    """Open the project of a folder, under another profile where ``--profile`` names one.

    Raises:
        ConfigError: there is no project, its ``redub.toml`` is wrong, or the profile is unknown.
    """
    from redub.pipeline.store.project import open_project, with_profile

    INVOCATION.project = folder
    project = open_project(folder)
    return project if profile is None else with_profile(project, profile)


def with_profile_option(
    words: Sequence[str], project: Path, of_this_command: str, profile: str | None
) -> str:
    """The next command to type, with ``--profile`` where the project file has another profile.

    Of the stages only `extract` and `run` have ``--profile``; for the other stages the next command
    is `run --from STAGE`.

    Args:
        words: the next command without ``redub``.
        project: the folder that ``-C`` named.
        of_this_command: the profile under which this command ran.
        profile: the value of ``--profile``; None where it was not given.
    """
    if profile is None or words[0] in ("ingest", "weights", "runs", "report", "bad"):
        return command(*words, project=project)
    if words[0] in ("extract", "run", "status", "plan"):
        return command(*words, "--profile", profile, project=project)
    if project_of(project).config.profile == of_this_command:
        return command(*words, project=project)
    return command("run", "--from", words[0], "--profile", profile, project=project)


CONTROLS = ("pitch", "range", "energy", "rate", "emotion", "more", "less")
"""Controls whose values are parsed; a message about a value begins with the control's name."""


@contextlib.contextmanager
def option_names() -> Iterator[None]:
    """Write ``--pitch`` instead of ``pitch`` in a message about the value of a control.

    A file of controls has the names without dashes.
    """
    try:
        yield
    except UsageError as error:
        if error.message.partition(" ")[0] not in CONTROLS:
            raise
        raise UsageError(f"--{error.message}", code=error.code) from None


def notes_of(
    more: list[str] | None,
    less: list[str] | None,
    like: list[str] | None,
    unlike: list[str] | None,
    films: list[str] | None,
) -> Notes:
    """The director's notes of ``--more``, ``--less``, ``--like``, ``--not`` and ``--film``.

    Raises:
        UsageError: an unknown emotion, an emotion that is named twice, or a weight that is not
            above 0 and at most 4.
    """
    from redub.index.notes import Notes

    with option_names():
        return Notes.parse(
            more=more or (),
            less=less or (),
            like=like or (),
            unlike=unlike or (),
            films=films or (),
        )
