"""Compute times of past runs, kept outside the store because they differ from run to run.

Reads and writes ``.redub/timings.json``: compute seconds per feature of the last extract run (for
estimates) and the wall time of each stage (for the report).
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TypedDict

from redub.core.durable import commit_json
from redub.pipeline.store.project import Project


def _path(project: Project) -> Path:
    return project.root / ".redub" / "timings.json"


class Timings(TypedDict):
    """``features``: seconds and clips of the last extract run. ``stages``: seconds. By name."""

    features: dict[str, tuple[float, int]]
    stages: dict[str, float]


def read_timings(project: Project) -> Timings:
    """The times of past runs; empty if unknown."""
    with contextlib.suppress(OSError, ValueError):
        values = json.loads(_path(project).read_text())
        if isinstance(values, dict):
            return {"features": values.get("features", {}), "stages": values.get("stages", {})}
    return {"features": {}, "stages": {}}


def note_features(project: Project, seconds: dict[str, float], clips: int) -> None:
    """Store compute seconds per feature of one extract run over ``clips`` clips."""
    if not clips:
        return
    timings = read_timings(project)
    for name, value in seconds.items():
        timings["features"][name] = (round(value, 3), clips)
    commit_json(_path(project), timings)


def note_stage(project: Project, stage: str, seconds: float) -> None:
    """Store the wall time, in seconds, of a stage's last run."""
    timings = read_timings(project)
    timings["stages"][stage] = round(seconds, 2)
    commit_json(_path(project), timings)


def seconds_per_clip(project: Project) -> dict[str, float]:
    """Feature to compute seconds per clip in its last extract run; unknown features are absent."""
    return {
        name: seconds / clips
        for name, (seconds, clips) in read_timings(project)["features"].items()
        if clips
    }
