"""What a casting sheet asks of the index, and what it gets back."""

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

# -- asking


@dataclass(frozen=True, slots=True, kw_only=True)
class CastingQuestion:
    """The line that asks, with its vectors where it has any, and the index that it asks."""

    store: Store
    index: OpenIndex
    clip: Clip
    k: int
    vectors: Mapping[str, Mapping[str, Value]]  # modality → clip id → vector


class CastingAnswer(NamedTuple):
    rank: int  # from 1
    clip_id: str
    score: float
    margin: float


class CastingSearch(NamedTuple):
    """Per modality the answers, best first; and who could not answer: clip id → reason names."""

    hits: Mapping[str, Sequence[CastingAnswer]]
    lost: Mapping[str, Sequence[str]]


def casting_question(project: Project, clip_id: str, k: int) -> CastingQuestion:
    store = Store(project)
    index = open_index(project)
    clip = known_clip(store, clip_id)
    features = features_of(store)
    vectors = {name: store.read(features[name], [clip_id]) for name in MODALITIES}
    return CastingQuestion(store=store, index=index, clip=clip, k=k, vectors=vectors)


def casting_search(project: Project, asked: CastingQuestion, notes: Notes) -> CastingSearch:
    """What :func:`redub.pipeline.work.query.query_clip` answers, out of an index opened once."""
    index = asked.index
    hits = {}
    for name, own in asked.vectors.items():
        found = neighbour_rows(index, project, name, [asked.clip], own, k=asked.k, notes=notes)
        hits[name] = [
            CastingAnswer(row["rank"] + 1, row["hit"], row["score"], row["margin"])
            for row in found.to_pylist()
        ]
    policy = notes.applied_to(policy_of(project.config.index))
    codes = policy.reasons(ClipFacts.of(asked.clip), index.table)
    lost = {
        index.clips[row].clip_id: Reason(int(codes[row])).names for row in np.flatnonzero(codes)
    }
    return CastingSearch(hits, lost)
