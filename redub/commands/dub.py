"""``redub dub`` and ``redub demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from redub.commands.apps import app
from redub.commands.console import OK, QUARANTINED, progress_bar, put, say
from redub.commands.invocation import HERE
from redub.commands.options import (
    Films,
    Json,
    Less,
    Like,
    More,
    ProjectDir,
    Unlike,
    Workers,
    notes_of,
    project_of,
)
from redub.core.errors import UsageError


@app.command()
def dub(
    video: Annotated[Path, typer.Argument(help="the clip to dub, with any sound or none")],
    script: Annotated[Path, typer.Option("--script", help="subtitles with the lines to speak")],
    output: Annotated[Path, typer.Option("-o", "--output", help="the dubbed mp4")],
    voice: Annotated[
        str | None, typer.Option(help="a clip id or a speaker of the project's library")
    ] = None,
    run_name: Annotated[
        str, typer.Option("--run", help="the trained run to speak with")
    ] = "authentic",
    more: More = None,
    less: Less = None,
    like: Like = None,
    unlike: Unlike = None,
    film: Films = None,
    pitch: Annotated[
        str | None, typer.Option(help="higher or lower by so many semitones: +2st")
    ] = None,
    pitch_range: Annotated[
        str | None, typer.Option("--range", help="livelier or flatter: 1.3, or 70%")
    ] = None,
    energy: Annotated[str | None, typer.Option(help="louder or softer: +3dB")] = None,
    rate: Annotated[
        str | None, typer.Option(help="faster or slower within the line's slot: 0.9, or 110%")
    ] = None,
    emotion: Annotated[
        str | None, typer.Option(help="an emotion and how much of it: sad:0.7")
    ] = None,
    line: Annotated[
        list[int] | None,
        typer.Option("--line", help="what is asked is asked of this line (default: all)"),
    ] = None,
    direct: Annotated[
        Path | None,
        typer.Option(help="a TOML file that asks something of each line: [all], [line.3]"),
    ] = None,
    context: Annotated[
        str,
        typer.Option(
            help="whose sound a system with context hears around a line: original, or dubbed (the "
            "new sound of the line before)"
        ),
    ] = "original",
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Speak a script onto a silent clip: the picture is untouched, every line fits its slot."""
    from dataclasses import replace

    from redub.pipeline.dubbing.direction import (
        Direction,
        Feeling,
        LineDirection,
        parse_control,
        read_direction,
    )
    from redub.pipeline.dubbing.session import run_dub

    asked = LineDirection(
        notes=notes_of(more, less, like, unlike, film),
        control=parse_control(pitch=pitch, pitch_range=pitch_range, energy=energy, rate=rate),
        feeling=None if emotion is None else Feeling.parse(emotion),
    )
    if context not in ("original", "dubbed"):
        raise UsageError(f"--context is {context!r}; wanted original or dubbed")
    if line and voice is not None:  # the voice of these lines, not of all
        asked, voice = replace(asked, voice=voice), None
    if line and not asked:
        raise UsageError(
            "--line goes with what is asked of it, as --pitch +2st or --more sad (0st, 0dB and a "
            "factor of 1 ask nothing)"
        )
    if direct is not None and asked:
        raise UsageError("--direct says what is asked of each line; give either it or the options")
    direction = Direction.of_lines(asked, line or ())
    if direct is not None:
        direction = read_direction(direct)
    with progress_bar("dub", "lines") as bar:
        summary = run_dub(
            project_of(project),
            video=video,
            script=script,
            output=output,
            voice=voice,
            run=run_name,
            direction=direction,
            context="dubbed" if context == "dubbed" else "original",
            progress=bar,
        )
    if as_json:
        put(summary, schema="dub")
    for fault in summary.faults:
        say(f"line {fault.line} was not dubbed: {fault.code}: {fault.message}")
    for note in summary.notes:
        say(f"note: {note}")
    say(f"{summary.dubbed} lines dubbed with {summary.voice} into {output}")
    say(f"how: {summary.take}")
    raise typer.Exit(QUARANTINED if summary.faults else OK)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="where the demo project shall live")],
    workers: Workers = 2,
    seed: Annotated[int, typer.Option(help="of the film and the training")] = 7,
    quick: Annotated[
        bool, typer.Option("--quick", help="a few scenes and steps, to see the way only")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="twice the film, two systems, 600 steps")
    ] = False,
) -> None:
    """The whole way on a film drawn and spoken by redub itself; nothing is downloaded.

    A second call goes on where the first one stopped.
    """
    from redub.pipeline.demo import run_demo

    held = run_demo(
        folder, workers=workers, seed=seed, quick=quick, full=full, say=say, bar=progress_bar
    )
    raise typer.Exit(QUARANTINED if held else OK)
