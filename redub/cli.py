"""The program ``redub``: options before the command, the commands, and the exit codes.

A command parses its options, calls one pipeline function and prints the result. Heavy modules are
imported inside the commands, so that `redub --help` starts fast. :func:`main` alone turns errors
into one line on stderr and an exit code.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from redub.commands.apps import app
from redub.commands.console import ERROR, OK, say
from redub.commands.ending import PipedOutput, ReaderLeft, say_once, say_stopped
from redub.commands.invocation import (
    HERE,
    INVOCATION,
    PROGRESS_EVERY_S,
    is_first_process,
    with_place,
)
from redub.core import stopping
from redub.core.errors import AnotherFailed, ClusterLostError, RedubError, UsageError
from redub.core.stopping import Stopped

NOUNS = (
    "project",
    "reindex",
    "stages",
    "dub",
    "words",
    "index",
    "cache",
    "runs",
    "weights",
    "corpus",
    "reports",
)
"""Files of ``redub/commands``, in the order in which ``redub --help`` lists their commands."""
for noun in NOUNS:
    importlib.import_module(f"redub.commands.{noun}")

# messages of torch in a process whose peer ended with an error
PEER_LEFT = ("Connection closed by peer", "Connection reset by peer", "Connection refused")


def version_callback(value: bool) -> None:
    """Print the version and end, where ``--version`` was typed."""
    if value:
        from redub import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=version_callback, is_eager=True)
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="log more on stderr")] = False,
    folders: Annotated[
        list[Path] | None,
        typer.Option(
            "-C",
            "--project",
            help="change to this folder first, as git and make do; paths start there",
        ),
    ] = None,
    progress_every: Annotated[
        float,
        typer.Option(
            "--progress-every",
            help="seconds between progress lines where stderr is not a terminal",
            min=0,
        ),
    ] = PROGRESS_EVERY_S,
) -> None:
    """Make trained movie dubbers and dubbed clips from folders of footage."""
    INVOCATION.started_in, INVOCATION.folder = str(Path.cwd()), HERE
    INVOCATION.project = HERE
    INVOCATION.progress_every_s = progress_every
    for folder in folders or ():
        _enter(folder)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlacedFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])


class PlacedFormatter(logging.Formatter):
    """Log lines whose commands get the ``-C`` of this command, as those of other messages do."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return with_place(super().format(record))


def _enter(folder: Path) -> None:
    """Change to a folder of ``-C`` before the command."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise UsageError(f"-C {folder}: {error.strerror}; name an existing folder") from None
    INVOCATION.folder /= folder


def main() -> None:
    """Run the command line and exit with the code of its outcome."""
    stopping.listen(say_once)
    sys.stdout = PipedOutput(sys.stdout)  # type: ignore[assignment]
    try:
        _run_app()
    except Stopped as stopped:
        if is_first_process():  # of several processes only one prints
            say_stopped(stopped)
        sys.exit(stopped.exit_code)
    except RedubError as error:
        if not isinstance(error, AnotherFailed):  # the process that failed prints
            say(str(error))
        sys.exit(error.exit_code)
    except RuntimeError as error:
        if "WORLD_SIZE" in os.environ and any(words in str(error) for words in PEER_LEFT):
            sys.exit(ERROR)  # the process that ended has printed the reason
        raise
    except ReaderLeft:
        sys.exit(OK)
    except TimeoutError as error:  # an OSError, too, but not one of the disk
        say(f"E-CLUSTER: no answer in time from a worker or the scheduler: {error or 'no details'}")
        sys.exit(ClusterLostError.exit_code)
    except OSError as error:
        say(f"E-STORE: {error.strerror or error}: {error.filename or 'no file named'}")
        sys.exit(5)
    finally:
        stopping.leave()


def _run_app() -> None:
    """Run the typed command; an unexpected error after a signal counts as the stop itself."""
    try:
        app(standalone_mode=True)
    except RedubError:
        raise
    except Exception:
        if signum := stopping.requested():
            raise Stopped(signum) from None
        raise


if __name__ == "__main__":
    main()
