"""A director's notes on one line: what the reference footage should be more like, or less.

Notes change a query, never the library: the direction of an emotion is added to the line's vector
or taken away, named clips pull it towards themselves, named clips and films are let in or kept out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from redub.core.config import from_mapping, nearest
from redub.core.errors import UsageError
from redub.core.types import EMOTIONS, FloatArray
from redub.index.policy import Policy
from redub.index.similarity import unit_rows

NOUNS = {
    "anger": "angry", "happiness": "happy", "joy": "happy", "sadness": "sad",
    "surprised": "surprise", "disgusted": "disgust", "afraid": "fear", "fearful": "fear",
}  # fmt: skip
"""Other words for the labels of :data:`redub.core.types.EMOTIONS`, as directors say them."""

USUAL_WEIGHT = 0.5
MOST_WEIGHT = 4.0  # beyond, the line itself is not heard any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """An emotion and how much of it, in lengths of the line's own vector."""

    emotion: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """Notes on one line; empty ones change nothing.

    Attributes:
        more, less: emotions to go towards or away from.
        like: library clips whose vectors are averaged into the query.
        unlike: library clips that may not be retrieved.
        films: if any are named, only their clips may be retrieved.
    """

    more: tuple[Weighted, ...] = ()
    less: tuple[Weighted, ...] = ()
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    films: tuple[str, ...] = ()

    @classmethod
    def parse(
        cls,
        *,
        more: Sequence[str] = (),
        less: Sequence[str] = (),
        like: Sequence[str] = (),
        unlike: Sequence[str] = (),
        films: Sequence[str] = (),
    ) -> Notes:
        """Notes as they are typed: ``anger:0.4``, or ``anger`` for a weight of 0.5.

        Raises:
            UsageError: an unknown emotion (with the nearest known one), a weight that is no
                number above 0 and at most 4, an emotion that is asked for twice.
        """
        wanted = [_weighted(words) for words in more]
        unwanted = [_weighted(words) for words in less]
        names = [one.emotion for one in (*wanted, *unwanted)]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"'{name}' is named twice in --more and --less")
        return cls(
            more=tuple(wanted),
            less=tuple(unwanted),
            like=tuple(dict.fromkeys(like)),
            unlike=tuple(dict.fromkeys(unlike)),
            films=tuple(dict.fromkeys(films)),
        )

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))

    def lines(self) -> list[str]:
        """Each note in plain words."""
        return [
            *(f"more {one.emotion} ({one.weight:g})" for one in self.more),
            *(f"less {one.emotion} ({one.weight:g})" for one in self.less),
            *(f"like {clip_id}" for clip_id in self.like),
            *(f"not {clip_id}" for clip_id in self.unlike),
            *(f"only from {film}" for film in self.films),
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values; fields that say nothing are left out."""
        return {name: value for name, value in asdict(self).items() if value}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Notes:
        return from_mapping(cls, values)

    def applied_to(self, policy: Policy) -> Policy:
        """The policy under these notes: never looser than it was."""
        films = self.films
        if films and policy.films:
            films = tuple(film for film in films if film in policy.films) or ("",)
        return replace(policy, films=films or policy.films, exclude=(*policy.exclude, *self.unlike))


def _weighted(words: str) -> Weighted:
    emotion, colon, number = words.partition(":")
    emotion = emotion.strip().lower()
    emotion = NOUNS.get(emotion, emotion)
    if emotion not in EMOTIONS:
        raise UsageError(f"unknown emotion '{emotion}'; {nearest(emotion, [*EMOTIONS, *NOUNS])}")
    try:
        weight = float(number) if colon else USUAL_WEIGHT
    except ValueError:
        weight = float("nan")
    if not 0.0 < weight <= MOST_WEIGHT:
        raise UsageError(
            f"'{words}': wanted a weight above 0, at most {MOST_WEIGHT:g}, as in {emotion}:0.4"
        )
    return Weighted(emotion=emotion, weight=weight)


def directed(
    query: FloatArray,
    notes: Notes,
    *,
    library: FloatArray,
    emotions: Sequence[str],
    vector_of: Callable[[str], FloatArray | None],
) -> FloatArray:
    """The query as the notes want it.

    With unit vectors, ``q + Σ w · d(more) - Σ w · d(less)``, where ``d(e)`` points from the mean of
    the library to the mean of its clips labelled ``e``; then the mean with the clips it should be
    like. The length of the query is kept.

    Args:
        query: (D,) float32, not zero.
        library: (n, D) float32 vectors of one modality.
        emotions: (n,) labels of those rows, empty where unlabelled.
        vector_of: the vector of a clip of this modality, None where it has none.

    Raises:
        UsageError: no clip of the library is labelled with an emotion that a note names.
    """
    length = float(np.linalg.norm(query.astype(np.float64)))
    turned = query.astype(np.float64) / length
    if notes.more or notes.less:
        units = unit_rows(library).astype(np.float64)
        labels = np.array(emotions, dtype=object)
        for sign, wanted in ((1.0, notes.more), (-1.0, notes.less)):
            for one in wanted:
                turned += sign * one.weight * _direction(units, labels, one.emotion)
    pulls = [vector for clip_id in notes.like if (vector := vector_of(clip_id)) is not None]
    if pulls:
        others = unit_rows(np.stack(pulls).astype(np.float32)).astype(np.float64)
        size = np.linalg.norm(turned)
        mean = np.concatenate([turned[None] / size if size else turned[None], others]).mean(axis=0)
        turned = mean
    left = float(np.linalg.norm(turned))
    if left == 0.0:  # the notes took away all there was: better the line than nothing
        return query
    result: FloatArray = (turned * (length / left)).astype(np.float32)
    return result


def _direction(units: Any, labels: Any, emotion: str) -> Any:
    """(D,) unit vector from the mean of all rows to that of the labelled ones; 0 if they agree."""
    labelled = labels == emotion
    if not labelled.any():
        known = sorted({str(label) for label in labels if label})
        raise UsageError(
            f"no library clip of this modality is labelled '{emotion}'; labels there: "
            f"{', '.join(known) or 'none (add an emotions.csv)'}"
        )
    step = units[labelled].mean(axis=0) - units.mean(axis=0)
    size = np.linalg.norm(step)
    return step / size if size > 0 else step
