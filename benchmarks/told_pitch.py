"""Pitch errors of what runs decided, before a vocoder: GPE and FFE of the F0 that they predict.

    python benchmarks/told_pitch.py [PROJECT RUN ...] [--split test]

`redub evaluate` measures F0 on the sound, where the vocoder takes it from a mel that may be
blurred; this compares each take's own F0 curve with the recorded one. Rates are pooled over frames,
intervals draw lines (4,000 times), and differences from the first run draw the same lines. Prints a
table, asserts nothing; without a project it has nothing to measure.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from redub.evaluation.pitch_errors import PitchErrors, pitch_errors, pooled
from redub.pipeline.project import Project, open_project
from redub.pipeline.store import Store
from redub.pipeline.synthesize import read_samples

DRAWS = 4000


def errors_of(project: Project, run: str, split: str) -> list[PitchErrors]:
    """Pitch errors of every line in order of the clip's name."""
    recorded = Store(project).read("f0")
    errors = []
    for clip_id, sample in sorted(read_samples(project, run, split).items()):
        if "f0_hz" not in sample.arrays:
            raise SystemExit(f"{run} predicts no pitch")
        errors.append(pitch_errors(np.ravel(recorded[clip_id]), sample.arrays["f0_hz"]))
    return errors


def drawn(errors: list[PitchErrors], name: str, rows: np.ndarray) -> np.ndarray:
    """(draws,) pooled rates in percent."""
    parts = np.array(
        [
            (e.gross_errors, e.voiced_in_both)
            if name == "gpe"
            else (e.gross_errors + e.voicing_errors, e.pairs)
            for e in errors
        ],
        float,
    )
    wrong, of = parts[rows].sum(1).T
    return 100 * wrong / of


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
    first: dict[str, np.ndarray] = {}
    print("| run | GPE % | more than the first | FFE % | more than the first |")
    print("| --- | --- | --- | --- | --- |")
    for run in words.runs:
        errors = errors_of(project, run, words.split)
        rows = np.random.default_rng(0).integers(0, len(errors), (DRAWS, len(errors)))
        cells = []
        for name in ("gpe", "ffe"):
            rates = drawn(errors, name, rows)
            value = 100 * getattr(pooled(errors), name)
            low, high = np.quantile(rates, [0.025, 0.975])
            cells.append(f"{value:.1f} [{low:.1f}, {high:.1f}]")
            if name not in first:
                first[name] = rates
                cells.append("")
                continue
            low, middle, high = np.quantile(rates - first[name], [0.025, 0.5, 0.975])
            cells.append(f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]")
        print(f"| {run} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
