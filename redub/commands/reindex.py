"""``redub reindex``: bring the project up to date with new footage, once or for ever."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from redub.commands.apps import app
from redub.commands.console import OK, finish, no_bar, progress_bar, put, say, say_all, table
from redub.commands.invocation import HERE, command
from redub.commands.options import (
    Json,
    ProjectDir,
    SchedulerName,
    Workers,
    project_of,
    scheduler_of,
)
from redub.core.errors import ConfigError, LockedError, UsageError
from redub.core.stopping import Stopped

if TYPE_CHECKING:
    from redub.pipeline.reindex import Reindexed
    from redub.pipeline.watch import Batch

_NAMED = 6  # features in a row of the table
_LOOK_S = 1.0  # between two looks at the folder


@app.command()
def reindex(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="files or folders of the footage (default: all of it)"),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(help="wait for files in this folder of the footage, until SIGTERM or Ctrl-C"),
    ] = None,
    settle: Annotated[
        float, typer.Option(help="with --watch: seconds without growth until a file is read")
    ] = 5.0,
    dry_run: Annotated[
        bool, typer.Option("-n", "--dry-run", help="say what would be done, write nothing")
    ] = False,
    project: ProjectDir = HERE,
    workers: Workers = 2,
    scheduler: SchedulerName = "processes",
    as_json: Json = False,
) -> None:
    """Read new, changed and gone footage, and bring features, index and neighbours up to date.

    The new index takes the place of the old one at the end, in one step.
    """
    from redub.pipeline.reindex import foresee_reindex, sources_below
    from redub.pipeline.reindex import reindex as run_reindex

    opened = project_of(project)
    if watch is not None:
        if paths or dry_run or as_json:
            raise UsageError("--watch takes no paths, no --dry-run and no --json")
        if not settle > 0:
            raise UsageError(f"--settle is {settle}; wanted more than 0 seconds")
        _watch(project, watch, settle, scheduler, workers)
    only = sources_below(opened, paths or [])
    work = foresee_reindex if dry_run else run_reindex
    found = work(opened, scheduler_of(scheduler, workers), bar=progress_bar, only=only)
    if as_json:
        put(found, schema="reindex")
    say_all(found.sentences())
    _say_rows(found)
    say_all(found.remarks)
    if dry_run:
        if found.quarantined:
            say(f"{found.quarantined} files and subtitle lines would be quarantined")
        say(f"next: {command('reindex', project=project)}")
        raise typer.Exit(OK)
    finish(found.quarantined, command("status", project=project), project)


def _say_rows(found: Reindexed) -> None:
    """One line for all features that have the same numbers."""
    alike: dict[tuple[int, int, int], list[str]] = {}
    for name, rows in found.features.items():
        if rows:
            alike.setdefault((rows.added, rows.changed, rows.removed), []).append(name)
    if not alike:
        return
    table(
        ["rows of", "added", "changed", "removed"],
        [
            [f"{len(names)} features" if len(names) > _NAMED else ", ".join(names), *numbers]
            for numbers, names in alike.items()
        ],
    )


def _watch(project: Path, folder: Path, settle_s: float, scheduler: str, workers: int) -> NoReturn:
    """Reindex whenever files have arrived; ends with exit code 0 at SIGTERM and Ctrl-C."""
    from redub.pipeline.reindex import sources_below
    from redub.pipeline.watch import FolderWatch

    root = project_of(project).footage_root.resolve()
    if not folder.is_dir():
        raise UsageError(f"'{folder}' is no folder; wanted a folder of the footage")
    sources_below(project_of(project), [folder])  # refuses a folder outside the footage
    watched = FolderWatch(folder.resolve(), settle_s)
    place = folder.resolve().relative_to(root).as_posix()
    say(f"watching {folder}; Ctrl-C or SIGTERM ends it")
    number = 0
    try:
        while True:
            batch = watched.look()
            if batch is None:
                time.sleep(min(_LOOK_S, settle_s / 2))
                continue
            number += 1
            if _one_batch(project, place, batch, number, scheduler, workers):
                watched.took(batch)
            else:
                time.sleep(settle_s)
    except Stopped as stopped:
        at_work = f" in {stopped.stage}; what was committed is safe" if stopped.stage else ""
        say(f"stopped watching{at_work}")
        raise typer.Exit(OK) from None


def _one_batch(
    project: Path, place: str, batch: Batch, number: int, scheduler: str, workers: int
) -> bool:
    """Reindex one batch and log one line; False if another process writes to the project."""
    from redub.pipeline.reindex import reindex as run_reindex

    inside = "" if place == "." else f"{place}/"

    def may_read(source: str) -> bool:
        return source.startswith(inside) and batch.may_read(source.removeprefix(inside))

    began = time.monotonic()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S")
    head = f"{stamp} batch {number}: {len(batch.files)} files"
    try:
        found = run_reindex(
            project_of(project),
            scheduler_of(scheduler, workers),
            bar=lambda *words: no_bar(),
            only=may_read,
        )
    except LockedError as error:
        say(f"{head}: {error.message}")
        return False
    except ConfigError as error:  # a table or a setting is wrong; a change of it is a new batch
        say(f"{head}: {error.code}: {error.message}")
        return True
    rows = sum(row.added + row.changed for row in found.features.values())
    said = [
        *found.sentences(),
        f"{rows} feature rows",
        f"{found.quarantined} quarantined",
        f"{time.monotonic() - began:.1f} s",
    ]
    say(f"{head}: {'; '.join(said)}")
    return True
