"""Charts of the report page: training curves, metrics, emotion accuracy, pitch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from redub.core.metric import Absent
from redub.core.types import FloatArray
from redub.pages.contents import (
    Chart,
    EmotionRow,
    EmotionTable,
    Line,
    Measure,
    MetricTable,
    ReportData,
    SystemRow,
)
from redub.pages.figures import (
    Estimate,
    LineChart,
    Series,
    WhiskerChart,
    line_chart,
    whisker_chart,
)
from redub.pages.spelling import known, measure_text

REFERENCE_COLOURS = (0, 1)  # text colour and grey
SYSTEM_COLOURS = (2, 3, 4, 5, 6, 7)
BETTER = {
    "higher": "higher is better",
    "lower": "lower is better",
    "zero": "nearest to zero is best",
    "none": "",
}
Colours = Mapping[str, int]
"""System to its colour number."""


def system_colours(data: ReportData) -> dict[str, int]:
    """Assign one colour number per system for the whole page; references get 0 and 1."""
    rows: list[SystemRow | EmotionRow] = []
    rows += data.results.rows if data.results else ()
    rows += data.emotion.rows if data.emotion else ()
    names = [(row.system, row.role == "reference") for row in rows]
    names += [(take.system, False) for line in data.lines for take in line.takes]
    names += [(curve.name, False) for chart in data.charts for curve in chart.curves]
    names += [(strip.run, False) for strip in data.strips]
    chosen: dict[str, int] = {}
    counts = {True: 0, False: 0}
    for name, is_reference in names:
        if name not in chosen:
            wheel = REFERENCE_COLOURS if is_reference else SYSTEM_COLOURS
            chosen[name] = wheel[counts[is_reference] % len(wheel)]
            counts[is_reference] += 1
    return chosen


def curves(charts: Sequence[Chart], colours: Colours) -> list[LineChart]:
    """Draw the training curves; charts without a finite value are left out."""
    drawn = []
    for chart in charts:
        series = [
            Series(curve.name, colours[curve.name], curve.steps, curve.values)
            for curve in chart.curves
        ]
        found = line_chart(series, title=chart.title, x_label=chart.x_label, y_label=chart.y_label)
        if found:
            drawn.append(found)
    return drawn


def metric_charts(table: MetricTable | None, colours: Colours) -> list[WhiskerChart]:
    """Draw every metric of the results; metrics without a value are left out."""
    if table is None:
        return []
    charts = []
    for metric in table.metrics:
        rows = [
            _estimate(
                row.system,
                colours,
                row.values.get(metric.name),
                digits=metric.digits,
                scale=metric.scale,
                unit="%" if metric.unit == "%" else "",
            )
            for row in table.rows
        ]
        label = ", ".join(filter(None, (metric.unit, BETTER[metric.direction])))
        found = whisker_chart(rows, title=metric.title, x_label=label)
        if found:
            charts.append(found)
    return charts


def emotion_chart(table: EmotionTable | None, colours: Colours) -> WhiskerChart | None:
    """Draw the accuracy of every system, with the majority baseline as a marker."""
    if table is None:
        return None
    rows = [
        _estimate(row.system, colours, row.accuracy, digits=1, scale=100, unit="%")
        for row in table.rows
    ]
    return whisker_chart(
        rows,
        title="EMO-ACC",
        x_label="%, higher is better",
        marker=("always the most frequent label", 100 * table.majority),
    )


def _estimate(
    system: str,
    colours: Colours,
    measure: Measure | Absent | None,
    *,
    digits: int,
    scale: float,
    unit: str,
) -> Estimate:
    value, low, high = (None if v is None else scale * v for v in known(measure))
    label = measure_text(measure, digits, scale=scale, unit=unit)
    return Estimate(system, colours[system], value, low, high, label)


def pitch_chart(line: Line, colours: Colours, *, hop_s: float, span_s: float) -> LineChart | None:
    """Draw F0 of every take of an utterance over time; unvoiced frames are gaps."""
    series = []
    for take in line.takes:
        if take.f0_hz is not None and len(take.f0_hz):
            track: FloatArray = np.asarray(take.f0_hz, np.float32).reshape(-1)
            seconds = (np.arange(len(track)) + 0.5) * hop_s
            pitch = np.where(track > 0, track, np.nan)
            series.append(Series(take.system, colours.get(take.system, 0), seconds, pitch))
    return line_chart(
        series,
        title="Pitch",
        x_label="s",
        y_label="Hz",
        x_range=(0.0, span_s) if span_s else None,
    )
