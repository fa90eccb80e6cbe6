"""Search the index for the neighbours of clips, and list the clips that the policy excludes.

Reads the index and committed features. Writes nothing.

Letters: Q queries, W width.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from redub.core.config import nearest
from redub.core.errors import UsageError
from redub.core.types import MODALITIES, Clip, FloatArray, Value
from redub.index.library import retrieve as search
from redub.index.notes import Notes, directed
from redub.index.policy import ClipFacts, Reason
from redub.pipeline.store.index.builds import (
    OpenIndex,
    audio_search,
    features_of,
    open_index,
    policy_of,
    selection_of,
)
from redub.pipeline.store.project import Project
from redub.pipeline.store.schemas import NEIGHBOUR_SCHEMA
from redub.pipeline.store.settings import MOST_NEIGHBOURS
from redub.pipeline.store.tables import Store, lacking

AUDIO = "audio"
"""The modality of clips that have sound; only queries by hand use it."""

EQUAL_SCORES = 1e-6
"""Scores that differ by less are equal: cosines of float32 vectors are not more exact."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One retrieved clip of one query, for display.

    ``rank`` counts from 1. ``margin``: its score minus the score of the best eligible clip that was
    not chosen; NaN if all were chosen.
    """

    rank: int
    clip_id: str
    score: float
    margin: float
    speaker: str
    emotion: str
    text: str


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """The neighbours of one clip, by modality, best first.

    ``remarks``: sentences about modalities without a query, about scores that do not tell the hits
    apart, and about notes that change nothing.
    """

    clip: str
    neighbours: dict[str, list[Neighbour]]
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ExcludedClips:
    """Library clips that may not be retrieved for one clip, each with the names of its reasons."""

    clip: str
    excluded: dict[str, list[str]]


def neighbour_rows(
    index: OpenIndex,
    project: Project,
    modality: str,
    clips: Sequence[Clip],
    vectors: Mapping[str, Value],
    *,
    k: int | None = None,
    notes: Notes | None = None,
) -> pa.Table:
    """Search the neighbours of some clips in one modality.

    Args:
        vectors: clip id to the vector (W,) as extracted; a clip without one has no neighbours.
        k: neighbours per clip; the project's ``index.k`` by default.
        notes: a director's notes, applied to every clip.

    Returns:
        Rows of the neighbour table (:data:`NEIGHBOUR_SCHEMA`); ranks count from 0.
    """
    config = project.config.index
    policy = policy_of(config)
    query_clips, queries = _queries(index, modality, clips, vectors)
    columns: dict[str, list[object]] = {name: [] for name in NEIGHBOUR_SCHEMA.names}
    if query_clips and len(index.modalities[modality].rows):
        if notes:
            policy = notes.applied_to(policy)
            queries = np.stack([_directed(index, modality, query, notes) for query in queries])
        chosen = search(
            index.modalities[modality],
            index.table,
            policy,
            queries,
            [ClipFacts.of(clip) for clip in query_clips],
            selection_of(config, k),
        )
        for clip, *found in zip(query_clips, *chosen, strict=True):
            for rank, (row, score, margin) in enumerate(zip(*found, strict=True)):
                if row >= 0:
                    hit = index.clips[row].clip_id
                    line = (clip.clip_id, modality, rank, hit, float(score), float(margin))
                    for name, value in zip(NEIGHBOUR_SCHEMA.names, line, strict=True):
                        columns[name].append(value)
    return pa.table(columns, schema=NEIGHBOUR_SCHEMA)


def _queries(
    index: OpenIndex, modality: str, clips: Sequence[Clip], vectors: Mapping[str, Value]
) -> tuple[list[Clip], FloatArray]:
    """The clips with a usable query in a modality, and their (Q, W) transformed vectors.

    A clip has no usable query without a vector, or if its transformed vector has no direction.
    """
    own = index.modalities[modality]
    with_vector = [clip for clip in clips if clip.clip_id in vectors]
    if not with_vector:
        return [], np.empty((0, own.backend.width), dtype=np.float32)
    raw = np.stack([np.asarray(vectors[clip.clip_id]) for clip in with_vector]).astype(np.float32)
    queries = own.transformed(raw, [clip.speaker for clip in with_vector])
    usable = own.can_query(queries)  # (Q,) bool
    return list(itertools.compress(with_vector, usable)), queries[usable]


def _directed(index: OpenIndex, modality: str, query: FloatArray, notes: Notes) -> FloatArray:
    """Apply a director's notes to a transformed query (W,); its halves keep their weights."""
    own = index.modalities[modality]

    def vector_of(clip_id: str) -> FloatArray | None:
        """(W,) of a library clip; None if the clip has no vector in this modality."""
        row = index.table.row_of(clip_id)
        place = -1 if row is None else int(np.searchsorted(own.rows, row))
        found = 0 <= place < len(own.rows) and own.rows[place] == row
        return own.backend.vectors[place] if found else None

    return directed(
        own.prepared(query[None])[0],
        notes,
        library=own.backend.vectors,
        emotions=[index.clips[row].emotion for row in own.rows],
        vector_of=vector_of,
    )


def check_notes(index: OpenIndex, notes: Notes) -> None:
    """Refuse notes that name clips or films outside of the library.

    Raises:
        UsageError: with the nearest known name.
    """
    known = [clip.clip_id for clip in index.clips]
    for clip_id in (*notes.like, *notes.unlike):
        if index.table.row_of(clip_id) is None:
            raise UsageError(f"the library has no clip '{clip_id}'; {nearest(clip_id, known)}")
    films = sorted({clip.film for clip in index.clips})
    for film in notes.films:
        if film not in films:
            raise UsageError(f"the library has no film '{film}'; {nearest(film, films)}")


def query_clip(
    project: Project,
    clip_id: str,
    *,
    modality: str = "all",
    k: int | None = None,
    notes: Notes | None = None,
) -> dict[str, list[Neighbour]]:
    """Search the neighbours of one clip with the project's policy and a director's notes.

    Args:
        modality: ``scene``, ``face``, ``text``, ``audio``, or ``all`` that the clip has; ``audio``
            is for clips with sound, and no model reads its hits.
        k: neighbours, 1 to 100; the project's ``index.k`` by default.

    Returns:
        Modality to its neighbours, best first.

    Raises:
        UsageError: an unknown clip, modality or film, with the nearest known one; an emotion that
            no library clip has.
        ConfigError: no index, or an index that is out of date.
    """
    return _answered(Store(project), clip_id, modality, k, [notes or Notes()])[0]


def _answered(
    store: Store, clip_id: str, modality: str, k: int | None, asked: Sequence[Notes]
) -> list[dict[str, list[Neighbour]]]:
    """Answer one query once for each of several notes; see :func:`query_clip`."""
    if modality not in (*MODALITIES, AUDIO, "all"):
        hint = nearest(modality, [*MODALITIES, AUDIO, "all"])
        raise UsageError(f"unknown modality '{modality}'; {hint}")
    check_k(k)
    project, index, clip = store.project, open_index(store), store.clip(clip_id)
    for notes in asked:
        check_notes(index, notes)
    library = {clip.clip_id: clip for clip in index.clips}
    answers: list[dict[str, list[Neighbour]]] = [{} for _ in asked]
    for name in (*MODALITIES, AUDIO) if modality == "all" else (modality,):
        vectors = store.read(features_of(store)[name], [clip_id])
        if name == AUDIO:
            if modality == "all" and not vectors:
                continue  # a clip without sound is no query
            by_sound = audio_search(project, index)
            index = replace(index, modalities={**index.modalities, AUDIO: by_sound})
        for notes, answer in zip(asked, answers, strict=True):
            found = neighbour_rows(index, project, name, [clip], vectors, k=k, notes=notes)
            answer[name] = [
                Neighbour(
                    row["rank"] + 1,
                    row["hit"],
                    row["score"],
                    row["margin"],
                    library[row["hit"]].speaker,
                    library[row["hit"]].emotion,
                    library[row["hit"]].text,
                )
                for row in found.to_pylist()
            ]
    return answers


def query_answer(
    project: Project,
    clip_id: str,
    *,
    modality: str = "all",
    k: int | None = None,
    notes: Notes | None = None,
) -> QueryAnswer:
    """:func:`query_clip` with remarks about what its scores cannot tell.

    Raises:
        UsageError, ConfigError: as :func:`query_clip`.
    """
    store = Store(project)
    asked = [notes, Notes()] if notes else [Notes()]
    found, *plain = _answered(store, clip_id, modality, k, asked)
    remarks = []
    for name, hits in found.items():
        if not hits:
            feature = features_of(store)[name]
            why = store.why_absent(feature).get(clip_id)
            has = bool(store.read(feature, [clip_id]))
            remarks.append(
                f"{name}: the policy leaves no clip, or the vector has no direction"
                if has
                else f"{name}: no query, {lacking(feature, why)}"
            )
        elif len(hits) > 1 and hits[0].score - hits[-1].score < EQUAL_SCORES:
            remarks.append(
                f"{name}: all {len(hits)} hits have the score {hits[0].score:.4f}, so this feature "
                "does not tell them apart; their order is that of the clip ids"
            )
    for without in plain:
        idle = [name for name in found if found[name] and _same(found[name], without[name])]
        if idle:
            remarks.append(f"the notes change nothing in: {', '.join(idle)}")
    return QueryAnswer(clip_id, found, remarks)


def _same(hits: Sequence[Neighbour], others: Sequence[Neighbour]) -> bool:
    """Whether two answers have the same clips in the same order, with equal scores."""
    return [hit.clip_id for hit in hits] == [hit.clip_id for hit in others] and all(
        abs(hit.score - other.score) < EQUAL_SCORES for hit, other in zip(hits, others, strict=True)
    )


def check_k(k: int | None) -> None:
    """Refuse a number of neighbours that is out of range; None is legal.

    Raises:
        UsageError: not in 1 to 100.
    """
    if k is not None and not 1 <= k <= MOST_NEIGHBOURS:
        raise UsageError(f"-k is {k}; wanted 1 to {MOST_NEIGHBOURS}")


def excluded_clips(
    project: Project, clip_id: str, *, notes: Notes | None = None
) -> dict[str, list[str]]:
    """Every library clip that the policy excludes for a query clip, with the reasons.

    Returns:
        Library clip id to the names of :class:`redub.index.policy.Reason`, sorted by clip id.

    Raises:
        UsageError: an unknown clip, with the nearest known one.
    """
    store = Store(project)
    index = open_index(store)
    clip = store.clip(clip_id)
    policy = (notes or Notes()).applied_to(policy_of(project.config.index))
    reasons = policy.reasons(ClipFacts.of(clip), index.table)
    return {
        index.clips[row].clip_id: list(Reason(int(reasons[row])).names)
        for row in np.flatnonzero(reasons)
    }
