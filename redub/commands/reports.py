"""``redub report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from redub.commands.apps import app
from redub.commands.console import put, say
from redub.commands.invocation import HERE
from redub.commands.options import Json, ProjectDir, project_of
from redub.core.errors import UsageError


@app.command()
def report(
    output: Annotated[
        Path | None, typer.Option("-o", help="the page (default: report.html)")
    ] = None,
    faces: Annotated[
        bool, typer.Option("--faces", help="write a contact sheet of the face networks' input")
    ] = False,
    clip: Annotated[
        list[str] | None, typer.Option("--clip", help="with --faces: only this clip (repeatable)")
    ] = None,
    count: Annotated[
        int, typer.Option(help="with --faces: number of clips, evenly spread over the clip table")
    ] = 24,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Write the self-contained HTML report of the last evaluation, or a contact sheet of faces."""
    from redub.pipeline.reports.page import WrittenPage

    if faces:
        from redub.pipeline.reports.faces import write_face_sheet

        opened = project_of(project)
        page = write_face_sheet(opened, output or opened.root / "faces.html", clip, count)
    elif clip:
        raise UsageError("--clip goes with --faces")
    else:
        from redub.pipeline.reports.evaluation import run_report

        page = run_report(project_of(project), output)
    if as_json:
        put(WrittenPage(page), schema="page")
    say(f"wrote {page}")
