"""Pair the frames of two signals, by truncation or by dynamic time warping (DTW).

Definition: of all paths from (0, 0) to (n-1, m-1) with steps (1, 0), (0, 1) and (1, 1), DTW finds
the one with the smallest sum of frame distances; every visited pair counts once. Of equal
predecessors, (1, 1) is preferred, then (1, 0), so that equal signals are aligned frame by frame.

Source: Sakoe and Chiba, 1978, symmetric form without slope constraint or diagonal weight. The
result is exact. Published MCD scores use FastDTW, an approximation whose sum is at least as large.

Letters: n and m frames, D features, L pairs on the path.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from redub.evaluation.inputs import Doubles, Ints, MetricInputError, checked_array, checked_path


class Warping(NamedTuple):
    """The best path and its cost, the sum of the frame distances."""

    path: Ints  # (L, 2) pairs (frame of the first, frame of the second), ascending
    cost: float


def warp(first: Any, second: Any) -> Warping:
    """Align two feature sequences by Euclidean frame distance.

    Args:
        first: (n, D) finite, n >= 1.
        second: (m, D) finite, m >= 1.

    Raises:
        MetricInputError: no frames, different widths, or a value that is not finite.
    """
    one = checked_array(first, what="first signal", dimensions=2)
    other = checked_array(second, what="second signal", dimensions=2)
    if not len(one) or not len(other) or one.shape[1] != other.shape[1]:
        raise MetricInputError(f"cannot align {one.shape} frames with {other.shape}")
    return warp_distances(cdist(one, other))


def warp_distances(distances: Doubles) -> Warping:
    """Find the path of least cost through an (n, m) matrix of distances, n and m at least 1.

    The cells of an anti-diagonal depend only on the two previous anti-diagonals, so that each
    anti-diagonal is one numpy operation.
    """
    n, m = distances.shape
    came_from = np.empty((n, m), dtype=np.uint8)  # 0: (1, 1), 1: (1, 0), 2: (0, 1)
    # Costs of an anti-diagonal, one cell per row i at place i + 1; place 0 is outside.
    before = np.full(n + 1, np.inf)
    last = np.full(n + 1, np.inf)
    before[0] = 0.0  # the path starts at (0, 0)
    for diagonal in range(n + m - 1):
        i = np.arange(max(0, diagonal - m + 1), min(n, diagonal + 1))
        steps = np.stack([before[i], last[i], last[i + 1]])  # from (i-1, j-1), (i-1, j), (i, j-1)
        choice = steps.argmin(axis=0)
        came_from[i, diagonal - i] = choice
        current = np.full(n + 1, np.inf)
        current[i + 1] = np.take_along_axis(steps, choice[None], axis=0)[0]
        current[i + 1] += distances[i, diagonal - i]
        before, last = last, current
    return Warping(_walk_back(came_from), float(last[n]))


def _walk_back(came_from: Any) -> Ints:
    i, j = came_from.shape[0] - 1, came_from.shape[1] - 1
    path = [(i, j)]
    while i or j:
        step = came_from[i, j]
        i, j = i - (step != 2), j - (step != 1)
        path.append((i, j))
    return np.array(path[::-1], dtype=np.int64)


def frame_pairs(reference_frames: int, generated_frames: int, alignment: Any | None) -> Ints:
    """Return (L, 2) frame pairs: the given path, or frame by frame up to the shorter length.

    Raises:
        MetricInputError: the path is not (L, 2) integers or leaves the signals.
    """
    if alignment is not None:
        return checked_path(alignment, reference_frames, generated_frames)
    frames = np.arange(min(reference_frames, generated_frames))
    return np.stack([frames, frames], axis=1)
