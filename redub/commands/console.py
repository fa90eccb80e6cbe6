"""What commands print: lines and tables on stderr, one JSON document on stdout, progress."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import typer

from redub.commands.invocation import HERE, INVOCATION, command
from redub.core.stopping import Stopped

OK, ERROR, USAGE, QUARANTINED, REFUSED = 0, 1, 2, 3, 8  # 128 + the signal's number when stopped


# -- how things are said


def say(text: str = "") -> None:
    """One line for people, on stderr: stdout belongs to --json."""
    print(printable(text), file=sys.stderr)


def printable(text: str) -> str:
    """Show control and bidirectional characters of names instead of obeying them."""
    hidden = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200B, 0x200E, 0x200F, 0xFEFF}
    return "".join(
        f"\\u{ord(c):04x}"
        if (ord(c) < 32 and c != "\n") or ord(c) == 127 or ord(c) in hidden
        else c
        for c in text
    )


def put(value: Any, *, schema: str) -> None:
    """The machine's answer: one JSON document with its schema's name."""
    print(json.dumps({"schema": f"redub.{schema}/1", **plain_value(value)}, sort_keys=True))


def plain_value(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain_value(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): plain_value(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    return value


def table(columns: list[str], rows: list[list[Any]]) -> None:
    """Aligned columns on stderr; numbers to the right."""
    cells = [[printable(str(cell)).replace("\n", " ") for cell in row] for row in rows]
    widths = [max(len(c), *(len(r[i]) for r in cells), 0) for i, c in enumerate(columns)]
    right = [all(_is_number(r[i]) for r in cells) and bool(cells) for i in range(len(columns))]

    def line(row: list[str]) -> str:
        padded = [
            c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)
        ]
        return "  ".join(padded).rstrip()

    print(line(columns), file=sys.stderr)
    for row in cells:
        print(line(row), file=sys.stderr)


def _is_number(cell: str) -> bool:
    return cell in ("", "–") or cell.replace(".", "", 1).replace("-", "", 1).isdigit()


@contextlib.contextmanager
def progress_bar(label: str, unit: str = "clips") -> Iterator[Callable[..., None]]:
    """How far a command is: a bar on a terminal, else a plain line now and then on stderr."""
    counted = Counted(label, unit)
    shown = _bar if sys.stderr.isatty() else _plain_lines
    try:
        with shown(counted) as update:
            yield update
    except Stopped as stopped:
        if counted.total:
            stopped.done = f"{counted.done} of {counted.total} {unit}"
        raise


@dataclasses.dataclass(slots=True)
class Counted:
    """How far some work is, and how fast since its first report."""

    label: str
    unit: str
    done: int = 0
    total: int = 0
    note: str = ""
    before: int = -1  # done by an earlier run: it took no time of ours
    began_s: float = 0.0

    def take(self, done: int, total: int, note: str) -> None:
        if self.before < 0:
            self.before, self.began_s = done, time.monotonic()
        self.done, self.total, self.note = done, total, note

    @property
    def rate(self) -> float:
        return (self.done - self.before) / max(time.monotonic() - self.began_s, 1e-9)

    def line(self) -> str:
        """``extract: 12 of 168 clips, 2.4 clips/s, 65 s left``."""
        said = [f"{self.label}: {self.done} of {self.total} {self.unit}"]
        if self.done > self.before:
            said.append(f"{self.rate:.1f} {self.unit}/s")
            if self.done < self.total:
                said.append(f"{math.ceil((self.total - self.done) / self.rate)} s left")
        return ", ".join([*said, self.note] if self.note else said)


@contextlib.contextmanager
def _plain_lines(counted: Counted) -> Iterator[Callable[..., None]]:
    """The first report, then one every so many seconds, and the last; nothing of no work."""
    said_s, last = -math.inf, (-1, -1)

    def show() -> None:
        nonlocal said_s, last
        if counted.total and last != (counted.done, counted.total):
            said_s, last = time.monotonic(), (counted.done, counted.total)
            say(counted.line())

    def update(done: int, total: int, note: str = "") -> None:
        counted.take(done, total, note)
        if time.monotonic() - said_s >= INVOCATION.progress_every_s:
            show()

    yield update
    show()


@contextlib.contextmanager
def _bar(counted: Counted) -> Iterator[Callable[..., None]]:
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

        def update(done: int, total: int, note: str = "") -> None:
            counted.take(done, total, note)
            words = f"{counted.rate:.1f} {counted.unit}/s" + (f", {note}" if note else "")
            bars.update(task, completed=done, total=total, rate=words)

        yield update


def finish(quarantined: int, next_command: str, project: Path = HERE) -> NoReturn:
    """End a command: the next one to type (see :func:`command`), and exit 0 or 3."""
    if quarantined:
        say(f"{quarantined} set aside; see them with: {command('bad', 'list', project=project)}")
    say(f"next: {next_command}")
    raise typer.Exit(QUARANTINED if quarantined else OK)


@contextlib.contextmanager
def no_bar() -> Iterator[Callable[..., None]]:
    yield lambda done, total, note="": None
