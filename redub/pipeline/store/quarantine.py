"""The quarantine: list the rows in it, and release them for another try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from redub.core.config import digest_of, nearest
from redub.core.errors import UsageError
from redub.pipeline.store.project import Project
from redub.pipeline.store.schemas import QUARANTINE_SCHEMA
from redub.pipeline.store.tables import Store
from redub.pipeline.store.writing import writing


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRow:
    """One clip or file that cannot be used: a row of :data:`QUARANTINE_SCHEMA`.

    ``feature`` is empty where the whole clip is quarantined.
    """

    clip_id: str
    stage: str
    feature: str
    source: str
    input_digest: str
    state: str
    code: str
    message: str
    attempts: int | None
    signal: str | None
    peak_memory_mib: int | None
    versions: str
    command: str


@dataclass(frozen=True, slots=True)
class QuarantineList:
    """Quarantine rows of a project, or of one clip."""

    rows: tuple[QuarantineRow, ...]

    def of_clip(self, clip_id: str) -> QuarantineList:
        """The rows of one clip.

        Raises:
            UsageError: the clip has no row.
        """
        rows = tuple(row for row in self.rows if row.clip_id == clip_id)
        if not rows:
            raise UsageError(f"'{clip_id}' is not quarantined; `redub bad list` names what is")
        return QuarantineList(rows)


@dataclass(frozen=True, slots=True)
class Released:
    """How many quarantine rows were released."""

    rows: int


def held_rows(project: Project) -> QuarantineList:
    """Quarantine rows that were not released yet."""
    rows = Store(project).quarantined().select(QUARANTINE_SCHEMA.names).to_dicts()
    return QuarantineList(tuple(QuarantineRow(**row) for row in rows))


def release(project: Project, clip_ids: Sequence[str]) -> int:
    """Mark quarantine rows as released, so that the next run tries again.

    Nothing is deleted: a release adds a row. For a fault found at ingest, change the faulty file or
    table instead; ingest notices the change.

    Args:
        clip_ids: clips to release; all if empty.

    Returns:
        How many rows were released.

    Raises:
        UsageError: a clip id that is not quarantined.
    """
    store = Store(project)
    held = store.quarantined()
    if clip_ids:
        known = set(held["clip_id"])
        for clip_id in clip_ids:
            if clip_id not in known:
                raise UsageError(f"'{clip_id}' is not quarantined; {nearest(clip_id, known)}")
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


def run_release(project: Project, clip_ids: Sequence[str]) -> Released:
    """Release quarantined clips, under the project lock; see :func:`release`."""
    with writing(project, "release"):
        return Released(release(project, clip_ids))
