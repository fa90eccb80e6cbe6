"""What every training run keeps beside its checkpoints: its metrics and its settings."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from redub.training import checkpoint

log = logging.getLogger(__name__)

CHECKPOINTS, METRICS = "checkpoints", "metrics.jsonl"
HARMLESS = ("keep_last", "keep_best", "checkpoint_every", "recompute")
"""Training settings that may change when a run is resumed: they do not change its numbers."""


def append_row(metrics: IO[str], row: Mapping[str, Any]) -> None:
    """Add one row to ``metrics.jsonl``, at once."""
    metrics.write(json.dumps(row) + "\n")
    metrics.flush()


def cut_back(path: Path, step: int) -> None:
    """Drop rows later than ``step``: they belong to work that was lost and is done again."""
    if not path.exists():
        if step:
            log.warning("%s is gone; its rows up to step %d are lost", path, step)
        return
    kept, damaged = [], 0
    lines = path.read_bytes().decode("utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            is_kept = int(json.loads(line)["step"]) <= step
        except (ValueError, KeyError, TypeError):
            damaged += number < len(lines)  # the last one was cut by a kill
            continue
        if is_kept:
            kept.append(line + "\n")
    if damaged:
        log.warning("%s: %d damaged rows were dropped", path, damaged)
    beside = path.with_suffix(".partial")
    beside.write_text("".join(kept), encoding="utf-8")
    beside.replace(path)


def differences(
    record: Mapping[str, Any],
    wanted: Mapping[str, Mapping[str, Any]],
    *,
    harmless: Iterable[str] = (),
) -> list[str]:
    """What a checkpoint's record says otherwise than is wanted: ``keys.retrieval a → b``.

    Args:
        wanted: settings by section; sections that are left out are not compared.
        harmless: keys that may differ.
    """
    found = []
    for section, values in wanted.items():
        old = record[section]
        if not isinstance(values, Mapping) or not isinstance(old, Mapping):
            found += [f"{section} {old} → {values}"] if old != values else []
            continue
        found += [
            f"{section}.{name} {old.get(name)} → {values.get(name)}"
            for name in sorted({*old, *values})
            if old.get(name) != values.get(name) and name not in harmless
        ]
    return found


def differing(run_dir: Path, wanted: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a run's newest checkpoint was trained with that is not so now: ``keys.retrieval a → b``.

    Args:
        wanted: settings by section (``model``, ``training``, ``keys``); sections that are left
            out are not compared.
    """
    snapshot = checkpoint.newest(run_dir / CHECKPOINTS)
    if snapshot is None:
        return []
    return differences(snapshot.record, wanted, harmless=HARMLESS)
