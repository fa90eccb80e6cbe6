"""Emotion precision@K as retrieval works: held-out lines ask the library of the training split.

Reads the clips, their labels and emotion vectors; needs no built index, fits the transforms on the
library as a build does, and searches exactly. A line is asked with its vector and the facts that a
policy reads, which hold no emotion: labels of held-out lines are first seen when hits are counted.
Writes nothing.

Precision@K of a line is the share of its K best hits that have its label. Its chance is the share
of clips with its label among all that might have answered it, and its ceiling what the best choice
among those would score: fewer than K of them may have its label. A line counts at K if K clips
could answer. Intervals are bootstrapped over whole scenes, whose lines share mood and speakers.

Letters: Q held-out lines, N labelled library clips, K neighbours, D width.
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
"""In place of a transform: that of the project's settings."""

METRIC_OF: dict[str, Metric] = {
    "cosine": "cosine",
    "dot": "dot",
    "negative_euclidean": "negative_euclidean",
    "halves": "cosine",
}
"""Similarities by name; ``halves`` is the mean of two cosines, which text alone has."""

NOTHING = (math.nan, math.nan, math.nan)
BLOCK_LINES = 256  # lines whose masks over the library are held at a time
SEED = 0  # of the bootstrap; a table is the same every time


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionCell:
    """One K, as shares; ``low`` and ``high`` are NaN where all lines are of one scene."""

    k: int
    queries: int
    precision: float
    low: float
    high: float
    chance: float
    ceiling: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionRow:
    """One way to retrieve; ``candidates`` library clips have a vector there."""

    modality: str
    similarity: str
    scope: str
    same_scene: bool
    transform: str
    candidates: int
    cells: tuple[PrecisionCell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionTable:
    """``queries`` labelled held-out lines in ``scenes`` scenes asked ``library`` labelled clips."""

    queries: int
    scenes: int
    library: int
    rows: tuple[PrecisionRow, ...]
    notes: tuple[str, ...]

    def columns(self) -> list[str]:
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
        return [
            f"{self.queries} labelled held-out lines in {self.scenes} scenes asked {self.library} "
            "labelled library clips by exact search; percent of hits with the line's emotion, "
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
    """Measure every way to retrieve, or those that are named.

    Args:
        transform: a name, ``settings`` for each modality's own, or ``all`` to compare them.
        k: one K instead of 1 to 10.

    Raises:
        UsageError: an unknown name, or ``k`` below 1.
        ConfigError: no labelled held-out line, no labelled library clip, or a transform that is
            named and cannot be fitted.
    """
    ks = KS if k is None else (k,)
    if ks[0] < 1:
        raise UsageError(f"K is {k}; wanted at least 1")
    modalities = _named(modality, SPACES, "modality")
    similarities = _named(similarity, tuple(METRIC_OF), "similarity")
    scopes = [one for one in SCOPES if one in _named(scope, SCOPES, "scope")]
    if transform not in (SETTINGS, "all"):
        _named(transform, (*TRANSFORMS, SETTINGS, "all"), "transform")
    store = Store(project)
    library = library_of(store)
    known = [clip for clip in library if clip.emotion]
    asking = [clip for clip in store.clips() if clip.emotion and clip.split in HELD_OUT]
    if not known or not asking:
        raise ConfigError(
            f"{len(asking)} held-out lines and {len(known)} library clips have an emotion label; "
            "wanted some of both. Is there an emotions.csv, and are there test scenes?",
            code="E-INDEX-LABELS",
        )
    lines = Lines(asking, LibraryTable.from_clips(known), policy_of(project.config.index))
    features = feature_of(project.config.index)
    rows: list[PrecisionRow] = []
    notes: list[str] = []
    for name in modalities:
        values = store.read(features[name], [c.clip_id for c in (*library, *asking)])
        for used in _transforms(project.config.index, name, transform):
            for way in similarities:
                if way == "halves" and name != "text":
                    continue
                try:
                    index, queries = _space(lines, library, values, name, way, used)
                except ConfigError as error:
                    if transform != "all":
                        raise
                    notes.append(f"{name}, {way}, {used}: left out: {error.message}")
                    continue
                rows += _rows(lines, index, queries, way, used, scopes, ks)
    if not any(not row.same_scene for row in rows):
        notes.append("no line has a library clip of its own scene: leaving those out is the same")
    return PrecisionTable(
        queries=len(asking),
        scenes=len(set(lines.scenes)),
        library=len(known),
        rows=tuple(rows),
        notes=tuple(dict.fromkeys(notes)),
    )


@dataclass(frozen=True, eq=False)
class Lines:
    """Who asks, who may answer, and, kept apart from both, the labels to count with."""

    asking: Sequence[Clip]  # Q, labelled
    table: LibraryTable  # N, labelled
    policy: Policy

    @cached_property
    def facts(self) -> list[ClipFacts]:
        return [ClipFacts.of(clip) for clip in self.asking]

    @cached_property
    def scenes(self) -> list[tuple[str, str]]:
        return [(clip.film, clip.scene) for clip in self.asking]

    def may(self, policy: Policy, numbers: Sequence[int]) -> BoolArray:
        """(q, N) bool: the policy lets the library clip answer the line."""
        return np.stack([policy.eligible(self.facts[q], self.table) for q in numbers])

    def is_shared(self, numbers: Sequence[int]) -> BoolArray:
        """(q, N) bool: the library clip has the line's label. Only counting may look here."""
        return np.stack([self.table.is_value("emotion", self.asking[q].emotion) for q in numbers])


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
    """The labelled library as it is searched, and the lines' vectors by their numbers.

    The transform is fitted on the whole library, as a build fits it, labelled or not.
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
    vectors = _moved(fitted, values, known)
    kept = has_direction(vectors, metric)
    rows = [lines.table.row_of(clip.clip_id) for clip in known]
    index = ModalityIndex.build(
        modality,
        lines.table,
        vectors[kept],
        np.array(rows, dtype=np.int64)[kept],
        metric=metric,
        halves=halves,
        backend="exact",
    )
    numbers = [q for q, clip in enumerate(lines.asking) if clip.clip_id in values]
    queries = _moved(fitted, values, [lines.asking[q] for q in numbers])
    can_ask = has_direction(queries, metric)
    return index, dict(itertools.compress(zip(numbers, queries, strict=True), can_ask))


def _stacked(values: Mapping[str, Value], clips: Sequence[Clip]) -> FloatArray:
    return np.stack([np.asarray(values[clip.clip_id]) for clip in clips]).astype(np.float32)


def _moved(fitted: Chain, values: Mapping[str, Value], clips: Sequence[Clip]) -> FloatArray:
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
    """One row per scope; another without the own scene, where that changes who may answer."""
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
                    _answered(lines, index, queries, used, max(ks)),
                    [lines.scenes[q] for q in queries],
                    ks,
                ),
            )


def _blocks(numbers: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(numbers), BLOCK_LINES):
        yield numbers[start : start + BLOCK_LINES]


class Answers(NamedTuple):
    """What Q lines found, and what they could have found."""

    found: BoolArray  # (Q, K) there is a hit of this rank
    is_right: BoolArray  # (Q, K) it has the line's label
    of: IntArray  # (Q,) clips that might have answered
    right: IntArray  # (Q,) of these with the line's label


def _answered(
    lines: Lines,
    index: ModalityIndex,
    queries: Mapping[int, FloatArray],
    policy: Policy,
    k: int,
) -> Answers:
    blocks = []
    for some in _blocks(list(queries)):
        vectors = np.stack([queries[q] for q in some])
        facts = [lines.facts[q] for q in some]
        hits = search(index, lines.table, policy, vectors, facts, Selection(k=k)).rows
        # Only from here on is a label of a held-out line looked at.
        may, is_shared = lines.may(policy, some)[:, index.rows], lines.is_shared(some)
        blocks.append(answers_of(hits, is_shared, may, is_shared[:, index.rows]))
    if not blocks:
        nobody = np.zeros((0, k), dtype=np.int64)
        return answers_of(nobody, nobody, nobody, nobody)
    return Answers(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def answers_of(hits: IntArray, is_shared: Any, may: Any, may_share: Any) -> Answers:
    """Compare hits with labels.

    Args:
        hits: (Q, K) library rows best first, -1 where there are fewer.
        is_shared: (Q, N) whether a library row has the line's label.
        may, may_share: (Q, n) who of the indexed rows may answer, and who has the line's label.
    """
    found = hits >= 0
    is_right = np.take_along_axis(is_shared, np.maximum(hits, 0), axis=1) & found
    return Answers(found, is_right, may.sum(axis=1), (may & may_share).sum(axis=1))


def counted(
    answers: Answers, scenes: Sequence[tuple[str, str]], ks: Sequence[int]
) -> tuple[PrecisionCell, ...]:
    """Count right hits at every K, none above the number of ranks.

    Args:
        scenes: (Q,) of the lines; the bootstrap draws the lines of a scene together.
    """
    cells = []
    for k in ks:
        full: BoolArray = answers.found[:, k - 1]  # hits have no gaps: this one has all before it
        share, chance, ceiling = Interval(*NOTHING), math.nan, math.nan
        if full.any():
            shares = answers.is_right[full, :k].mean(axis=1)
            drawn = list(itertools.compress(scenes, full))
            share = bootstrap_mean(shares, seed=SEED, clusters=drawn)
            chance = float((answers.right[full] / answers.of[full]).mean())
            ceiling = float(np.minimum(answers.right[full] / k, 1.0).mean())
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
