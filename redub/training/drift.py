"""Whether features still lie where they lay when a model was trained."""

from __future__ import annotations

import numpy as np

from redub.training.data.lines import FeatureScaler

MOST_SHIFT, MOST_SPREAD = 0.5, 2.0  # beyond these a feature has drifted


def drift(trained: FeatureScaler, now: FeatureScaler) -> list[str]:
    """Sentences about features that lie or spread otherwise than those a model was trained on.

    A shift is counted in trained deviations per dimension, a spread as the ratio of deviations; the
    median over the dimensions is judged.
    """
    found = []
    for name in sorted(trained.scales.keys() & now.scales.keys()):
        old, new = trained.scales[name], now.scales[name]
        shift = float(np.median(np.abs(new.mean - old.mean) / old.deviation))
        spread = float(np.median(new.deviation / old.deviation))
        if shift > MOST_SHIFT or not 1 / MOST_SPREAD <= spread <= MOST_SPREAD:
            found.append(
                f"feature '{name}' drifted: its values lie {shift:.2f} deviations off and spread "
                f"{spread:.2f} times as far"
            )
    missing = sorted(trained.scales.keys() - now.scales.keys())
    return found + [f"feature '{name}' is missing now" for name in missing]
