"""Wait for footage: notice files that are new, changed or gone, and that have stopped growing.

Only sizes and times of modification are looked at. Files that arrive together are one batch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

SETTLE_S = 5.0
"""A file whose size and time have not changed for so long has arrived."""

LONGEST_S = 60.0
"""Files that have arrived wait at most so long for others that still grow."""

State = tuple[int, int] | None
"""Size in bytes and time of modification in ns; None where there is no such file."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Files that arrived, changed or left, and files that are still being written."""

    files: dict[str, State]
    growing: frozenset[str]

    def may_read(self, source: str) -> bool:
        """Whether neither a source nor a file beside it with its name is still being written."""
        path = PurePosixPath(source)
        return not any(
            other.parent == path.parent and other.name.startswith(path.stem)
            for other in map(PurePosixPath, self.growing)
        )


@dataclass(slots=True)
class FolderWatch:
    """Looks at a folder from time to time.

    Args:
        root: the folder; files and folders whose names begin with a dot are not looked at.
        settle_s: see :data:`SETTLE_S`.
        clock: seconds that only grow.
        wall: the present time in seconds, as times of modification have it.
    """

    root: Path
    settle_s: float = SETTLE_S
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    _taken: dict[str, State] = field(default_factory=dict)
    _seen: dict[str, tuple[State, float]] = field(default_factory=dict)
    _waiting_since: float | None = None

    def look(self) -> Batch | None:
        """Look once; a batch if files have arrived, changed or left, else None."""
        now = self.clock()
        states: dict[str, State] = dict.fromkeys(self._taken)
        states |= dict(_files(self.root))
        seen = {name: self._since(name, state, now) for name, state in states.items()}
        self._seen = seen
        new = {name for name, state in states.items() if self._taken.get(name) != state}
        settled = {name for name in new if now - seen[name][1] >= self.settle_s}
        growing = new - settled
        if not settled:
            self._waiting_since = None
            return None
        if self._waiting_since is None:
            self._waiting_since = now
        if growing and now - self._waiting_since < max(LONGEST_S, self.settle_s):
            return None
        self._waiting_since = None
        return Batch({name: states[name] for name in sorted(settled)}, frozenset(growing))

    def took(self, batch: Batch) -> None:
        """Note that a batch was worked on, so that it is not returned again."""
        for name, state in batch.files.items():
            if state is None:
                self._taken.pop(name, None)
            else:
                self._taken[name] = state

    def _since(self, name: str, state: State, now: float) -> tuple[State, float]:
        """The state of a file, and since when it has it."""
        before = self._seen.get(name)
        if before is not None:
            return before if before[0] == state else (state, now)
        # A file that was there before the first look has been at rest since it was last changed.
        age = 0.0 if state is None else max(0.0, self.wall() - state[1] / 1e9)
        return state, now - (age if not self._seen else 0.0)


def _files(root: Path) -> list[tuple[str, State]]:
    found: list[tuple[str, State]] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(folder, name)
            if name.startswith("."):
                continue
            try:
                state = path.stat()
            except OSError:  # it has just vanished, or is a link without a target
                continue
            found.append((path.relative_to(root).as_posix(), (state.st_size, state.st_mtime_ns)))
    return found
