"""Stage 4 of 7: ask the index for the K neighbours of every clip, per modality.

Reads the newest index build and the query clips' vectors. Writes ``neighbours/<key>/``: one row
per query, modality and rank. A clip without a vector in a modality has no rows there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from redub.core.config import digest_of, nearest
from redub.core.errors import ConfigError, IntegrityError, UsageError
from redub.core.types import MODALITIES, Clip, FloatArray, Value
from redub.index.library import retrieve as search
from redub.index.policy import ClipFacts
from redub.pipeline.index import FEATURE_OF, OpenIndex, open_index, policy_of
from redub.pipeline.parts import PartTable
from redub.pipeline.project import Project
from redub.pipeline.store import NEIGHBOUR_SCHEMA, Store

QUERIES_PER_PART = 4096


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One hit of one query, as people read it."""

    rank: int
    clip_id: str
    score: float
    speaker: str
    emotion: str
    text: str


@dataclass(frozen=True, slots=True)
class RetrieveSummary:
    queries: int
    rows: int


def retrieve(project: Project) -> RetrieveSummary:
    """Query every live clip that has not been queried under these settings."""
    store = Store(project)
    index = open_index(project)
    table = neighbour_parts(store, index)
    clips = store.clips()
    vectors = {m: store.read(FEATURE_OF[m]) for m in MODALITIES}
    known = {part.name for part in table.parts() if table.is_whole(part)}
    rows = queries = 0
    for shard, chunk in _chunks(store, clips):
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


def neighbour_parts(store: Store, index: OpenIndex) -> PartTable:
    """The neighbours of one build under one policy and K."""
    config = store.project.config.index
    key = digest_of([index.build, asdict(policy_of(config)), config.k])
    return PartTable(store.project.root / "neighbours" / key, NEIGHBOUR_SCHEMA)


def neighbour_rows(
    index: OpenIndex,
    project: Project,
    modality: str,
    clips: Sequence[Clip],
    vectors: dict[str, Value],
    *,
    k: int | None = None,
) -> pa.Table:
    """Neighbours of some clips in one modality, as rows of the neighbour table."""
    asking = [clip for clip in clips if clip.clip_id in vectors]
    columns: dict[str, list[object]] = {name: [] for name in NEIGHBOUR_SCHEMA.names}
    if asking and len(index.modalities[modality].rows):
        queries = np.stack([np.asarray(vectors[clip.clip_id]) for clip in asking])
        hits = search(
            index.modalities[modality],
            index.table,
            policy_of(project.config.index),
            queries.astype(np.float32),
            [ClipFacts.of(clip) for clip in asking],
            project.config.index.k if k is None else k,
        )
        for clip, rows, scores in zip(asking, hits.rows, hits.scores, strict=True):
            for rank, (row, score) in enumerate(zip(rows, scores, strict=True)):
                if row >= 0:
                    hit = index.clips[row].clip_id
                    line = (clip.clip_id, modality, rank, hit, float(score))
                    for name, value in zip(NEIGHBOUR_SCHEMA.names, line, strict=True):
                        columns[name].append(value)
    return pa.table(columns, schema=NEIGHBOUR_SCHEMA)


def _chunks(store: Store, clips: Sequence[Clip]) -> Iterator[tuple[str, Sequence[Clip]]]:
    """The queries cut into parts, each named by all that its answers depend on but the index."""
    keys = [store.keys.by_name[FEATURE_OF[m]] for m in MODALITIES]
    for start in range(0, len(clips), QUERIES_PER_PART):
        chunk = clips[start : start + QUERIES_PER_PART]
        asked = [[asdict(c), [key.input_digest(c) for key in keys]] for c in chunk]
        yield digest_of([[key.key for key in keys], asked], digits=16), chunk


def neighbours_of(store: Store, index: OpenIndex) -> dict[str, dict[str, list[tuple[str, float]]]]:
    """Clip id → modality → (hit clip id, score), best first.

    Raises:
        ConfigError: clips were added or changed since the last retrieval (names the stage).
    """
    table = neighbour_parts(store, index)
    wanted = [shard for shard, _ in _chunks(store, store.clips())]
    if missing := set(wanted) - {part.shard for part in table.parts()}:
        raise ConfigError(
            f"{len(missing)} of {len(wanted)} parts of the clip table were not asked yet; "
            "run `redub retrieve`",
            code="E-STAGE-RETRIEVE",
        )
    found: dict[str, dict[str, list[tuple[str, float]]]] = defaultdict(lambda: defaultdict(list))
    rows = table.read(shards=wanted)
    columns = [rows.column(name).to_pylist() for name in NEIGHBOUR_SCHEMA.names]
    for clip_id, modality, _, hit, score in zip(*columns, strict=True):
        found[clip_id][modality].append((hit, score))
    return found


def query_clip(
    project: Project, clip_id: str, *, modality: str = "all", k: int | None = None
) -> dict[str, list[Neighbour]]:
    """Search now for one clip, with the project's policy.

    Raises:
        UsageError: an unknown clip or modality, with the nearest known one.
    """
    if modality != "all" and modality not in MODALITIES:
        hint = nearest(modality, [*MODALITIES, "all"])
        raise UsageError(f"unknown modality '{modality}'; {hint}")
    if k is not None and k < 1:
        raise UsageError(f"-k is {k}; wanted at least 1")
    store = Store(project)
    index = open_index(project)
    clips = {clip.clip_id: clip for clip in store.clips()}
    if clip_id not in clips:
        raise UsageError(f"unknown clip '{clip_id}'; {nearest(clip_id, clips)}")
    library = {clip.clip_id: clip for clip in index.clips}
    answer: dict[str, list[Neighbour]] = {}
    for name in MODALITIES if modality == "all" else (modality,):
        vectors = store.read(FEATURE_OF[name], [clip_id])
        rows = neighbour_rows(index, project, name, [clips[clip_id]], vectors, k=k).to_pylist()
        answer[name] = [
            Neighbour(
                row["rank"] + 1,
                row["hit"],
                row["score"],
                library[row["hit"]].speaker,
                library[row["hit"]].emotion,
                library[row["hit"]].text,
            )
            for row in rows
        ]
    return answer


def stack_hits(
    index: OpenIndex, modality: str, hits: Sequence[tuple[str, float]]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Hits as arrays: own-modality vectors (K, D), audio vectors (K, Da), scores (K,)."""
    rows = np.array([_library_row(index, hit) for hit, _ in hits], dtype=np.int64)
    places = np.searchsorted(index.modalities[modality].rows, rows)
    scores = np.array([score for _, score in hits], dtype=np.float32)
    return index.vectors[modality][places], index.audio[rows], scores


def _library_row(index: OpenIndex, clip_id: str) -> int:
    row = index.table.row_of(clip_id)
    if row is None:
        raise IntegrityError(
            f"neighbour {clip_id} is not in the library of build {index.build}; "
            "run `redub retrieve` again",
            code="E-INT-STALE",
        )
    return row
