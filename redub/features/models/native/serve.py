"""The process that loads a native library. :class:`NativeChild` starts it.

It checks the files, loads the library once, and answers every array in a fork of its own: the
library keeps a state (of a recurrent network), which must be the same before each array. A crash
ends the fork only.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from redub.core import wire
from redub.core.child_process import quiet_output
from redub.core.confine import allow_cpu, confine, end_with_parent
from redub.core.durable import file_digest
from redub.core.registry import load
from redub.core.shared_memory import SharedBuffer, mapped
from redub.features.models.native.programs import PROGRAMS, Program

MEMORY_MIB = 4096
CPU_S = 600


class RefusedFile(Exception):
    """A file is not the recorded one, or cannot be loaded; ``code`` is the error's code."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


def loaded(name: str, folder: Path, files: Mapping[str, str]) -> Program:
    """Build a program from checked files.

    Args:
        files: name in ``folder`` → SHA-256.

    Raises:
        RefusedFile: a file is gone or changed, or the library refuses it.
    """
    for own, sha256 in files.items():
        try:
            found = file_digest(folder / own)
        except OSError as error:
            raise RefusedFile(f"{own} cannot be read: {error.strerror}", "E-MODEL-FILE") from error
        if found != sha256:
            raise RefusedFile(
                f"{own} is not the recorded file; type `redub weights get {name}`",
                "E-MODEL-CHANGED",
            )
    try:
        program: Program = load(PROGRAMS, name, kind="native program")(
            {own: folder / own for own in files}
        )
    except (OSError, ValueError) as error:
        raise RefusedFile(f"the library cannot be loaded: {error}", "E-MODEL-FILE") from error
    return program


def serve(link: socket.socket, program: Program | RefusedFile) -> None:
    """Answer arrays until the parent closes the socket; each in a fork."""
    while True:
        try:
            shape, memory = wire.receive(link, _shape)
        except wire.WireClosedError:
            return
        if isinstance(program, RefusedFile):
            _send(link, {"refused": str(program), "code": program.code})
            return
        own = os.getpid()
        fork = os.fork()
        if fork == 0:
            _answer(link, program, shape, memory, own)
        if memory is not None:
            os.close(memory)
        _, status = os.waitpid(fork, 0)
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            _send(link, {"failed": f"the library ended by {name}"})
        elif status != 0:
            _send(link, {"failed": f"the library ended with exit code {os.WEXITSTATUS(status)}"})


def _answer(
    link: socket.socket, program: Program, shape: tuple[int, ...], memory: int | None, parent: int
) -> None:
    """In the fork: compute and send the answer, then end the process."""
    end_with_parent(parent)
    allow_cpu(CPU_S)
    try:
        array = mapped(memory).view(np.float32)
        if len(array) != math.prod(shape):
            raise ValueError(f"{len(array)} numbers for the shape {shape}")
        answer = np.ascontiguousarray(program.run(array.reshape(shape)), np.float32)
        shared = SharedBuffer()
        shared.allocate(answer.nbytes)[:] = answer.reshape(-1).view(np.uint8)
        _send(link, {"shape": answer.shape}, shared.descriptor)
    except Exception as error:  # the fork ends here, whatever the library's fault is
        _send(link, {"failed": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(0)


def _send(link: socket.socket, reply: Mapping[str, Any], descriptor: int | None = None) -> None:
    wire.send(link, json.dumps(reply).encode(), descriptor)


def _shape(body: bytes) -> tuple[int, ...]:
    return tuple(int(n) for n in json.loads(body)["shape"])


def main() -> None:
    """Run the process.

    Arguments of the command line: the process id of the parent, the name of the program, the folder
    of its files, and ``name=SHA-256`` for each file. Standard input is the socket.
    """
    parent, name, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    files = dict(word.rsplit("=", 1) for word in sys.argv[4:])
    quiet_output()
    link = socket.socket(fileno=os.dup(0))
    confine(MEMORY_MIB, parent)
    program: Program | RefusedFile
    try:
        program = loaded(name, folder, files)
    except RefusedFile as error:
        program = error
    serve(link, program)


if __name__ == "__main__":
    main()
