"""Pitch errors of what runs decided, before a vocoder: GPE and FFE of the F0 that they predict.

    python benchmarks/with_data/predicted_pitch.py [PROJECT RUN ...] [--split test]

`redub evaluate` measures F0 on the sound, where the vocoder takes it from a mel that may be
blurred; this compares each take's own F0 curve with the recorded one. Rates are pooled over frames,
intervals draw lines (4,000 times), and differences from the first run draw the same lines. Prints a
table, asserts nothing; without a project it has nothing to measure.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from redub.evaluation.intervals import Interval
from redub.evaluation.pitch_errors import (
    PitchErrors,
    pitch_errors,
    pooled_difference,
    pooled_interval,
)
from redub.pipeline.store.project import Project, open_project
from redub.pipeline.store.runs.takes import read_samples
from redub.pipeline.store.tables import Store


def errors_of(project: Project, run: str, split: str) -> list[PitchErrors]:
    """Pitch errors of every line in order of the clip's name."""
    recorded = Store(project).read("f0")
    errors = []
    for clip_id, sample in sorted(read_samples(project, run, split).items()):
        if "f0_hz" not in sample.arrays:
            raise SystemExit(f"{run} predicts no pitch")
        errors.append(pitch_errors(np.ravel(recorded[clip_id]), sample.arrays["f0_hz"]))
    return errors


def shown(rate: Interval, form: str) -> str:
    """A rate in percent with the ends of its interval."""
    value, low, high = (format(100 * part, form) for part in rate)
    return f"{value} [{low}, {high}]"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", nargs="?", type=Path)
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--split", default="test")
    words = parser.parse_args()
    if words.project is None or not words.runs:
        print("say PROJECT RUN ...: it measures takes that `redub synthesize` left")
        return
    project = open_project(words.project)
    print("| run | GPE % | above the first | FFE % | above the first |")
    print("| --- | --- | --- | --- | --- |")
    first: list[PitchErrors] = []
    for run in words.runs:
        errors = errors_of(project, run, words.split)
        first = first or errors
        cells = []
        for name in ("gpe", "ffe"):
            cells.append(shown(pooled_interval(errors, name, seed=0), ".1f"))
            above = pooled_difference(first, errors, name, seed=0)
            cells.append("" if errors is first else shown(above, "+.1f"))
        print(f"| {run} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
