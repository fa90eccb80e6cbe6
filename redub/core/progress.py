"""Types of the callbacks by which long functions report progress."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

Progress = Callable[[int, int], None]
"""Called with the finished and all items."""

Bar = Callable[..., AbstractContextManager[Progress]]
"""Opens a progress bar; the context yields its :data:`Progress`."""

Say = Callable[[str], None]
"""Called with one sentence for the user."""
