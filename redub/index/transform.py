"""Transforms of emotion vectors before indexing: fitted once, stored as arrays.

Raw prosody vectors depend more on the speaker than on the emotion. ``speaker_zscore`` removes
speaker statistics and needs no labels. ``whiten`` equalises the variance of the dimensions. ``lda``
uses the emotion labels of the training split. The same fitted transform is applied to the library
and to queries. Vectors of two halves get one chain per half (``halves``), so that the score stays
the mean of two cosines.

Letters: N clips, D input width, W output width, H half of D.
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
    """Several transforms, applied in order."""

    steps: tuple[Transform, ...]
    name: ClassVar[str] = "chain"

    def apply(self, vectors: NDArray[np.floating], speakers: Sequence[str]) -> FloatArray:
        """Apply all steps in order; see :class:`Transform`."""
        values: NDArray[Any] = vectors
        for step in self.steps:
            values = step.apply(values, speakers)
        return np.asarray(values, dtype=np.float32)

    def to_arrays(self) -> Arrays:
        """Return each step's arrays as ``<position>.<array>``, and the step names as ``steps``."""
        stored: Arrays = {"steps": text_array([step.name for step in self.steps])}
        for place, step in enumerate(self.steps):
            stored |= {f"{place}.{key}": array for key, array in step.to_arrays().items()}
        return stored

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild the chain from :meth:`to_arrays`.

        Raises:
            IntegrityError: an array is missing, or a step has an unknown name.
        """
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
    """One chain for each half of a vector.

    A zero half means that there is no text: it is not used for fitting and stays zero, so that its
    cosine stays 0. If the outputs of the two chains differ in width, the narrower one is padded
    with zeros, which do not change a cosine.
    """

    first: Chain
    second: Chain
    half: int  # H, width of each input half
    width: int  # W / 2, width of each output half
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
        """Fit the transforms ``names`` on each half of (N, 2H) vectors.

        A half that is zero in all clips gets ``identity``.

        Raises:
            ConfigError: the width is odd; or as :func:`fit_chain`.
        """
        values = checked_vectors(vectors, speakers)
        if values.shape[1] % 2:
            raise ConfigError(f"two halves: width {values.shape[1]} is odd", code="E-INDEX-WIDTH")
        chains, widths = [], []
        for part in np.split(values, 2, axis=1):
            is_set, steps = _is_nonzero(part), names
            if not is_set.any():
                is_set, steps = ~is_set, ()
            own, people = part[is_set], _where(speakers, is_set)
            known = _where(labels, is_set) if len(labels) == len(is_set) else labels
            chain = fit_chain(steps, own, people, known)
            chains.append(chain)
            widths.append(chain.apply(own[:1], people[:1]).shape[1])
        return cls(chains[0], chains[1], values.shape[1] // 2, max(widths))

    def apply(self, vectors: NDArray[np.floating], speakers: Sequence[str]) -> FloatArray:
        """Apply each chain to its half of (N, 2H) vectors; returns (N, W)."""
        values = checked_vectors(vectors, speakers, 2 * self.half)
        moved = np.zeros((len(values), 2, self.width), dtype=np.float32)
        for place, chain in enumerate((self.first, self.second)):
            part = values[:, place * self.half : (place + 1) * self.half]
            is_set = _is_nonzero(part)
            if is_set.any():
                own = chain.apply(part[is_set], _where(speakers, is_set))
                moved[is_set, place, : own.shape[1]] = own
        return moved.reshape(len(values), -1)

    def to_arrays(self) -> Arrays:
        """Return the chains' arrays with prefixes ``first.`` and ``second.``, and both widths."""
        stored: Arrays = {"widths": np.array([self.half, self.width], dtype=np.int64)}
        for word, chain in (("first", self.first), ("second", self.second)):
            stored |= {f"{word}.{key}": array for key, array in chain.to_arrays().items()}
        return stored

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild the transform from :meth:`to_arrays`.

        Raises:
            IntegrityError: an array is missing.
        """
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
        names: keys of :data:`TRANSFORMS`; an empty sequence means ``identity``.
        vectors: (N, D) of the clips to fit on.
        speakers: N names, "" where unknown.
        labels: N emotions, "" where unknown; only ``lda`` uses them. Pass "" for clips outside the
            training split: then all clips may contribute to the speakers' statistics, but no
            held-out label is used.
        settings: keyword arguments of each transform, by its name.

    Raises:
        ConfigError: an unknown name, a setting out of range, too few labels for ``lda``, or vectors
            that are not (N, D), not finite or all equal.
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
    """Fit one transform for a modality; with ``halves``, on each half of the vectors separately.

    Raises:
        ConfigError: as :func:`fit_chain`.
    """
    if halves:
        settings = {"halves": {"names": (name,)}}
        return fit_chain(("halves",), vectors, speakers, labels, settings=settings)
    return fit_chain((name,), vectors, speakers, labels)


def said_of(transform: Transform) -> str:
    """Describe a transform's steps: ``speaker_zscore, lda``, or ``whiten of each half``."""
    if isinstance(transform, Chain):
        return ", ".join(said_of(step) for step in transform.steps)
    if isinstance(transform, Halves):
        halves = dict.fromkeys(said_of(chain) for chain in (transform.first, transform.second))
        return " and ".join(halves) + " of each half"
    return transform.name


def fitted_digest(transform: Transform) -> str:
    """Compute the SHA-256 over all fitted values; equal digests mean equal transforms."""
    total = hashlib.sha256(transform.name.encode())
    for key, array in sorted(transform.to_arrays().items()):
        total.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def _is_nonzero(part: Matrix) -> NDArray[np.bool_]:
    """Return (N,) bool, True for rows that are not all zero."""
    is_nonzero: NDArray[np.bool_] = (part != 0.0).any(axis=1)
    return is_nonzero


def _where(words: Sequence[str], kept: NDArray[np.bool_]) -> list[str]:
    return [word for word, is_kept in zip(words, kept, strict=True) if is_kept]
