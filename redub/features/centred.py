"""Scale measurements of any unit to numbers around 0, with constant centres and scales.

Nothing is fitted to a corpus: a value never depends on other clips.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from redub.core.types import FloatArray

EVEN = 1.0 / 8.0  # the score of each of the eight emotions if nothing is known


def centred(
    values: Sequence[float], places: Sequence[float], scales: Sequence[float]
) -> NDArray[np.float64]:
    """Compute ``tanh((value - place) / scale)``, (n,): 0 at the place, between -1 and 1."""
    rows = np.array([values, places, scales], dtype=np.float64)
    return np.asarray(np.tanh((rows[0] - rows[1]) / rows[2]), dtype=np.float64)


def centred_scores(scores: FloatArray) -> NDArray[np.float64]:
    """Subtract 1/8 from (8,) emotion scores that sum to 1, so that equal scores become 0."""
    return scores.astype(np.float64) - EVEN
