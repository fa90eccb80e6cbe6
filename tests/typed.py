"""`redub` as a user types it, without paying two to six seconds of imports at every word.

A server imports the program once and forks a process for each command line, with its own streams,
folder and exit status, or for a function. What the start itself does (``python -m``, signals, a
full disk) is tested with processes of its own in ``test_cli.py``.
"""

import atexit
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.typed_preload"])

LONG_S = 1800
"""How long a whole demo may take on a machine that does other work, too."""


def _run(words: list[str], folder: str, streams: tuple[str, str], stdin: str | None) -> None:
    """The forked process: the command line, as ``python -m redub.cli`` would see it."""
    from redub.cli import main

    os.chdir(folder)
    os.dup2(os.open(stdin or os.devnull, os.O_RDONLY), 0)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    _redirect(streams)
    sys.argv = ["redub", *words]
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # a forked process ends without them


def _call(work: Callable[..., None], arguments: tuple, streams: tuple[str, str]) -> None:
    """The forked process: a function of a module, which the process imports."""
    _redirect(streams)
    work(*arguments)


def _redirect(streams: tuple[str, str]) -> None:
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)


def forked(work: Callable[..., None], *arguments: object) -> subprocess.CompletedProcess:
    """A function that ran in a forked process of its own: its exit status and what it said."""
    return forked_together(work, [arguments])[0]


def forked_together(
    work: Callable[..., None], calls: Sequence[tuple]
) -> list[subprocess.CompletedProcess]:
    """Several calls of a function, each in a forked process of its own, at the same time."""
    with tempfile.TemporaryDirectory(prefix="redub_forked_") as folder:
        streams = [(f"{folder}/{n}.stdout", f"{folder}/{n}.stderr") for n in range(len(calls))]
        processes = [
            _FORKS.Process(target=_call, args=(work, arguments, own))
            for arguments, own in zip(calls, streams, strict=True)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        return [
            subprocess.CompletedProcess(
                arguments, process.exitcode, *(Path(path).read_text() for path in own)
            )
            for arguments, process, own in zip(calls, processes, streams, strict=True)
        ]


class Typed:
    """A command that runs; its streams are files until it ends."""

    def __init__(self, *words: str | Path, cwd: Path | None = None, stdin: Path | None = None):
        self.words = [str(word) for word in words]
        self._folder = tempfile.TemporaryDirectory(prefix="redub_typed_")
        self._streams = (f"{self._folder.name}/stdout", f"{self._folder.name}/stderr")
        for path in self._streams:
            Path(path).touch()
        here = str(cwd or Path.cwd())
        theirs = None if stdin is None else str(stdin)
        self._process: ForkServerProcess = _FORKS.Process(
            target=_run, args=(self.words, here, self._streams, theirs)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self, seconds: float) -> bool:
        """Wait so long at most; whether it ended."""
        self._process.join(seconds)
        return self._process.exitcode is not None

    def kill(self) -> None:
        self._process.kill()

    def done(self, seconds: float = 300) -> subprocess.CompletedProcess:
        """Its exit status and what it said.

        Raises:
            subprocess.TimeoutExpired: it was killed after so many seconds.
        """
        if not self.ended(seconds):
            self.kill()
            self._process.join()
            raise subprocess.TimeoutExpired(self.words, seconds)
        said = [Path(path).read_text(encoding="utf-8") for path in self._streams]
        self._folder.cleanup()
        return subprocess.CompletedProcess(self.words, self._process.exitcode, *said)


def redub(*words: str | Path, **options: Path) -> subprocess.CompletedProcess:
    """One command line, to its end."""
    return Typed(*words, **options).done()
