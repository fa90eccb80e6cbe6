"""The layouts of published corpora that redub can turn into a footage folder."""

from __future__ import annotations

from collections.abc import Callable

from redub.core.registry import load
from redub.footage.corpora.plan import CorpusPlan, CorpusTree

Reader = Callable[[CorpusTree], CorpusPlan]

LAYOUTS: dict[str, str] = {
    "v2c": "redub.footage.corpora.v2c:read_v2c",
    "chem": "redub.footage.corpora.chem:read_chem",
    "grid": "redub.footage.corpora.grid:read_grid",
    "ravdess": "redub.footage.corpora.ravdess:read_ravdess",
}


def reader_of(layout: str) -> Reader:
    """Return the reader of a layout.

    Raises:
        ConfigError: E-CFG-NAME, an unknown layout; the message has the nearest known layout.
    """
    reader: Reader = load(LAYOUTS, layout, kind="corpus layout")
    return reader
