"""The end of a command that was stopped, and of output whose reader left (``redub … | head``)."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from redub.commands.console import say
from redub.commands.invocation import as_typed, is_first_process
from redub.core.stopping import Stopped

SAFE = {  # stage → what a stop leaves whole
    "ingest": "the sources read so far are in the store",
    "extract": "the clips done so far are in the store",
    "index": "the index is as it was before",
    "retrieve": "the neighbours are as they were before",
    "reindex": "clips and features done so far are in the store, the index is as it was before",
    "train": "every checkpoint is whole, and training goes on from the newest",
    "vocoder train": "every checkpoint is whole, and training goes on from the newest",
    "synthesize": "takes of an unfinished split are never read; the split is spoken again",
    "evaluate": "the last evaluation is as it was before; this one starts again",
    "dub": "the output is written last, so it is whole or as it was before",
}


def say_stopped(stopped: Stopped) -> None:
    """Print where the command stopped, what is safe, and the command that goes on."""
    how = "terminated" if stopped.signum == signal.SIGTERM else "interrupted"
    at_work = f" in {stopped.stage}" if stopped.stage else ""
    if stopped.step is None:
        done = f" at {stopped.done}" if stopped.done else ""
        safe = SAFE.get(stopped.stage, "what was committed is safe")
        say(f"{how}{at_work}{done}: {safe}")
        say(f"go on with: {as_typed()}")
        return
    complete = ", the last one," if stopped.is_complete else ""
    say(f"{how}{at_work}: step {stopped.step}{complete} is saved in {stopped.checkpoint}")
    # A run that has a checkpoint goes on from it, so --resume and --from are left out.
    is_walk = _typed_command() in ("run", "demo")
    say(f"go on with: {as_typed() if is_walk else as_typed('--resume', '--from')}")


def _typed_command() -> str:
    """The command's first word: the first word after the options of ``redub`` itself."""
    words = iter(sys.argv[1:])
    for word in words:
        if word in ("-C", "--project", "--progress-every"):
            next(words, None)
        elif not word.startswith("-"):
            return word
    return ""


def say_once(text: str) -> None:
    """Print one line on stderr from a signal handler, without Python's buffers."""
    if is_first_process():
        os.write(2, f"{os.linesep if sys.stderr.isatty() else ''}{text}\n".encode())


class ReaderLeft(BaseException):
    """The reader of standard output left (``redub … | head``): end without a message."""


class PipedOutput:
    """Standard output that raises :class:`ReaderLeft` when its pipe is closed."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text; the number of characters written."""
        return int(self._safely(lambda: self._stream.write(text)))

    def flush(self) -> None:
        """Write out what is buffered."""
        self._safely(self._stream.flush)

    def _safely(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            raise ReaderLeft from None
