"""The quarantine as people use it: list what is held, release it for another try."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from redub.core.config import digest_of, nearest
from redub.core.errors import UsageError
from redub.pipeline.store.project import Project
from redub.pipeline.store.schemas import QUARANTINE_SCHEMA
from redub.pipeline.store.tables import Store
from redub.pipeline.store.writing import writing


def held_rows(project: Project) -> list[dict[str, Any]]:
    """Quarantine rows that still hold, as dictionaries of :data:`QUARANTINE_SCHEMA`."""
    return Store(project).quarantined().to_dicts()


def release(project: Project, clip_ids: Sequence[str]) -> int:
    """Mark rows as released, so that the next run tries again; returns how many.

    Nothing is deleted: a release is one more row. Faults found at ingest are released by
    changing the file or table they are about, which ingest notices by itself.

    Raises:
        UsageError: a clip id that is not held.
    """
    store = Store(project)
    held = store.quarantined()
    if clip_ids:
        known = set(held["clip_id"])
        for clip_id in clip_ids:
            if clip_id not in known:
                raise UsageError(f"'{clip_id}' is not set aside; {nearest(clip_id, known)}")
        held = held.filter(pl.col("clip_id").is_in(list(clip_ids)))
    if held.is_empty():
        return 0
    rows = held.with_columns(state=pl.lit("released")).to_dicts()
    number = len(store.quarantine.commits()) + 1
    shard = digest_of([number, [[r["clip_id"], r["stage"], r["feature"]] for r in rows]], digits=16)
    table = pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA)
    part = store.quarantine.write_part(f"part-{shard}.parquet", table, shard=shard)
    store.quarantine.commit([part])
    return len(rows)


def run_release(project: Project, clip_ids: Sequence[str]) -> int:
    """Release quarantined clips for another try."""

    with writing(project, "release"):
        return release(project, clip_ids)
