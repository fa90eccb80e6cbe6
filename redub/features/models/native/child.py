"""Ask a native library in a child process, which may crash or hang without harm to the worker."""

from __future__ import annotations

import json
import math
import os
import threading
from typing import Any

import numpy as np

from redub.core import wire
from redub.core.child_process import ChildProcess
from redub.core.errors import ClipError
from redub.core.shared_memory import SharedBuffer, mapped
from redub.core.types import FloatArray
from redub.features.models.native.programs import is_library
from redub.features.weights.folder import WeightFolder
from redub.features.weights.packages import published_digests

_ATTEMPTS = 2


class NativeChild:
    """A program of :data:`redub.features.models.native.programs.PROGRAMS` in a child process.

    Only a library of the package in ``packages.toml`` is loaded, whatever the ledger says. The
    child compares the SHA-256 of every file with the folder's before it loads the library. Each
    array is answered by a fork of the child, so that an answer depends on its array alone.

    Args:
        program: name in ``PROGRAMS``.
        folder: the weights and the library, from the ledger.
    """

    def __init__(self, program: str, folder: WeightFolder) -> None:
        self.program = program
        self.folder = folder
        files = [f"{name}={sha256}" for name, sha256 in folder.files.items()]
        self._child = ChildProcess(
            "redub.features.models.native.serve", [program, str(folder.path), *files]
        )
        self._lock = threading.Lock()

    def _check_published(self) -> None:
        """Refuse a library that is not the package's: a models.lock could name any code."""
        published = published_digests(self.program)
        for name, sha256 in self.folder.files.items():
            if is_library(name) and sha256 not in published:
                raise self.folder.refused(
                    f"{name} is code, and not the published library of {self.program}; type "
                    f"`redub weights get {self.program}`",
                    code="E-MODEL-CODE",
                )

    def run(self, array: FloatArray, *, wall_s: float) -> FloatArray:
        """Return the program's answer to a float32 array.

        Args:
            wall_s: after this time the child is stopped.

        Raises:
            ModelRefusedError: E-MODEL-CODE, the library is not the published one; E-MODEL-CHANGED
                or E-MODEL-FILE, the library or its weights cannot be loaded.
            ClipError: E-MODEL-CRASH, the library failed or died on this array; E-MODEL-TIMEOUT.
        """
        self._check_published()
        with self._lock:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    return self._exchange(array, wall_s)
                except wire.WireTimeoutError:
                    self._child.stop()
                    raise ClipError(
                        f"{self.program} did not finish in {wall_s:g} s and was stopped",
                        code="E-MODEL-TIMEOUT",
                        attempts=attempt,
                    ) from None
                except wire.WireClosedError:
                    ending = self._child.ending()
                    if attempt == _ATTEMPTS:
                        raise ClipError(
                            f"the process of {self.program} ended {ending}",
                            code="E-MODEL-CRASH",
                            signal=ending.signal,
                            attempts=attempt,
                        ) from None
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """End the process; a later array starts a new one."""
        self._child.kill()  # before the lock: another thread may wait for an answer
        with self._lock:
            self._child.stop()

    def _exchange(self, array: FloatArray, wall_s: float) -> FloatArray:
        question = SharedBuffer()
        try:
            question.allocate(array.nbytes)[:] = np.ascontiguousarray(array).reshape(-1).view("u1")
            body = json.dumps({"shape": array.shape}).encode()
            reply, memory = self._child.exchange(
                body, _reply, wall_s=wall_s, descriptor=question.descriptor
            )
        finally:
            question.close()
        if "refused" in reply:
            self._child.stop()
            raise self.folder.refused(reply["refused"], code=reply["code"])
        if "failed" in reply:
            raise ClipError(f"{self.program}: {reply['failed']}", code="E-MODEL-CRASH")
        content = mapped(memory)
        shape = tuple(reply["shape"])
        if len(content) != 4 * math.prod(shape):
            raise wire.WireClosedError(f"{len(content)} bytes for {shape}")
        return content.view(np.float32).reshape(shape)


def _reply(body: bytes) -> dict[str, Any]:
    reply = json.loads(body)
    if not isinstance(reply, dict) or not {"shape", "failed", "refused"} & reply.keys():
        raise ValueError("not a reply of the native child")
    shape = reply.get("shape", [])
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"shape {shape}")
    return reply


_CHILDREN: dict[tuple[str, str, tuple[str, ...], int], NativeChild] = {}


def shared_child(program: str, folder: WeightFolder) -> NativeChild:
    """This process's child of a program and its files, started at the first array."""
    wanted = (program, str(folder.path), tuple(folder.files.values()), os.getpid())
    if wanted not in _CHILDREN:
        _CHILDREN[wanted] = NativeChild(program, folder)
    return _CHILDREN[wanted]


def close_children() -> None:
    """End all children of this process."""
    while _CHILDREN:
        _CHILDREN.popitem()[1].close()
