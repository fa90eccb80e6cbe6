"""The search behind a casting sheet: retrieved clips, and clips that were left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from redub.core.types import MODALITIES, Clip, Value
from redub.index.notes import Notes
from redub.index.policy import ClipFacts, Reason
from redub.pipeline.store.index.builds import OpenIndex, features_of, open_index, policy_of
from redub.pipeline.store.project import Project
from redub.pipeline.store.tables import Store
from redub.pipeline.work.query import known_clip, neighbour_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class CastingQuestion:
    """The query clip, its vectors where it has any, and the index to search."""

    store: Store
    index: OpenIndex
    clip: Clip
    k: int
    vectors: Mapping[str, Mapping[str, Value]]  # modality → clip id → vector


class CastingAnswer(NamedTuple):
    """One retrieved clip; ``margin`` is its score less that of the best clip not retrieved."""

    rank: int  # from 1
    clip_id: str
    score: float
    margin: float


class CastingSearch(NamedTuple):
    """``hits``: modality → retrieved clips, best first. ``lost``: clip id → why not eligible."""

    hits: Mapping[str, Sequence[CastingAnswer]]
    lost: Mapping[str, Sequence[str]]


def casting_question(project: Project, clip_id: str, k: int) -> CastingQuestion:
    """Open the index and read the query clip's vectors.

    Raises:
        UsageError: an unknown clip, with the nearest known one.
        ConfigError: there is no index, or it is out of date.
    """
    store = Store(project)
    index = open_index(store)
    clip = known_clip(store, clip_id)
    features = features_of(store)
    vectors = {name: store.read(features[name], [clip_id]) for name in MODALITIES}
    return CastingQuestion(store=store, index=index, clip=clip, k=k, vectors=vectors)


def casting_search(project: Project, question: CastingQuestion, notes: Notes) -> CastingSearch:
    """Search every modality as :func:`redub.pipeline.work.query.query_clip` does."""
    index = question.index
    hits = {}
    for name, own in question.vectors.items():
        found = neighbour_rows(
            index, project, name, [question.clip], own, k=question.k, notes=notes
        )
        hits[name] = [
            CastingAnswer(row["rank"] + 1, row["hit"], row["score"], row["margin"])
            for row in found.to_pylist()
        ]
    policy = notes.applied_to(policy_of(project.config.index))
    codes = policy.reasons(ClipFacts.of(question.clip), index.table)
    lost = {
        index.clips[row].clip_id: Reason(int(codes[row])).names for row in np.flatnonzero(codes)
    }
    return CastingSearch(hits, lost)
