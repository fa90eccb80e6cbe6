"""Select hits from ranked candidates: number of hits, minimum score and diversity.

The quality of Authentic-Dubber falls as K grows (arXiv:2511.14249, named there as an open
question): later hits are less similar to the query and often repeat earlier hits. Therefore a
selection can stop at a score limit or at a large step in the scores, and can prefer hits that
differ from each other. Every hit keeps its score and margin.

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
"""Candidates per hit that the diversity rule chooses from."""

Alike = Callable[[IntArray], FloatArray]
"""Function from (n,) rows to their (n, n) similarities, in the metric of the scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Rules for choosing hits; frozen, so that it can be part of a cache key.

    Attributes:
        k: maximum number of hits.
        min_score: candidates with a lower score are dropped, even if no hit remains; None means no
            limit.
        adaptive: ``gap`` keeps only the hits before the largest step down among the first k + 1
            scores (the last one of equal steps); so a single outstanding hit may remain alone.
        diversity: weight of the penalty for similarity to hits already chosen, 0 to 0.999; 0 takes
            the best scores. Candidates are ranked by ``(1 - diversity) · score - diversity · s``,
            s the highest similarity to a hit already chosen.
    """

    k: int
    min_score: float | None = None
    adaptive: Literal["fixed", "gap"] = "fixed"
    diversity: float = 0.0

    @property
    def pool(self) -> int:
        """Number of candidates to rank per query; one extra candidate serves for the margins."""
        return (POOL_PER_HIT * self.k if self.diversity else self.k) + 1


class Chosen(NamedTuple):
    """Hits of Q queries in the order they were chosen; -1 and NaN where there are fewer than K.

    margins: score of the hit minus score of the best candidate that was not chosen. NaN where all
    candidates were chosen; negative where the diversity rule skipped a candidate with a higher
    score.
    """

    rows: IntArray  # (Q, K)
    scores: FloatArray  # (Q, K)
    margins: FloatArray  # (Q, K)


def choose(candidates: Hits, selection: Selection, alike: Alike) -> Chosen:
    """Choose hits from ranked candidates.

    Args:
        candidates: (Q, P) best first, as returned by a search for ``selection.pool`` hits.
        alike: similarities between candidates; called once per query, only with diversity.

    Returns:
        (Q, K) rows, scores and margins.
    """
    queries, k = len(candidates.rows), selection.k
    chosen = Chosen(
        np.full((queries, k), -1, dtype=np.int64),
        np.full((queries, k), np.nan, dtype=np.float32),
        np.full((queries, k), np.nan, dtype=np.float32),
    )
    for query, (rows, scores) in enumerate(zip(candidates.rows, candidates.scores, strict=True)):
        found = rows >= 0
        rows, scores = rows[found], scores[found]
        count = _how_many(scores, selection)
        places = (
            _different(rows, scores, count, selection.diversity, alike)
            if selection.diversity and count > 1
            else np.arange(count)
        )
        skipped = np.delete(scores, places)
        chosen.rows[query, :count] = rows[places]
        chosen.scores[query, :count] = scores[places]
        if len(skipped):
            chosen.margins[query, :count] = scores[places] - skipped[0]
    return chosen


def _how_many(scores: FloatArray, selection: Selection) -> int:
    good = len(scores)
    if selection.min_score is not None:
        good = int(np.count_nonzero(scores >= np.float32(selection.min_score)))
    count = min(good, selection.k)
    if selection.adaptive == "fixed" or count < 2:
        return count
    # The step after the last hit counts, too, even if the next candidate is below min_score.
    steps = -np.diff(scores[: count + 1].astype(np.float64))
    return len(steps) - int(np.argmax(steps[::-1]))


def _different(
    rows: IntArray, scores: FloatArray, count: int, diversity: float, alike: Alike
) -> IntArray:
    """Choose ``count`` candidates by maximal marginal relevance; ties go to the first one."""
    between = alike(rows).astype(np.float64)  # (P, P)
    worth = (1.0 - diversity) * scores.astype(np.float64)
    nearest = between[0].copy()  # (P,) highest similarity to a hit chosen so far
    places = [0]
    for _ in range(1, count):
        value = worth - diversity * nearest
        value[places] = -np.inf
        place = int(np.argmax(value))
        places.append(place)
        nearest = np.maximum(nearest, between[place])
    return np.array(places, dtype=np.int64)
