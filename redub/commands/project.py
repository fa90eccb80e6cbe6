"""Commands about the project as a whole: init, config, doctor, status, plan."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from redub.commands.apps import app
from redub.commands.console import ERROR, OK, REFUSED, finish, plain_value, put, say, say_all, table
from redub.commands.invocation import HERE, command
from redub.commands.options import Json, ProfileName, ProjectDir, project_of, with_profile_option
from redub.core.errors import ConfigError

if TYPE_CHECKING:
    from redub.pipeline.reports.plan import Plan, PlanLine
    from redub.pipeline.reports.status import Status


_NAMED = 5  # files in a message


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="folder of the new project")] = HERE,
    profile: Annotated[
        str | None,
        typer.Option(help="builtin | packaged | paper (default: packaged if weights are here)"),
    ] = None,
    footage: Annotated[
        Path | None, typer.Option(help="an existing footage folder (default: a new one)")
    ] = None,
    as_json: Json = False,
) -> None:
    """Start a project: write a commented redub.toml and make a footage folder."""
    from redub.pipeline.store.packaged import start_project

    try:
        made = start_project(folder, profile, footage)
    except ConfigError as error:
        if error.code != "E-CFG-EXISTS":
            raise
        following = command("status", project=folder)
        raise ConfigError(f"{error.message}; next: {following}", code=error.code) from None
    if as_json:
        put(made, schema="init")
    say(f"wrote {made.file}")
    if made.weights:
        say(f"profile {made.profile}, with the weights {', '.join(made.weights)}")
    elif made.profile == "builtin":
        say("profile builtin: hand-made measurements. For trained models type:")
        say(f"  {command('weights', 'get', 'all', project=folder)}")
        say('  and set profile = "packaged" under [features] in redub.toml')
    if footage is None:
        say("put media (and NAME.srt next to NAME.mp4) into its footage folder")
    else:
        say(f"reads the footage in {made.footage}")
    finish(0, command("ingest", project=folder))


@app.command()
def config(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Print every setting with the value in force."""
    from redub.pipeline.store.keys import check_feature_settings
    from redub.pipeline.store.settings import train_values
    from redub.pipeline.work.train_plan import TrainPlan

    opened = project_of(project)
    settings = opened.config
    check_feature_settings(settings)
    TrainPlan.of(opened)
    if as_json:
        put(settings, schema="config")
        return
    written = plain_value(settings) | {"train": plain_value(train_values(settings.train))}
    for section, value in written.items():
        if isinstance(value, dict):
            for key, item in value.items():
                print(f"{section}.{key} = {json.dumps(item)}")
        else:
            print(f"{section} = {json.dumps(value)}")


@app.command()
def doctor(
    weights: Annotated[
        bool, typer.Option("--weights", help="load and run each network of models.lock once")
    ] = False,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Show versions, compilers, decoders and GPUs, and import every line of every registry."""
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
        say(report.verdict)
    raise typer.Exit(ERROR if report.problems else OK)


def _doctor_weights(project: Path, as_json: bool) -> NoReturn:
    """Load and run the recorded networks; exit with 8 if one has a problem."""
    from redub.pipeline.reports.weights_doctor import WeightsExamination, examine_weights

    lines = examine_weights(project_of(project))
    if as_json:
        put(WeightsExamination(lines), schema="doctor.weights")
    for line in lines:
        say(f"{line.entry} → {line.feature} ({line.backend})")
        for key, value in line.says.items():
            say(f"  {key:12} {value}")
        say(f"  {'problem' if line.problem else 'one clip':12} {line.problem or line.value}")
    if not lines:
        say("models.lock names no weights; record some with `redub weights add KIND PATH`")
    raise typer.Exit(REFUSED if any(line.problem for line in lines) else OK)


@app.command()
def status(project: ProjectDir = HERE, profile: ProfileName = None, as_json: Json = False) -> None:
    """Count what is committed, quarantined and missing; only logs are read."""
    from redub.pipeline.reports.status import project_status

    opened = project_of(project, profile)
    report = project_status(opened)
    following = with_profile_option(report.next_words, project, opened.config.profile, profile)
    if as_json:
        put(dataclasses.replace(report, next_command=following), schema="status")
        return
    _say_status(report)
    if report.busy is None:
        say(f"next: {following}")
        return
    say(report.busy.sentence())
    say(f"next: wait for it, or look: {following}")


@app.command()
def lines(
    why: Annotated[
        bool, typer.Option("--why", help="list the utterances that lack a use, with the reason")
    ] = False,
    project: ProjectDir = HERE,
    profile: ProfileName = None,
    as_json: Json = False,
) -> None:
    """Count the utterances that can be trained on, measured, spoken and retrieved.

    An utterance with a reason is no fault: it is in the store, but it lacks what the use needs.
    """
    from redub.pipeline.reports.lines import line_uses

    found = line_uses(project_of(project, profile), with_lines=why)
    if as_json:
        put(found, schema="lines")
        return
    if found.lines:
        table(
            ["clip", "from", "split", "speaker", "text", "why not"],
            [
                [
                    line.clip_id,
                    f"{line.start_s:.2f} s",
                    line.split,
                    line.speaker or "–",
                    line.text or "–",
                    "; ".join(f"{use}: {reason}" for use, reason in line.why_not.items()),
                ]
                for line in found.lines
            ],
        )
    say_all(found.said(listed=why))


def _say_status(report: Status) -> None:
    say(
        f"{report.clips} clips from {report.sources} sources; {report.quarantined} rows quarantined"
    )
    table(
        ["feature", "listed", "committed", "null", "quarantined", "pending"],
        [
            [x.feature, x.listed, x.committed, x.nulls, x.quarantined, x.pending]
            for x in report.ledger
        ],
    )
    if report.null_clip is not None:
        say(f"why a value is null: `redub cache why {report.null_clip}`, or that of another clip")
    _say_backends(report.lacking, report.fallbacks)
    if report.old_rows:
        say(
            "rows that redub 0.1 wrote are in the store under other keys and are not read; "
            "`redub plan` shows what is computed again"
        )
    say(f"index: {report.index or 'none'}; neighbours: {report.neighbours} rows")
    unfinished = {found.run: f"{found.run} ({found})" for found in report.unfinished}
    say(f"runs: {', '.join(unfinished.get(run, run) for run in report.runs) or 'none'}")


def _say_backends(lacking: Mapping[str, str], fallbacks: Mapping[str, str]) -> None:
    for name, why in lacking.items():
        say(f"{name} cannot be made: {why}")
    for name, why in fallbacks.items():
        say(f"{name} is made by {why}")


@app.command()
def plan(project: ProjectDir = HERE, profile: ProfileName = None, as_json: Json = False) -> None:
    """Show what `redub run` would compute, why, and how long it may take; write nothing."""
    from redub.pipeline.reports.plan import plan_project
    from redub.pipeline.reports.status import project_status
    from redub.pipeline.store.tables import Store

    opened = project_of(project, profile)
    found = plan_project(Store(opened))
    if as_json:
        put(found, schema="plan")
        return
    _say_plan(found)
    words = ["ingest"] if found.footage.is_changed else project_status(opened).next_words
    say(f"next: {with_profile_option(words, project, opened.config.profile, profile)}")


def _say_plan(found: Plan) -> None:
    footage = found.footage
    say(f"footage: {len(footage.to_read)} sources to read, {len(footage.gone)} gone")
    for what, names in (("new or changed", footage.to_read), ("not used", footage.unused)):
        say_all([f"  {what}: {name}" for name in names[:_NAMED]])
        if len(names) > _NAMED:
            more = len(names) - _NAMED
            say(f"  {what}: {more} more, all of them with `redub plan --json`")
    say(f"index: {footage.index}")
    table(
        ["feature", "up-to-date", "new", "changed", "quarantined", "est. s", "why"],
        [
            [x.feature, x.up_to_date, x.new, x.changed, x.quarantined, _estimate(x), x.why]
            for x in found.features
        ],
    )
    _say_backends(found.lacking, found.fallbacks)


def _estimate(line: PlanLine) -> str:
    return "–" if line.estimate_s is None else f"{line.estimate_s:.1f}"
