"""A child process that answers messages: start it, exchange, stop it, and say how it ended.

Foreign code (decoders, native libraries) runs in such children and not in a worker: it may crash,
hang or use up the memory. The child is a plain subprocess, because daemonic Dask workers cannot
have ``multiprocessing`` children. Its standard input is the socket of the messages.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from redub.core import wire

T = TypeVar("T")

_OUTPUT_BYTES = 64 << 10
_START_S = 30.0  # for a slow start on a busy machine; added to the deadline of the first exchange


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended: its exit status (negative: the number of a signal), and its last line."""

    status: int
    last_line: str

    @property
    def signal(self) -> str | None:
        """Name of the signal that ended it: ``SIGSEGV``."""
        return signal.Signals(-self.status).name if self.status < 0 else None

    def __str__(self) -> str:
        how = f"by {self.signal}" if self.signal else f"with exit code {self.status}"
        return how + (f", saying '{self.last_line[:200]}'" if self.last_line else "")


class ChildProcess:
    """One child at a time; :meth:`start` starts it, or replaces one that has ended.

    A child ends with the *thread* that started it, because Linux ties the parent-death signal to a
    thread. Not safe for several threads at once.

    Args:
        module: is run as ``python -m module PARENT_PID arguments…``.
    """

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        # -P: a file named numpy.py in the current folder must not be imported.
        self._command = [sys.executable, "-P", "-m", module, str(os.getpid()), *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._output: int | None = None
        self.exchanges = 0
        """Number of messages sent to the present child."""

    @property
    def pid(self) -> int | None:
        """Process id of the child; None before :meth:`start` and after :meth:`stop`."""
        return None if self._process is None else self._process.pid

    def start(self) -> bool:
        """Start a child if none is running; return whether it is a new one."""
        if self._process is not None and self._process.poll() is not None:
            self.stop()
        if self._process is not None:
            return False
        ours, theirs = socket.socketpair()
        output, output_theirs = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, _OUTPUT_BYTES)
        os.set_blocking(output, False)
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=theirs.fileno(),
                stdout=output_theirs,
                stderr=output_theirs,
                process_group=0,  # Ctrl-C must not look like an input that crashes the child
            )
        finally:
            theirs.close()
            os.close(output_theirs)
        self._link, self._output, self.exchanges = ours, output, 0
        return True

    def exchange(
        self,
        body: bytes,
        read: Callable[[bytes], T],
        *,
        wall_s: float,
        descriptor: int | None = None,
    ) -> tuple[T, int | None]:
        """Send a message to the child, started where needed, and wait for the reply.

        Args:
            read: reads the text of the reply.
            wall_s: how long the reply may take; a new child gets 30 s more.
            descriptor: of a memory file that goes with the message.

        Returns:
            The reply, and the descriptor of its memory file or None.

        Raises:
            WireClosedError, WireTimeoutError: as :func:`redub.core.wire.receive`; and what ``read``
                raises.
        """
        is_new = self.start()
        assert self._link is not None
        deadline_s = time.monotonic() + wall_s + (_START_S if is_new else 0.0)
        self.exchanges += 1
        wire.send(self._link, body, descriptor)
        reply = wire.receive(self._link, read, deadline_s=deadline_s)
        self._link.settimeout(None)
        self.read_output()  # empty the pipe, so that it has room for the message of a later crash
        return reply

    def kill(self) -> None:
        """End the process, also during an exchange of another thread; :meth:`stop` cleans up."""
        if (process := self._process) is not None:
            process.kill()

    def stop(self) -> str:
        """Kill and reap the process; return its last output."""
        if self._process is None:
            return ""
        assert self._link is not None
        assert self._output is not None
        self._process.kill()
        self._process.wait()
        self._link.close()
        printed = self.read_output()
        os.close(self._output)
        self._process = self._link = self._output = None
        return printed

    def ending(self) -> Ending:
        """Reap a child that closed its socket, and say how it ended."""
        assert self._process is not None
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it closed the socket but still runs
            status = -signal.SIGKILL
        lines = self.stop().strip().splitlines()
        return Ending(status, lines[-1] if lines else "")

    def read_output(self) -> str:
        """What the child printed since the last exchange, at most 64 KiB."""
        assert self._output is not None
        try:
            return os.read(self._output, _OUTPUT_BYTES).decode(errors="replace")
        except BlockingIOError:
            return ""


def quiet_output() -> None:
    """In a child: never wait for the reader of the output.

    The pipe holds 64 KiB; non-blocking writes beyond that fail.
    """
    for stream in (1, 2):
        fcntl.fcntl(stream, fcntl.F_SETFL, fcntl.fcntl(stream, fcntl.F_GETFL) | os.O_NONBLOCK)
