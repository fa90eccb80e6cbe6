"""The ledger law: listed = committed + quarantined + pending, and no clip twice.

The law is checked after every stage that commits rows, and `redub status` shows the counts. They
come from three places (the parts, the quarantine table, the planner), so the check finds a clip
that is in none of them or in two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from redub.core.errors import IntegrityError
from redub.pipeline.store.keys import FeatureKeys
from redub.pipeline.store.tables import Store

WHOLE_CLIP = ""  # column "feature" of the quarantine table if the clip's media cannot be used


def with_reads(keys: FeatureKeys, features: Sequence[str]) -> list[str]:
    """These features and all features they read, in registry order (inputs first)."""
    wanted: set[str] = set()
    stack = list(features)
    while stack:
        name = stack.pop()
        if name not in wanted:
            wanted.add(name)
            stack.extend(keys.by_name[name].reads)
    return [name for name in keys.by_name if name in wanted]


def pending_features(store: Store, features: Sequence[str]) -> dict[str, list[str]]:
    """Clip id → features without a live row that are not quarantined, inputs first."""
    clips = store.clip_frame()
    held = _held(store)
    pending: dict[str, list[str]] = defaultdict(list)
    for name in with_reads(store.keys, features):
        done = store.live_features(name, clips=clips)["clip_id"]
        skip = _blocked(store, held, name)
        missing = clips.join(done.to_frame(), on="clip_id", how="anti", maintain_order="left")
        for clip_id in missing["clip_id"]:
            if clip_id not in skip:
                pending[clip_id].append(name)
    return pending


def _held(store: Store) -> pl.DataFrame:
    return store.quarantined().filter(pl.col("stage") == "extract")


def _blocked(store: Store, held: pl.DataFrame, name: str) -> set[str]:
    """Clips whose quarantine row covers this feature."""
    covers = pl.col("feature") == name
    if store.keys.by_name[name].uses_media:
        covers |= pl.col("feature") == WHOLE_CLIP
    return set(held.filter(covers)["clip_id"])


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """One feature's counts of live clips; ``nulls`` are committed rows without a value."""

    feature: str
    listed: int
    committed: int
    nulls: int
    quarantined: int
    pending: int


def ledger(
    store: Store, features: Sequence[str], *, pending: Mapping[str, Sequence[str]] | None = None
) -> list[LedgerLine]:
    """Count every feature's rows against the clip table."""
    clips = store.clip_frame()
    waiting = pending_features(store, features) if pending is None else pending
    held = _held(store)
    lines = []
    for name in features:
        rows = store.live_features(name, clips=clips)
        committed = set(rows["clip_id"])
        lines.append(
            LedgerLine(
                feature=name,
                listed=len(clips),
                committed=len(committed),
                nulls=int((~rows["valid"]).sum()),
                quarantined=len(_blocked(store, held, name) - committed),
                pending=sum(name in names for names in waiting.values()),
            )
        )
    return lines


def check_ledger(store: Store, features: Sequence[str]) -> None:
    """Check the ledger law for some features.

    Raises:
        IntegrityError: E-INT-LEDGER, a clip is counted twice or not at all (exit 6).
    """
    ids = store.clip_frame()["clip_id"]
    if ids.n_unique() != len(ids):
        twice = ids.filter(ids.is_duplicated())[0]
        raise IntegrityError(f"clip {twice} is listed twice", code="E-INT-LEDGER")
    for line in ledger(store, features):
        if line.listed != line.committed + line.quarantined + line.pending:
            raise IntegrityError(
                f"the counts of {line.feature} do not add up: {line}", code="E-INT-LEDGER"
            )
