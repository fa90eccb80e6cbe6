"""What a metric may be given, checked before any arithmetic.

A bad input belongs to one clip: it is recorded and the others go on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ClipError

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class MetricInputError(ClipError):
    """An array that a metric is not defined on; the message says what it wanted."""

    default_code = "E-EVAL-INPUT"


def checked_array(values: Any, *, what: str, dimensions: int) -> Doubles:
    """The values as float64, after a check of their dimensions and finiteness."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != dimensions:
        raise MetricInputError(f"{what}: {array.ndim} dimensions, wanted {dimensions}")
    if not np.isfinite(array).all():
        raise MetricInputError(f"{what}: a NaN or infinite value")
    return array


def checked_path(alignment: Any, reference_frames: int, generated_frames: int) -> Ints:
    """An alignment path as (L, 2) int64 pairs (reference frame, generated frame)."""
    path = np.asarray(alignment)
    if path.ndim != 2 or path.shape[1] != 2 or not np.issubdtype(path.dtype, np.integer):
        raise MetricInputError(f"alignment: {path.dtype} {path.shape}, wanted integers (L, 2)")
    limits = (reference_frames, generated_frames)
    if len(path) and ((path < 0).any() or (path.max(axis=0) >= limits).any()):
        raise MetricInputError(f"alignment: a frame outside the {limits} frames of the signals")
    return path.astype(np.int64)
