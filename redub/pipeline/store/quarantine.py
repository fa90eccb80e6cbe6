"""The quarantine: list the rows in it, and release them for another try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import polars as pl
import pyarrow as pa

from redub import __version__
from redub.core.config import digest_of, nearest
from redub.core.errors import ClipError, UsageError
from redub.core.types import Clip
from redub.footage.faults import ClipFault
from redub.pipeline.store.keys import media_digest, text_digest
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

    @classmethod
    def of_clip(cls, clip: Clip, feature: str, error: ClipError, *, key: str = "") -> QuarantineRow:
        """A row of the stage ``extract`` about a clip that exists in the clip table.

        Args:
            feature: empty for the whole clip.
            key: of the feature; under another key (other weights, other settings) the row has no
                effect. Empty for a fault of the clip itself.
        """
        whole = f"{media_digest(clip)}+{text_digest(clip)}"
        return cls(
            clip_id=clip.clip_id,
            stage="extract",
            feature=feature,
            source=clip.source,
            input_digest=whole + (f"@{key}" if key else ""),
            state="held",
            code=error.code,
            message=error.message,
            attempts=error.attempts,
            signal=error.signal,
            peak_memory_mib=_measured_peak(error.code, error.peak_memory_mib),
            versions=f"redub {__version__}, {clip.decoder}",
            command=f"redub bad show {clip.clip_id}",
        )

    @classmethod
    def of_source(cls, fault: ClipFault, fingerprint: str) -> QuarantineRow:
        """A row of the stage ``ingest`` about a file, or about one of its lines."""
        return cls(
            clip_id=fault.clip_id
            or (f"{fault.source}:{fault.line}" if fault.line else fault.source),
            stage="ingest",
            feature="",
            source=fault.source,
            input_digest=fingerprint,
            state="held",
            code=fault.code,
            message=fault.message,
            attempts=fault.attempts,
            signal=fault.signal,
            peak_memory_mib=_measured_peak(fault.code, fault.peak_memory_mib),
            versions=f"redub {__version__}",
            command="redub ingest",
        )


def _measured_peak(code: str, peak_memory_mib: int | None) -> int | None:
    """The decoder's peak memory in MiB for codes that may depend on it, else None.

    The number differs from run to run, while rows with other codes must have the same bytes.
    """
    return peak_memory_mib if code in ("E-DEC-MEM", "E-DEC-CRASH", "E-DEC-TIMEOUT") else None


def quarantine_table(rows: Sequence[QuarantineRow]) -> pa.Table:
    """Quarantine rows for one part of the table."""
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=QUARANTINE_SCHEMA)


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
    return QuarantineList(tuple(_rows(Store(project).quarantined())))


def _rows(frame: pl.DataFrame) -> list[QuarantineRow]:
    names = QUARANTINE_SCHEMA.names
    return [QuarantineRow(**row) for row in frame.select(names).iter_rows(named=True)]


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
    rows = [replace(row, state="released") for row in _rows(held)]
    number = len(store.quarantine.commits()) + 1
    shard = digest_of([number, [[r.clip_id, r.stage, r.feature] for r in rows]], digits=16)
    name = f"part-{shard}.parquet"
    part = store.quarantine.write_part(name, quarantine_table(rows), shard=shard)
    store.quarantine.commit([part])
    return len(rows)


def run_release(project: Project, clip_ids: Sequence[str]) -> Released:
    """Release quarantined clips, under the project lock; see :func:`release`."""
    with writing(project, "release"):
        return Released(release(project, clip_ids))
