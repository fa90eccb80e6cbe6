"""The cards on top of the report of an evaluation, and its results table."""

from __future__ import annotations

from typing import NamedTuple

from redub.core.metric import Absent, Interval, Metric, has_interval
from redub.evaluation.takes import GROUND_TRUTH, MEAN_MEL, RESYNTHESIS
from redub.pages.contents import Card, Measure, MetricTable, Role, Standing, SystemRow
from redub.pipeline.store.runs.evaluations import Evaluation


def role_of(system: str) -> Role:
    """The role of a system on the page; names of runs hold no space, so none is confused."""
    if system in (GROUND_TRUTH, RESYNTHESIS):
        return "reference"
    return "baseline" if system == MEAN_MEL else "system"


def results_of(evaluation: Evaluation) -> MetricTable:
    """The results table: every metric of every system."""
    rows = tuple(
        SystemRow(
            system=scores.system,
            role=role_of(scores.system),
            values={
                name: value if isinstance(value, Absent) else Measure(*value)
                for name, value in scores.values.items()
            },
        )
        for scores in evaluation.systems
    )
    return MetricTable(metrics=tuple(evaluation.shown), rows=rows)


class _Other(NamedTuple):
    """What a run's figure is compared with; a reference is no rival."""

    name: str
    value: float
    is_reference: bool


def cards_of(evaluation: Evaluation) -> tuple[Card, ...]:
    """The main figures of the first run, with those of the recording, other runs and baselines."""
    cards = []
    for metric in evaluation.metrics:
        own = evaluation.scores(evaluation.runs[0]).values[metric.name]
        if not metric.card or isinstance(own, Absent):
            continue
        others = _others(evaluation, metric)
        rivals = [other for other in others if not other.is_reference]
        standing, verdict = _standing(own, rivals, higher=metric.direction == "higher")
        recording = [other for other in others if other.name == GROUND_TRUTH]
        if (
            recording
            and _standing(own, recording, higher=metric.direction == "higher")[0] == "worse"
        ):
            verdict = "; ".join(filter(None, (verdict, "worse than the recording")))
        cards.append(
            Card(
                title=metric.card,
                value=metric.figure(own.value, digits=1),
                beside=tuple((o.name, metric.figure(o.value, digits=1)) for o in others),
                standing=standing,
                verdict=verdict,
                detail=_interval(own, metric),
            )
        )
    return tuple(cards)


def _others(evaluation: Evaluation, metric: Metric) -> list[_Other]:
    """The other systems that have a value, and the baseline: a trivial answer or the mean mel."""
    baseline = [] if metric.baseline else [MEAN_MEL]
    found = []
    for name in (GROUND_TRUTH, RESYNTHESIS, *evaluation.runs[1:], *baseline):
        value = evaluation.scores(name).values[metric.name]
        if isinstance(value, Interval):
            found.append(_Other(name, value.value, role_of(name) == "reference"))
    trivial = evaluation.baselines.get(metric.name)
    if metric.baseline and isinstance(trivial, float):
        found.append(_Other(metric.baseline.name, trivial, False))
    return found


def _standing(own: Interval, others: list[_Other], *, higher: bool) -> tuple[Standing, str]:
    """Better than all others, worse than some, or no clear difference, by the run's interval.

    Another figure is clearly better or worse where it lies outside the run's 95 % interval.
    """
    sign = 1.0 if higher else -1.0
    ends = (own.low, own.high) if has_interval(own) else (own.value, own.value)
    least, most = sorted(sign * end for end in ends)
    worse = [other.name for other in others if sign * other.value > most]
    open_ = [other.name for other in others if least <= sign * other.value <= most]
    if worse:
        return "worse", f"worse than {' and '.join(worse)}"
    if open_:
        return "open", f"no clear difference from {' and '.join(open_)}"
    names = " and ".join(other.name for other in others)
    return ("better", f"better than {names}") if others else ("open", "")


def _interval(own: Interval, metric: Metric) -> str:
    if not has_interval(own):
        return ""
    low, high = (metric.figure(end, digits=1) for end in (own.low, own.high))
    return f"95 % interval {low} to {high}"
