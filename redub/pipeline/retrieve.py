"""Stage 4 of 7: ask the index for the K neighbours of every clip, per modality.

Reads the newest index build and the query clips' vectors. Writes ``neighbours/<key>/``: one row
per query, modality and rank. A clip without a vector in a modality has no rows there.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from redub.core.config import digest_of, nearest
from redub.core.errors import ConfigError, IntegrityError, UsageError
from redub.core.types import MODALITIES, Clip, FloatArray, Value
from redub.index.library import retrieve as search
from redub.index.notes import Notes, directed
from redub.index.policy import ClipFacts, Reason
from redub.pipeline.index import OpenIndex, features_of, open_index, policy_of, selection_of
from redub.pipeline.parts import PartTable
from redub.pipeline.project import MOST_NEIGHBOURS, IndexConfig, Project
from redub.pipeline.store import NEIGHBOUR_SCHEMA, Store

QUERIES_PER_PART = 4096


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One hit of one query, as people read it.

    ``margin``: how far its score lies above the best eligible clip that was passed over; NaN where
    none was.
    """

    rank: int
    clip_id: str
    score: float
    margin: float
    speaker: str
    emotion: str
    text: str


@dataclass(frozen=True, slots=True)
class RetrieveSummary:
    queries: int
    rows: int


def retrieve(project: Project) -> RetrieveSummary:
    """Query every live clip that has not been queried under these settings.

    Raises:
        ConfigError: the policy names films, rights or clips that the library does not have.
    """
    store = Store(project)
    index = open_index(project)
    check_policy(index, project.config.index)
    table = neighbour_parts(store, index)
    clips = store.clips()
    features = features_of(store)
    vectors = {m: store.read(features[m]) for m in MODALITIES}
    known = {part.name for part in table.parts() if table.is_whole(part)}
    rows = queries = 0
    for shard, chunk in _chunks(store, index, clips):
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


def check_policy(index: OpenIndex, config: IndexConfig) -> None:
    """Refuse a policy that nobody can meet because of a name that nothing bears.

    Raises:
        ConfigError: with the nearest known name.
    """
    known = {
        "films": {clip.film for clip in index.clips},
        "rights": {clip.rights for clip in index.clips},
        "include": {clip.clip_id for clip in index.clips},
    }
    for key, names in known.items():
        for name in getattr(config, key):
            if name not in names:
                raise ConfigError(
                    f"index.{key} names '{name}', which no library clip has; "
                    f"{nearest(name, names)}",
                    code="E-CFG-VALUE",
                )


def neighbour_parts(store: Store, index: OpenIndex) -> PartTable:
    """The neighbours of one build under one policy and choice of hits."""
    return neighbours_of_build(store.project, index.build)


def neighbours_of_build(project: Project, build: str) -> PartTable:
    """:func:`neighbour_parts` by the build's name: nothing is opened."""
    return PartTable(project.root / "neighbours" / _key(project, build), NEIGHBOUR_SCHEMA)


def retrieval_key(project: Project, index: OpenIndex) -> str:
    """All that the hits of a clip depend on beside the clip: build, policy and choice of hits."""
    return _key(project, index.build)


def _key(project: Project, build: str) -> str:
    config = project.config.index
    return digest_of([build, asdict(policy_of(config)), asdict(selection_of(config))])


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
    """Neighbours of some clips in one modality, as rows of the neighbour table.

    Args:
        vectors: of this modality as extracted, by clip id; clips without one have no neighbours.
        k: instead of the project's. notes: a director's, on each of the clips.
    """
    config = project.config.index
    policy = policy_of(config)
    asking, queries = _queries(index, modality, clips, vectors)
    columns: dict[str, list[object]] = {name: [] for name in NEIGHBOUR_SCHEMA.names}
    if asking and len(index.modalities[modality].rows):
        if notes:
            policy = notes.applied_to(policy)
            queries = np.stack([_directed(index, modality, query, notes) for query in queries])
        chosen = search(
            index.modalities[modality],
            index.table,
            policy,
            queries,
            [ClipFacts.of(clip) for clip in asking],
            selection_of(config, k),
        )
        for clip, *found in zip(asking, *chosen, strict=True):
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
    """The clips that can ask in a modality, and their (Q, W) vectors as they are searched.

    A clip whose vector the fitted transform leaves without a direction cannot ask.
    """
    own = index.modalities[modality]
    having = [clip for clip in clips if clip.clip_id in vectors]
    if not having:
        return [], np.empty((0, own.backend.width), dtype=np.float32)
    raw = np.stack([np.asarray(vectors[clip.clip_id]) for clip in having]).astype(np.float32)
    queries = own.transformed(raw, [clip.speaker for clip in having])
    can_ask = own.can_ask(queries)
    return list(itertools.compress(having, can_ask)), queries[can_ask]


def _directed(index: OpenIndex, modality: str, query: FloatArray, notes: Notes) -> FloatArray:
    """A transformed query as a director's notes want it; its halves weigh the same as before."""
    own = index.modalities[modality]

    def vector_of(clip_id: str) -> FloatArray | None:
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
    """Refuse notes that name clips or films the library does not have.

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


def _chunks(
    store: Store, index: OpenIndex, clips: Sequence[Clip]
) -> Iterator[tuple[str, Sequence[Clip]]]:
    """The queries cut into parts, each named by all that its answers depend on."""
    asking = retrieval_key(store.project, index)
    features = features_of(store)
    keys = [store.keys.by_name[features[m]] for m in MODALITIES]
    for start in range(0, len(clips), QUERIES_PER_PART):
        chunk = clips[start : start + QUERIES_PER_PART]
        asked = [[asdict(c), [key.input_digest(c) for key in keys]] for c in chunk]
        yield digest_of([asking, [key.key for key in keys], asked], digits=16), chunk


def neighbours_of(store: Store, index: OpenIndex) -> dict[str, dict[str, list[tuple[str, float]]]]:
    """Clip id → modality → (hit clip id, score), best first.

    Raises:
        ConfigError: clips were added or changed since the last retrieval (names the stage).
    """
    table = neighbour_parts(store, index)
    wanted = [shard for shard, _ in _chunks(store, index, store.clips())]
    if missing := set(wanted) - {part.shard for part in table.parts()}:
        raise ConfigError(
            f"{len(missing)} of {len(wanted)} parts of the clip table were not asked yet; "
            "run `redub retrieve`",
            code="E-STAGE-RETRIEVE",
        )
    found: dict[str, dict[str, list[tuple[str, float]]]] = defaultdict(lambda: defaultdict(list))
    rows = table.read(shards=wanted)
    columns = [rows.column(name).to_pylist() for name in NEIGHBOUR_SCHEMA.names]
    for clip_id, modality, _, hit, score, _ in zip(*columns, strict=True):
        found[clip_id][modality].append((hit, score))
    return found


def query_clip(
    project: Project,
    clip_id: str,
    *,
    modality: str = "all",
    k: int | None = None,
    notes: Notes | None = None,
) -> dict[str, list[Neighbour]]:
    """Search now for one clip, with the project's policy and a director's notes, if any.

    Raises:
        UsageError: an unknown clip, modality or film, with the nearest known one; an emotion that
            no library clip has.
    """
    if modality != "all" and modality not in MODALITIES:
        hint = nearest(modality, [*MODALITIES, "all"])
        raise UsageError(f"unknown modality '{modality}'; {hint}")
    check_k(k)
    store = Store(project)
    index = open_index(project)
    clip = known_clip(store, clip_id)
    check_notes(index, notes or Notes())
    library = {clip.clip_id: clip for clip in index.clips}
    answer: dict[str, list[Neighbour]] = {}
    for name in MODALITIES if modality == "all" else (modality,):
        vectors = store.read(features_of(store)[name], [clip_id])
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
    return answer


def check_k(k: int | None) -> None:
    """Refuse another number of neighbours than the settings may name.

    Raises:
        UsageError: not in 1 to 100.
    """
    if k is not None and not 1 <= k <= MOST_NEIGHBOURS:
        raise UsageError(f"-k is {k}; wanted 1 to {MOST_NEIGHBOURS}")


def known_clip(store: Store, clip_id: str) -> Clip:
    """A live clip by its id.

    Raises:
        UsageError: there is none, with the nearest known id.
    """
    clips = {clip.clip_id: clip for clip in store.clips()}
    if clip_id not in clips:
        raise UsageError(f"unknown clip '{clip_id}'; {nearest(clip_id, clips)}")
    return clips[clip_id]


def excluded_clips(
    project: Project, clip_id: str, *, notes: Notes | None = None
) -> dict[str, list[str]]:
    """Every library clip that may not be retrieved for a clip, and why.

    Returns:
        Library clip id to the names of :class:`redub.index.policy.Reason`, sorted by clip id.

    Raises:
        UsageError: an unknown clip, with the nearest known one.
    """
    index = open_index(project)
    clip = known_clip(Store(project), clip_id)
    policy = (notes or Notes()).applied_to(policy_of(project.config.index))
    reasons = policy.reasons(ClipFacts.of(clip), index.table)
    return {
        index.clips[row].clip_id: list(Reason(int(reasons[row])).names)
        for row in np.flatnonzero(reasons)
    }


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
