"""Training runs on disk: their last step and losses, from ``metrics.jsonl``."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redub.pipeline.project import Project
from redub.training.trainer import METRICS


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run; ``loss`` is the last validation loss, ``–`` before the first."""

    name: str
    model: str
    step: int
    loss: str


def list_runs(project: Project) -> list[RunLine]:
    """All runs of a project by name."""
    root = project.root / "runs"
    folders = sorted(p for p in root.glob("*") if (p / METRICS).is_file()) if root.is_dir() else []
    lines = []
    for folder in folders:
        rows = read_metrics(folder)
        steps = [row["step"] for row in rows] or [0]
        losses = [row["validation_loss"] for row in rows if "validation_loss" in row]
        loss = f"{losses[-1]:.4f}" if losses else "–"
        lines.append(RunLine(folder.name, _model(folder), steps[-1], loss))
    return lines


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Rows of ``metrics.jsonl``; a row that a kill cut off ends the list."""
    rows: list[dict[str, Any]] = []
    path = folder / METRICS
    if not path.is_file():
        return rows
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def _model(folder: Path) -> str:
    path = folder / "config.toml"
    if not path.is_file():
        return "unfinished"
    model: str = tomllib.loads(path.read_text(encoding="utf-8"))["model"]["name"]
    return model
