"""Write checkpoints in a thread, while the training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from redub.training.checkpoint import Snapshot, write


class Saver:
    """Writes checkpoints in a thread, one at a time; training waits only for the copy.

    An error of the thread is raised by the next :meth:`check`, :meth:`write` or :meth:`wait`. On
    leaving the ``with`` block, also by an exception, the checkpoint in progress is finished.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[Path] | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True)

    def write(self, root: Path, snapshot: Snapshot, *, keep: int, keep_best: int) -> None:
        """Copy a snapshot and start to :func:`write` it, after the previous write has ended."""
        self.wait()
        copied = _copied(snapshot)
        self._writing = self._thread.submit(write, root, copied, keep=keep, keep_best=keep_best)

    @property
    def is_busy(self) -> bool:
        """Whether a checkpoint is being written now."""
        return self._writing is not None and not self._writing.done()

    def check(self) -> None:
        """Raise the error of the last write, if it has ended with one."""
        if not self.is_busy:
            self.wait()

    def wait(self) -> None:
        """Wait for the write in progress; raise its error, if any."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()


def _copied(snapshot: Snapshot) -> Snapshot:
    """A deep copy in CPU memory; a tensor that occurs twice is copied once."""
    known: dict[int, Tensor] = {}

    def copy(value: Any) -> Any:
        """Copy one value and everything in it."""
        if isinstance(value, Tensor):
            if id(value) not in known:
                known[id(value)] = value.detach().to("cpu", copy=True)
            return known[id(value)]
        if isinstance(value, Mapping):
            return {key: copy(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(copy(part) for part in value)
        return value

    return replace(snapshot, weights=copy(snapshot.weights), state=copy(snapshot.state))
