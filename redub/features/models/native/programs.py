"""The programs of the native child: each loads one library and turns an array into another."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from redub.core.types import FloatArray

PROGRAMS: dict[str, str] = {
    "deepfilternet": "redub.features.models.deepfilternet.library:DeepFilter",
    "hama": "redub.features.models.hama.library:Recogniser",
}


class Program(Protocol):
    """One native library with its weights, in the child.

    ``run`` is called in a fork of the process that built the object, once per fork: whatever the
    library changes in its memory is gone before the next array.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Load the library.

        Args:
            files: name in the weight folder → checked file.

        Raises:
            OSError, ValueError: the library or the weights cannot be loaded.
        """

    def run(self, array: FloatArray) -> FloatArray:
        """Compute the answer to one float32 array."""
        ...


def is_library(name: str) -> bool:
    """Whether a file of a weight folder is a native library, by its name."""
    return name.endswith((".so", ".dylib"))


def only_library(files: Mapping[str, Path]) -> ctypes.CDLL:
    """Load the one native library among the files.

    Raises:
        OSError: it cannot be loaded.
        ValueError: there is none for this system, or there are several.
    """
    found = [path for name, path in files.items() if is_library(name)]
    if len(found) != 1:
        raise ValueError(f"{len(found)} libraries for this system, wanted 1")
    return ctypes.CDLL(str(found[0]))
