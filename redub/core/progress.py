"""How a long function says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

Progress = Callable[[int, int], None]


Bar = Callable[..., AbstractContextManager[Progress]]


Say = Callable[[str], None]
