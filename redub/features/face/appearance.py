"""The low-resolution appearance of a face crop, as cosine coefficients.

Letters: V video frames.
"""

from __future__ import annotations

import cv2
import numpy as np

from redub.core.types import FloatArray


def slow_patterns(count: int) -> tuple[tuple[int, int], ...]:
    """Return the first ``count`` (vertical, horizontal) frequencies, lowest first, without (0, 0).

    A frequency counts half waves, 0 to 7.
    """
    places = [(u, v) for u in range(8) for v in range(8) if (u, v) != (0, 0)]
    return tuple(sorted(places, key=lambda place: (sum(place), place))[:count])


def cosine_coefficients(crops: FloatArray, count: int) -> FloatArray:
    """Compute low-frequency cosine coefficients of square images.

    Args:
        crops: (V, side, side) float32, side a multiple of 16.

    Returns:
        (V, count) float32 orthonormal 2-D cosine coefficients, divided by 16, in the order of
        :func:`slow_patterns`; without the mean level.
    """
    places = slow_patterns(count)
    rows = np.empty((len(crops), count), dtype=np.float32)
    for row, crop in zip(rows, crops, strict=True):
        small = cv2.resize(crop, (16, 16), interpolation=cv2.INTER_AREA)
        spectrum = cv2.dct(np.ascontiguousarray(small)) / 16.0
        row[:] = [spectrum[place] for place in places]
    return rows
