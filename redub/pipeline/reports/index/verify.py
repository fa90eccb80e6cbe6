"""`redub index verify`: check every byte of the index, and repeat searches of stored neighbours.

Reads every committed byte of every build and neighbour table. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from redub.core.durable import check_folder
from redub.core.errors import IntegrityError
from redub.core.types import MODALITIES, Clip, FloatArray
from redub.evaluation.intervals import wilson
from redub.index.base import GraphFacts
from redub.index.library import ModalityIndex
from redub.index.policy import ClipFacts, Reason
from redub.index.segments import LiveSegments
from redub.index.similarity import pair_scores
from redub.pipeline.store.index.build_record import BuildRecord, records_of_builds
from redub.pipeline.store.index.builds import (
    OpenIndex,
    exact_search,
    features_of,
    is_fresh,
    neighbour_tables,
    newest_build,
    policy_of,
)
from redub.pipeline.store.index.neighbours import neighbour_parts, stored_hits
from redub.pipeline.store.parts import PartTable
from redub.pipeline.store.project import Project
from redub.pipeline.store.schemas import NEIGHBOUR_SCHEMA
from redub.pipeline.store.tables import Store
from redub.pipeline.work.query import neighbour_rows

ASKED_AGAIN = 200
"""Queries whose stored neighbours :func:`verify_index` compares with exact search."""


SCORE_ERROR = 1e-5
"""Relative tolerance. Stored and exact scores of a pair come from the same formula; a larger
difference means that a vector has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAgain:
    """Stored neighbours of ``queries`` clips, compared with exact search in one modality.

    ``right``: how many of the ``exact_hits`` are stored, or have a stored hit with the same score
    in their place. ``recall``: ``right`` / ``exact_hits``, None where exact search finds nothing.
    ``floor``: the recall that the index promises. ``wrong_scores``: stored hits whose score is not
    that of the two vectors.
    """

    modality: str
    queries: int
    exact_hits: int
    right: int
    recall: float | None
    floor: float
    wrong_scores: int

    @property
    def is_right(self) -> bool:
        """Whether no score is wrong, and the recall reaches the floor within its 95 % interval."""
        if self.wrong_scores or self.right == self.exact_hits:
            return not self.wrong_scores
        return wilson(self.right, self.exact_hits).high >= self.floor


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A stored hit that the policy forbids, with the names of its reasons."""

    clip_id: str
    hit: str
    modality: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """Results of the check.

    ``is_whole``: no committed byte is damaged. ``is_right``: the stored neighbours are those of
    exact search. ``superseded``: damage that concerns older builds only. ``stored_in``: the folder
    of the compared neighbours, relative to the project. ``exit_code``: 0, or that of an
    IntegrityError where ``is_whole`` or ``is_right`` is False.
    """

    builds: int
    tables: int
    files: int
    damaged: tuple[str, ...]
    superseded: tuple[str, ...]
    newest: str
    is_fresh: bool
    asked_again: tuple[AskedAgain, ...]
    violations: tuple[Violation, ...]
    not_looked_at: tuple[str, ...]
    stored_in: str
    is_whole: bool
    is_right: bool
    exit_code: int

    def lines(self, most: int = 5) -> list[str]:
        """The results in sentences, with at most ``most`` violations."""
        said = [
            f"{self.files} files of {self.builds} builds and {self.tables} neighbour tables read, "
            f"{len(self.damaged)} damaged"
        ]
        said += [f"damaged: {sentence}" for sentence in self.damaged]
        said += [f"damaged, of an older build only: {sentence}" for sentence in self.superseded]
        if self.newest:
            state = "up to date" if self.is_fresh else "out of date; run `redub index build`"
            said.append(f"newest build {self.newest}: {state}")
        for own in self.asked_again:
            recall = "–" if own.recall is None else f"{own.recall:.4f}"
            said.append(
                f"{own.modality}: {own.queries} queries searched again exactly, recall {recall} of "
                f"{own.exact_hits} hits (wanted {own.floor:g}), {own.wrong_scores} wrong scores"
            )
        said += [
            f"violation: {v.clip_id} ← {v.hit} [{v.modality}]: {', '.join(v.reasons)}"
            for v in self.violations[:most]
        ]
        if len(self.violations) > most:
            said.append(f"… and {len(self.violations) - most} more violations")
        said += [f"not checked: {what}" for what in self.not_looked_at]
        if not self.is_whole:
            said.append(
                "`redub index build`, `redub cache repair` and `redub retrieve` replace damaged "
                "files"
            )
        elif not self.is_right:
            said.append(f"move {self.stored_in} away, then `redub retrieve` searches again")
        return said


def verify_index(project: Project, *, queries: int = ASKED_AGAIN) -> VerifyReport:
    """Check every committed byte, then compare a sample of stored neighbours with exact search.

    Args:
        queries: clips of the sample, evenly spread.
    """
    damaged, superseded = list[str](), list[str]()
    records = records_of_builds(project)
    named: dict[tuple[str, str, str], list[str]] = {}  # builds share folders: a file counts once
    for path in reversed(records):
        wrong = damaged if path == records[-1] else superseded
        try:
            for folder, digests in BuildRecord.read(path).files.items():
                for name, digest in digests.items():
                    named.setdefault((folder, name, digest), wrong)
        except IntegrityError as error:
            wrong.append(str(error))
    for (folder, name, digest), wrong in named.items():
        wrong += _damage(project, folder, name, digest)
    files = len(records) + len(named)
    tables = neighbour_tables(project)
    for place in tables:
        table = PartTable(place, NEIGHBOUR_SCHEMA)
        try:
            files += len(table.parts()) + len(table.commits())
            damaged += table.verify()
        except IntegrityError as error:
            damaged.append(str(error))
    newest, fresh, stored_in, gaps = "", False, "", list[str]()
    again: tuple[AskedAgain, ...] = ()
    violations: tuple[Violation, ...] = ()
    if not records:
        gaps.append("there is no index yet; run `redub index build`")
    else:
        newest, store = _newest_name(records[-1]), Store(project)
        try:
            fresh = newest != "" and is_fresh(store, BuildRecord.read(records[-1]))
            if fresh:
                stored_in, again, violations = _ask_again(store, queries, gaps)
            elif newest:
                gaps.append("neighbours: not searched again, the newest build is out of date")
        except IntegrityError as error:
            gaps.append(f"neighbours: not searched again: {error}")
    is_right = all(own.is_right for own in again) and not violations
    return VerifyReport(
        builds=len(records),
        tables=len(tables),
        files=files,
        damaged=tuple(damaged),
        superseded=tuple(superseded),
        newest=newest,
        is_fresh=fresh,
        asked_again=again,
        violations=violations,
        not_looked_at=tuple(gaps),
        stored_in=stored_in,
        is_whole=not damaged,
        is_right=is_right,
        exit_code=0 if is_right and not damaged else IntegrityError.exit_code,
    )


def _newest_name(path: Path) -> str:
    try:
        return BuildRecord.read(path).build
    except IntegrityError:
        return ""


def _damage(project: Project, folder: str, name: str, digest: str) -> list[str]:
    """A sentence if a file is damaged."""
    try:
        check_folder(project.root / "index" / folder, {name: digest})
    except IntegrityError as error:
        return [str(error)]
    return []


def _ask_again(
    store: Store, queries: int, gaps: list[str]
) -> tuple[str, tuple[AskedAgain, ...], tuple[Violation, ...]]:
    project, index = store.project, newest_build(store)
    clips = {clip.clip_id: clip for clip in store.clips()}
    stored = stored_hits(store, index).filter(pl.col("clip_id").is_in(list(clips)))
    if not stored.height:
        is_asked = bool(neighbour_parts(store, index).parts())
        why = (
            "no clip has any"
            if is_asked
            else "none are stored for this build; run `redub retrieve`"
        )
        gaps.append(f"neighbours: {why}")
        return "", (), ()
    ids = sorted(set(stored["clip_id"]))
    places = np.linspace(0, len(ids) - 1, min(queries, len(ids))).round().astype(int)
    sample = [clips[ids[place]] for place in places]
    if len(sample) < len(ids):
        gaps.append(
            f"neighbours of {len(ids) - len(sample)} of {len(ids)} clips: only a sample is searched"
        )
    stored = stored.filter(pl.col("clip_id").is_in([clip.clip_id for clip in sample]))
    again = tuple(
        _compared(project, store, index, modality, sample, stored) for modality in MODALITIES
    )
    folder = neighbour_parts(store, index).root.relative_to(project.root).as_posix()
    return folder, again, tuple(_violations(project, index, clips, stored))


def _compared(
    project: Project,
    store: Store,
    index: OpenIndex,
    modality: str,
    sample: Sequence[Clip],
    stored: pl.DataFrame,
) -> AskedAgain:
    own = index.modalities[modality]
    vectors = store.read(features_of(store)[modality], [clip.clip_id for clip in sample])
    exact = replace(index, modalities={modality: exact_search(index, modality)})
    truth = _by_query(neighbour_rows(exact, project, modality, sample, vectors).to_pylist())
    mine = _by_query(stored.filter(pl.col("modality") == modality).iter_rows(named=True))
    speaker_of = {clip.clip_id: clip.speaker for clip in sample}
    expected = right = wrong = 0
    for clip_id, best in truth.items():
        found = mine.get(clip_id, {})
        query = own.transformed(np.asarray(vectors[clip_id])[None], [speaker_of[clip_id]])[0]
        scores = _pair_scores(index, own, query, list(found))
        least = min(best.values())
        good = sum(hit in best or score >= least for hit, score in scores.items())
        expected += len(best)
        right += min(good, len(best))
        wrong += sum(
            hit not in scores or abs(scores[hit] - score) > SCORE_ERROR * (1 + abs(score))
            for hit, score in found.items()
        )
    return AskedAgain(
        modality=modality,
        queries=len(truth),
        exact_hits=expected,
        right=right,
        recall=right / expected if expected else None,
        floor=_recall_floor(own.backend),
        wrong_scores=wrong,
    )


def _recall_floor(backend: LiveSegments) -> float:
    """The recall floor of a modality's graphs; 1 where all segments search exactly."""
    graphs = [getattr(placed.segment.backend, "facts", None) for placed in backend.placed]
    return min(
        (graph.recall_floor for graph in graphs if isinstance(graph, GraphFacts)), default=1.0
    )


def _pair_scores(
    index: OpenIndex, own: ModalityIndex, query: FloatArray, hits: Sequence[str]
) -> dict[str, float]:
    """The score of a query with each hit that the modality has: clip id → score."""
    rows = {hit: row for hit in hits if (row := index.table.row_of(hit)) is not None}
    places = np.searchsorted(own.rows, list(rows.values())).tolist()
    known = {
        hit: place
        for (hit, row), place in zip(rows.items(), places, strict=True)
        if place < len(own.rows) and own.rows[place] == row
    }
    vector = own.prepared(query[None].astype(np.float32))
    stored = own.backend.vectors[list(known.values())]
    scores = pair_scores(own.backend.metric, np.repeat(vector, len(known), axis=0), stored)
    return dict(zip(known, scores.tolist(), strict=True))


def _by_query(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row["clip_id"], {})[row["hit"]] = row["score"]
    return found


def _violations(
    project: Project, index: OpenIndex, clips: Mapping[str, Clip], stored: pl.DataFrame
) -> Iterable[Violation]:
    policy = policy_of(project.config.index)
    columns = stored.select("clip_id", "modality", "hit").sort("clip_id")
    for (clip_id,), rows in columns.group_by("clip_id", maintain_order=True):
        reasons = policy.reasons(ClipFacts.of(clips[str(clip_id)]), index.table)
        for modality, hit in rows.select("modality", "hit").iter_rows():
            row = index.table.row_of(hit)
            names = ("not in the library",) if row is None else Reason(int(reasons[row])).names
            if names:
                yield Violation(clip_id=str(clip_id), hit=hit, modality=modality, reasons=names)
