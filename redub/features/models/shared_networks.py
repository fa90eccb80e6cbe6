"""One copy of a network per process, however many features it makes.

Emotion of scene, face and line come out of one RoBERTa, both captions out of one writer: each
extractor asks here, and the copy lives as long as one of them holds it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from redub.features.weights.folder import WeightFolder

T = TypeVar("T")

_LIVE: WeakValueDictionary[tuple[Any, ...], Any] = WeakValueDictionary()


def shared(what: str, weights: WeightFolder, build: Callable[[], T], *settings: object) -> T:
    """The process's copy of what ``build`` makes of some files, built if nobody holds one.

    Args:
        what: names the kind of object; two kinds of objects from the same files are two copies.
        weights: known by the digests of its files, not by where it lies.
        settings: whatever else ``build`` depends on (device, precision, wiring); hashable.
    """
    key = (what, tuple(sorted(weights.files.items())), *settings)
    copy: T | None = _LIVE.get(key)
    if copy is None:
        copy = _LIVE[key] = build()
    return copy
