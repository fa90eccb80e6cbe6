"""`redub runs compare`: settings that differ between runs, and their losses at equal steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redub.core.errors import UsageError
from redub.core.records import Json
from redub.pipeline.reports.runs import Point, course_of, point_text, value_text
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.folders import MetricsRow, find_run, is_figure, metrics_in
from redub.pipeline.store.runs.run_settings import RunSettings
from redub.training.losses import Losses

# -- comparing


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """Several runs side by side; every tuple has one value per run, in the order of ``runs``.

    ``settings``: dotted name → values, only where they differ (None: not set). ``step``: the last
    step at which all runs were measured. ``losses``: name → values at that step; validation losses
    where all runs were validated at a common step, else losses of the training batch. ``faults``:
    sentences that begin with the run's name.
    """

    runs: tuple[str, ...]
    settings: Mapping[str, tuple[Json, ...]]
    step: int | None
    losses: Mapping[str, tuple[float | None, ...]]
    best: tuple[Point | None, ...]
    last: tuple[Point | None, ...]
    faults: tuple[str, ...]

    def setting_rows(self) -> list[list[str]]:
        """Table rows: a setting's name, then its value in every run."""
        return [[name, *map(value_text, values)] for name, values in self.settings.items()]

    def loss_rows(self) -> list[list[str]]:
        """Table rows: best and last validation loss, then every loss at the common step."""
        rows = [
            ["best validation", *map(point_text, self.best)],
            ["last validation", *map(point_text, self.last)],
        ]
        for name, values in self.losses.items():
            texts = ("–" if value is None else f"{value:.4f}" for value in values)
            rows.append([f"{name} at {self.step}", *texts])
        return rows


def compare_runs(project: Project, names: Sequence[str]) -> RunComparison:
    """What differs between runs, and their losses at equal steps.

    Raises:
        UsageError: an unknown run, or fewer than two.
    """
    folders = [find_run(project, name) for name in dict.fromkeys(names)]
    if len(folders) < 2:
        raise UsageError(f"nothing to compare: {len(folders)} run named, wanted two or more")
    metrics = [metrics_in(folder) for folder in folders]
    settings = [RunSettings.read(folder) for folder in folders]
    every = sorted({name for own in settings for name in own.values})
    values = {name: tuple(own.values.get(name) for own in settings) for name in every}
    courses = [course_of(own.rows, "validation_loss") for own in metrics]
    step, losses = _at_equal_steps([own.rows for own in metrics])
    faults = [
        f"{folder.name}: {fault}"
        for folder, rows, own in zip(folders, metrics, settings, strict=True)
        for fault in (rows.fault, own.fault)
        if fault
    ]
    return RunComparison(
        runs=tuple(folder.name for folder in folders),
        settings={n: v for n, v in values.items() if any(other != v[0] for other in v)},
        step=step,
        losses=losses,
        best=tuple(course.best for course in courses),
        last=tuple(course.last for course in courses),
        faults=tuple(faults),
    )


def _at_equal_steps(
    runs: Sequence[Sequence[MetricsRow]],
) -> tuple[int | None, dict[str, tuple[float | None, ...]]]:
    for sign, prefix in (("validation_loss", "validation_"), ("loss", "")):
        by_step = [{int(row["step"]): row for row in rows if sign in row} for rows in runs]
        common = set.intersection(*(set(rows) for rows in by_step))
        if not common:
            continue
        step = max(common)
        names = [f"{prefix}{name}" for name in ("loss", *Losses._fields)]
        columns = {name: tuple(_term(own, step, name) for own in by_step) for name in names}
        return step, {name: values for name, values in columns.items() if set(values) != {None}}
    return None, {}


def _term(rows: Mapping[int, MetricsRow], step: int, name: str) -> float | None:
    """A loss at a step; None where it is 0 at all steps, because the system has no such term."""
    value = rows[step].get(name)
    if value is None or not is_figure(value) or not any(row.get(name) for row in rows.values()):
        return None
    return float(value)
