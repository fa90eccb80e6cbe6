"""Units of sound: clusters of a frame-level audio feature of the training utterances.

Source: DSU-AVO (arXiv:2306.17005), section 3.1, k-means; the feature is the project's
``local_audio``. K-means is scikit-learn's.
Letters: N rows, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from redub.core.errors import ConfigError
from redub.model.systems.dsu_avo import DSUAVO
from redub.training.data.lines import FeatureScaler, Utterance
from redub.training.prepare import Recorded

MOST_LINES = 20_000  # utterances, spread evenly
MOST_ROWS = 200_000
NOWHERE = 1e6  # value of an unused centroid, far from all rows


def prepare_units(model: DSUAVO, recorded: Recorded, scaler: FeatureScaler, seed: int) -> None:
    """Set the centroids of a new model; see :func:`fit_units`."""
    lines = recorded.spread(MOST_LINES)
    model.centroids.copy_(fit_units(lines, scaler, model.config.units, seed=seed))


def fit_units(
    lines: Sequence[Utterance], scaler: FeatureScaler, count: int, *, seed: int
) -> Tensor:
    """Fit centroids (count, W) of standardised rows.

    Of more than ``MOST_ROWS`` rows, an even selection is used. If there are fewer different rows
    than clusters, the other centroids lie far away, so no row is ever assigned to them.

    Raises:
        ConfigError: no utterance has the feature.
    """
    known = [line.sound for line in lines if line.sound is not None and len(line.sound)]
    if not known:
        raise ConfigError(
            "no training utterance has the feature local_audio, so units cannot be computed; "
            "run `redub extract`",
            code="E-STAGE-LINES",
        )
    every = -(-sum(map(len, known)) // MOST_ROWS)
    rows = np.concatenate([scaler.apply("local_audio", sound[::every]) for sound in known])
    different = np.unique(rows, axis=0)
    found = different
    if len(different) > count:
        found = KMeans(count, n_init=1, random_state=seed).fit(rows).cluster_centers_
    centroids = np.full((count, rows.shape[1]), NOWHERE, np.float32)
    centroids[: len(found)] = found
    return torch.from_numpy(centroids)
