"""The neighbour table: where it lies, and the retrieved clips of every clip.

Reads ``neighbours/<key>/``, one table per build, policy and selection. Writes nothing:
``stages/retrieve.py`` fills the table.

Letters: K retrieved clips, D and Da widths of an own-modality and an audio vector.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
import polars as pl

from redub.core.config import digest_of
from redub.core.errors import ConfigError, IntegrityError
from redub.core.types import MODALITIES, Clip, FloatArray
from redub.pipeline.store.index.builds import OpenIndex, features_of, policy_of, selection_of
from redub.pipeline.store.parts import PartTable
from redub.pipeline.store.project import Project
from redub.pipeline.store.schemas import NEIGHBOUR_SCHEMA
from redub.pipeline.store.tables import Store

QUERIES_PER_PART = 4096


def neighbour_parts(store: Store, index: OpenIndex) -> PartTable:
    """The neighbour table of a build under the project's policy and selection."""
    return neighbours_of_build(store.project, index.build)


def neighbours_of_build(project: Project, build: str) -> PartTable:
    """:func:`neighbour_parts` by the build's name, without opening the index."""
    return PartTable(project.root / "neighbours" / _key(project, build), NEIGHBOUR_SCHEMA)


def retrieval_key(project: Project, index: OpenIndex) -> str:
    """Digest of what the hits of a clip depend on besides the clip: build, policy, selection."""
    return _key(project, index.build)


def _key(project: Project, build: str) -> str:
    config = project.config.index
    return digest_of([build, asdict(policy_of(config)), asdict(selection_of(config))])


def query_chunks(
    store: Store, index: OpenIndex, clips: Sequence[Clip]
) -> Iterator[tuple[str, Sequence[Clip]]]:
    """Cut the clips into parts of the neighbour table.

    Yields:
        The name of a part, a digest of everything that its rows depend on, and its query clips.
    """
    policy_key = retrieval_key(store.project, index)
    features = features_of(store)
    keys = [store.keys.by_name[features[m]] for m in MODALITIES]
    for start in range(0, len(clips), QUERIES_PER_PART):
        chunk = clips[start : start + QUERIES_PER_PART]
        queries = [[asdict(c), [key.input_digest(c) for key in keys]] for c in chunk]
        yield digest_of([policy_key, [key.key for key in keys], queries], digits=16), chunk


def neighbours_of(store: Store, index: OpenIndex) -> dict[str, dict[str, list[tuple[str, float]]]]:
    """Clip id → modality → (hit clip id, score), best first.

    Raises:
        ConfigError: clips were added or changed since the last retrieval (names the stage).
    """
    table = neighbour_parts(store, index)
    wanted = [shard for shard, _ in query_chunks(store, index, store.clips())]
    if missing := set(wanted) - {part.shard for part in table.parts()}:
        raise ConfigError(
            f"{len(missing)} of {len(wanted)} parts of the clip table have no neighbours yet; "
            "run `redub retrieve`",
            code="E-STAGE-RETRIEVE",
        )
    found: dict[str, dict[str, list[tuple[str, float]]]] = defaultdict(lambda: defaultdict(list))
    rows = table.read(shards=wanted)
    columns = [rows.column(name).to_pylist() for name in NEIGHBOUR_SCHEMA.names]
    for clip_id, modality, _, hit, score, _ in zip(*columns, strict=True):
        found[clip_id][modality].append((hit, score))
    return found


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


def stored_hits(store: Store, index: OpenIndex) -> pl.DataFrame:
    """The newest committed neighbours of every clip, for one build and the project's settings.

    Columns ``clip_id, modality, rank, hit, score, margin``. Clips that were removed since then are
    included.
    """
    table = neighbour_parts(store, index)
    names = table.schema.names
    frames = [
        pl.DataFrame(table.read_one(part, None).to_pydict()).with_columns(part=pl.lit(number))
        for number, part in enumerate(table.parts())
        if part.rows
    ]
    if not frames:
        kinds = {"rank": pl.Int64, "score": pl.Float64, "margin": pl.Float64}
        return pl.DataFrame(schema={name: kinds.get(name, pl.String) for name in names})
    rows = pl.concat(frames)
    newest = pl.col("part") == pl.col("part").max().over("clip_id")
    return rows.filter(newest).select(names)


def hits_of_build(project: Project, build: str) -> pl.DataFrame:
    """The newest hits of every clip under the project's settings, without scores.

    Args:
        build: name of a build; empty for none.

    Returns:
        Columns ``clip_id`` and ``hits``: ``modality:hit`` of all modalities in the order of ranks.
    """
    table = neighbours_of_build(project, build)
    columns = ["clip_id", "modality", "rank", "hit"]
    frames = [
        pl.DataFrame(table.read_one(part, columns)).with_columns(part=pl.lit(number))
        for number, part in enumerate(table.parts() if build else ())
    ]
    if not frames:
        return pl.DataFrame(schema={"clip_id": pl.String, "hits": pl.List(pl.String)})
    rows = pl.concat(frames)
    newest = rows.filter(pl.col("part") == pl.col("part").max().over("clip_id"))
    hit = pl.concat_str("modality", "hit", separator=":")
    return newest.sort("modality", "rank").group_by("clip_id").agg(hits=hit)
