"""Chart layout: lines as inline SVG, labels as HTML.

The SVG contains lines only; its box of 1000 by 1000 is stretched to the available space. Ticks,
units and legends are text of the page, so they stay readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

SIDE = 1000.0
MOST_POINTS = 500


class Tick(NamedTuple):
    """A label and its position, in percent of the axis from left or top."""

    label: str
    percent: float


class Path(NamedTuple):
    """One curve of a chart: its name, its colour number, and its pieces between gaps."""

    name: str
    colour: int
    pieces: tuple[str, ...]  # SVG "x,y x,y …"


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChart:
    """All values that the template needs to draw one line chart."""

    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    paths: tuple[Path, ...]
    summary: str  # alternative text of the chart


class Series(NamedTuple):
    """Data of one curve; y values that are not finite leave a gap."""

    name: str
    colour: int
    x: ArrayLike
    y: ArrayLike


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] | None = None,
) -> LineChart | None:
    """Lay out a chart with linear axes; returns None if no series has a finite point.

    Curves of more than 500 points are reduced to 500 means of adjacent points.

    Args:
        x_range: ends of the x axis; None takes them from the data.
    """
    drawn = [
        (s, *_thinned(np.asarray(s.x, np.float64), np.asarray(s.y, np.float64))) for s in series
    ]
    finite = [(x[np.isfinite(y)], y[np.isfinite(y)]) for _, x, y in drawn]
    if not any(len(y) for _, y in finite):
        return None
    xs, ys = np.concatenate([x for x, _ in finite]), np.concatenate([y for _, y in finite])
    left, right = x_range or (float(xs.min()), float(xs.max()))
    x_low, x_high = _widened(left, right)
    y_low, y_high = _widened(float(ys.min()), float(ys.max()), margin=0.06)
    paths = tuple(
        Path(
            s.name,
            s.colour,
            _pieces((x - x_low) / (x_high - x_low), (y_high - y) / (y_high - y_low)),
        )
        for s, x, y in drawn
    )
    ends = "; ".join(
        f"{s.name}: {number(y[0])} to {number(y[-1])}"
        for (s, _, _), (_, y) in zip(drawn, finite, strict=True)
        if len(y)
    )
    return LineChart(
        title=title,
        x_label=x_label,
        y_label=y_label,
        x_ticks=_ticks(x_low, x_high, 6, falling=False),
        y_ticks=_ticks(y_low, y_high, 6, falling=True),
        paths=tuple(p for p in paths if p.pieces),
        summary=f"{title}: {y_label} over {x_label}. {ends}.",
    )


class Whisker(NamedTuple):
    """One row of an interval chart; positions in percent of the axis, None where not measured."""

    name: str
    colour: int
    value: float | None
    low: float | None
    high: float | None
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WhiskerChart:
    """All values that the template needs to draw one interval chart."""

    title: str
    x_label: str
    ticks: tuple[Tick, ...]
    rows: tuple[Whisker, ...]
    marker: Tick | None  # a vertical line, such as a baseline


class Estimate(NamedTuple):
    """Data of one row of an interval chart, in the unit of the metric."""

    name: str
    colour: int
    value: float | None
    low: float | None
    high: float | None
    label: str


def whisker_chart(
    rows: Sequence[Estimate],
    *,
    title: str,
    x_label: str,
    marker: tuple[str, float] | None = None,
) -> WhiskerChart | None:
    """Lay out values with their intervals on one axis; returns None if no value is finite.

    Args:
        marker: label and value of a vertical line, such as a baseline.
    """
    known = [v for r in rows for v in (r.value, r.low, r.high) if v is not None]
    if not any(math.isfinite(v) for v in known):
        return None
    known = [v for v in (*known, *([marker[1]] if marker else [])) if math.isfinite(v)]
    low, high = _widened(min(known), max(known), margin=0.05)

    def place(value: float | None) -> float | None:
        """Convert a value to percent of the axis."""
        if value is None or not math.isfinite(value):
            return None
        return round(100 * (value - low) / (high - low), 3)

    return WhiskerChart(
        title=title,
        x_label=x_label,
        ticks=_ticks(low, high, 5, falling=False),
        rows=tuple(
            Whisker(r.name, r.colour, place(r.value), place(r.low), place(r.high), r.label)
            for r in rows
        ),
        marker=Tick(marker[0], place(marker[1]) or 0.0) if marker else None,
    )


def nice_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Return about ``wanted`` round numbers in a range, at least one.

    Their distance is 1, 2 or 5 times a power of ten. ``high`` must be above ``low``.
    """
    raw = (high - low) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    finer = power
    for step in (power, 2 * power, 5 * power, 10 * power):
        if step >= raw * (1 - 1e-9):
            # No multiple of a large step may lie in the range; then take the next finer step.
            return _multiples(step, low, high) or _multiples(finer, low, high)
        finer = step
    raise AssertionError("ten times the power is above the range")


def _multiples(step: float, low: float, high: float) -> list[float]:
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def number(value: float) -> str:
    """Format a number: four significant digits, thin spaces for thousands, a minus sign U+2212."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        text = f"{value:,.0f}".replace(",", "\u202f")
    elif abs(value) < 1e-3:
        text = f"{value:.1e}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", "−") if abs(value) >= 1e-3 else text


def _ticks(low: float, high: float, wanted: int, *, falling: bool) -> tuple[Tick, ...]:
    found = []
    for value in nice_ticks(low, high, wanted):
        share = (value - low) / (high - low)
        found.append(
            Tick(number(round(value, 12)), round(100 * (1 - share if falling else share), 3))
        )
    return tuple(found)


def _widened(low: float, high: float, margin: float = 0.0) -> tuple[float, float]:
    if high - low <= 1e-12 * max(1.0, abs(low), abs(high)):
        return low - 0.5 * max(abs(low), 1.0), high + 0.5 * max(abs(high), 1.0)
    return low - margin * (high - low), high + margin * (high - low)


def _thinned(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    if len(y) <= MOST_POINTS:
        return x, y
    edges = np.linspace(0, len(y), MOST_POINTS + 1).astype(int)
    counts = np.diff(edges)
    # A mean with a value that is not finite is a gap: a NaN loss must stay visible.
    return (
        np.add.reduceat(x, edges[:-1]) / counts,
        np.add.reduceat(y, edges[:-1]) / counts,
    )


def _pieces(x_share: NDArray[Any], y_share: NDArray[Any]) -> tuple[str, ...]:
    pieces: list[list[str]] = [[]]
    for x, y in zip(x_share, y_share, strict=True):
        if math.isfinite(y):
            pieces[-1].append(f"{SIDE * x:.1f},{SIDE * y:.1f}")
        elif pieces[-1]:
            pieces.append([])
    # A single point is written twice: with a round line cap it is drawn as a dot.
    return tuple(" ".join(p if len(p) > 1 else p * 2) for p in pieces if p)
