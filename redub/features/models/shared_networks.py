"""Share one copy of a network between all features of a process.

Seven emotion features use one RoBERTa, both captions use one caption model. Each extractor gets its
network from here. The copy is freed when no extractor holds it any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from redub.features.weights.folder import WeightFolder

T = TypeVar("T")

_LIVE: WeakValueDictionary[tuple[Any, ...], Any] = WeakValueDictionary()


def shared(what: str, weights: WeightFolder, build: Callable[[], T], *settings: object) -> T:
    """Return the shared object for some files and settings, or build it.

    Args:
        what: kind of the object; objects of different kinds are not shared.
        weights: files of the object; compared by their digests, not by their paths.
        build: builds the object.
        settings: everything else on which ``build`` depends (device, precision, wiring); hashable.
    """
    key = (what, tuple(sorted(weights.files.items())), *settings)
    copy: T | None = _LIVE.get(key)
    if copy is None:
        copy = _LIVE[key] = build()
    return copy
