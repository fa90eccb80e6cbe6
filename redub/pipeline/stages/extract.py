"""Stage 2 of 7: compute every missing feature of every clip, decoding each clip once.

Reads the clip table and the footage. Writes one Parquet part per feature and shard, then the
commit records, and a quarantine row for every clip that could not be used. The stage may be
stopped at any moment: the next run adopts finished shards and computes unfinished ones again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from redub.core.config import nearest
from redub.core.errors import ClipError, ConfigError, ModelRefusedError, UsageError
from redub.core.progress import Progress
from redub.features.registry import EXTRACTORS
from redub.pipeline.store.ledger import WHOLE_CLIP, check_ledger, with_reads
from redub.pipeline.store.project import Project
from redub.pipeline.store.quarantine import QuarantineRow, quarantine_table
from redub.pipeline.store.tables import Store
from redub.pipeline.store.timings import note_features
from redub.pipeline.store.writing import writing
from redub.pipeline.work.decoders import close_decoders
from redub.pipeline.work.executor import Failure, Scheduler
from redub.pipeline.work.shards import (
    ShardOrder,
    ShardOutcome,
    extract_shard,
    outcome_path,
    plan_shards,
)


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
        table = quarantine_table(outcome.quarantine)
        store.quarantine.commit([store.quarantine.write_part(name, table, shard=outcome.shard)])
    for feature, part in sorted(outcome.parts.items()):
        table_of = store.feature_parts(feature)
        if name not in {p.name for p in table_of.parts()}:
            table_of.commit([part])
        summary.rows += part.rows
    summary.clips += outcome.clips
    summary.quarantined += len({row.clip_id for row in outcome.quarantine})
    for key, value in outcome.seconds.items():
        summary.seconds[key] += value
    outcome_path(store.project, outcome.shard).unlink(missing_ok=True)


def finish_interrupted(store: Store, summary: ExtractSummary) -> None:
    """Finish the shard that a killed run had begun to commit; other finished shards stay as is."""
    folder = outcome_path(store.project, "x").parent
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        outcome = ShardOutcome.read(path)
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
    rows = [QuarantineRow.of_clip(clip, WHOLE_CLIP, error) for clip in order.clips]
    rows += [
        QuarantineRow.of_clip(clip, name, error, key=store.keys.by_name[name].key)
        for clip in order.clips
        for name in order.pending[clip.clip_id]
        if not store.keys.by_name[name].uses_media
    ]
    return ShardOutcome(order.shard, {}, tuple(rows), len(order.clips), {})


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
