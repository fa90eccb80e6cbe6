"""A metric, its values and comparisons: what an evaluation records and what a page shows.

The table of all metrics is :data:`redub.evaluation.registry.METRICS`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

Direction = Literal["higher", "lower", "zero", "none"]
Opponent = Literal["run", "baseline"]


class Interval(NamedTuple):
    """An estimate and the two ends of its confidence interval; NaN where there is no interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Absent:
    """Why there is no value: a stable code (``E-…``) and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The trivial answer that a metric is compared with.

    name: for readers. value: its stored value, where it is the same for all lines; None where it
        depends on them. of_takes: ``"module:function"`` that computes the value then; it takes the
        measured takes of one system and returns a float or :class:`Absent`.
    """

    name: str
    value: float | None = None
    of_takes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One row of the table of metrics.

    name: key in records and JSON. title: of a column. unit: of shown values; empty for a number
        without unit. scale: shown value = scale × stored value; 100 for a fraction that is shown in
        percent. digits: decimals of shown values. direction: which values are better; ``zero`` is
        for a signed error, ``none`` for a value that is not ranked.
    explain: how it is measured, for readers. card: title of its card on top of the report; empty
        for no card.
    target: ``"module:name"`` of the public function of arrays or sentences.

    What ``redub evaluate`` measures has one of these ``"module:function"``:

    of_take: takes a :class:`redub.evaluation.takes.TakeSignals`; returns the value of one take, a
        float or :class:`Absent`. The value of a system is then the mean of its takes.
    of_system: takes the metric's name, the measured takes of one system and the number of bootstrap
        draws; returns an :class:`Interval` or :class:`Absent`. It replaces the mean.

    baseline: trivial answer; None: the training-mean mel, a measured system. compared: what runs
        are compared with in pairs: the baseline, or the other runs. difference: ``"module:
        function"`` of a paired comparison; empty for the mean difference of the takes' values.
    """

    name: str
    title: str
    unit: str = ""
    scale: float = 1.0
    digits: int = 2
    direction: Direction = "lower"
    explain: str = ""
    card: str = ""
    target: str = ""
    of_take: str = ""
    of_system: str = ""
    baseline: Baseline | None = None
    compared: tuple[Opponent, ...] = ()
    difference: str = ""

    @property
    def is_measured(self) -> bool:
        """Whether ``redub evaluate`` measures it; the others are public functions only."""
        return bool(self.of_take or self.of_system)

    @property
    def column(self) -> str:
        """Title and unit, as the head of a column."""
        return f"{self.title} {self.unit}".rstrip()

    @property
    def difference_unit(self) -> str:
        """Unit of a difference of two values: points for percentages."""
        return "points" if self.unit == "%" else self.unit

    def figure(self, value: float, *, digits: int | None = None) -> str:
        """A stored value as text with its unit: ``63.0 %``."""
        places = self.digits if digits is None else digits
        return f"{self.scale * value:.{places}f} {self.unit}".rstrip()

    def text(self, found: Interval | Absent) -> str:
        """A value with its interval and without its unit, for a table; a dash where absent."""
        if isinstance(found, Absent):
            return "–"
        value, low, high = (f"{self.scale * end:.{self.digits}f}" for end in found)
        return f"{value} [{low}, {high}]" if has_interval(found) else value

    def difference_text(self, found: Interval) -> str:
        """A difference with its sign, its interval and its unit: ``+4.1 [+0.3, +7.9] points``."""
        value, low, high = (f"{self.scale * end:+.{self.digits}f}" for end in found)
        text = f"{value} [{low}, {high}]" if has_interval(found) else value
        return f"{text} {self.difference_unit}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """What a run is compared with: another run, or a baseline."""

    kind: Opponent
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """By how much a run is better than another system on the same lines.

    metric: name of the metric. interval: mean difference of stored values with its 95 % interval;
    positive where the run is better, whatever the metric's direction.
    """

    metric: str
    run: str
    against: Against
    interval: Interval


def has_interval(found: Interval) -> bool:
    """Whether both ends of the interval are known."""
    return math.isfinite(found.low) and math.isfinite(found.high)
