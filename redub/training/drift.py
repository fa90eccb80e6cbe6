"""Detect features whose distribution differs from that of a model's training set."""

from __future__ import annotations

import numpy as np

from redub.training.data.lines import FeatureScaler

MOST_SHIFT, MOST_SPREAD = 0.5, 2.0  # limits; see `drift`


def drift(trained: FeatureScaler, now: FeatureScaler) -> list[str]:
    """Compare the scales of two sets; return one sentence per feature that drifted or is missing.

    A feature drifted if the median shift of its dimensions is above ``MOST_SHIFT`` trained
    deviations, or the median ratio of deviations is outside of 1 / ``MOST_SPREAD`` to
    ``MOST_SPREAD``.
    """
    found = []
    for name in sorted(trained.scales.keys() & now.scales.keys()):
        old, new = trained.scales[name], now.scales[name]
        shift = float(np.median(np.abs(new.mean - old.mean) / old.deviation))
        spread = float(np.median(new.deviation / old.deviation))
        if shift > MOST_SHIFT or not 1 / MOST_SPREAD <= spread <= MOST_SPREAD:
            found.append(
                f"feature '{name}' drifted: its mean is {shift:.2f} deviations away, its deviation "
                f"is {spread:.2f} times as large"
            )
    missing = sorted(trained.scales.keys() - now.scales.keys())
    return found + [f"feature '{name}' is missing now" for name in missing]
