"""The results table and the table of differences of the report page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from redub.core.metric import Absent, Comparison, Metric
from redub.pages.contents import Measure, MetricTable, SystemRow
from redub.pages.spelling import interval_text, known, measure_text


class Cell(NamedTuple):
    """One formatted cell of the results table.

    standing: "best", "tied" (the best value lies in this cell's interval) or "". reason: why there
    is no value.
    """

    value: str
    interval: str
    standing: str
    reason: str


class Difference(NamedTuple):
    """One formatted row of the table of differences."""

    metric: str
    run: str
    against: str
    value: str
    interval: str


def cells(table: MetricTable, row: SystemRow) -> list[Cell]:
    """Format a row of the results, one cell per metric."""
    made = []
    for metric in table.metrics:
        value = row.values.get(metric.name)
        unit = "%" if metric.unit == "%" else ""  # other units stand in the head of the column
        made.append(
            Cell(
                measure_text(value, metric.digits, scale=metric.scale, unit=unit),
                interval_text(value, metric.digits, scale=metric.scale),
                standing(table, row, metric),
                value.message if isinstance(value, Absent) else "",
            )
        )
    return made


def standing(table: MetricTable, row: SystemRow, metric: Metric) -> str:
    """Compare a row with the best value of a metric: "best", "tied" or "".

    "tied" means that the best value lies in the interval of the row. Ground truth and resynthesis
    are not compared. Baselines are, so that the page shows where a baseline beats a system.
    """
    value, low, high = known(row.values.get(metric.name))
    rivals = [
        v
        for r in table.rows
        if r.role != "reference" and (v := known(r.values.get(metric.name))[0]) is not None
    ]
    if row.role == "reference" or value is None or metric.direction == "none" or len(rivals) < 2:
        return ""
    best = {"higher": max(rivals), "lower": min(rivals), "zero": min(rivals, key=abs)}[
        metric.direction
    ]
    if value == best:
        return "best"
    return "tied" if low is not None and high is not None and low <= best <= high else ""


def differences(comparisons: Sequence[Comparison], table: MetricTable | None) -> list[Difference]:
    """Format paired differences; a metric that is not in the results has no unit."""
    metrics = {metric.name: metric for metric in (table.metrics if table else ())}
    return [
        _difference(found, metrics.get(found.metric, Metric(name="", title=found.metric)))
        for found in comparisons
    ]


def _difference(found: Comparison, metric: Metric) -> Difference:
    measure = Measure(*found.interval)
    sign = "+" if found.interval.value > 0 else ""
    text = sign + measure_text(measure, metric.digits, scale=metric.scale)
    return Difference(
        metric=metric.title,
        run=found.run,
        against=found.against.name,
        value=f"{text} {metric.difference_unit}".rstrip(),
        interval=interval_text(measure, metric.digits, scale=metric.scale),
    )
