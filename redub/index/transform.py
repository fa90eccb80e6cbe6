"""Named, fitted, storable changes to emotion vectors before they are indexed.

Raw prosody says more about who speaks than about what is felt. ``speaker_zscore`` takes the
speaker out without any label, ``whiten`` evens out the dimensions, ``lda`` uses emotion labels of
the training split where there are some. Each is fitted once, applied to library and queries alike,
and stored as plain arrays. Vectors of two halves get a chain for each (``halves``), so that the
mean of the halves' cosines stays one. Letters: N clips, D width in, W width out, H half of D.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ConfigError, IntegrityError
from redub.core.registry import load
from redub.core.types import FloatArray
from redub.index.transform_steps import (
    Arrays,
    Matrix,
    Transform,
    checked_vectors,
    stored_array,
    text_array,
)


@dataclass(frozen=True, slots=True)
class Chain:
    """Transforms one after the other."""

    steps: tuple[Transform, ...]
    name: ClassVar[str] = "chain"

    def apply(self, vectors: NDArray[np.floating], speakers: Sequence[str]) -> FloatArray:
        values: NDArray[Any] = vectors
        for step in self.steps:
            values = step.apply(values, speakers)
        return np.asarray(values, dtype=np.float32)

    def to_arrays(self) -> Arrays:
        """Each step's arrays under ``<place>.<array>``, and the steps' names under ``steps``."""
        stored: Arrays = {"steps": text_array([step.name for step in self.steps])}
        for place, step in enumerate(self.steps):
            stored |= {f"{place}.{key}": array for key, array in step.to_arrays().items()}
        return stored

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Raises IntegrityError where an array or a step is missing or unknown."""
        steps = []
        for place, name in enumerate(stored_array(arrays, "steps")):
            if str(name) not in TRANSFORMS:
                raise IntegrityError(f"stored transform '{name}' is unknown to this version")
            start = f"{place}."
            own = {key[len(start) :]: a for key, a in arrays.items() if key.startswith(start)}
            steps.append(load(TRANSFORMS, str(name), kind="transform").from_arrays(own))
        return cls(tuple(steps))


@dataclass(frozen=True, slots=True)
class Halves:
    """A chain for the first half of a vector and another for the second.

    A half that is zero stands for nothing said: it is not fitted on and stays zero, so that its
    cosine stays 0. Of halves that come out differently wide, the narrower is filled with zeros,
    which no cosine sees.
    """

    first: Chain
    second: Chain
    half: int  # H, of a vector that comes in
    width: int  # W / 2, of each half that goes out
    name: ClassVar[str] = "halves"

    @classmethod
    def fit(
        cls,
        vectors: NDArray[np.floating],
        speakers: Sequence[str],
        labels: Sequence[str] = (),
        *,
        names: Sequence[str] = (),
    ) -> Self:
        """Fit the transforms ``names`` on each half; an all-zero half gets ``identity``."""
        values = checked_vectors(vectors, speakers)
        if values.shape[1] % 2:
            raise ConfigError(f"two halves: width {values.shape[1]} is odd", code="E-INDEX-WIDTH")
        chains, widths = [], []
        for part in np.split(values, 2, axis=1):
            said, wanted = _said(part), names
            if not said.any():
                said, wanted = ~said, ()
            own, people = part[said], _where(speakers, said)
            known = _where(labels, said) if len(labels) == len(said) else labels
            chain = fit_chain(wanted, own, people, known)
            chains.append(chain)
            widths.append(chain.apply(own[:1], people[:1]).shape[1])
        return cls(chains[0], chains[1], values.shape[1] // 2, max(widths))

    def apply(self, vectors: NDArray[np.floating], speakers: Sequence[str]) -> FloatArray:
        values = checked_vectors(vectors, speakers, 2 * self.half)
        moved = np.zeros((len(values), 2, self.width), dtype=np.float32)
        for place, chain in enumerate((self.first, self.second)):
            part = values[:, place * self.half : (place + 1) * self.half]
            said = _said(part)
            if said.any():
                own = chain.apply(part[said], _where(speakers, said))
                moved[said, place, : own.shape[1]] = own
        return moved.reshape(len(values), -1)

    def to_arrays(self) -> Arrays:
        """The chains' arrays under ``first.`` and ``second.``, and both widths."""
        stored: Arrays = {"widths": np.array([self.half, self.width], dtype=np.int64)}
        for word, chain in (("first", self.first), ("second", self.second)):
            stored |= {f"{word}.{key}": array for key, array in chain.to_arrays().items()}
        return stored

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        half, width = (int(number) for number in stored_array(arrays, "widths"))
        chains = [
            Chain.from_arrays(
                {k.removeprefix(word): a for k, a in arrays.items() if k.startswith(word)}
            )
            for word in ("first.", "second.")
        ]
        return cls(chains[0], chains[1], half, width)


TRANSFORMS: dict[str, str] = {
    "identity": "redub.index.transform_steps:Identity",
    "speaker_zscore": "redub.index.transform_steps:SpeakerZScore",
    "whiten": "redub.index.transform_steps:Whiten",
    "lda": "redub.index.transform_steps:DiscriminantAxes",
    "halves": "redub.index.transform:Halves",
}


def fit_chain(
    names: Sequence[str],
    vectors: NDArray[np.floating],
    speakers: Sequence[str],
    labels: Sequence[str] = (),
    *,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Chain:
    """Fit transforms in order, each on the output of the one before.

    Args:
        names: keys of :data:`TRANSFORMS`; none at all means ``identity``.
        vectors: (N, D) of the clips to fit on.
        speakers: N names, "" where unknown.
        labels: N emotions, "" where unknown; only ``lda`` looks at them. Hide the labels of every
            clip outside the training split (""): then all clips may help to fit the speakers'
            statistics, and no held-out label is seen.
        settings: keyword arguments of single transforms, by name.

    Raises:
        ConfigError: an unknown name, a bad setting, no labels for ``lda``, vectors of no use.
    """
    steps: list[Transform] = []
    values: NDArray[Any] = vectors
    for name in names or ("identity",):
        fit: Callable[..., Transform] = load(TRANSFORMS, name, kind="transform").fit
        step = fit(values, speakers, labels, **dict((settings or {}).get(name, {})))
        values = step.apply(values, speakers)
        steps.append(step)
    return Chain(tuple(steps))


def fit_for_search(
    name: str,
    vectors: NDArray[np.floating],
    speakers: Sequence[str],
    labels: Sequence[str] = (),
    *,
    halves: bool,
) -> Chain:
    """Fit one transform as a modality is searched: of each half on its own where halves count.

    Raises:
        ConfigError: as :func:`fit_chain`.
    """
    if halves:
        settings = {"halves": {"names": (name,)}}
        return fit_chain(("halves",), vectors, speakers, labels, settings=settings)
    return fit_chain((name,), vectors, speakers, labels)


def said_of(transform: Transform) -> str:
    """A transform's steps in order: ``speaker_zscore, lda``, or ``whiten of each half``."""
    if isinstance(transform, Chain):
        return ", ".join(said_of(step) for step in transform.steps)
    if isinstance(transform, Halves):
        halves = dict.fromkeys(said_of(chain) for chain in (transform.first, transform.second))
        return " and ".join(halves) + " of each half"
    return transform.name


def fitted_digest(transform: Transform) -> str:
    """SHA-256 over everything fitted: two transforms with one digest move every vector alike."""
    total = hashlib.sha256(transform.name.encode())
    for key, array in sorted(transform.to_arrays().items()):
        total.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def _said(part: Matrix) -> NDArray[np.bool_]:
    """(N,) bool: rows that are not all zero."""
    said: NDArray[np.bool_] = (part != 0.0).any(axis=1)
    return said


def _where(words: Sequence[str], kept: NDArray[np.bool_]) -> list[str]:
    return [word for word, is_kept in zip(words, kept, strict=True) if is_kept]
