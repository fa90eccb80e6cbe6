"""What the index holds, how its answers are spread, and whether it is still what was committed.

Reads the newest build and its stored neighbours; ``verify_index`` reads every committed byte of
every build and neighbour table. Writes nothing.

Source of the hubness figures: Radovanović, Nanopoulos and Ivanović, "Hubs in Space" (JMLR 11,
2010): N_k(x), how often x is among the K neighbours of the queries, and the skewness of N_k.

Letters: N library rows, n indexed rows, K neighbours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from redub.core.errors import IntegrityError
from redub.core.types import MODALITIES, Clip, FloatArray
from redub.evaluation.intervals import wilson
from redub.index.base import GraphFacts
from redub.index.library import ModalityIndex
from redub.index.policy import ClipFacts, Reason
from redub.index.segments import LiveSegments, Placed
from redub.index.similarity import pair_scores
from redub.pipeline.audit import exact_search, newest_build, segment_record, stored_hits
from redub.pipeline.files import check_folder
from redub.pipeline.index import (
    LIBRARY,
    OpenIndex,
    built_of,
    current_build,
    features_of,
    is_fresh,
    neighbour_tables,
    policy_of,
    read_build,
    records_of_builds,
)
from redub.pipeline.parts import PartTable
from redub.pipeline.project import Project
from redub.pipeline.retrieve import neighbour_parts, neighbour_rows
from redub.pipeline.store import NEIGHBOUR_SCHEMA, Store

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
GONE = "gone"
"""In place of a split: the clip is in the library but not in the clip table any more."""

ASKED_AGAIN = 200
"""Queries whose stored neighbours :func:`verify_index` compares with exact search."""

SCORE_ERROR = 1e-5
"""Stored and exact scores of one pair come from the same formula; more apart is another vector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HitStats:
    """How the stored hits of one modality are spread over its library rows.

    ``skewness`` of the k-occurrence: 0 is even, above 1 a few hubs answer most queries; None where
    every row is retrieved equally often. ``never`` rows answer no query at all. Quantiles by their
    share, ``"0.5"`` the median; margins are NaN-free, None where no hit has one.
    """

    queries: int
    hits: int
    most_retrieved: str
    most_times: int
    skewness: float | None
    never: int
    scores: dict[str, float]
    margins: dict[str, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentStats:
    """One segment: ``live`` of its ``rows`` are in the library; ``graph`` is None where exact."""

    name: str
    backend: str
    rows: int
    live: int
    size_bytes: int
    graph: GraphFacts | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityStats:
    """One modality of the build; ``rows`` are live ones, ``size_bytes`` is of all segments.

    ``feature`` is what the build was made of; ``width`` is that of the vectors as they are
    searched, after ``transform``.
    """

    modality: str
    feature: str
    rows: int
    width: int
    metric: str
    halves: bool
    transform: str
    size_bytes: int
    segments: tuple[SegmentStats, ...]
    hits: HitStats | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStats:
    """The newest build. ``library_by``: clips per film, speaker, emotion and present split."""

    build: str
    is_fresh: bool
    builds: int
    library: int
    library_by: dict[str, dict[str, int]]
    audio_transform: str
    audio_width: int
    library_bytes: int
    modalities: tuple[ModalityStats, ...]

    def lines(self) -> list[str]:
        state = "up to date" if self.is_fresh else "out of date"
        said = [f"index {self.build} ({state}), the newest of {self.builds} builds"]
        said.append(
            f"library: {self.library} clips, audio vectors {self.audio_transform} of width "
            f"{self.audio_width}, {_on_disk(self.library_bytes)}"
        )
        for name, counts in self.library_by.items():
            said.append(f"  by {name}: " + ", ".join(f"{k or '–'} {v}" for k, v in counts.items()))
        for own in self.modalities:
            said.append(
                f"{own.modality}: {own.rows} rows of {own.feature}, width {own.width}, "
                f"{own.metric}{' of two halves' if own.halves else ''}, transform {own.transform}, "
                f"{_on_disk(own.size_bytes)} "
                f"in {len(own.segments)} segments"
            )
            said += [f"  {_segment_line(segment)}" for segment in own.segments]
            said += [f"  {line}" for line in _hit_lines(own.hits)]
        return said


def _segment_line(own: SegmentStats) -> str:
    text = f"{own.name}: {own.live} of {own.rows} rows live, {own.backend}"
    if own.graph is None:
        return text
    facts = own.graph
    return (
        f"{text}, M {facts.m}, ef {facts.ef} (built with {facts.ef_construction}), "
        f"recall@{facts.recall_at} {facts.recall:.4f} on {facts.recall_queries} rows, "
        f"floor {facts.recall_floor}"
    )


def _hit_lines(hits: HitStats | None) -> list[str]:
    if hits is None:
        return ["no hits are stored; run `redub retrieve`"]
    skewness = "–" if hits.skewness is None else f"{hits.skewness:.2f}"
    lines = [
        f"{hits.hits} hits of {hits.queries} queries; skewness {skewness}, {hits.never} rows are "
        f"never retrieved, {hits.most_retrieved} {hits.most_times} times",
        "scores " + _quantile_line(hits.scores),
    ]
    if hits.margins is not None:
        lines.append("margins " + _quantile_line(hits.margins))
    return lines


def _quantile_line(values: Mapping[str, float]) -> str:
    return ", ".join(f"{float(share):.0%} {value:.3f}" for share, value in values.items())


def _on_disk(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.0f} KiB"


def index_stats(project: Project) -> IndexStats:
    """Describe the newest build and its stored neighbours.

    Raises:
        ConfigError: there is no build yet. IntegrityError: a file of it is damaged.
    """
    index = newest_build(project)
    record: Any = current_build(project)
    store = Store(project)
    live = {clip.clip_id: clip for clip in store.clips()}
    rows = stored_hits(store, index).filter(pl.col("clip_id").is_in(list(live)))
    transform, width = _transform(project, index)
    return IndexStats(
        build=index.build,
        is_fresh=is_fresh(store, record),
        builds=len(records_of_builds(project)),
        library=len(index.clips),
        library_by=_library_by(index.clips, live),
        audio_transform=transform,
        audio_width=width,
        library_bytes=_size(project, record, f"{LIBRARY}/{index.build}"),
        modalities=tuple(_modality(project, index, record, m, rows) for m in MODALITIES),
    )


def _library_by(clips: Sequence[Clip], live: Mapping[str, Clip]) -> dict[str, dict[str, int]]:
    splits = [live[c.clip_id].split if c.clip_id in live else GONE for c in clips]
    columns = {
        "film": [clip.film for clip in clips],
        "speaker": [clip.speaker for clip in clips],
        "emotion": [clip.emotion for clip in clips],
        "split": splits,
    }
    return {
        name: dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
        for name, values in columns.items()
    }


def _transform(project: Project, index: OpenIndex) -> tuple[str, int]:
    """The steps that made the audio vectors, as stored, and the width they came to."""
    path = project.root / "index" / LIBRARY / index.build / "audio_transform.npz"
    with np.load(path, allow_pickle=False) as arrays:
        steps = ", ".join(str(step) for step in arrays["steps"])
    return steps, int(index.audio.shape[1])


def _size(project: Project, record: Mapping[str, Any], folder: str) -> int:
    root = project.root / "index" / folder
    return sum((root / file).stat().st_size for file in record["files"][folder])


def _modality(
    project: Project,
    index: OpenIndex,
    record: Mapping[str, Any],
    modality: str,
    rows: pl.DataFrame,
) -> ModalityStats:
    own = index.modalities[modality]
    segments = tuple(
        _segment(project, record, f"{modality}/{name}", placed)
        for name, placed in zip(record["segments"][modality], own.backend.placed, strict=True)
    )
    return ModalityStats(
        modality=modality,
        feature=built_of(record)[modality],
        rows=len(own.rows),
        width=own.backend.width,
        metric=own.backend.metric,
        halves=own.halves,
        transform=own.transform_name,
        size_bytes=sum(segment.size_bytes for segment in segments),
        segments=segments,
        hits=_hit_stats(
            rows.filter(pl.col("modality") == modality),
            [index.clips[row].clip_id for row in own.rows],
        ),
    )


def _segment(
    project: Project, record: Mapping[str, Any], folder: str, placed: Placed
) -> SegmentStats:
    saved = segment_record(project.root / "index" / folder).index
    return SegmentStats(
        name=folder,
        backend=saved.backend,
        rows=saved.count,
        live=int(placed.is_live.sum()),
        size_bytes=_size(project, record, folder),
        graph=saved.graph,
    )


def _hit_stats(rows: pl.DataFrame, indexed: Sequence[str]) -> HitStats | None:
    if not rows.height:
        return None
    times = Counter(dict.fromkeys(indexed, 0))
    times.update(rows["hit"])
    most, number = min(times.items(), key=lambda item: (-item[1], item[0]))
    margins = rows["margin"].fill_nan(None).drop_nulls().to_numpy()
    return HitStats(
        queries=rows["clip_id"].n_unique(),
        hits=rows.height,
        most_retrieved=most,
        most_times=number,
        skewness=skewness(list(times.values())),
        never=sum(count == 0 for count in times.values()),
        scores=_quantiles(rows["score"].to_numpy()),
        margins=_quantiles(margins) if len(margins) else None,
    )


def _quantiles(values: Any) -> dict[str, float]:
    found = np.quantile(np.asarray(values, dtype=np.float64), QUANTILES)
    return {f"{share:g}": float(value) for share, value in zip(QUANTILES, found, strict=True)}


def skewness(counts: Sequence[int]) -> float | None:
    """E[(N - mean)³] / deviation³ of the whole population; None where all counts are equal."""
    values = np.asarray(counts, dtype=np.float64)
    if not len(values) or values.min() == values.max():
        return None
    apart = values - values.mean()
    return float((apart**3).mean() / (apart**2).mean() ** 1.5)


# -- is it whole, and is it right


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAgain:
    """Stored neighbours of ``queries`` clips against exact search in one modality.

    ``recall``: ``right`` of the ``exact_hits`` are stored, or others that score as high; None where
    exact search finds nothing. ``wrong_scores``: stored hits whose score is not that of the pair.
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
        """Whether no score is wrong and chance may explain what a graph's recall lacks."""
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
    """``is_whole``: every committed byte is there. ``is_right``: the neighbours are the right ones.

    ``superseded``: damage to older builds only. ``stored_in`` is the folder of the
    neighbours that were asked again, relative to the project.
    ``exit_code`` is 0, or that of an IntegrityError where either does not hold.
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
                f"{own.modality}: {own.queries} queries asked again exactly, recall {recall} of "
                f"{own.exact_hits} hits (wanted {own.floor:g}), {own.wrong_scores} wrong scores"
            )
        said += [
            f"violation: {v.clip_id} ← {v.hit} [{v.modality}]: {', '.join(v.reasons)}"
            for v in self.violations[:most]
        ]
        if len(self.violations) > most:
            said.append(f"… and {len(self.violations) - most} more violations")
        said += [f"not looked at: {what}" for what in self.not_looked_at]
        if not self.is_whole:
            said.append(
                "`redub index build`, `redub cache repair` and `redub retrieve` make again what is "
                "damaged"
            )
        elif not self.is_right:
            said.append(f"move {self.stored_in} away, then `redub retrieve` asks again")
        return said


def verify_index(project: Project, *, queries: int = ASKED_AGAIN) -> VerifyReport:
    """Check every committed byte, then a sample of the stored neighbours against exact search."""
    damaged, superseded = list[str](), list[str]()
    records = records_of_builds(project)
    named: dict[tuple[str, str, str], list[str]] = {}  # builds share folders: a file counts once
    for path in reversed(records):
        wrong = damaged if path == records[-1] else superseded
        try:
            for folder, digests in read_build(path)["files"].items():
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
        newest = _newest_name(records[-1])
        try:
            fresh = newest != "" and is_fresh(Store(project), read_build(records[-1]))
            if fresh:
                stored_in, again, violations = _ask_again(project, queries, gaps)
            elif newest:
                gaps.append("neighbours: not asked again, they are of a build that is out of date")
        except IntegrityError as error:
            gaps.append(f"neighbours: not asked again: {error}")
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
        return str(read_build(path)["build"])
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
    project: Project, queries: int, gaps: list[str]
) -> tuple[str, tuple[AskedAgain, ...], tuple[Violation, ...]]:
    store, index = Store(project), newest_build(project)
    clips = {clip.clip_id: clip for clip in store.clips()}
    stored = stored_hits(store, index).filter(pl.col("clip_id").is_in(list(clips)))
    if not stored.height:
        is_asked = bool(neighbour_parts(store, index).parts())
        why = (
            "nobody has any" if is_asked else "none are stored for this build; run `redub retrieve`"
        )
        gaps.append(f"neighbours: {why}")
        return "", (), ()
    ids = sorted(set(stored["clip_id"]))
    places = np.linspace(0, len(ids) - 1, min(queries, len(ids))).round().astype(int)
    sample = [clips[ids[place]] for place in places]
    if len(sample) < len(ids):
        gaps.append(
            f"neighbours of {len(ids) - len(sample)} of {len(ids)} clips: a sample is asked"
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
    """What the graphs of a modality promised; 1 where all segments search exactly."""
    graphs = [getattr(placed.segment.backend, "facts", None) for placed in backend.placed]
    return min(
        (graph.recall_floor for graph in graphs if isinstance(graph, GraphFacts)), default=1.0
    )


def _pair_scores(
    index: OpenIndex, own: ModalityIndex, query: FloatArray, hits: Sequence[str]
) -> dict[str, float]:
    """What a query scores with each hit that the modality holds."""
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
