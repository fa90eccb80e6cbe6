"""``redub dub`` and ``redub demo``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    option_names,
    project_of,
)
from redub.core.errors import UsageError

if TYPE_CHECKING:
    from redub.index.notes import Notes
    from redub.pipeline.dubbing.direction import Direction
    from redub.pipeline.dubbing.take import DubSummary
    from redub.pipeline.dubbing.voices import ContextChoice

Video = Annotated[Path, typer.Argument(help="the clip to dub; its sound is replaced")]
Script = Annotated[Path, typer.Option("--script", help="subtitles with the lines to speak")]
Output = Annotated[Path, typer.Option("-o", "--output", help="the dubbed mp4")]
Voice = Annotated[str | None, typer.Option(help="a clip id or a speaker of the project's library")]
Run = Annotated[str, typer.Option("--run", help="the trained run that speaks")]
Pitch = Annotated[str | None, typer.Option(help="shift of the pitch in semitones: +2st")]
PitchRange = Annotated[
    str | None, typer.Option("--range", help="factor of the pitch range: 1.3, or 70%")
]
Energy = Annotated[str | None, typer.Option(help="change of the loudness: +3dB")]
Rate = Annotated[
    str | None, typer.Option(help="factor of the speaking rate within the line's slot: 0.9, 110%")
]
Emotion = Annotated[str | None, typer.Option(help="an emotion and its strength: sad:0.7")]
Line = Annotated[
    list[int] | None,
    typer.Option("--line", help="apply the controls to this line only (repeatable; default: all)"),
]
Direct = Annotated[
    Path | None, typer.Option(help="TOML file with controls for each line: [all], [line.3]")
]
Context = Annotated[
    str,
    typer.Option(
        help="sound of the adjacent lines that a context model reads: original, or dubbed (the new "
        "sound of the line before)"
    ),
]
Background = Annotated[
    str,
    typer.Option(
        help="what is heard beside the lines: none (silence), or separate (the original sound "
        "without its speech)"
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """The controls of a dub, as they were typed."""

    notes: Notes
    voice: str | None
    pitch: str | None
    pitch_range: str | None
    energy: str | None
    rate: str | None
    emotion: str | None
    lines: tuple[int, ...]
    file: Path | None

    def parsed(self) -> tuple[Direction, str | None]:
        """The controls of each line, and the voice of all lines.

        With ``--line`` the voice belongs to the controls of those lines, so that of all lines is
        None.

        Raises:
            UsageError: a value that cannot be read, ``--line`` without a control, or ``--direct``
                together with controls.
            ConfigError: the TOML file is wrong.
        """
        from redub.pipeline.dubbing.direction import (
            Direction,
            EmotionTarget,
            LineDirection,
            parse_control,
            read_direction,
        )

        with option_names():
            control = parse_control(
                pitch=self.pitch, pitch_range=self.pitch_range, energy=self.energy, rate=self.rate
            )
            emotion_target = None if self.emotion is None else EmotionTarget.parse(self.emotion)
        wanted = LineDirection(notes=self.notes, control=control, emotion_target=emotion_target)
        voice = self.voice
        if self.lines and voice is not None:
            wanted, voice = replace(wanted, voice=voice), None
        if self.lines and not wanted:
            raise UsageError(
                "--line needs a control, for example --pitch +2st or --more sad (0st, 0dB and a "
                "factor of 1 change nothing)"
            )
        if self.file is None:
            return Direction.of_lines(wanted, self.lines), voice
        if wanted:
            raise UsageError("--direct cannot be combined with controls; use one of the two")
        return read_direction(self.file), voice


@app.command()
def dub(
    video: Video,
    script: Script,
    output: Output,
    voice: Voice = None,
    run_name: Run = "authentic",
    more: More = None,
    less: Less = None,
    like: Like = None,
    unlike: Unlike = None,
    film: Films = None,
    pitch: Pitch = None,
    pitch_range: PitchRange = None,
    energy: Energy = None,
    rate: Rate = None,
    emotion: Emotion = None,
    line: Line = None,
    direct: Direct = None,
    context: Context = "original",
    background: Background = "none",
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Speak a script onto a clip: the frames stay as they are, every line fills its slot."""
    from redub.pipeline.dubbing.original_sound import check_background
    from redub.pipeline.dubbing.session import run_dub

    controls = Controls(
        notes=notes_of(more, less, like, unlike, film),
        voice=voice,
        pitch=pitch,
        pitch_range=pitch_range,
        energy=energy,
        rate=rate,
        emotion=emotion,
        lines=tuple(line or ()),
        file=direct,
    )
    _check_output(output)
    direction, voice_of_all = controls.parsed()
    adjacent_sound, kept_sound = _context(context), check_background(background)
    with progress_bar("dub", "lines") as bar:
        summary = run_dub(
            project_of(project),
            video=video,
            script=script,
            output=output,
            voice=voice_of_all,
            run=run_name,
            direction=direction,
            context=adjacent_sound,
            background=kept_sound,
            progress=bar,
        )
    if as_json:
        put(summary, schema="dub")
    _say_dub(summary)
    raise typer.Exit(QUARANTINED if summary.faults else OK)


def _check_output(path: Path) -> None:
    """Refuse a name that is no film before any work."""
    from redub.footage.remux import CONTAINERS

    if path.suffix.lower() not in CONTAINERS:
        raise UsageError(f"-o is {path}; wanted a name that ends in {', '.join(CONTAINERS)}")


def _context(name: str) -> ContextChoice:
    if name not in ("original", "dubbed"):
        raise UsageError(f"--context is {name!r}; wanted original or dubbed")
    return "dubbed" if name == "dubbed" else "original"


def _say_dub(summary: DubSummary) -> None:
    for fault in summary.faults:
        say(f"line {fault.line} was not dubbed: {fault.code}: {fault.message}")
    for note in summary.notes:
        say(f"note: {note}")
    say(f"{summary.dubbed} lines dubbed with {summary.voice} into {summary.output}")
    say(f"how: {summary.take}")


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="folder of the demo project")],
    workers: Workers = 2,
    seed: Annotated[int, typer.Option(help="random seed of the film and of the training")] = 7,
    quick: Annotated[
        bool, typer.Option("--quick", help="few scenes and steps: every stage, poor speech")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="twice the film, two models, 600 steps")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run every stage on a film that redub draws and speaks itself; nothing is downloaded.

    The same command goes on where an earlier one stopped.
    """
    from redub.pipeline.demo import run_demo

    summary = run_demo(
        folder, workers=workers, seed=seed, quick=quick, full=full, say=say, bar=progress_bar
    )
    if as_json:
        put(summary, schema="demo")
    raise typer.Exit(QUARANTINED if summary.quarantined else OK)
