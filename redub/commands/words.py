"""The command about words: `redub say`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from redub.commands.apps import app
from redub.commands.console import OK, QUARANTINED, put, say, table
from redub.commands.invocation import HERE
from redub.commands.options import Json, ProjectDir, project_of
from redub.core.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from redub.pipeline.reports.words import SaidLine, SaidLines


@app.command(name="say")
def say_command(
    text: Annotated[str, typer.Argument(help="a line of dialogue")] = "",
    file: Annotated[
        Path | None, typer.Option("--file", help="text file with one line of dialogue a line")
    ] = None,
    language: Annotated[
        str, typer.Option(help="language tag, as en-GB (default: that of the project)")
    ] = "",
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Show how lines are spoken: words, phones, what is guessed, what is not spoken.

    Uses the settings and pronunciations.csv of the project; works without a project, too.
    """
    from redub.pipeline.reports.words import lines_of_file, say_lines

    if bool(text) == (file is not None):
        raise UsageError('name a line (redub say "Hello.") or a file (--file LINES.txt)')
    lines = lines_of_file(file) if file is not None else [(1, text)]
    said = say_lines(lines, _project_or_none(project), language)
    if as_json:
        put(said, schema="say")
    elif file is None:
        _say_words(said.lines[0])
    else:
        _say_file(said)
    raise typer.Exit(QUARANTINED if any(line.problem for line in said.lines) else OK)


def _project_or_none(folder: Path) -> Any:
    """The project of a folder; None if there is none."""
    try:
        return project_of(folder)
    except ConfigError as error:
        if error.code != "E-CFG-NOPROJECT":
            raise
        return None


def _say_words(line: SaidLine) -> None:
    rows = [[w.text, " ".join(w.phones), _from(w.source), line.text[w.start : w.end]]
            for w in line.words]  # fmt: skip
    if rows:
        table(["word", "phones", "from", "written"], list(rows))
    for silent in line.not_spoken:
        if silent.kind != "punctuation":
            name = f", {silent.name}" if silent.name else ""
            say(f"not spoken: {silent.text} ({silent.kind}{name})")
    if line.problem:
        say(f"cannot be spoken: {line.problem}")


def _from(source: str) -> str:
    return {"own": "pronunciations.csv", "guess": "guessed", "letter": "name of a letter"}.get(
        source, source
    )


def _say_file(said: SaidLines) -> None:
    table(
        ["line", "spoken as", "guessed", "unknown"],
        [
            [
                line.line,
                " ".join(word.text for word in line.words) or "–",
                ", ".join(line.guessed) or "–",
                ", ".join(line.unknown) or "–",
            ]
            for line in said.lines
        ],
    )
    wrong = [line for line in said.lines if line.problem]
    guessing = sum(bool(line.guessed) for line in said.lines)
    say(f"{len(said.lines)} lines: {guessing} with guessed words, {len(wrong)} cannot be spoken")
    for line in wrong:
        say(f"line {line.line}: {line.problem}")
