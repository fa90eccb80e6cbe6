"""Shards of an extraction: cut the pending clips, compute one shard in a worker, keep its outcome.

Reads the clip table, the footage and committed features. Writes Parquet parts, and the outcome of a
finished shard to ``<shard>.json`` in the folder ``work`` of ``.redub``; commits nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import polars as pl

from redub.core.config import digest_of
from redub.core.records import JsonRecord
from redub.core.types import Clip
from redub.pipeline.store.keys import media_digest, text_digest
from redub.pipeline.store.ledger import pending_features
from redub.pipeline.store.parts import PartRecord
from redub.pipeline.store.project import Project
from redub.pipeline.store.quarantine import QuarantineRow
from redub.pipeline.store.schemas import FeatureRow, feature_table
from redub.pipeline.store.tables import Store, clips_of
from redub.pipeline.work.clip_work import ClipWork, run_works
from redub.pipeline.work.extraction import Toolbox


@dataclass(frozen=True, slots=True)
class ShardOrder:
    """One task: the clips, the features to compute of each, and where their inputs are stored."""

    project: Project
    shard: str
    clips: tuple[Clip, ...]
    pending: dict[str, tuple[str, ...]]  # clip id → features to compute, reads first
    stored: dict[str, dict[str, tuple[str, ...]]]  # feature → part → clip ids to read there
    nulls: dict[str, dict[str, str]]  # clip id → feature → why it is null


@dataclass(frozen=True, slots=True)
class ShardOutcome(JsonRecord):
    """What a task has written, ready to be committed.

    ``parts``: by feature. ``seconds``: compute time by feature and of ``decode``, for estimates.
    """

    ADVICE: ClassVar[str] = "remove it, then `redub extract` computes these clips again"

    shard: str
    parts: Mapping[str, PartRecord]
    quarantine: tuple[QuarantineRow, ...]
    clips: int
    seconds: Mapping[str, float]


# -- planning


def plan_shards(store: Store, features: Sequence[str]) -> list[ShardOrder]:
    """Cut the pending clips into shards, in clip-table order.

    Shards are committed in plan order. The clips that are pending after a kill are therefore a
    suffix of those that were pending before, and the resumed run cuts the same shards with the
    same file names.
    """
    pending = pending_features(store, features)
    frame = store.clip_frame().filter(pl.col("clip_id").is_in(list(pending)))
    clips = clips_of(frame)
    size = store.project.config.store.shard_clips
    chunks = [clips[i : i + size] for i in range(0, len(clips), size)]
    upstream = {
        read
        for names in pending.values()
        for name in names
        for read in store.keys.by_name[name].reads
    }
    stored = {name: _stored_rows(store, name) for name in sorted(upstream)}
    return [_order(store, chunk, pending, stored) for chunk in chunks]


def _stored_rows(store: Store, name: str) -> dict[str, tuple[str, str]]:
    """Clip id → (part, why it is null) of a feature that other features read."""
    live = store.live_features(name)
    return {
        clip_id: (part, "" if valid else why)
        for clip_id, valid, why, part in live.select(
            "clip_id", "valid", "why_not", "part"
        ).iter_rows()
    }


def _order(
    store: Store,
    clips: Sequence[Clip],
    pending: Mapping[str, list[str]],
    stored: Mapping[str, dict[str, tuple[str, str]]],
) -> ShardOrder:
    keys = store.keys.by_name
    reads: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    nulls: dict[str, dict[str, str]] = defaultdict(dict)
    for clip in clips:
        computed = set(pending[clip.clip_id])
        wanted = {read for name in computed for read in keys[name].reads} - computed
        for read in sorted(wanted):
            if clip.clip_id in stored[read]:
                part, why = stored[read][clip.clip_id]
                if why:
                    nulls[clip.clip_id][read] = why
                else:
                    reads[read][part].append(clip.clip_id)
    work = {clip.clip_id: tuple(pending[clip.clip_id]) for clip in clips}
    involved = sorted({name for names in work.values() for name in names})
    identity = [
        [(c.clip_id, media_digest(c), text_digest(c), work[c.clip_id]) for c in clips],
        {name: keys[name].key for name in involved},
    ]
    return ShardOrder(
        project=store.project,
        shard=digest_of(identity, digits=16),
        clips=tuple(clips),
        pending=work,
        stored={name: {p: tuple(ids) for p, ids in parts.items()} for name, parts in reads.items()},
        nulls=dict(nulls),
    )


# -- the task


def extract_shard(order: ShardOrder) -> ShardOutcome:
    """Compute one shard and write its parts; runs in a worker, commits nothing."""
    path = outcome_path(order.project, order.shard)
    if path.exists():
        return ShardOutcome.read(path)
    store = Store(order.project)
    outcome = _compute(order, store)
    outcome.write(path)
    return outcome


def outcome_path(project: Project, shard: str) -> Path:
    """Where the outcome of a finished shard is kept until the shard is committed."""
    return project.root / ".redub" / "work" / f"{shard}.json"


def _compute(order: ShardOrder, store: Store) -> ShardOutcome:
    tools = Toolbox(order.project)
    loaded = {
        name: {
            clip_id: value
            for part, ids in parts.items()
            for clip_id, value in store.read_part_values(name, part, set(ids)).items()
        }
        for name, parts in order.stored.items()
    }
    rows: dict[str, list[FeatureRow]] = defaultdict(list)
    quarantine: list[QuarantineRow] = []
    seconds: dict[str, float] = defaultdict(float)
    works = (
        ClipWork(
            clip,
            order.pending[clip.clip_id],
            {name: loaded[name][clip.clip_id] for name in loaded if clip.clip_id in loaded[name]},
            order.nulls.get(clip.clip_id, {}),
        )
        for clip in order.clips
    )
    for work in run_works(works, tools, seconds):
        for name, row in work.rows.items():
            rows[name].append(row)
        quarantine += work.quarantine
    parts: dict[str, PartRecord] = {}
    for name in sorted(rows):
        table = feature_table(store.keys.by_name[name].schema, rows[name])
        parts[name] = store.feature_parts(name).write_part(
            f"part-{order.shard}.parquet", table, shard=order.shard
        )
    return ShardOutcome(order.shard, parts, tuple(quarantine), len(order.clips), dict(seconds))
