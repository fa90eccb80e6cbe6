"""Output of commands: sentences, tables and progress on stderr, one JSON document on stdout."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import typer

from redub.commands.documents import DOCUMENTS
from redub.commands.invocation import HERE, INVOCATION, command, with_place
from redub.core.stopping import Stopped

OK, ERROR, USAGE, QUARANTINED, DAMAGED, REFUSED = 0, 1, 2, 3, 6, 8
"""Exit codes; a command that a signal stopped has 128 + the number of the signal."""


# -- sentences, documents, tables


def say(text: str = "") -> None:
    """Print one line on stderr; stdout is only for ``--json``.

    Commands in the text get the ``-C`` of this command, see :func:`with_place`.
    """
    print(printable(with_place(text)), file=sys.stderr)


def say_all(sentences: Iterable[str]) -> None:
    """Print one line for each sentence."""
    for sentence in sentences:
        say(sentence)


def printable(text: str) -> str:
    """Replace control and bidirectional characters, which a terminal would obey, by escapes."""
    hidden = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200B, 0x200E, 0x200F, 0xFEFF}
    return "".join(
        f"\\u{ord(c):04x}"
        if (ord(c) < 32 and c != "\n") or ord(c) == 127 or ord(c) in hidden
        else c
        for c in text
    )


def put(value: Any, *, schema: str) -> None:
    """Print one JSON document on stdout.

    Args:
        value: an instance of the dataclass that :data:`DOCUMENTS` names for ``schema``.
        schema: the document's name; the key ``schema`` becomes ``redub.NAME/1``.
    """
    kind = type(value)
    assert f"{kind.__module__}:{kind.__name__}" == DOCUMENTS[schema], (kind, schema)
    print(json.dumps({"schema": f"redub.{schema}/1", **plain_value(value)}, sort_keys=True))


def plain_value(value: Any) -> Any:
    """A value as JSON types: dataclasses as objects, paths as text, NaN and infinities as None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain_value(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): plain_value(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no NaN and no infinities
    return value


def table(columns: list[str], rows: list[list[Any]]) -> None:
    """Print aligned columns on stderr; columns of numbers are aligned on the right."""
    cells = [[printable(with_place(str(cell))).replace("\n", " ") for cell in row] for row in rows]
    widths = [max(len(c), *(len(r[i]) for r in cells), 0) for i, c in enumerate(columns)]
    right = [all(_is_number(r[i]) for r in cells) and bool(cells) for i in range(len(columns))]

    def _line(row: list[str]) -> str:
        padded = [
            c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)
        ]
        return "  ".join(padded).rstrip()

    print(_line(columns), file=sys.stderr)
    for row in cells:
        print(_line(row), file=sys.stderr)


def _is_number(cell: str) -> bool:
    return cell in ("", "–") or cell.replace(".", "", 1).replace("-", "", 1).isdigit()


@contextlib.contextmanager
def progress_bar(label: str, unit: str = "clips") -> Iterator[Callable[..., None]]:
    """Show progress on stderr: a bar on a terminal, else a line every ``--progress-every`` seconds.

    Yields:
        A function of the units done, the units in all, and an optional note.
    """
    counted = Progressed(label, unit)
    shown = _bar if sys.stderr.isatty() else _plain_lines
    try:
        with shown(counted) as update:
            yield update
    except Stopped as stopped:
        if counted.total:
            stopped.done = f"{counted.done} of {counted.total} {unit}"
        raise


@dataclasses.dataclass(slots=True)
class Progressed:
    """Units of work done and to do, and the rate since the first report."""

    label: str
    unit: str
    done: int = 0
    total: int = 0
    note: str = ""
    before: int = -1  # units of an earlier run, which the rate does not count
    began_s: float = 0.0

    def update(self, done: int, total: int, note: str) -> None:
        """Note a report; the first one starts the clock."""
        if self.before < 0:
            self.before, self.began_s = done, time.monotonic()
        self.done, self.total, self.note = done, total, note

    @property
    def rate(self) -> float:
        """Units per second since the first report."""
        return (self.done - self.before) / max(time.monotonic() - self.began_s, 1e-9)

    def line(self) -> str:
        """``extract: 12 of 168 clips, 2.4 clips/s, 65 s left``."""
        words = [f"{self.label}: {self.done} of {self.total} {self.unit}"]
        if self.done > self.before:
            words.append(f"{self.rate:.1f} {self.unit}/s")
            if self.done < self.total:
                words.append(f"{math.ceil((self.total - self.done) / self.rate)} s left")
        return ", ".join([*words, self.note] if self.note else words)


@contextlib.contextmanager
def _plain_lines(counted: Progressed) -> Iterator[Callable[..., None]]:
    """Print the first report, then one every so many seconds, and the last; none without work."""
    printed_s, last = -math.inf, (-1, -1)

    def _show() -> None:
        nonlocal printed_s, last
        if counted.total and last != (counted.done, counted.total):
            printed_s, last = time.monotonic(), (counted.done, counted.total)
            say(counted.line())

    def _update(done: int, total: int, note: str = "") -> None:
        counted.update(done, total, note)
        if time.monotonic() - printed_s >= INVOCATION.progress_every_s:
            _show()

    yield _update
    _show()


@contextlib.contextmanager
def _bar(counted: Progressed) -> Iterator[Callable[..., None]]:
    """Show a bar with rate and time left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True, no_color="NO_COLOR" in os.environ)
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(counted.label, total=None, rate="")

        def _update(done: int, total: int, note: str = "") -> None:
            counted.update(done, total, note)
            words = f"{counted.rate:.1f} {counted.unit}/s" + (f", {note}" if note else "")
            bars.update(task, completed=done, total=total, rate=words)

        yield _update


def finish(quarantined: int, next_command: str, project: Path = HERE) -> NoReturn:
    """Print the next command to type, and exit with 0, or with 3 where rows are quarantined."""
    if quarantined:
        say(f"{quarantined} quarantined; see them with: {command('bad', 'list', project=project)}")
    say(f"next: {next_command}")
    raise typer.Exit(QUARANTINED if quarantined else OK)


@contextlib.contextmanager
def no_bar() -> Iterator[Callable[..., None]]:
    """Progress that is not shown, for all processes but the first."""
    yield lambda done, total, note="": None
