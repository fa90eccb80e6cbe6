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
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ConfigError, IntegrityError
from redub.core.registry import load
from redub.core.types import FloatArray

Matrix = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]

CLIP_AT = 4.0  # z-scores beyond are measuring errors, and would rule a cosine
SPREAD_CLIPS = 5.0  # a speaker's own spread counts against this many clips of the pooled one
TINY = 1e-8


class Transform(Protocol):
    """A fitted change of vectors; frozen, made of arrays only."""

    name: ClassVar[str]

    def apply(self, vectors: NDArray[np.floating], speakers: Sequence[str]) -> FloatArray:
        """(N, W) float32 from (N, D) vectors and their N speakers; rows do not touch each other."""
        ...

    def to_arrays(self) -> Arrays:
        """Everything fitted, as arrays without pickle."""
        ...

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Vectors as they are."""

    width: int
    name: ClassVar[str] = "identity"

    @classmethod
    def fit(
        cls, vectors: NDArray[np.floating], speakers: Sequence[str], labels: Sequence[str] = ()
    ) -> Self:
        return cls(_checked(vectors, speakers).shape[1])

    def apply(self, vectors: NDArray[np.floating], speakers: Sequence[str]) -> FloatArray:
        return _checked(vectors, speakers, self.width).astype(np.float32)

    def to_arrays(self) -> Arrays:
        return {"width": np.array(self.width, dtype=np.int64)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        return cls(int(_array(arrays, "width")))


@dataclass(frozen=True, slots=True)
class SpeakerZScore:
    """Each dimension in standard deviations from the speaker's own mean, cut off at ±4.

    Fitted without labels. A speaker with few clips borrows: the mean from everybody, as far as
    speakers differ less than clips do (empirical Bayes, per dimension), the spread from the pooled
    spread within speakers. A speaker never met (or the empty name) is measured by the mean and
    spread of all clips together. A dimension that does not vary comes out 0.
    """

    speakers: tuple[str, ...]  # sorted
    means: Matrix  # (speakers + 1, D), the last row for unknown speakers
    spreads: Matrix  # (speakers + 1, D), above 0
    name: ClassVar[str] = "speaker_zscore"

    @classmethod
    def fit(
        cls, vectors: NDArray[np.floating], speakers: Sequence[str], labels: Sequence[str] = ()
    ) -> Self:
        values = _checked(vectors, speakers)
        names = tuple(sorted({speaker for speaker in speakers if speaker}))
        everybody, overall = values.mean(axis=0), values.var(axis=0)
        owner = np.array(speakers, dtype=object)
        groups = [values[owner == name] for name in names]
        within, between = _variance_parts(groups, values)
        means, variances = [], []
        for own in groups:
            pull = len(own) * between
            trust = np.where(
                within > 0, pull / np.maximum(pull + within, np.finfo(float).tiny), 1.0
            )
            means.append(trust * own.mean(axis=0) + (1.0 - trust) * everybody)
            weight = len(own) / (len(own) + SPREAD_CLIPS)
            variances.append(weight * own.var(axis=0) + (1.0 - weight) * within)
        means.append(everybody)
        variances.append(overall)
        spreads = np.sqrt(np.stack(variances))
        still = spreads < TINY * (1.0 + np.abs(everybody))
        spreads[still] = np.inf  # x / inf = 0: what never varies says nothing
        return cls(names, np.stack(means), spreads)

    def apply(self, vectors: NDArray[np.floating], speakers: Sequence[str]) -> FloatArray:
        values = _checked(vectors, speakers, self.means.shape[1])
        rows = {name: row for row, name in enumerate(self.speakers)}
        owner = [rows.get(speaker, len(self.speakers)) for speaker in speakers]
        scores = (values - self.means[owner]) / self.spreads[owner]
        return np.clip(scores, -CLIP_AT, CLIP_AT).astype(np.float32)

    def to_arrays(self) -> Arrays:
        return {"speakers": _text(self.speakers), "means": self.means, "spreads": self.spreads}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        names = tuple(str(name) for name in _array(arrays, "speakers"))
        return cls(names, _array(arrays, "means"), _array(arrays, "spreads"))


@dataclass(frozen=True, slots=True)
class Projection:
    """Subtract a mean, multiply by a matrix: what ``whiten`` and ``lda`` come down to."""

    mean: Matrix  # (D,)
    matrix: Matrix  # (D, W)
    name: ClassVar[str] = "projection"

    def apply(self, vectors: NDArray[np.floating], speakers: Sequence[str]) -> FloatArray:
        values = _checked(vectors, speakers, len(self.mean)) - self.mean
        projected: FloatArray = np.stack([row @ self.matrix for row in values]).astype(np.float32)
        return projected

    def to_arrays(self) -> Arrays:
        return {"mean": self.mean, "matrix": self.matrix}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        return cls(_array(arrays, "mean"), _array(arrays, "matrix"))


@dataclass(frozen=True, slots=True)
class Whiten(Projection):
    """The strongest principal axes, scaled towards equal variance.

    ``shrinkage`` times the mean kept variance is added before dividing by it, so that weak, noisy
    axes stay weak; 0 is full whitening.
    """

    name: ClassVar[str] = "whiten"

    @classmethod
    def fit(
        cls,
        vectors: NDArray[np.floating],
        speakers: Sequence[str],
        labels: Sequence[str] = (),
        *,
        width: int = 40,
        shrinkage: float = 3.0,
    ) -> Self:
        if width < 1 or shrinkage < 0:
            raise ConfigError(
                f"whiten: width {width}, shrinkage {shrinkage}; wanted width >= 1, shrinkage >= 0",
                code="E-CFG-VALUE",
            )
        values = _checked(vectors, speakers)
        mean = values.mean(axis=0)
        variances, axes = _principal_axes((values - mean).T @ (values - mean) / len(values))
        kept = min(width, int((variances > TINY * max(variances[0], TINY)).sum()))
        if kept == 0:
            raise ConfigError("whiten: all vectors are the same", code="E-INDEX-FLAT")
        variances, axes = variances[:kept], axes[:, :kept]
        return cls(mean, axes / np.sqrt(variances + shrinkage * variances.mean()))


@dataclass(frozen=True, slots=True)
class DiscriminantAxes(Projection):
    """Axes along which the labels differ most, measured in the spread within a label (LDA).

    Source: Fisher (1936), with the within-class scatter shrunk towards a multiple of the identity
    (as Ledoit & Wolf 2004; the weight is a setting). Clips without a label are left out. Fit it on
    the training split only; ``labels`` are never needed to apply it.
    """

    name: ClassVar[str] = "lda"

    @classmethod
    def fit(
        cls,
        vectors: NDArray[np.floating],
        speakers: Sequence[str],
        labels: Sequence[str] = (),
        *,
        shrinkage: float = 0.3,
    ) -> Self:
        values = _checked(vectors, speakers)
        if not 0.0 < shrinkage <= 1.0:
            raise ConfigError(f"lda: shrinkage {shrinkage}; wanted 0 < s <= 1", code="E-CFG-VALUE")
        if len(labels) != len(values):
            raise ConfigError(
                f"lda: {len(labels)} labels for {len(values)} vectors", code="E-INDEX-LABELS"
            )
        names = sorted({label for label in labels if label})
        if len(names) < 2:
            raise ConfigError(
                f"lda: {len(names)} different labels, wanted at least 2; 'whiten' needs none",
                code="E-INDEX-LABELS",
            )
        known = np.array([bool(label) for label in labels])
        place = np.array([names.index(label) for label in labels if label])
        values = values[known]
        centres = np.stack([values[place == label].mean(axis=0) for label in range(len(names))])
        inside = values - centres[place]
        within = inside.T @ inside / len(inside)
        level = float(np.trace(within)) / len(within)
        if level < TINY:
            level = 1.0  # every label is one point: nothing inside to measure by
        within = (1.0 - shrinkage) * within + shrinkage * level * np.eye(len(within))
        spread, axes = np.linalg.eigh(within)
        sphere = (axes / np.sqrt(spread)) @ axes.T
        between = (centres - centres.mean(axis=0)) @ sphere
        strengths, directions = _principal_axes(between.T @ between)
        kept = int((strengths[: len(names) - 1] > TINY * max(strengths[0], TINY)).sum())
        if kept == 0:
            raise ConfigError("lda: all labels have the same mean vector", code="E-INDEX-FLAT")
        return cls(values.mean(axis=0), sphere @ directions[:, :kept])


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
        stored: Arrays = {"steps": _text([step.name for step in self.steps])}
        for place, step in enumerate(self.steps):
            stored |= {f"{place}.{key}": array for key, array in step.to_arrays().items()}
        return stored

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Raises IntegrityError where an array or a step is missing or unknown."""
        steps = []
        for place, name in enumerate(_array(arrays, "steps")):
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
        values = _checked(vectors, speakers)
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
        values = _checked(vectors, speakers, 2 * self.half)
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
        half, width = (int(number) for number in _array(arrays, "widths"))
        chains = [
            Chain.from_arrays(
                {k.removeprefix(word): a for k, a in arrays.items() if k.startswith(word)}
            )
            for word in ("first.", "second.")
        ]
        return cls(chains[0], chains[1], half, width)


TRANSFORMS: dict[str, str] = {
    "identity": "redub.index.transform:Identity",
    "speaker_zscore": "redub.index.transform:SpeakerZScore",
    "whiten": "redub.index.transform:Whiten",
    "lda": "redub.index.transform:DiscriminantAxes",
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


def _variance_parts(groups: Sequence[Matrix], values: Matrix) -> tuple[Matrix, Matrix]:
    """(D,) variance within speakers, pooled, and of the speakers' true means, at least 0."""
    if not groups:
        return values.var(axis=0), np.zeros(values.shape[1])
    clips = sum(len(own) for own in groups)
    within = sum(((own - own.mean(axis=0)) ** 2).sum(axis=0) for own in groups) / clips
    means = np.stack([own.mean(axis=0) for own in groups])
    # Means of few clips differ by chance alone: that much is taken off again.
    between = np.maximum(means.var(axis=0) - within * len(groups) / clips, 0.0)
    return np.asarray(within), between


def _principal_axes(scatter: Matrix) -> tuple[Matrix, Matrix]:
    """Eigenvalues from the largest down, and their axes as columns with a fixed sign."""
    strengths, axes = np.linalg.eigh(scatter)
    strengths, axes = strengths[::-1], axes[:, ::-1]
    leading = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return strengths, axes * np.where(leading < 0, -1.0, 1.0)


def _checked(
    vectors: NDArray[np.floating], speakers: Sequence[str], width: int | None = None
) -> Matrix:
    values = np.asarray(vectors, dtype=np.float64)
    if values.ndim != 2 or len(values) == 0 or len(values) != len(speakers):
        raise ConfigError(
            f"vectors of shape {values.shape} for {len(speakers)} speakers; wanted one row each",
            code="E-INDEX-SHAPE",
        )
    if width is not None and values.shape[1] != width:
        raise ConfigError(
            f"vectors of width {values.shape[1]}, fitted for {width}; build the index again",
            code="E-INDEX-WIDTH",
        )
    if not np.isfinite(values).all():
        raise ConfigError("a vector holds a value that is not finite", code="E-INDEX-NAN")
    return values


def _said(part: Matrix) -> NDArray[np.bool_]:
    """(N,) bool: rows that are not all zero."""
    said: NDArray[np.bool_] = (part != 0.0).any(axis=1)
    return said


def _where(words: Sequence[str], kept: NDArray[np.bool_]) -> list[str]:
    return [word for word, is_kept in zip(words, kept, strict=True) if is_kept]


def _text(words: Sequence[str]) -> NDArray[np.str_]:
    return np.array(list(words), dtype=np.str_)


def _array(arrays: Mapping[str, NDArray[Any]], key: str) -> NDArray[Any]:
    if key not in arrays:
        raise IntegrityError(f"the stored transform lacks '{key}'; build the index again")
    return arrays[key]
