"""From ranked candidates to the hits a model is given: how many of them, and how different.

Authentic-Dubber's quality falls as K grows (arXiv:2511.14249, its open question): the K-th hit is
less alike than the first, and often says the same once more. So hits can be cut where they stop
being alike, can be asked to differ, and always come with their scores and margins.

Source of the diversity rule: Carbonell & Goldstein 1998, maximal marginal relevance.
Letters: Q queries, P candidates, K hits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from redub.core.types import FloatArray
from redub.index.base import Hits, IntArray

POOL_PER_HIT = 4
"""Candidates per hit that diversity chooses from; farther ones are hardly alike any more."""

Alike = Callable[[IntArray], FloatArray]
"""(n,) rows to their (n, n) similarities, in the metric of the scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The rules; frozen, so that it can be part of a result's key.

    Attributes:
        k: hits at most.
        min_score: a candidate below is no hit, even if none is left; None for no such limit.
        adaptive: ``gap`` keeps only the hits before the largest step down among the first k + 1
            scores (the last of equal steps), so that one outstanding hit may stay alone.
        diversity: 0 takes the best; towards 1 (at most 0.999) a hit counts less the more it is
            like those chosen: ``(1 - diversity) · score - diversity · most alike chosen hit``.
    """

    k: int
    min_score: float | None = None
    adaptive: Literal["fixed", "gap"] = "fixed"
    diversity: float = 0.0

    @property
    def pool(self) -> int:
        """Candidates to rank for each query; one more than hits, to measure margins against."""
        return (POOL_PER_HIT * self.k if self.diversity else self.k) + 1


class Chosen(NamedTuple):
    """Hits of Q queries in the order they were chosen; -1 and NaN where there are fewer.

    margins: a hit's score minus that of the best candidate that was passed over: how much worse a
    replacement would be. NaN where nothing was passed over; negative where diversity passed over a
    better one.
    """

    rows: IntArray  # (Q, K)
    scores: FloatArray  # (Q, K)
    margins: FloatArray  # (Q, K)


def choose(candidates: Hits, selection: Selection, alike: Alike) -> Chosen:
    """Apply the rules to ranked candidates.

    Args:
        candidates: (Q, P) best first, as a search for ``selection.pool`` returns them.
        alike: asked for the candidates of one query at a time, with diversity only.
    """
    lines, k = len(candidates.rows), selection.k
    chosen = Chosen(
        np.full((lines, k), -1, dtype=np.int64),
        np.full((lines, k), np.nan, dtype=np.float32),
        np.full((lines, k), np.nan, dtype=np.float32),
    )
    for line, (rows, scores) in enumerate(zip(candidates.rows, candidates.scores, strict=True)):
        found = rows >= 0
        rows, scores = rows[found], scores[found]
        count = _how_many(scores, selection)
        places = (
            _different(rows, scores, count, selection.diversity, alike)
            if selection.diversity and count > 1
            else np.arange(count)
        )
        passed = np.delete(scores, places)
        chosen.rows[line, :count] = rows[places]
        chosen.scores[line, :count] = scores[places]
        if len(passed):
            chosen.margins[line, :count] = scores[places] - passed[0]
    return chosen


def _how_many(scores: FloatArray, selection: Selection) -> int:
    good = len(scores)
    if selection.min_score is not None:
        good = int(np.count_nonzero(scores >= np.float32(selection.min_score)))
    count = min(good, selection.k)
    if selection.adaptive == "fixed" or count < 2:
        return count
    # One below the last hit is looked at as well, even if it is too bad to be a hit itself.
    steps = -np.diff(scores[: count + 1].astype(np.float64))
    return len(steps) - int(np.argmax(steps[::-1]))


def _different(
    rows: IntArray, scores: FloatArray, count: int, diversity: float, alike: Alike
) -> IntArray:
    """Places of ``count`` candidates by maximal marginal relevance; of equals, the first."""
    between = alike(rows).astype(np.float64)  # (P, P)
    worth = (1.0 - diversity) * scores.astype(np.float64)
    nearest = between[0].copy()  # (P,) to the most alike hit chosen so far
    places = [0]
    for _ in range(1, count):
        value = worth - diversity * nearest
        value[places] = -np.inf
        place = int(np.argmax(value))
        places.append(place)
        nearest = np.maximum(nearest, between[place])
    return np.array(places, dtype=np.int64)
