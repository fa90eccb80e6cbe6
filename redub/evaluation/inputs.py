"""Checks of metric inputs.

A bad input raises an error for one clip; the caller records it and continues with other clips.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from redub.core.errors import ClipError
from redub.core.types import FloatArray

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class MetricInputError(ClipError):
    """An array for which a metric is not defined; the message states what is required."""

    default_code = "E-EVAL-INPUT"


def checked_array(values: Any, *, what: str, dimensions: int) -> Doubles:
    """Convert values to float64 and check them.

    Raises:
        MetricInputError: another number of dimensions, or a NaN or infinite value.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != dimensions:
        raise MetricInputError(f"{what}: {array.ndim} dimensions, wanted {dimensions}")
    if not np.isfinite(array).all():
        raise MetricInputError(f"{what}: a NaN or infinite value")
    return array


def checked_path(alignment: Any, reference_frames: int, generated_frames: int) -> Ints:
    """Convert an alignment path to (L, 2) int64 pairs (reference frame, generated frame).

    Raises:
        MetricInputError: not (L, 2) integers, or a frame outside the signals.
    """
    path = np.asarray(alignment)
    if path.ndim != 2 or path.shape[1] != 2 or not np.issubdtype(path.dtype, np.integer):
        raise MetricInputError(f"alignment: {path.dtype} {path.shape}, wanted integers (L, 2)")
    limits = (reference_frames, generated_frames)
    if len(path) and ((path < 0).any() or (path.max(axis=0) >= limits).any()):
        raise MetricInputError(f"alignment: a frame outside the {limits} frames of the signals")
    return path.astype(np.int64)


def sound_at(rate_hz: int, samples: FloatArray, sample_rate_hz: int) -> FloatArray:
    """Resample (S,) samples to ``rate_hz``, (S',) float32, for networks that rate a sound.

    Raises:
        MetricInputError: no sample, or one that is not finite.
    """
    if len(samples) == 0 or not np.isfinite(samples).all():
        raise MetricInputError("sound: no sample, or one that is not finite")
    sound = soxr.resample(np.asarray(samples, np.float32), sample_rate_hz, rate_hz, quality="HQ")
    return np.asarray(sound, np.float32)
