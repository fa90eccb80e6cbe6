"""The project as the next ingest would leave it, without writing anything.

Reads the new and changed sources of the footage folder, as ingest does, and adds their rows to the
tables in memory. What is then planned on this store is what `redub reindex` and `redub run` do.
"""

from __future__ import annotations

import polars as pl

from redub.core.progress import Progress
from redub.pipeline.stages.ingest import (
    IngestSummary,
    OnlySources,
    check_footage,
    read_sources,
    rows_of,
    rows_of_gone,
)
from redub.pipeline.store.project import Project
from redub.pipeline.store.tables import Store
from redub.pipeline.work.executor import Scheduler
from redub.pipeline.work.footage_changes import footage_changes


class ForeseenStore(Store):
    """The store with the rows that the next ingest would add to the source and the clip table."""

    def __init__(self, project: Project, sources: pl.DataFrame, clips: pl.DataFrame) -> None:
        super().__init__(project)
        self._sources, self._clips = sources, clips

    def source_rows(self) -> pl.DataFrame:
        """The committed rows, then the foreseen ones."""
        return pl.concat([super().source_rows(), self._sources])

    def clip_rows(self) -> pl.DataFrame:
        """The committed rows, then the foreseen ones."""
        return pl.concat([super().clip_rows(), self._clips])


def foresee(
    project: Project,
    *,
    scheduler: Scheduler,
    progress: Progress = lambda done, total: None,
    only: OnlySources = lambda source: True,
) -> tuple[ForeseenStore, IngestSummary]:
    """Read what ingest would read.

    Args, Raises: see :func:`redub.pipeline.stages.ingest.ingest`.
    """
    store = Store(project)
    check_footage(project)
    changes = footage_changes(store)
    orders = [order for order in changes.orders if only(order.source)]
    gone = [source for source in changes.gone if only(source)]
    summary = IngestSummary(
        sources=len(orders),
        unchanged=changes.unchanged,
        gone=len(gone),
        unused=[str(found) for found in changes.unused],
    )
    batch = list(read_sources(orders, scheduler=scheduler, progress=progress))
    summary.add([read for _, read in batch])
    rows = rows_of(project, batch)
    sources = pl.concat([pl.DataFrame(rows_of_gone(gone)), pl.DataFrame(rows.sources)])
    foreseen = ForeseenStore(project, sources, pl.DataFrame(rows.clips))
    summary.count(foreseen.clip_frame())
    return foreseen, summary
