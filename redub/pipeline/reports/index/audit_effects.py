"""The effect of a leak on the scores: the index is searched again without the leaking rows.

Letters: N library rows, Q queries, K retrieved clips.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from redub.core.types import MODALITIES, Clip
from redub.index.base import BoolArray
from redub.index.library import ModalityIndex
from redub.index.policy import HELD_OUT, ClipFacts, Policy
from redub.pipeline.reports.index.audit_report import Effect, Finding, Kind, KindReport, Share
from redub.pipeline.store.index.build_record import current_build
from redub.pipeline.store.index.builds import (
    OpenIndex,
    exact_search,
    features_of,
    is_fresh,
    newest_build,
    policy_of,
)
from redub.pipeline.store.index.neighbours import stored_hits
from redub.pipeline.store.project import Project
from redub.pipeline.store.tables import Store

Ban = Callable[[Clip], BoolArray]
"""A query clip → (N,) bool, True where it may not retrieve the library row."""


MEASURED_QUERIES = 2000
"""At most so many queries are searched again per kind and modality, evenly spread."""


SEARCH_BLOCK = 64


# -- the input of an audit


class Look:
    """Everything that an audit reads, opened once.

    ``rows``: stored hits between live clips. ``gone``: stored hits with a clip that is gone.
    ``gaps``: sentences about what cannot be checked.
    """

    def __init__(
        self, store: Store, index: OpenIndex, *, fresh: bool, built: Mapping[str, str]
    ) -> None:
        config = store.project.config.index
        self.store, self.index, self.is_fresh = store, index, fresh
        self.features, self.built = features_of(store), built
        self.policy, self.k = policy_of(config), config.k
        self.clips = {clip.clip_id: clip for clip in store.clips()}
        self.library = {clip.clip_id: clip for clip in index.clips}
        self.facts = _facts(self.library | self.clips)
        self.gaps: list[str] = []
        stored = stored_hits(store, index)
        live = pl.Series(list(self.clips), dtype=pl.String)
        is_live = pl.col("clip_id").is_in(live) & pl.col("hit").is_in(live)
        self.gone = stored.filter(~is_live)
        self.rows = stored.filter(pl.col("clip_id").is_in(live))
        if not len(stored):
            self.gaps.append("hits: no neighbours are stored for this build; run `redub retrieve`")
        elif missing := len(self.clips) - self.rows["clip_id"].n_unique():
            self.gaps.append(f"hits of {missing} clips: none are stored")
        self._searchable: dict[str, ModalityIndex | None] = {}

    @classmethod
    def at(cls, project: Project) -> Look:
        """Open the newest build of a project, up to date or not.

        Raises:
            ConfigError: there is no build yet.
        """
        store = Store(project)
        index = newest_build(store)
        record = current_build(project)
        assert record is not None  # newest_build has opened it
        return cls(store, index, fresh=is_fresh(store, record), built=record.features)

    def joined(self) -> pl.DataFrame:
        """Stored hits with facts of the query clip and, prefixed ``hit_``, of the hit."""
        hits = self.facts.rename({name: f"hit_{name}" for name in self.facts.columns})
        return self.rows.join(self.facts, on="clip_id", maintain_order="left").join(
            hits, left_on="hit", right_on="hit_clip_id", maintain_order="left"
        )

    def searchable(self, modality: str) -> ModalityIndex | None:
        """The modality with exact search; None where its feature changed since the build."""
        if modality not in self._searchable:
            placed = self.index.modalities[modality].backend.placed
            feature, built = self.features[modality], self.built[modality]
            key = self.store.keys.by_name[feature].key
            if any(one.segment.feature_key != key for one in placed):
                why = "changed since the build"
                if feature != built:
                    why = f"is set now, the build is of {built}"
                self.gaps.append(f"effects in {modality}: {feature} {why}")
                self._searchable[modality] = None
            else:
                self._searchable[modality] = exact_search(self.index, modality)
        return self._searchable[modality]

    def held_out(self) -> list[Clip]:
        """Live clips of the validation and test splits."""
        return [clip for clip in self.clips.values() if clip.split in HELD_OUT]


def _facts(clips: Mapping[str, Clip]) -> pl.DataFrame:
    names = (
        "clip_id",
        "film",
        "scene",
        "position",
        "split",
        "emotion",
        "source_digest",
        "start_frame",
        "end_frame",
    )
    rows = [tuple(getattr(clip, name) for name in names) for clip in clips.values()]
    kinds = {"position": pl.Int64, "start_frame": pl.Int64, "end_frame": pl.Int64}
    schema = {name: kinds.get(name, pl.String) for name in names}
    return pl.DataFrame(rows, schema=schema, orient="row")


def counted_queries(look: Look, flagged: pl.DataFrame, what: str) -> tuple[str, ...]:
    """The sentence that counts the flagged hits among all stored hits."""
    share = f" ({flagged.height / look.rows.height:.1%})" if look.rows.height else ""
    return (f"{flagged.height} of {look.rows.height} stored hits{share} {what}",)


def own_clip(look: Look, flagged: pl.DataFrame) -> str:
    """How many held-out and other queries have one of the flagged hits, in words."""
    queries = set(flagged["clip_id"])
    held_out = {clip.clip_id for clip in look.held_out()}
    return (
        f"{len(queries & held_out)} of {len(held_out)} held-out and {len(queries - held_out)} of "
        f"{len(look.clips) - len(held_out)} other queries"
    )


def kind_report(
    look: Look,
    kind: Kind,
    findings: list[Finding],
    says: tuple[str, ...],
    flagged: pl.DataFrame,
    ban: Ban,
) -> tuple[KindReport, list[Finding]]:
    """Count the findings of one kind and measure their effect.

    Args:
        says: sentences about this kind.
        flagged: stored hits of this kind.
        ban: rows that a query may not retrieve in the repeated search.
    """
    numbers = Counter(finding.severity for finding in findings)
    report = KindReport(
        kind=kind,
        leaks=numbers["leak"],
        warnings=numbers["warning"],
        notes=numbers["note"],
        says=says,
        effects=tuple(_effects(look, flagged, ban)),
    )
    return report, findings


# -- effects on the scores


class _Hits(NamedTuple):
    """Stored hits of one query in one modality, best first, and which of them are flagged."""

    hits: list[str]
    flagged: set[str]


def _effects(look: Look, flagged: pl.DataFrame, ban: Ban) -> Iterable[Effect]:
    for modality in MODALITIES:
        own = flagged.filter(pl.col("modality") == modality)
        if own.height:
            yield _effect(look, modality, own, ban)


def _effect(look: Look, modality: str, flagged: pl.DataFrame, ban: Ban) -> Effect:
    wrong: dict[str, set[str]] = defaultdict(set)
    for clip_id, hit in flagged.select("clip_id", "hit").iter_rows():
        wrong[clip_id].add(hit)
    rows = look.rows.filter(pl.col("modality") == modality).sort("clip_id", "rank")
    stored: dict[str, list[str]] = defaultdict(list)
    for clip_id, hit in rows.select("clip_id", "hit").iter_rows():
        stored[clip_id].append(hit)
    labelled = [clip_id for clip_id in wrong if look.clips[clip_id].emotion]
    labelled.sort()
    places = np.linspace(0, len(labelled) - 1, min(MEASURED_QUERIES, len(labelled))).round()
    measured = [labelled[place] for place in places.astype(int)]
    hits = {clip_id: _Hits(stored[clip_id], wrong[clip_id]) for clip_id in measured}
    after = _replaced(look, modality, hits, ban)
    before = {clip_id: stored[clip_id] for clip_id in after}
    is_whole = len(after) == len(labelled)
    return Effect(
        modality=modality,
        hits=flagged.height,
        stored=rows.height,
        queries=len(wrong),
        measured=len(after),
        precision=_precision(look, before),
        without=_precision(look, after),
        overall=_precision(look, stored),
        overall_without=_precision(look, {**stored, **after}) if is_whole else None,
    )


def _precision(look: Look, hits: Mapping[str, Sequence[str]]) -> Share | None:
    """The share of hits with the label of their query, among labelled queries and hits."""
    labels = {clip_id: clip.emotion for clip_id, clip in (look.library | look.clips).items()}
    shared = [
        labels[hit] == labels[clip_id]
        for clip_id, found in hits.items()
        for hit in found
        if labels.get(clip_id) and labels.get(hit)
    ]
    return Share.counted(sum(shared), len(shared))


def _replaced(
    look: Look, modality: str, queries: Mapping[str, _Hits], ban: Ban
) -> dict[str, list[str]]:
    """Replace flagged hits by the best clips that neither the policy nor ``ban`` forbids."""
    kept = {c: [hit for hit in own.hits if hit not in own.flagged] for c, own in queries.items()}

    def forbidden(clip: Clip) -> BoolArray:
        """(N,) bool: rows that the query may not retrieve, or that are kept already."""
        table = look.index.table
        mask: BoolArray = forbidden_rows(look, look.policy, clip) | ban(clip)
        mask |= table.is_one_of("clip_id", kept[clip.clip_id])
        return mask

    clips = [look.clips[clip_id] for clip_id in queries]
    most = max((len(own.flagged) for own in queries.values()), default=0)
    found = search_without(look, modality, clips, most, forbidden)
    return {
        clip_id: kept[clip_id] + hits[: len(queries[clip_id].flagged)]
        for clip_id, hits in found.items()
    }


def forbidden_rows(look: Look, policy: Policy, clip: Clip) -> BoolArray:
    """(N,) bool: library rows that the policy does not let a clip retrieve."""
    forbidden: BoolArray = ~policy.eligible(ClipFacts.of(clip), look.index.table)
    return forbidden


def search_without(
    look: Look, modality: str, clips: Sequence[Clip], k: int, forbidden: Ban
) -> dict[str, list[str]]:
    """Exact search without forbidden rows: clip id → ids of at most ``k`` clips, best first.

    Clips without a usable vector in the modality are left out.
    """
    own = look.searchable(modality)
    if own is None or not clips:
        return {}
    values = look.store.read(look.features[modality], [clip.clip_id for clip in clips])
    with_vector = [clip for clip in clips if clip.clip_id in values]
    retrieved: dict[str, list[str]] = {}
    for start in range(0, len(with_vector), SEARCH_BLOCK):
        some = with_vector[start : start + SEARCH_BLOCK]
        queries = np.stack([np.asarray(values[clip.clip_id]) for clip in some]).astype(np.float32)
        queries = own.transformed(queries, [clip.speaker for clip in some])
        can_query = own.can_query(queries)
        some, queries = list(itertools.compress(some, can_query)), queries[can_query]
        if not some:
            continue
        hits = own.search(queries, k, np.stack([~forbidden(clip) for clip in some]))
        for clip, rows in zip(some, hits.rows, strict=True):
            retrieved[clip.clip_id] = [look.index.clips[row].clip_id for row in rows if row >= 0]
    return retrieved
