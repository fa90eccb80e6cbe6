"""Single fitted transforms of emotion vectors: z-scores per speaker, whitening, discriminant axes.

Letters: N clips, D width in, W width out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ConfigError, IntegrityError
from redub.core.types import FloatArray

Matrix = NDArray[np.float64]


Arrays = dict[str, NDArray[Any]]


CLIP_AT = 4.0  # larger z-scores are measurement errors and would dominate a cosine


SPREAD_CLIPS = 5.0  # the pooled spread has the weight of this many clips of the speaker


TINY = 1e-8


class Transform(Protocol):
    """A fitted transform of vectors; frozen, and defined by arrays only."""

    name: ClassVar[str]

    def apply(self, vectors: NDArray[np.floating], speakers: Sequence[str]) -> FloatArray:
        """Transform (N, D) vectors of N speakers to (N, W) float32; each row independently.

        Raises:
            ConfigError: no vectors, another number of speakers, another width than fitted, or a
                value that is not finite.
        """
        ...

    def to_arrays(self) -> Arrays:
        """Return all fitted values as arrays that need no pickle."""
        ...

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild the transform from :meth:`to_arrays`."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Leave vectors unchanged."""

    width: int
    name: ClassVar[str] = "identity"

    @classmethod
    def fit(
        cls, vectors: NDArray[np.floating], speakers: Sequence[str], labels: Sequence[str] = ()
    ) -> Self:
        """Store the width of (N, D) vectors; nothing is fitted."""
        return cls(checked_vectors(vectors, speakers).shape[1])

    def apply(self, vectors: NDArray[np.floating], speakers: Sequence[str]) -> FloatArray:
        """Return (N, D) vectors unchanged, as float32."""
        return checked_vectors(vectors, speakers, self.width).astype(np.float32)

    def to_arrays(self) -> Arrays:
        """Return the width as an array."""
        return {"width": np.array(self.width, dtype=np.int64)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild the transform from :meth:`to_arrays`.

        Raises:
            IntegrityError: an array is missing.
        """
        return cls(int(stored_array(arrays, "width")))


@dataclass(frozen=True, slots=True)
class SpeakerZScore:
    """z-score of each dimension with the speaker's statistics, clipped to ±4.

    Fitted without labels. For speakers with few clips, the mean is shrunk towards the mean of all
    clips (empirical Bayes per dimension, from the variances within and between speakers), and the
    variance towards the pooled variance within speakers. Unknown speakers (not fitted, or the empty
    name) use the mean and spread of all clips. A dimension without variance becomes 0.
    """

    speakers: tuple[str, ...]  # sorted
    means: Matrix  # (speakers + 1, D), the last row for unknown speakers
    spreads: Matrix  # (speakers + 1, D), above 0
    name: ClassVar[str] = "speaker_zscore"

    @classmethod
    def fit(
        cls, vectors: NDArray[np.floating], speakers: Sequence[str], labels: Sequence[str] = ()
    ) -> Self:
        """Estimate mean and spread per speaker from (N, D) vectors.

        Args:
            speakers: N names, "" where unknown.
            labels: ignored.

        Raises:
            ConfigError: no vectors, another number of speakers, or a value that is not finite.
        """
        values = checked_vectors(vectors, speakers)
        names = tuple(sorted({speaker for speaker in speakers if speaker}))
        overall_mean, overall_variance = values.mean(axis=0), values.var(axis=0)
        owner = np.array(speakers, dtype=object)
        groups = [values[owner == name] for name in names]
        within, between = _variance_parts(groups, values)
        means, variances = [], []
        for own in groups:
            pull = len(own) * between
            trust = np.where(
                within > 0, pull / np.maximum(pull + within, np.finfo(float).tiny), 1.0
            )
            means.append(trust * own.mean(axis=0) + (1.0 - trust) * overall_mean)
            weight = len(own) / (len(own) + SPREAD_CLIPS)
            variances.append(weight * own.var(axis=0) + (1.0 - weight) * within)
        means.append(overall_mean)
        variances.append(overall_variance)
        spreads = np.sqrt(np.stack(variances))
        still = spreads < TINY * (1.0 + np.abs(overall_mean))
        spreads[still] = np.inf  # x / inf = 0: a constant dimension carries no information
        return cls(names, np.stack(means), spreads)

    def apply(self, vectors: NDArray[np.floating], speakers: Sequence[str]) -> FloatArray:
        """Compute z-scores of (N, D) vectors in [-4, 4]; see :class:`Transform`."""
        values = checked_vectors(vectors, speakers, self.means.shape[1])
        rows = {name: row for row, name in enumerate(self.speakers)}
        owner = [rows.get(speaker, len(self.speakers)) for speaker in speakers]
        scores = (values - self.means[owner]) / self.spreads[owner]
        return np.clip(scores, -CLIP_AT, CLIP_AT).astype(np.float32)

    def to_arrays(self) -> Arrays:
        """Return speaker names, means and spreads as arrays."""
        return {"speakers": text_array(self.speakers), "means": self.means, "spreads": self.spreads}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild the transform from :meth:`to_arrays`.

        Raises:
            IntegrityError: an array is missing.
        """
        names = tuple(str(name) for name in stored_array(arrays, "speakers"))
        return cls(names, stored_array(arrays, "means"), stored_array(arrays, "spreads"))


@dataclass(frozen=True, slots=True)
class Projection:
    """Subtract a mean and multiply by a matrix; base of ``whiten`` and ``lda``."""

    mean: Matrix  # (D,)
    matrix: Matrix  # (D, W)
    name: ClassVar[str] = "projection"

    def apply(self, vectors: NDArray[np.floating], speakers: Sequence[str]) -> FloatArray:
        """Project (N, D) vectors to (N, W); see :class:`Transform`."""
        values = checked_vectors(vectors, speakers, len(self.mean)) - self.mean
        projected: FloatArray = np.stack([row @ self.matrix for row in values]).astype(np.float32)
        return projected

    def to_arrays(self) -> Arrays:
        """Return mean and matrix."""
        return {"mean": self.mean, "matrix": self.matrix}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild the transform from :meth:`to_arrays`.

        Raises:
            IntegrityError: an array is missing.
        """
        return cls(stored_array(arrays, "mean"), stored_array(arrays, "matrix"))


@dataclass(frozen=True, slots=True)
class Whiten(Projection):
    """Project to the strongest principal axes, scaled towards equal variance.

    Each axis is divided by the root of its variance plus ``shrinkage`` times the mean variance of
    the kept axes, so that weak, noisy axes stay weak. 0 is full whitening.
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
        """Compute the principal axes of (N, D) vectors.

        Args:
            speakers: N names; not used.
            labels: not used.
            width: largest number of axes to keep; axes of almost no variance are dropped.
            shrinkage: see :class:`Whiten`, at least 0.

        Raises:
            ConfigError: a setting out of range, bad vectors, or all vectors are equal.
        """
        if width < 1 or shrinkage < 0:
            raise ConfigError(
                f"whiten: width {width}, shrinkage {shrinkage}; wanted width >= 1, shrinkage >= 0",
                code="E-CFG-VALUE",
            )
        values = checked_vectors(vectors, speakers)
        mean = values.mean(axis=0)
        variances, axes = _principal_axes((values - mean).T @ (values - mean) / len(values))
        kept = min(width, int((variances > TINY * max(variances[0], TINY)).sum()))
        if kept == 0:
            raise ConfigError("whiten: all vectors are the same", code="E-INDEX-FLAT")
        variances, axes = variances[:kept], axes[:, :kept]
        return cls(mean, axes / np.sqrt(variances + shrinkage * variances.mean()))


@dataclass(frozen=True, slots=True)
class DiscriminantAxes(Projection):
    """Linear discriminant analysis (LDA): axes that separate the emotion labels best.

    Source: Fisher (1936), with the within-class scatter shrunk towards a multiple of the identity
    (as Ledoit & Wolf 2004; here the weight is a setting). Clips without a label are ignored. Fit it
    with labels of the training split only; applying it needs no labels.
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
        """Compute the discriminant axes of (N, D) vectors; at most labels - 1 axes.

        Args:
            speakers: N names; not used.
            labels: N emotion labels, "" where unknown.
            shrinkage: weight of the identity in the within-class scatter, above 0, at most 1.

        Raises:
            ConfigError: a setting out of range, bad vectors, fewer than two different labels, or
                equal means of all labels.
        """
        values = checked_vectors(vectors, speakers)
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
            level = 1.0  # no variance within the labels: any scale will do
        within = (1.0 - shrinkage) * within + shrinkage * level * np.eye(len(within))
        spread, axes = np.linalg.eigh(within)
        sphere = (axes / np.sqrt(spread)) @ axes.T
        between = (centres - centres.mean(axis=0)) @ sphere
        strengths, directions = _principal_axes(between.T @ between)
        kept = int((strengths[: len(names) - 1] > TINY * max(strengths[0], TINY)).sum())
        if kept == 0:
            raise ConfigError("lda: all labels have the same mean vector", code="E-INDEX-FLAT")
        return cls(values.mean(axis=0), sphere @ directions[:, :kept])


def _variance_parts(groups: Sequence[Matrix], values: Matrix) -> tuple[Matrix, Matrix]:
    """Estimate (D,) the pooled variance within speakers and the variance of the speaker means."""
    if not groups:
        return values.var(axis=0), np.zeros(values.shape[1])
    clips = sum(len(own) for own in groups)
    within = sum(((own - own.mean(axis=0)) ** 2).sum(axis=0) for own in groups) / clips
    means = np.stack([own.mean(axis=0) for own in groups])
    # Means of few clips also differ by chance: subtract that part.
    between = np.maximum(means.var(axis=0) - within * len(groups) / clips, 0.0)
    return np.asarray(within), between


def _principal_axes(scatter: Matrix) -> tuple[Matrix, Matrix]:
    """Compute the eigenvalues, largest first, and the axes as columns with a fixed sign."""
    strengths, axes = np.linalg.eigh(scatter)
    strengths, axes = strengths[::-1], axes[:, ::-1]
    leading = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return strengths, axes * np.where(leading < 0, -1.0, 1.0)


def checked_vectors(
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


def text_array(words: Sequence[str]) -> NDArray[np.str_]:
    return np.array(list(words), dtype=np.str_)


def stored_array(arrays: Mapping[str, NDArray[Any]], key: str) -> NDArray[Any]:
    if key not in arrays:
        raise IntegrityError(f"the stored transform lacks '{key}'; build the index again")
    return arrays[key]
