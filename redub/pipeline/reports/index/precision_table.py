"""`redub index precision --table`: emotion precision@K of held-out utterances against the library.

Reads the clips, their labels and emotion vectors; needs no built index. Fits the transforms on the
library as a build does, and searches exactly. A query is a vector and the facts that a policy
reads, which hold no emotion: labels of held-out utterances are first read when hits are counted.
Writes nothing.

Precision@K of an utterance is the share of its K best hits that have its label. Its chance is the
share of clips with its label among all eligible clips. Its ceiling is the precision of the best
choice of K eligible clips; it is below 1 where fewer than K have the label. An utterance counts at
K if K clips are eligible. Intervals are bootstrapped over whole scenes, because utterances of a
scene share mood and speakers.

Letters: Q held-out utterances, N labelled library clips, K retrieved clips, D width.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from redub.core.config import nearest
from redub.core.errors import ConfigError, UsageError
from redub.core.types import MODALITIES, Clip, FloatArray, Value
from redub.evaluation.intervals import Interval, bootstrap_mean
from redub.index.base import BoolArray, IntArray, Metric
from redub.index.library import LibraryTable, ModalityIndex, has_direction
from redub.index.library import retrieve as search
from redub.index.policy import HELD_OUT, ClipFacts, Policy
from redub.index.registry import BuildSettings
from redub.index.selection import Selection
from redub.index.transform import Chain, fit_for_search
from redub.pipeline.store.index.builds import library_of, policy_of
from redub.pipeline.store.index.spaces import transform_of
from redub.pipeline.store.project import Project
from redub.pipeline.store.settings import IndexConfig, feature_of
from redub.pipeline.store.tables import Store

KS = tuple(range(1, 11))
SPACES = (*MODALITIES, "audio")
Scope = Literal["any", "same", "other"]
SCOPES: tuple[Scope, ...] = ("any", "same", "other")
TRANSFORMS = ("identity", "speaker_zscore", "whiten", "lda")
SETTINGS = "settings"
"""Stands for the transform of the project's settings."""

METRIC_OF: dict[str, Metric] = {
    "cosine": "cosine",
    "dot": "dot",
    "negative_euclidean": "negative_euclidean",
    "halves": "cosine",
}
"""Similarities by name; ``halves`` is the mean of two cosines, for text only."""

NOTHING = (math.nan, math.nan, math.nan)
BLOCK_LINES = 256  # queries whose masks over the library are in memory at a time
SEED = 0  # of the bootstrap, so that a table is reproducible


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionCell:
    """Shares at one K over ``queries`` utterances.

    ``low`` and ``high``: the 95 % interval, NaN where all utterances are of one scene.
    """

    k: int
    queries: int
    precision: float
    low: float
    high: float
    chance: float
    ceiling: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionRow:
    """One way to retrieve; ``candidates``: labelled library clips with a vector.

    ``same_scene``: whether clips of the query's own scene are eligible.
    """

    modality: str
    similarity: str
    scope: str
    same_scene: bool
    transform: str
    candidates: int
    cells: tuple[PrecisionCell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionTable:
    """Precision of ``queries`` labelled held-out utterances in ``scenes`` scenes.

    ``library``: labelled library clips. ``notes``: sentences about rows that are left out.
    """

    queries: int
    scenes: int
    library: int
    rows: tuple[PrecisionRow, ...]
    notes: tuple[str, ...]

    def columns(self) -> list[str]:
        """The headings of :meth:`cells`."""
        ks = [cell.k for cell in self.rows[0].cells] if self.rows else []
        return [
            "modality",
            "similarity",
            "speakers",
            "transform",
            *(f"K={k}" for k in ks),
            "chance",
        ]

    def cells(self) -> list[list[str]]:
        """The rows in percent: precision and its interval for every K, chance at the first."""
        said = []
        for row in self.rows:
            speakers = row.scope if row.same_scene else f"{row.scope}, other scenes"
            chance = next((cell.chance for cell in row.cells if cell.queries), np.nan)
            figures = [_said(cell) for cell in row.cells]
            said.append(
                [row.modality, row.similarity, speakers, row.transform, *figures, _tenths(chance)]
            )
        return said

    def lines(self) -> list[str]:
        """What was measured, and the notes, in sentences."""
        return [
            f"{self.queries} labelled held-out lines in {self.scenes} scenes, {self.library} "
            "labelled library clips, exact search; percent of hits with the line's emotion, "
            "95 % interval over scenes",
            *self.notes,
        ]


def precision_table(
    project: Project,
    *,
    modality: str | None = None,
    similarity: str | None = None,
    scope: str | None = None,
    transform: str = SETTINGS,
    k: int | None = None,
) -> PrecisionTable:
    """Measure every way to retrieve, or the named ones.

    Args:
        modality, similarity, scope: one name; None for all.
        transform: a name, ``settings`` for each modality's own, or ``all`` to compare them.
        k: one K; None for 1 to 10.

    Raises:
        UsageError: an unknown name, or ``k`` below 1.
        ConfigError: no labelled held-out utterance, no labelled library clip, or the named
            transform cannot be fitted.
    """
    ks = KS if k is None else (k,)
    if ks[0] < 1:
        raise UsageError(f"K is {k}; wanted at least 1")
    modalities = _named(modality, SPACES, "modality")
    ways = _named(similarity, tuple(METRIC_OF), "similarity")
    scopes = [one for one in SCOPES if one in _named(scope, SCOPES, "scope")]
    _named(transform, (*TRANSFORMS, SETTINGS, "all"), "transform")
    store = Store(project)
    library = library_of(store)
    known = [clip for clip in library if clip.emotion]
    queries = [clip for clip in store.clips() if clip.emotion and clip.split in HELD_OUT]
    _check_labels(known, queries)
    lines = Lines(queries, LibraryTable.from_clips(known), policy_of(project.config.index))
    features = feature_of(project.config.index)
    rows: list[PrecisionRow] = []
    notes: list[str] = []
    for name in modalities:
        values = store.read(features[name], [c.clip_id for c in (*library, *queries)])
        for used in _transforms(project.config.index, name, transform):
            for way in ways if name == "text" else [way for way in ways if way != "halves"]:
                try:
                    index, vectors = _space(lines, library, values, name, way, used)
                except ConfigError as error:
                    if transform != "all":
                        raise
                    notes.append(f"{name}, {way}, {used}: left out: {error.message}")
                    continue
                rows += _rows(lines, index, vectors, way, used, scopes, ks)
    if all(row.same_scene for row in rows):
        notes.append(
            "no line shares its scene with a library clip: exclude_same_scene has no effect"
        )
    return PrecisionTable(
        queries=len(queries),
        scenes=len(set(lines.scenes)),
        library=len(known),
        rows=tuple(rows),
        notes=tuple(dict.fromkeys(notes)),
    )


def _check_labels(known: Sequence[Clip], queries: Sequence[Clip]) -> None:
    """Refuse to measure without labelled library clips or labelled queries.

    Raises:
        ConfigError: E-INDEX-LABELS.
    """
    if not known or not queries:
        raise ConfigError(
            f"{len(queries)} held-out lines and {len(known)} library clips have an emotion label; "
            "wanted some of both. Is there an emotions.csv, and are there test scenes?",
            code="E-INDEX-LABELS",
        )


@dataclass(frozen=True, eq=False)
class Lines:
    """The query clips, the library, and the labels, which only counting may read."""

    query_clips: Sequence[Clip]  # Q, labelled
    table: LibraryTable  # N, labelled
    policy: Policy

    @cached_property
    def facts(self) -> list[ClipFacts]:
        """(Q,) what a policy reads of the queries; holds no emotion."""
        return [ClipFacts.of(clip) for clip in self.query_clips]

    @cached_property
    def scenes(self) -> list[tuple[str, str]]:
        """(Q,) film and scene of the queries."""
        return [(clip.film, clip.scene) for clip in self.query_clips]

    def may(self, policy: Policy, numbers: Sequence[int]) -> BoolArray:
        """(q, N) bool: whether a library clip is eligible for a query."""
        return np.stack([policy.eligible(self.facts[q], self.table) for q in numbers])

    def is_shared(self, numbers: Sequence[int]) -> BoolArray:
        """(q, N) bool: whether a library clip has the query's label. Only for counting."""
        return np.stack(
            [self.table.is_value("emotion", self.query_clips[q].emotion) for q in numbers]
        )


def _named(name: str | None, known: tuple[str, ...], kind: str) -> tuple[str, ...]:
    if name is None:
        return known
    if name not in known:
        raise UsageError(f"unknown {kind} '{name}'; {nearest(name, known)}")
    return (name,)


def _transforms(config: IndexConfig, modality: str, wanted: str) -> tuple[str, ...]:
    if wanted == SETTINGS:
        return (transform_of(config, modality),)
    return TRANSFORMS if wanted == "all" else (wanted,)


def _space(
    lines: Lines,
    library: Sequence[Clip],
    values: Mapping[str, Value],
    modality: str,
    way: str,
    transform: str,
) -> tuple[ModalityIndex, dict[int, FloatArray]]:
    """The index of the labelled library, and the vectors of the queries by number.

    As in a build, the transform is fitted on the whole library, labelled or not.
    """
    metric, halves = METRIC_OF[way], way == "halves"
    having = [clip for clip in library if clip.clip_id in values]
    if not having:
        raise ConfigError(
            f"no library clip has a {modality} emotion vector; see `redub status`",
            code="E-STAGE-EXTRACT",
        )
    fitted = fit_for_search(
        transform,
        _stacked(values, having),
        [clip.speaker for clip in having],
        [clip.emotion for clip in having],
        halves=halves,
    )
    known = [clip for clip in having if clip.emotion]
    vectors = _transformed(fitted, values, known)
    kept = has_direction(vectors, metric)
    rows = [lines.table.row_of(clip.clip_id) for clip in known]
    index = ModalityIndex.build(
        modality,
        lines.table,
        vectors[kept],
        np.array(rows, dtype=np.int64)[kept],
        settings=BuildSettings(backend="exact", metric=metric),
        halves=halves,
    )
    numbers = [q for q, clip in enumerate(lines.query_clips) if clip.clip_id in values]
    queries = _transformed(fitted, values, [lines.query_clips[q] for q in numbers])
    can_query = has_direction(queries, metric)
    return index, dict(itertools.compress(zip(numbers, queries, strict=True), can_query))


def _stacked(values: Mapping[str, Value], clips: Sequence[Clip]) -> FloatArray:
    return np.stack([np.asarray(values[clip.clip_id]) for clip in clips]).astype(np.float32)


def _transformed(fitted: Chain, values: Mapping[str, Value], clips: Sequence[Clip]) -> FloatArray:
    if not clips:
        return np.empty((0, 1), dtype=np.float32)
    return fitted.apply(_stacked(values, clips), [clip.speaker for clip in clips])


def _rows(
    lines: Lines,
    index: ModalityIndex,
    queries: Mapping[int, FloatArray],
    way: str,
    transform: str,
    scopes: Sequence[Scope],
    ks: Sequence[int],
) -> Iterator[PrecisionRow]:
    """One row per scope; a second one without the own scene where that changes eligibility."""
    for scope in scopes:
        policy = replace(lines.policy, speaker=scope, exclude_same_scene=False)
        strict = replace(policy, exclude_same_scene=True)
        is_same = not any(
            (lines.may(policy, some) != lines.may(strict, some))[:, index.rows].any()
            for some in _blocks(list(queries))
        )
        for used in (policy,) if is_same else (policy, strict):
            yield PrecisionRow(
                modality=index.modality,
                similarity=way,
                scope=scope,
                same_scene=not used.exclude_same_scene,
                transform=transform,
                candidates=len(index.rows),
                cells=counted(
                    _query_hits(lines, index, queries, used, max(ks)),
                    [lines.scenes[q] for q in queries],
                    ks,
                ),
            )


def _blocks(numbers: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(numbers), BLOCK_LINES):
        yield numbers[start : start + BLOCK_LINES]


class QueryHits(NamedTuple):
    """Hits of Q queries, and counts of the eligible clips."""

    found: BoolArray  # (Q, K) whether there is a hit of this rank
    is_right: BoolArray  # (Q, K) whether that hit has the query's label
    of: IntArray  # (Q,) eligible clips
    right: IntArray  # (Q,) eligible clips with the query's label


def _query_hits(
    lines: Lines,
    index: ModalityIndex,
    queries: Mapping[int, FloatArray],
    policy: Policy,
    k: int,
) -> QueryHits:
    blocks = []
    for some in _blocks(list(queries)):
        vectors = np.stack([queries[q] for q in some])
        facts = [lines.facts[q] for q in some]
        hits = search(index, lines.table, policy, vectors, facts, Selection(k=k)).rows
        # Labels of held-out utterances are read only below this line.
        may, is_shared = lines.may(policy, some)[:, index.rows], lines.is_shared(some)
        blocks.append(query_hits_of(hits, is_shared, may, is_shared[:, index.rows]))
    if not blocks:
        empty = np.zeros((0, k), dtype=np.int64)
        return query_hits_of(empty, empty, empty, empty)
    return QueryHits(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def query_hits_of(hits: IntArray, is_shared: Any, may: Any, may_share: Any) -> QueryHits:
    """Compare hits with labels.

    Args:
        hits: (Q, K) library rows best first, -1 where there are fewer.
        is_shared: (Q, N) whether a library row has the query's label.
        may: (Q, n) whether an indexed row is eligible.
        may_share: (Q, n) whether an indexed row has the query's label.
    """
    found = hits >= 0
    is_right = np.take_along_axis(is_shared, np.maximum(hits, 0), axis=1) & found
    return QueryHits(found, is_right, may.sum(axis=1), (may & may_share).sum(axis=1))


def counted(
    query_hits: QueryHits, scenes: Sequence[tuple[str, str]], ks: Sequence[int]
) -> tuple[PrecisionCell, ...]:
    """Count right hits at every K.

    Args:
        scenes: (Q,) scenes of the queries; the bootstrap draws queries of a scene together.
        ks: values of K, none above the number of ranks in ``query_hits``.
    """
    cells = []
    for k in ks:
        full: BoolArray = query_hits.found[
            :, k - 1
        ]  # hits have no gaps: rank k implies all ranks before
        share, chance, ceiling = Interval(*NOTHING), math.nan, math.nan
        if full.any():
            shares = query_hits.is_right[full, :k].mean(axis=1)
            drawn = list(itertools.compress(scenes, full))
            share = bootstrap_mean(shares, seed=SEED, clusters=drawn)
            chance = float((query_hits.right[full] / query_hits.of[full]).mean())
            ceiling = float(np.minimum(query_hits.right[full] / k, 1.0).mean())
        cells.append(
            PrecisionCell(
                k=k,
                queries=int(full.sum()),
                precision=share.value,
                low=share.low,
                high=share.high,
                chance=chance,
                ceiling=ceiling,
            )
        )
    return tuple(cells)


def _said(cell: PrecisionCell) -> str:
    if not cell.queries:
        return "–"
    if not np.isfinite(cell.low):
        return _percent(cell.precision)
    return f"{_percent(cell.precision)} [{_percent(cell.low)}, {_percent(cell.high)}]"


def _percent(share: float) -> str:
    return f"{100.0 * share:.0f}" if np.isfinite(share) else "–"


def _tenths(share: float) -> str:
    return f"{100.0 * share:.1f}" if np.isfinite(share) else "–"
