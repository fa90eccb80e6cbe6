"""From the figures of takes to the figures of systems, for every metric of the table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from redub.core.metric import Absent, Against, Baseline, Comparison, Interval, Metric
from redub.evaluation.intervals import bootstrap_difference
from redub.evaluation.registry import MEAN_DIFFERENCE, MEAN_OF_TAKES, METRICS, function_of
from redub.evaluation.takes import (
    GROUND_TRUTH,
    MEAN_MEL,
    LineFigures,
    TakeSignals,
    checked_value,
    values_of,
)

MEAN_MEL_BASELINE = Baseline(name=MEAN_MEL)
"""Baseline of the metrics that name none: a measured system."""

Takes = Mapping[str, Sequence[LineFigures]]
"""System to its takes; all systems have the same utterances in the same order."""


def measured_metrics() -> list[Metric]:
    """The metrics that ``redub evaluate`` measures, in the order of the columns."""
    return [metric for metric in METRICS.values() if metric.is_measured]


def take_values(signals: TakeSignals) -> dict[str, float | Absent]:
    """Values of one take for every metric that is measured take by take."""
    return {
        metric.name: checked_value(function_of(metric.of_take)(signals))
        for metric in measured_metrics()
        if metric.of_take
    }


def system_values(takes: Sequence[LineFigures], resamples: int) -> dict[str, Interval | Absent]:
    """Values of one system for every measured metric.

    Args:
        resamples: bootstrap draws.
    """
    found = {}
    for metric in measured_metrics():
        compute = function_of(metric.of_system or MEAN_OF_TAKES)
        value: Interval | Absent = compute(metric.name, takes, resamples)
        if isinstance(value, Interval) and not math.isfinite(value.value):
            value = Absent("E-EVAL-UNDEFINED", "the metric is not defined for these takes")
        found[metric.name] = value
    return found


def baseline_values(takes: Takes) -> dict[str, float | Absent]:
    """Values of the trivial answers; metrics whose baseline is a measured system are left out."""
    found: dict[str, float | Absent] = {}
    for metric in measured_metrics():
        baseline = metric.baseline
        if baseline is None:
            continue
        if baseline.value is not None:
            found[metric.name] = baseline.value
        else:
            found[metric.name] = function_of(baseline.of_takes)(takes[GROUND_TRUTH])
    return found


def comparisons(runs: Sequence[str], takes: Takes, resamples: int) -> list[Comparison]:
    """Paired differences of every run and its baselines, and of the first run and the others.

    A comparison in which one side has no value is left out; the values of the systems say why.
    """
    trivial = baseline_values(takes)
    found = []
    for run in runs:
        for metric in measured_metrics():
            if "baseline" not in metric.compared:
                continue
            against = Against(kind="baseline", name=(metric.baseline or MEAN_MEL_BASELINE).name)
            if metric.baseline is None:
                interval = difference(metric, takes[run], takes[MEAN_MEL], resamples)
            else:
                interval = _above_value(metric, takes[run], trivial[metric.name], resamples)
            found.append((metric, run, against, interval))
    for other in runs[1:]:
        for metric in measured_metrics():
            if "run" in metric.compared:
                against = Against(kind="run", name=other)
                interval = difference(metric, takes[runs[0]], takes[other], resamples)
                found.append((metric, runs[0], against, interval))
    return [
        Comparison(metric=metric.name, run=run, against=against, interval=interval)
        for metric, run, against, interval in found
        if isinstance(interval, Interval) and math.isfinite(interval.value)
    ]


def difference(
    metric: Metric, own: Sequence[LineFigures], other: Sequence[LineFigures], resamples: int
) -> Interval | Absent:
    """By how much the first takes are better: positive in the metric's direction."""
    compute = function_of(metric.difference or MEAN_DIFFERENCE)
    pair = (own, other) if metric.direction == "higher" else (other, own)
    found: Interval | Absent = compute(metric.name, *pair, resamples)
    return found


def _above_value(
    metric: Metric, own: Sequence[LineFigures], value: float | Absent, resamples: int
) -> Interval | Absent:
    """By how much takes are better than a trivial answer, which has the same value for each."""
    values = values_of(metric.name, own)
    if isinstance(value, Absent):
        return value
    if not values:
        return Absent("E-EVAL-NONE", "not measured")
    constant = [value] * len(values)
    pair = (values, constant) if metric.direction == "higher" else (constant, values)
    return bootstrap_difference(*pair, seed=0, resamples=resamples)
