"""``redub report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from redub.commands.apps import app
from redub.commands.console import say
from redub.commands.invocation import HERE
from redub.commands.options import ProjectDir, project_of
from redub.core.errors import UsageError


@app.command()
def report(
    output: Annotated[
        Path | None, typer.Option("-o", help="the page (default: report.html)")
    ] = None,
    faces: Annotated[
        bool, typer.Option("--faces", help="a contact sheet of what the face networks are fed")
    ] = False,
    clip: Annotated[
        list[str] | None, typer.Option("--clip", help="with --faces: only these clips")
    ] = None,
    count: Annotated[int, typer.Option(help="with --faces: so many clips, evenly spread")] = 24,
    project: ProjectDir = HERE,
) -> None:
    """Write the self-contained HTML report of the last evaluation, or the sheet of faces."""
    if faces:
        from redub.pipeline.reports.faces import write_face_sheet

        opened = project_of(project)
        page = output or opened.root / "faces.html"
        say(f"wrote {write_face_sheet(opened, page, clip, count)}")
        return
    if clip:
        raise UsageError("--clip goes with --faces")
    from redub.pipeline.reports.evaluation import run_report

    say(f"wrote {run_report(project_of(project), output)}")
