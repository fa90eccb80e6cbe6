"""Commands about training runs: ``redub runs ...``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from redub.commands.apps import runs_app
from redub.commands.console import ERROR, OK, finish, printable, put, say, table
from redub.commands.invocation import HERE, INVOCATION, command
from redub.commands.options import Json, ProjectDir, project_of
from redub.core.errors import UsageError


@runs_app.command("ls")
def runs_ls(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """List training runs with their last step and validation loss."""
    from redub.pipeline.store.runs.folders import RunList, list_runs

    rows = list_runs(project_of(project))
    if as_json:
        put(RunList(rows), schema="runs")
        return
    table(["run", "model", "step", "validation"], [[r.name, r.model, r.step, r.loss] for r in rows])


@runs_app.command("show")
def runs_show(
    run: Annotated[str, typer.Argument(help="name of the run")],
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Show everything about one run: losses, checkpoints, what it was trained on."""
    from redub.pipeline.reports.runs import show_run

    facts = show_run(project_of(project), run)
    if as_json:
        put(facts, schema="runs.show")
        return
    for line in facts.lines():
        say(line)
    say()
    table(["", "first", "best", "last"], facts.loss_rows())
    say()
    table(["checkpoint", "MiB", "validation", "", "bytes"], facts.checkpoint_rows())
    for fault in facts.faults:
        say(f"note: {fault}")
    finish(0, command(*facts.next_words, project=project))


@runs_app.command("compare")
def runs_compare(
    run: Annotated[list[str], typer.Argument(help="names of two runs or more")],
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Show the settings that differ between runs, and the losses at equal steps."""
    from redub.pipeline.reports.run_comparison import compare_runs

    found = compare_runs(project_of(project), run)
    if as_json:
        put(found, schema="runs.compare")
        return
    if found.settings:
        table(["setting", *found.runs], found.setting_rows())
    else:
        say("no readable setting differs")
    say()
    table(["loss", *found.runs], found.loss_rows())
    if found.step is None:
        say("no step was measured in all runs, so no losses are compared at equal steps")
    for fault in found.faults:
        say(f"note: {fault}")
    finish(0, command("runs", "show", found.runs[0], project=project))


@runs_app.command("export")
def runs_export(
    run: Annotated[str, typer.Argument(help="name of the run")],
    target: Annotated[Path, typer.Argument(help="the file: NAME.safetensors")],
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Write a run's weights and card as one file, for `redub train --from`."""
    from redub.pipeline.reports.runs import free_name, model_of
    from redub.pipeline.store.runs.folders import export_run

    opened = project_of(project)
    exported = export_run(opened, run, target)
    if as_json:
        put(exported, schema="runs.export")
    say(str(exported))
    words = ("train", model_of(opened, run), "--run", free_name(opened, run))
    finish(OK, command(*words, "--from", INVOCATION.folder / target, project=project))


@runs_app.command("import")
def runs_import(
    entry: Annotated[str, typer.Argument(help="entry of models.lock, of kind hpm_dubbing")],
    run: Annotated[str, typer.Option(help="name of the new run")],
    own_mel: Annotated[
        bool, typer.Option("--own-mel", help="the checkpoint was trained on this project's mel")
    ] = False,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Make a run from a released HPMDubbing checkpoint that `redub weights add` recorded."""
    from redub.pipeline.imports.runs import import_run

    imported = import_run(project_of(project), entry, run, own_mel=own_mel)
    if as_json:
        put(imported, schema="runs.import")
    say(f"{imported}, ready to speak")
    finish(OK, command("synthesize", run, project=project))


@runs_app.command("rm")
def runs_rm(
    run: Annotated[str, typer.Argument(help="name of the run")],
    yes: Annotated[bool, typer.Option("-y", "--yes", help="remove without a question")] = False,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Remove a run with its checkpoints and samples; evaluations that name the run stay."""
    from redub.pipeline.store.runs.folders import removal_of, remove_run

    opened = project_of(project)
    removal = removal_of(opened, run)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"{removal} was not removed: no terminal to confirm at; use --yes")
        if not typer.confirm(printable(f"remove {removal}?"), err=True):
            say("nothing was removed")
            raise typer.Exit(ERROR)
    remove_run(opened, removal)
    if as_json:
        put(removal, schema="runs.rm")
    say(f"removed {removal}")
    finish(0, command("runs", "ls", project=project))
