"""Statistics of scores: confidence intervals, paired tests and trivial baselines.

Definitions and sources:
* Bootstrap: Efron 1979, percentile interval of the mean. Utterances of one scene are dependent
  (same speakers, room and mood), so whole scenes are resampled where clusters are given (Field and
  Welsh 2007).
* Wilson score interval for proportions: Wilson 1927; accurate near 0 and 1 and for small samples.
* Paired differences: both systems speak the same utterances, so utterances are resampled
  (bootstrap) or their signs flipped (permutation test; Good 2005).
* Pearson's r with Fisher's z interval: Fisher 1921.
* Macro-F1: mean F1 of the classes that occur in labels or predictions; a class without a correct
  prediction has F1 0. Majority baseline: accuracy of always predicting the most frequent label.

Conventions: intervals are two-sided. All random draws use the given seed. Values must be finite, so
the caller drops (and counts) undefined scores first.

Letters: n utterances, R resamples.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from scipy.stats import norm

from redub.core.errors import ConfigError
from redub.core.metric import Interval as Interval
from redub.evaluation.inputs import Doubles, MetricInputError, checked_array

RESAMPLES = 4000
BLOCK = 1 << 22  # drawn indices at a time
EXACT_SIGNS = 14  # up to this many utterances, all sign patterns are counted


def bootstrap_mean(
    values: Any,
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """Compute the mean of per-utterance scores with its bootstrap interval.

    Args:
        values: (n,) finite scores, n >= 1.
        clusters: (n,) scene of every utterance; whole scenes are resampled. None resamples
            utterances.
        level: confidence level, between 0 and 1.
        resamples: R.

    Returns:
        The mean; low and high are NaN with only one utterance or only one scene.

    Raises:
        MetricInputError: no scores, a score that is not finite, or another number of clusters.
        ConfigError: ``level`` out of range.
    """
    scores = checked_array(values, what="scores", dimensions=1)
    if not len(scores):
        raise MetricInputError("scores: none given; a mean needs at least one")
    _check_level(level)
    sums, sizes = _by_cluster(scores, clusters)
    if len(sums) < 2:
        return Interval(float(scores.mean()), math.nan, math.nan)
    draw = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, BLOCK // len(sums))
    for start in range(0, resamples, step):
        some = means[start : start + step]
        drawn = draw.integers(0, len(sums), size=(len(some), len(sums)))  # (r, clusters)
        some[:] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(scores.mean()), float(low), float(high))


def _by_cluster(scores: Doubles, clusters: Sequence[Hashable] | None) -> tuple[Doubles, Doubles]:
    """Compute sum and size of every cluster, in order of first occurrence."""
    if clusters is None:
        return scores, np.ones(len(scores))
    if len(clusters) != len(scores):
        raise MetricInputError(f"{len(scores)} scores, but scene names of {len(clusters)} scores")
    numbers: dict[Hashable, int] = {}
    owner = np.array([numbers.setdefault(c, len(numbers)) for c in clusters], dtype=np.int64)
    sums: Doubles = np.bincount(owner, weights=scores).astype(np.float64)
    sizes: Doubles = np.bincount(owner).astype(np.float64)
    return sums, sizes


def _check_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level {level}: wanted a share between 0 and 1, such as 0.95")


def bootstrap_difference(
    first: Any,
    second: Any,
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """Compute the mean of first - second with its paired bootstrap interval.

    Args:
        first, second: (n,) scores of two systems for the same utterances.

    The other arguments and errors are those of :func:`bootstrap_mean`.
    """
    gaps = _paired(first, second)
    return bootstrap_mean(gaps, seed=seed, clusters=clusters, level=level, resamples=resamples)


def _paired(first: Any, second: Any) -> Doubles:
    one = checked_array(first, what="first system's scores", dimensions=1)
    other = checked_array(second, what="second system's scores", dimensions=1)
    if one.shape != other.shape:
        raise MetricInputError(f"paired scores: {len(one)} and {len(other)} lines")
    return one - other


def permutation_p(first: Any, second: Any, *, seed: int, permutations: int = 10_000) -> float:
    """Compute the two-sided p of a paired permutation test of equal scores.

    Up to 14 utterances all 2^n sign patterns are counted. With more, ``permutations`` patterns are
    drawn and the observed one is added, so p is never 0.

    Raises:
        MetricInputError: no scores, unequal lengths or a score that is not finite.
    """
    gaps = _paired(first, second)
    if not len(gaps):
        raise MetricInputError("paired scores: none to compare")
    # Sums that differ by rounding only must count as equal.
    observed = abs(gaps.sum()) - 1e-9 * np.abs(gaps).sum()
    if len(gaps) <= EXACT_SIGNS:
        patterns = np.arange(2 ** len(gaps))[:, None] >> np.arange(len(gaps)) & 1
        return float((np.abs((1 - 2 * patterns) @ gaps) >= observed).mean())
    draw = np.random.default_rng(seed)
    extreme = 0
    step = max(1, BLOCK // len(gaps))
    for start in range(0, permutations, step):
        size = (min(step, permutations - start), len(gaps))
        signs = draw.integers(0, 2, size=size, dtype=np.int8)
        extreme += int((np.abs((1.0 - 2.0 * signs) @ gaps) >= observed).sum())
    return (extreme + 1) / (permutations + 1)


def wilson(successes: int, total: int, *, level: float = 0.95) -> Interval:
    """Compute a proportion with its Wilson score interval.

    Raises:
        MetricInputError: no trials, or more successes than trials.
        ConfigError: ``level`` is not between 0 and 1.
    """
    _check_level(level)
    if total < 1 or not 0 <= successes <= total:
        raise MetricInputError(f"a share of {successes} in {total}: wanted 0 <= successes <= total")
    z = float(norm.ppf((1 + level) / 2))
    share = successes / total
    spread = z * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    centre = share + z * z / (2 * total)
    scale = 1 + z * z / total
    low, high = (centre - spread) / scale, (centre + spread) / scale
    return Interval(share, max(0.0, low), min(1.0, high))


def pearson(first: Any, second: Any) -> float:
    """Compute Pearson's r of two series; NaN with fewer than two pairs or a constant series.

    Raises:
        MetricInputError: unequal lengths or a value that is not finite.
    """
    one = checked_array(first, what="first series", dimensions=1)
    other = checked_array(second, what="second series", dimensions=1)
    if one.shape != other.shape:
        raise MetricInputError(f"paired series: {len(one)} and {len(other)} values")
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    one, other = one - one.mean(), other - other.mean()
    # Scaled to a maximum of 1, so that squares of tiny or huge values stay in the float range.
    one, other = one / np.abs(one).max(), other / np.abs(other).max()
    r = float(one @ other / math.sqrt(float(one @ one) * float(other @ other)))
    return min(1.0, max(-1.0, r))


def pearson_interval(first: Any, second: Any, *, level: float = 0.95) -> Interval:
    """Compute Pearson's r with Fisher's z interval; low and high are NaN below four pairs.

    Raises:
        MetricInputError: as :func:`pearson`.
        ConfigError: ``level`` is not between 0 and 1.
    """
    _check_level(level)
    r = pearson(first, second)
    count = len(first)
    if math.isnan(r) or count < 4:
        return Interval(r, math.nan, math.nan)
    if abs(r) == 1.0:
        return Interval(r, r, r)
    half = float(norm.ppf((1 + level) / 2)) / math.sqrt(count - 3)
    return Interval(r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half))


def macro_f1(labels: Sequence[Hashable], predictions: Sequence[Hashable]) -> float:
    """Compute the mean F1 over the classes in labels or predictions; NaN for no utterances.

    Raises:
        MetricInputError: unequal lengths.
    """
    if len(labels) != len(predictions):
        raise MetricInputError(f"{len(labels)} labels for {len(predictions)} predictions")
    hits = Counter(a for a, b in zip(labels, predictions, strict=True) if a == b)
    true, predicted = Counter(labels), Counter(predictions)
    scores = [2 * hits[c] / (true[c] + predicted[c]) for c in true.keys() | predicted.keys()]
    return math.fsum(scores) / len(scores) if scores else math.nan


def majority_baseline(labels: Sequence[Hashable]) -> float:
    """Compute the accuracy of always predicting the most frequent label; NaN for no utterances."""
    return max(Counter(labels).values()) / len(labels) if labels else math.nan
