"""The HTML page that a report command wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """One self-contained HTML page."""

    page: Path
