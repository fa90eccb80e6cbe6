"""Director's notes: user wishes that change the retrieval query of one utterance.

Notes change the query, never the library. They add or subtract the direction of an emotion, average
the vectors of named clips into the query, and restrict the clips and films that may be retrieved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np

from redub.core.config import nearest
from redub.core.errors import UsageError
from redub.core.records import JsonRecord
from redub.core.types import EMOTIONS, FloatArray
from redub.index.policy import Policy
from redub.index.similarity import unit_rows

NOUNS = {
    "anger": "angry", "happiness": "happy", "joy": "happy", "sadness": "sad",
    "surprised": "surprise", "disgusted": "disgust", "afraid": "fear", "fearful": "fear",
}  # fmt: skip
"""Accepted synonyms of the labels in :data:`redub.core.types.EMOTIONS`."""

USUAL_WEIGHT = 0.5
MOST_WEIGHT = 4.0  # with larger weights the utterance's own vector has almost no influence


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """An emotion and its weight, in multiples of the norm of the utterance's vector."""

    emotion: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes(JsonRecord):
    """Notes on one utterance; empty notes change nothing.

    Attributes:
        more, less: emotions to move the query towards or away from.
        like: library clips whose vectors are averaged into the query.
        unlike: library clips that may not be retrieved.
        films: if not empty, only clips of these films may be retrieved.
    """

    OMITS_DEFAULTS: ClassVar[bool] = True

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
        """Parse notes as typed by the user: ``anger:0.4``, or ``anger`` for a weight of 0.5.

        Raises:
            UsageError: an unknown emotion (the message suggests the nearest known one), a weight
                that is not a number above 0 and at most 4, or an emotion that is named twice.
        """
        towards = [_weighted(words) for words in more]
        away = [_weighted(words) for words in less]
        names = [one.emotion for one in (*towards, *away)]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"'{name}' is named twice in --more and --less")
        return cls(
            more=tuple(towards),
            less=tuple(away),
            like=tuple(dict.fromkeys(like)),
            unlike=tuple(dict.fromkeys(unlike)),
            films=tuple(dict.fromkeys(films)),
        )

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))

    def lines(self) -> list[str]:
        """Describe each note in words, one string per note."""
        return [
            *(f"more {one.emotion} ({one.weight:g})" for one in self.more),
            *(f"less {one.emotion} ({one.weight:g})" for one in self.less),
            *(f"like {clip_id}" for clip_id in self.like),
            *(f"not {clip_id}" for clip_id in self.unlike),
            *(f"only from {film}" for film in self.films),
        ]

    def applied_to(self, policy: Policy) -> Policy:
        """Return the policy restricted by these notes; the notes never allow additional clips."""
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
    """Apply the notes to a query vector; returns (D,) float32 with the norm of the query.

    The query is first moved to ``q + Σ w · d(more) - Σ w · d(less)``, with unit vectors: ``d(e)``
    points from the mean of the library to the mean of its clips labelled ``e``. Then it is averaged
    with the vectors of the clips in ``like``. If the result is zero, the query is returned
    unchanged.

    Args:
        query: (D,) float32, not zero.
        library: (n, D) float32 vectors of one modality.
        emotions: (n,) labels of the library rows, empty where unlabelled.
        vector_of: returns the vector of a clip in this modality, or None.

    Raises:
        UsageError: no clip of the library is labelled with an emotion that a note names.
    """
    length = float(np.linalg.norm(query.astype(np.float64)))
    turned = query.astype(np.float64) / length
    if notes.more or notes.less:
        units = unit_rows(library).astype(np.float64)
        labels = np.array(emotions, dtype=object)
        for sign, emotions_moved in ((1.0, notes.more), (-1.0, notes.less)):
            for one in emotions_moved:
                turned += sign * one.weight * _direction(units, labels, one.emotion)
    pulls = [vector for clip_id in notes.like if (vector := vector_of(clip_id)) is not None]
    if pulls:
        others = unit_rows(np.stack(pulls).astype(np.float32)).astype(np.float64)
        size = np.linalg.norm(turned)
        mean = np.concatenate([turned[None] / size if size else turned[None], others]).mean(axis=0)
        turned = mean
    left = float(np.linalg.norm(turned))
    if left == 0.0:  # the notes cancelled the query: keep it unchanged
        return query
    result: FloatArray = (turned * (length / left)).astype(np.float32)
    return result


def _direction(units: Any, labels: Any, emotion: str) -> Any:
    """Compute the (D,) unit vector from the mean of all rows to the mean of the labelled rows.

    Zero where the two means are equal.

    Raises:
        UsageError: no row has the label.
    """
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
