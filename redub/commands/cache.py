"""Commands about quarantined clips and stored rows: ``redub bad ...``, ``redub cache ...``."""

from __future__ import annotations

from typing import Annotated

import typer

from redub.commands.apps import bad_app, cache_app
from redub.commands.console import OK, finish, put, say, table
from redub.commands.invocation import HERE, command
from redub.commands.options import Json, ProjectDir, project_of
from redub.core.errors import UsageError

# -- looking after things


@bad_app.command("list")
def bad_list(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Every clip and file that is set aside, with its code and reason."""
    from redub.pipeline.store.quarantine import held_rows

    rows = held_rows(project_of(project))
    if as_json:
        put({"rows": rows}, schema="bad")
        return
    table(
        ["clip", "stage", "feature", "code", "message"],
        [[r["clip_id"], r["stage"], r["feature"], r["code"], r["message"]] for r in rows],
    )
    say(f"{len(rows)} rows")
    if rows:
        clip = str(rows[0]["clip_id"])
        say(
            f"next: {command('bad', 'show', clip, project=project)}, "
            f"then {command('bad', 'retry', project=project)}"
        )


@bad_app.command("show")
def bad_show(clip: str, project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Everything known about one clip that was set aside."""
    from redub.pipeline.store.quarantine import held_rows

    rows = [r for r in held_rows(project_of(project)) if r["clip_id"] == clip]
    if not rows:
        raise UsageError(f"'{clip}' is not set aside; `redub bad list` names what is")
    if as_json:
        put({"rows": rows}, schema="bad")
        return
    for row in rows:
        for key, value in row.items():
            say(f"{key:16} {value if value is not None else '–'}")
        say()


@bad_app.command("retry")
def bad_retry(
    clip: Annotated[list[str] | None, typer.Argument(help="clip ids; none means all")] = None,
    project: ProjectDir = HERE,
) -> None:
    """Release clips, so that the next run tries them again."""
    from redub.pipeline.store.quarantine import run_release

    count = run_release(project_of(project), clip or [])
    say(f"{count} rows released")
    finish(0, command("run", project=project))


@cache_app.command("verify")
def cache_verify(project: ProjectDir = HERE) -> None:
    """Read every committed byte again and compare it with its commit."""
    from redub.pipeline.store.verify import run_verify

    files, wrong = run_verify(project_of(project))
    for line in wrong:
        say(line)
    say(f"{files} files read, {len(wrong)} damaged")
    raise typer.Exit(6 if wrong else OK)


@cache_app.command("repair")
def cache_repair(project: ProjectDir = HERE) -> None:
    """Take damaged tables out of the way, so that the next run makes them again."""
    from redub.pipeline.store.verify import run_repair

    taken = run_repair(project_of(project))
    for name in taken:
        say(f"taken out: {name}")
    say(f"{len(taken)} tables taken out into .redub/damaged")
    finish(0, command("run", project=project))


@cache_app.command("why")
def cache_why(
    clip: str,
    feature: Annotated[str | None, typer.Option("-f", "--feature", help="only this one")] = None,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """What a clip's rows depend on: source bytes, span, decoder, settings, versions."""
    from redub.pipeline.reports.why import FACTS, explain_rows

    rows = explain_rows(project_of(project), clip, feature)
    if as_json:
        put({"clip": clip, "rows": rows}, schema="cache.why")
        return
    for row in rows:
        say(f"{row['feature']}: {row['state']}")
        for key in FACTS if row["key"] else ():
            say(f"  {key:14} {row[key]}")
