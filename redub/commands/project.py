"""Commands about the project as a whole: init, config, doctor, status, plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from redub.commands.apps import app
from redub.commands.console import ERROR, OK, REFUSED, finish, plain_value, put, say, table
from redub.commands.invocation import HERE, command, with_profile_option
from redub.commands.options import Json, ProfileName, ProjectDir, project_of

# -- the project


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="where the project shall live")] = HERE,
) -> None:
    """Start a project: a commented redub.toml and a footage folder."""
    from redub.pipeline.store.project import init_project

    path = init_project(folder)
    say(f"wrote {path}")
    say("put media (and NAME.srt beside NAME.mp4) into its footage folder")
    finish(0, command("ingest", project=folder))


@app.command()
def config(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Print every setting with the value in force."""
    settings = project_of(project).config
    if as_json:
        put(settings, schema="config")
        return
    for section, value in plain_value(settings).items():
        if isinstance(value, dict):
            for key, item in value.items():
                print(f"{section}.{key} = {json.dumps(item)}")
        else:
            print(f"{section} = {json.dumps(value)}")


@app.command()
def doctor(
    weights: Annotated[
        bool, typer.Option("--weights", help="load the project's recorded weights and run each")
    ] = False,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Versions, compilers, decoders, GPU, and every registry by name, each really imported."""
    from redub.pipeline.reports.doctor import examine

    if weights:
        _doctor_weights(project, as_json)
    report = examine()
    if as_json:
        put(report, schema="doctor")
    else:
        for section, lines in report.sections.items():
            say(section)
            for name, value in lines.items():
                say(f"  {name:28} {value}")
        for problem in report.problems:
            say(f"problem: {problem}")
    raise typer.Exit(ERROR if report.problems else OK)


def _doctor_weights(project: Path, as_json: bool) -> NoReturn:
    from redub.pipeline.reports.weights_doctor import examine_weights

    lines = examine_weights(project_of(project))
    if as_json:
        put({"weights": lines}, schema="doctor.weights")
    for line in lines:
        say(f"{line.entry} → {line.feature} ({line.maker})")
        for key, value in line.says.items():
            say(f"  {key:12} {value}")
        say(f"  {'problem' if line.problem else 'one clip':12} {line.problem or line.value}")
    if not lines:
        say("models.lock names no weights; record some with `redub weights add KIND PATH`")
    raise typer.Exit(REFUSED if any(line.problem for line in lines) else OK)


@app.command()
def status(project: ProjectDir = HERE, profile: ProfileName = None, as_json: Json = False) -> None:
    """What is committed, set aside and missing, from the logs alone."""
    from redub.pipeline.reports.status import project_status

    opened = project_of(project, profile)
    report = project_status(opened)
    following = with_profile_option(report.next_words, project, opened.config.profile, profile)
    if as_json:
        plain = plain_value(report)
        del plain["next_words"]
        put({**plain, "next_command": following}, schema="status")
        return
    say(f"{report.clips} clips from {report.sources} sources; {report.quarantined} rows set aside")
    table(
        ["feature", "listed", "committed", "null", "quarantined", "pending"],
        [
            [x.feature, x.listed, x.committed, x.nulls, x.quarantined, x.pending]
            for x in report.ledger
        ],
    )
    say_lacking(report.lacking)
    say(f"index: {report.index or 'none'}; neighbours: {report.neighbours} rows")
    say(f"runs: {', '.join(report.runs) or 'none'}")
    if report.busy is None:
        say(f"next: {following}")
        return
    say(report.busy.sentence())
    say(f"next: wait for it, or look: {following}")


def say_lacking(lacking: dict[str, str]) -> None:
    for name, why in lacking.items():
        say(f"{name} cannot be made: {why}")


@app.command()
def plan(project: ProjectDir = HERE, profile: ProfileName = None, as_json: Json = False) -> None:
    """What `redub run` would compute, why, and how long it may take; writes nothing."""
    from redub.pipeline.reports.plan import plan as make_plan
    from redub.pipeline.reports.plan import plan_footage
    from redub.pipeline.store.tables import Store

    store = Store(project_of(project, profile))
    footage = plan_footage(store)
    lines = make_plan(store)
    lacking = {name: error.message for name, error in store.keys.lacking.items()}
    if as_json:
        put({"features": lines, "lacking": lacking, "footage": footage}, schema="plan")
        return
    say(f"footage: {len(footage.to_read)} sources to read, {len(footage.gone)} gone")
    for source in footage.to_read[:5]:
        say(f"  new or changed: {source}")
    say(f"index: {footage.index}")
    table(
        ["feature", "up-to-date", "new", "changed", "held", "est. s", "why"],
        [
            [
                x.feature,
                x.up_to_date,
                x.new,
                x.changed,
                x.quarantined,
                "–" if x.estimate_s is None else f"{x.estimate_s:.1f}",
                x.why,
            ]
            for x in lines
        ],
    )
    say_lacking(lacking)
    say(f"next: {with_profile_option(['run'], project, '', profile)}")
