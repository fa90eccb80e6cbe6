"""Stage 2 of 7: compute every missing feature of every clip, decoding each clip once.

Reads the clip table and the footage. Writes one Parquet part per feature and shard, then the
commit records, and a quarantine row for every clip that could not be used. The stage may be
stopped at any moment: the next run adopts finished shards and computes unfinished ones again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from redub.core.config import digest_of, nearest
from redub.core.durable import commit_json, read_json
from redub.core.errors import ClipError, ConfigError, ModelRefusedError, UsageError
from redub.core.progress import Progress
from redub.core.types import Clip
from redub.features.registry import EXTRACTORS
from redub.pipeline.store.keys import media_digest, text_digest
from redub.pipeline.store.ledger import WHOLE_CLIP, check_ledger, pending_features, with_reads
from redub.pipeline.store.parts import PartRecord
from redub.pipeline.store.project import Project
from redub.pipeline.store.schemas import QUARANTINE_SCHEMA, FeatureRow, feature_table
from redub.pipeline.store.tables import Store, clips_of
from redub.pipeline.store.timings import note_features
from redub.pipeline.store.writing import writing
from redub.pipeline.work.decoders import close_decoders
from redub.pipeline.work.executor import Failure, Scheduler
from redub.pipeline.work.extraction import ClipWork, Toolbox, quarantine_row, run_works


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
class ShardOutcome:
    """What a task has written, ready to be committed."""

    shard: str
    parts: dict[str, dict[str, Any]]  # feature → PartRecord as JSON
    quarantine: list[dict[str, Any]]
    clips: int
    seconds: dict[str, float]  # feature (or "decode") → compute time, for estimates only


@dataclass(slots=True)
class ExtractSummary:
    """What the stage did.

    ``clips`` computed, ``rows`` written (over all features), ``quarantined`` clips, and
    ``seconds`` of work per feature or "decode".
    """

    clips: int = 0
    rows: int = 0
    nulls: int = 0
    quarantined: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))


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
        return ShardOutcome(**read_json(path))
    store = Store(order.project)
    outcome = _compute(order, store)
    commit_json(path, asdict(outcome))
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
    quarantine: list[dict[str, Any]] = []
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
    parts: dict[str, dict[str, Any]] = {}
    for name in sorted(rows):
        table = feature_table(store.keys.by_name[name].schema, rows[name])
        record = store.feature_parts(name).write_part(
            f"part-{order.shard}.parquet", table, shard=order.shard
        )
        parts[name] = asdict(record)
    return ShardOutcome(order.shard, parts, quarantine, len(order.clips), dict(seconds))


# -- the stage


def extract(
    project: Project,
    *,
    scheduler: Scheduler,
    features: Sequence[str] | None = None,
    progress: Progress = lambda done, total: None,
) -> ExtractSummary:
    """Compute the missing rows; the caller holds the project lock.

    Args:
        features: names of features; those that they read are computed too. None means all.
        progress: given the number of finished clips, and of all pending ones.

    Raises:
        ConfigError: E-STAGE-INGEST, there are no clips yet.
        ModelRefusedError: weights of a feature are not recorded, or damaged.
        StorageError, IntegrityError, ClusterLostError: the stage stops; committed rows stay.
    """
    store = Store(project)
    summary = ExtractSummary()
    finish_interrupted(store, summary)
    names = list(features) if features else all_features(store)
    for name in with_reads(store.keys, names):
        store.keys.folders(name, checked=True)  # wrong weights are refused before any work
    if not store.sources.commits():
        raise ConfigError("there are no clips yet; run `redub ingest`", code="E-STAGE-INGEST")
    orders = plan_shards(store, names)
    total = sum(len(order.clips) for order in orders)
    for name in with_reads(store.keys, names):
        store.describe_key(name)
    done = 0
    progress(0, total)
    try:
        for order, result in zip(orders, scheduler.run(extract_shard, orders), strict=True):
            outcome = result if isinstance(result, ShardOutcome) else _lost(store, result)
            commit_shard(store, outcome, summary)
            done += len(order.clips)
            progress(done, total)
    finally:
        close_decoders()
    check_ledger(store, names)
    return summary


def all_features(store: Store) -> list[str]:
    """Names of all features of the project.

    Raises:
        ModelRefusedError: weights are not recorded or missing; names all affected features.
    """
    lacking = store.keys.lacking
    for first in lacking.values():
        raise ModelRefusedError(
            f"{first.message}. Features that cannot be computed: {', '.join(lacking)}; to compute "
            "others, name them with `redub extract -f FEATURE`",
            code=first.code,
        )
    return list(store.keys.by_name)


def commit_shard(store: Store, outcome: ShardOutcome, summary: ExtractSummary) -> None:
    """Commit a shard's quarantine rows and parts; skips those that a killed run has committed."""
    name = f"part-{outcome.shard}.parquet"
    if outcome.quarantine and not store.quarantine.ends_with(name):
        table = pa.Table.from_pylist(outcome.quarantine, schema=QUARANTINE_SCHEMA)
        store.quarantine.commit([store.quarantine.write_part(name, table, shard=outcome.shard)])
    for feature, part in sorted(outcome.parts.items()):
        table_of = store.feature_parts(feature)
        if name not in {p.name for p in table_of.parts()}:
            table_of.commit([PartRecord(**part)])
        summary.rows += part["rows"]
    summary.clips += outcome.clips
    summary.quarantined += len({row["clip_id"] for row in outcome.quarantine})
    for key, value in outcome.seconds.items():
        summary.seconds[key] += value
    outcome_path(store.project, outcome.shard).unlink(missing_ok=True)


def finish_interrupted(store: Store, summary: ExtractSummary) -> None:
    """Finish the shard that a killed run had begun to commit; other finished shards stay as is."""
    folder = outcome_path(store.project, "x").parent
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        outcome = ShardOutcome(**read_json(path))
        name = f"part-{outcome.shard}.parquet"
        tables = [store.quarantine, *(store.feature_parts(f) for f in outcome.parts)]
        if any(name == part.name for table in tables for part in table.parts()):
            commit_shard(store, outcome, summary)


def _lost(store: Store, failure: Failure[ShardOrder]) -> ShardOutcome:
    """The outcome of a shard whose worker died three times: all its clips are quarantined."""
    order = failure.order
    error = ClipError(
        f"the worker died while this shard was computed ({failure.message}); "
        "try `redub bad retry` with --scheduler sync",
        code="E-WORKER-LOST",
        attempts=3,
    )
    rows = [quarantine_row(clip, "extract", WHOLE_CLIP, error) for clip in order.clips]
    rows += [
        quarantine_row(clip, "extract", name, error, key=store.keys.by_name[name].key)
        for clip in order.clips
        for name in order.pending[clip.clip_id]
        if not store.keys.by_name[name].uses_media
    ]
    return ShardOutcome(order.shard, {}, rows, len(order.clips), {})


def check_features(names: Sequence[str] | None) -> list[str] | None:
    """Refuse unknown feature names before any work; None for an empty list.

    Raises:
        UsageError: with the nearest known name.
    """
    for name in names or ():
        if name not in EXTRACTORS:
            raise UsageError(f"unknown feature '{name}'; {nearest(name, EXTRACTORS)}")
    return list(names) if names else None


def run_extract(
    project: Project, scheduler: Scheduler, features: Sequence[str] | None, progress: Progress
) -> ExtractSummary:
    """Run stage 2 under the project lock; notes times per feature for `redub plan`."""
    with writing(project, "extract"):
        summary = extract(project, scheduler=scheduler, features=features, progress=progress)
        note_features(project, summary.seconds, summary.clips)
        return summary
