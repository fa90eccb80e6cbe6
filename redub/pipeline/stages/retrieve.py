"""Stage 4 of 7: retrieve library clips for every clip.

Reads the index and the query vectors. Writes ``neighbours/<key>/part-*.parquet``.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from redub.core.config import nearest
from redub.core.errors import ConfigError
from redub.core.types import MODALITIES
from redub.pipeline.store.index.build_record import BuildRecord
from redub.pipeline.store.index.builds import OpenIndex, features_of, open_build, open_index
from redub.pipeline.store.index.neighbours import neighbour_parts, query_chunks
from redub.pipeline.store.project import Project
from redub.pipeline.store.settings import IndexConfig
from redub.pipeline.store.tables import Store
from redub.pipeline.store.writing import writing
from redub.pipeline.work.query import neighbour_rows


@dataclass(frozen=True, slots=True)
class RetrieveSummary:
    """Clips that were queried now, and neighbour rows written; both 0 where all is up to date."""

    queries: int
    rows: int


def retrieve(project: Project, build: BuildRecord | None = None) -> RetrieveSummary:
    """Query every live clip that has not been queried under these settings.

    Args:
        build: the build to search, which need not be committed yet; by default the newest one.

    Raises:
        ConfigError: the policy names films, rights or clips that the library does not have.
    """
    store = Store(project)
    index = open_index(store) if build is None else open_build(store, build)
    check_policy(index, project.config.index)
    table = neighbour_parts(store, index)
    clips = store.clips()
    features = features_of(store)
    vectors = {m: store.read(features[m]) for m in MODALITIES}
    known = {part.name for part in table.parts() if table.is_whole(part)}
    rows = queries = 0
    for shard, chunk in query_chunks(store, index, clips):
        name = f"part-{shard}.parquet"
        if name in known:
            continue
        found = pa.concat_tables(
            [neighbour_rows(index, project, m, chunk, vectors[m]) for m in MODALITIES]
        )
        table.commit([table.write_part(name, found, shard=shard)])
        queries += len(chunk)
        rows += found.num_rows
    return RetrieveSummary(queries, rows)


def check_policy(index: OpenIndex, config: IndexConfig) -> None:
    """Refuse a policy that names a film, right or clip that no library clip has.

    Raises:
        ConfigError: E-CFG-VALUE, with the nearest known name.
    """
    known = {
        "films": {clip.film for clip in index.clips},
        "rights": {clip.rights for clip in index.clips},
        "include": {clip.clip_id for clip in index.clips},
    }
    for key, names in known.items():
        for name in getattr(config, key):
            if name not in names:
                raise ConfigError(
                    f"index.{key} names '{name}', which no library clip has; "
                    f"{nearest(name, names)}",
                    code="E-CFG-VALUE",
                )


def run_retrieve(project: Project) -> RetrieveSummary:
    """Run stage 4 under the project lock; see :func:`retrieve`."""
    with writing(project, "retrieve"):
        return retrieve(project)
