"""`redub plan`: what `redub run` would compute, and why.

Reads the clip table, the commit logs and the key documents of earlier settings. Writes nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import polars as pl

from redub.core.durable import read_json
from redub.pipeline.store.index.build_record import current_build
from redub.pipeline.store.index.builds import is_fresh
from redub.pipeline.store.key_document import differing_fields, is_of_redub_01
from redub.pipeline.store.ledger import ledger, pending_features
from redub.pipeline.store.schemas import feature_schema
from redub.pipeline.store.tables import Store
from redub.pipeline.store.timings import seconds_per_clip
from redub.pipeline.work.footage_changes import footage_changes


@dataclass(frozen=True, slots=True)
class PlanLine:
    """One feature: rows up to date, to compute (new, changed) and quarantined.

    ``why``: the reasons with their counts. ``estimate_s``: None where the feature was never timed.
    """

    feature: str
    up_to_date: int
    new: int
    changed: int
    quarantined: int
    why: str
    estimate_s: float | None


@dataclass(frozen=True, slots=True)
class FootagePlan:
    """Sources that `redub ingest` would read or drop, unused files, and the state of the index.

    The feature lines count only clips that were ingested.
    """

    to_read: list[str]
    gone: list[str]
    index: str
    unused: list[str]

    @property
    def is_changed(self) -> bool:
        """Whether `redub ingest` would read or drop a source."""
        return bool(self.to_read or self.gone)


@dataclass(frozen=True, slots=True)
class Plan:
    """What `redub run` would do.

    ``lacking``: features that cannot be computed because weights are not recorded, with the
    reason. ``fallbacks``: features that the builtin backend computes instead of the profile's, with
    the reason.
    """

    features: list[PlanLine]
    lacking: dict[str, str]
    fallbacks: dict[str, str]
    footage: FootagePlan


def plan_project(store: Store) -> Plan:
    """Plan footage and features; writes nothing.

    Raises:
        ConfigError: the footage folder or one of its tables is wrong.
    """
    lacking = {name: error.message for name, error in store.keys.lacking.items()}
    footage = plan_footage(store)
    return Plan(
        features=plan(store), lacking=lacking, fallbacks=store.keys.fallbacks, footage=footage
    )


def plan_footage(store: Store) -> FootagePlan:
    """Compare the footage folder and the index build with the store.

    Raises:
        ConfigError: the footage folder or one of its tables is wrong.
    """
    changes = footage_changes(store)
    build = current_build(store.project)
    if build is None:
        state = "to be built"
    else:
        state = "up to date" if is_fresh(store, build) else "to be built again"
    return FootagePlan(
        [order.source for order in changes.orders],
        changes.gone,
        state,
        [str(found) for found in changes.unused],
    )


def plan(store: Store) -> list[PlanLine]:
    """One line per feature that can be computed, in the order of computation."""
    names = store.keys.usable
    pending = pending_features(store, names)
    lines = []
    rates = seconds_per_clip(store.project)
    for line in ledger(store, names, pending=pending):
        waiting = [clip_id for clip_id, names in pending.items() if line.feature in names]
        reasons = _reasons(store, line.feature, waiting)
        changed = sum(count for why, count in reasons.items() if why != "new")
        rate = rates.get(line.feature)
        lines.append(
            PlanLine(
                feature=line.feature,
                up_to_date=line.committed,
                new=reasons.get("new", 0),
                changed=changed,
                quarantined=line.quarantined,
                why="; ".join(f"{count} {why}" for why, count in reasons.most_common()),
                estimate_s=None if rate is None else rate * len(waiting),
            )
        )
    return lines


def _reasons(store: Store, name: str, waiting: list[str]) -> Counter[str]:
    """Count the reasons of pending rows: new, clip changed, or which setting differs."""
    if not waiting:
        return Counter()
    same_key = set(_clip_ids(store, name, store.keys.by_name[name].key))
    older: dict[str, set[str]] = {}
    folder = store.project.root / "features" / name
    for path in sorted(folder.glob("*/key.json")):
        if path.parent.name != store.keys.by_name[name].key:
            older[path.parent.name] = set(_clip_ids(store, name, path.parent.name))
    why_key = {key: _difference(store, name, key) for key in older}
    reasons: Counter[str] = Counter()
    for clip_id in waiting:
        elsewhere = [key for key, ids in older.items() if clip_id in ids]
        if clip_id in same_key:
            reasons["changed: the clip's bytes, span, decoder or words"] += 1
        elif elsewhere:
            reasons[f"changed: {why_key[elsewhere[-1]]}"] += 1
        else:
            reasons["new"] += 1
    return reasons


def _clip_ids(store: Store, name: str, key: str) -> list[str]:
    from redub.pipeline.store.parts import PartTable

    schema = feature_schema(store.keys.by_name[name].schema)
    table = PartTable(store.project.root / "features" / name / key, schema)
    return [clip for part in table.parts() for clip in _ids(table.read_one(part, ["clip_id"]))]


def _ids(table: Any) -> list[str]:
    ids: list[str] = pl.Series(table.column("clip_id")).to_list()
    return ids


def _difference(store: Store, name: str, key: str) -> str:
    old = read_json(store.project.root / "features" / name / key / "key.json")
    if is_of_redub_01(old):
        return "written by redub 0.1, whose settings have other names"
    lines = differing_fields(old, store.keys.by_name[name].document.to_json())
    lines.sort(key=lambda line: line.startswith("licence "))  # it follows from the other changes
    return lines[0] + (f" and {len(lines) - 1} more" if len(lines) > 1 else "")
