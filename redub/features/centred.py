"""Bring measures of any unit to comparable numbers around 0, by fixed places and scales.

Nothing is fitted to a corpus: a value never depends on other clips.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from redub.core.types import FloatArray

EVEN = 1.0 / 8.0  # what each of eight emotions scores when nothing is known


def centred(
    values: Sequence[float], places: Sequence[float], scales: Sequence[float]
) -> NDArray[np.float64]:
    """tanh((value - place) / scale): 0 at the place, bounded by -1 and 1."""
    rows = np.array([values, places, scales], dtype=np.float64)
    return np.asarray(np.tanh((rows[0] - rows[1]) / rows[2]), dtype=np.float64)


def centred_scores(scores: FloatArray) -> NDArray[np.float64]:
    """Emotion scores (8,) that sum to 1, moved so that knowing nothing is 0."""
    return scores.astype(np.float64) - EVEN
