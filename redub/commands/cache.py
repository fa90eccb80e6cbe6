"""Commands about quarantined clips and stored rows: ``redub bad ...``, ``redub cache ...``."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from redub.commands.apps import bad_app, cache_app
from redub.commands.console import DAMAGED, OK, finish, put, say, table
from redub.commands.invocation import HERE, command
from redub.commands.options import ClipId, Json, ProjectDir, project_of


@bad_app.command("list")
def bad_list(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """List every quarantined clip and file with its code and reason."""
    from redub.pipeline.store.quarantine import held_rows

    found = held_rows(project_of(project))
    if as_json:
        put(found, schema="bad")
        return
    rows = found.rows
    table(
        ["clip", "stage", "feature", "code", "message"],
        [[row.clip_id, row.stage, row.feature, row.code, row.message] for row in rows],
    )
    say(f"{len(rows)} rows")
    if rows:
        say(
            f"next: {command('bad', 'show', rows[0].clip_id, project=project)}, "
            f"then {command('bad', 'retry', project=project)}"
        )


@bad_app.command("show")
def bad_show(clip: ClipId, project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Show everything that is recorded about one quarantined clip."""
    from redub.pipeline.store.quarantine import held_rows

    found = held_rows(project_of(project)).of_clip(clip)
    if as_json:
        put(found, schema="bad")
        return
    for row in found.rows:
        for key, value in dataclasses.asdict(row).items():
            if key != "command":  # for other programs; people get the next command
                say(f"{key:16} {value if value is not None else '–'}")
        say()
    say(f"what a code means: `redub bad explain {found.rows[0].code}`")
    say("correct the cause, then release the clip")
    say(f"next: {command('bad', 'retry', clip, project=project)}")


@bad_app.command("explain")
def bad_explain(
    code: Annotated[str, typer.Argument(help="an error code, such as E-IN-TRUNC")],
    as_json: Json = False,
) -> None:
    """Show what an error code means, its exit code, its messages, and where it is raised."""
    from redub.pipeline.reports.error_codes import explain_code

    found = explain_code(code)
    if as_json:
        put(found, schema="bad.explain")
        return
    for line in found.lines():
        say(line)


@bad_app.command("retry")
def bad_retry(
    clip: Annotated[list[str] | None, typer.Argument(help="clip ids (default: all)")] = None,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Release clips from the quarantine, so that the next run tries them again."""
    from redub.pipeline.store.quarantine import run_release

    released = run_release(project_of(project), clip or [])
    if as_json:
        put(released, schema="bad.retry")
    say(f"{released.rows} rows released")
    finish(0, command("run", project=project))


@cache_app.command("verify")
def cache_verify(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Read every committed file again and compare its bytes with the commit."""
    from redub.pipeline.store.verify import run_verify

    check = run_verify(project_of(project))
    if as_json:
        put(check, schema="cache.verify")
    for line in check.damaged:
        say(line)
    say(f"{check.files} files read, {len(check.damaged)} damaged")
    raise typer.Exit(DAMAGED if check.damaged else OK)


@cache_app.command("repair")
def cache_repair(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Move damaged tables away, so that the next run computes them again."""
    from redub.pipeline.store.verify import run_repair

    repair = run_repair(project_of(project))
    if as_json:
        put(repair, schema="cache.repair")
    for name in repair.tables:
        say(f"moved: {name}")
    say(f"{len(repair.tables)} tables moved to .redub/damaged")
    finish(0, command("run", project=project))


@cache_app.command("why")
def cache_why(
    clip: ClipId,
    feature: Annotated[
        str | None, typer.Option("-f", "--feature", help="only this feature")
    ] = None,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Show what the rows of a clip depend on: source bytes, span, decoder, settings, versions."""
    from redub.pipeline.reports.why import explain_rows

    explained = explain_rows(project_of(project), clip, feature)
    if as_json:
        put(explained, schema="cache.why")
        return
    for line in explained.summary():
        say(line)
    say()
    for row in explained.rows:
        say(f"{row.feature}: {row.state}")
        for name, value in row.facts().items():
            say(f"  {name:14} {value}")
