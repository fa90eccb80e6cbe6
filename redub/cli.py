"""The command line: words typed → one pipeline function → one summary → an exit code.

Nothing heavy is imported here at the top, so that `redub --help` answers at once. A RedubError
becomes one line on stderr and its exit code in one place, :func:`main`.
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
from redub.commands.invocation import HERE, INVOCATION, PROGRESS_EVERY_S, is_first_process
from redub.core import stopping
from redub.core.errors import AnotherFailed, RedubError, UsageError
from redub.core.stopping import Stopped

NOUNS = ("project", "stages", "dub", "index", "cache", "runs", "weights", "corpus", "reports")
"""Files of ``redub/commands``; they register their commands in this order, which help shows."""
for noun in NOUNS:
    importlib.import_module(f"redub.commands.{noun}")

PEER_LEFT = ("Connection closed by peer", "Connection reset by peer", "Connection refused")


def version_callback(value: bool) -> None:
    if value:
        from redub import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=version_callback, is_eager=True)
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="log more, on stderr")] = False,
    folders: Annotated[
        list[Path] | None,
        typer.Option(
            "-C",
            "--project",
            help="go to this folder first, as git and make do; every path starts there",
        ),
    ] = None,
    progress_every: Annotated[
        float,
        typer.Option(
            "--progress-every",
            help="seconds between progress lines where stderr is no terminal",
            min=0,
        ),
    ] = PROGRESS_EVERY_S,
) -> None:
    INVOCATION.started_in, INVOCATION.folder = str(Path.cwd()), HERE
    INVOCATION.progress_every_s = progress_every
    for folder in folders or ():
        _enter(folder)
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


def _enter(folder: Path) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise UsageError(f"-C {folder}: {error.strerror}; name a folder that is there") from None
    INVOCATION.folder /= folder


def main() -> None:
    """Run the command line; every way out has its exit code."""
    stopping.listen(say_once)
    sys.stdout = PipedOutput(sys.stdout)  # type: ignore[assignment]
    try:
        _run_app()
    except Stopped as stopped:
        if is_first_process():  # of several processes one speaks
            say_stopped(stopped)
        sys.exit(stopped.exit_code)
    except RedubError as error:
        if not isinstance(error, AnotherFailed):  # of several processes one speaks
            say(str(error))
        sys.exit(error.exit_code)
    except RuntimeError as error:
        if "WORLD_SIZE" in os.environ and any(words in str(error) for words in PEER_LEFT):
            sys.exit(ERROR)  # the process that left has said why
        raise
    except ReaderLeft:
        sys.exit(OK)
    except OSError as error:
        say(f"E-STORE: {error.strerror or error}: {error.filename or 'no file named'}")
        sys.exit(5)
    finally:
        stopping.leave()


def _run_app() -> None:
    """The command; what else goes wrong while it is being stopped is a part of that."""
    try:
        app(standalone_mode=True)
    except RedubError:
        raise
    except Exception:
        if signum := stopping.asked():
            raise Stopped(signum) from None
        raise


if __name__ == "__main__":
    main()
