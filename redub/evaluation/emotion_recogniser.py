"""EMO-ACC: accuracy of an emotion recogniser on ground-truth, resynthesised and generated speech.

A small recogniser is fitted on the *ground truth* recordings of the training scenes. It then
classifies ground truth, resynthesised and generated speech. It is not fitted on test recordings, so
its accuracy on the ground truth is below 100 %; that accuracy is the upper limit for all systems.

Features are centred and scaled with the statistics of the same speaker's training recordings; this
needs no emotion labels. Speakers without enough training recordings get the statistics of all.

Compare the accuracy with the majority baseline (the best constant prediction) and with macro-F1:
published accuracies of this family of systems are close to the majority baseline of their corpus.

Letters: N utterances, D feature width, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, f1_score
from sklearn.model_selection import GroupKFold
from sklearn.svm import SVC

from redub.core.errors import ConfigError
from redub.core.types import EMOTIONS
from redub.evaluation.intervals import wilson

Matrix = NDArray[np.float64]

OWN_STATISTICS_FROM = 8  # utterances; from fewer, a speaker's spread cannot be estimated
FOLDS = 5


class Candidate(NamedTuple):
    """Hyperparameters of one classifier that cross-validation can choose."""

    kind: str  # "logistic" or "rbf-svm"
    c: float
    gamma_of_scale: float = 1.0  # kernel width as a multiple of 1 / D

    def build(self, width: int, seed: int) -> Any:
        """Create the unfitted scikit-learn classifier for features of ``width`` values."""
        if self.kind == "logistic":
            return LogisticRegression(C=self.c, max_iter=5000, random_state=seed)
        return SVC(C=self.c, kernel="rbf", gamma=self.gamma_of_scale / width, random_state=seed)


CANDIDATES = (
    *(Candidate("logistic", c) for c in (0.03, 0.3, 3.0)),
    *(Candidate("rbf-svm", c, g) for c in (1.0, 10.0) for g in (0.3, 1.0)),
)


class _Normaliser:
    """Speaker z-normalisation followed by standardisation over all training utterances."""

    def __init__(self, features: Matrix, speakers: NDArray[np.str_]) -> None:
        self.all_speakers = _mean_and_spread(features)
        self.speakers = {
            str(name): _mean_and_spread(features[speakers == name])
            for name in np.unique(speakers)
            if np.count_nonzero(speakers == name) >= OWN_STATISTICS_FROM
        }
        self.standard = _mean_and_spread(self._by_speaker(features, speakers))

    def __call__(self, features: Matrix, speakers: NDArray[np.str_]) -> Matrix:
        mean, spread = self.standard
        scaled: Matrix = (self._by_speaker(features, speakers) - mean) / spread
        return scaled

    def _by_speaker(self, features: Matrix, speakers: NDArray[np.str_]) -> Matrix:
        scaled = np.empty_like(features)
        for name in np.unique(speakers):
            rows = speakers == name
            mean, spread = self.speakers.get(str(name), self.all_speakers)
            scaled[rows] = (features[rows] - mean) / spread
        return scaled


def _mean_and_spread(features: Matrix) -> tuple[Matrix, Matrix]:
    spread = features.std(axis=0)
    # Do not divide by the rounding noise of a constant feature.
    flat = spread <= 1e-9 * (1.0 + np.abs(features).max(axis=0))
    return features.mean(axis=0), np.where(flat, 1.0, spread)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionReport:
    """Recognition results of one set of utterances.

    ``accuracy_low``/``accuracy_high``: Wilson 95 % interval. ``majority_accuracy``: accuracy of
    always predicting the most frequent true label of the same set. ``macro_f1``: unweighted mean
    over the true labels that occur. ``confusion``: (C, C) counts, rows true, columns predicted, in
    the order of ``classes``.
    """

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    majority_accuracy: float
    macro_f1: float
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    count: int


class EmotionRecogniser:
    """Predicts one emotion label per utterance from prosody statistics; made by :meth:`fit`.

    ``chosen``: the classifier chosen by cross-validation. ``validation_accuracy``: its accuracy in
    cross-validation (None if the training set had too few scenes for cross-validation).
    """

    def __init__(
        self,
        normaliser: _Normaliser,
        classifier: Any,
        chosen: Candidate,
        validation_accuracy: float | None,
    ) -> None:
        self._normaliser = normaliser
        self._classifier = classifier
        self.chosen = chosen
        self.validation_accuracy = validation_accuracy

    @classmethod
    def fit(
        cls,
        features: ArrayLike,
        labels: Sequence[str],
        speakers: Sequence[str],
        scenes: Sequence[str],
        *,
        seed: int = 0,
    ) -> EmotionRecogniser:
        """Choose a classifier by cross-validation and fit it on training recordings; deterministic.

        Args:
            features: (N, D) finite, of ground-truth training recordings; not normalised.
            labels: (N,) emotion labels.
            speakers: (N,) speaker names.
            scenes: (N,) scene names; cross-validation never splits a scene, because utterances of
                one scene share emotion and recording conditions.

        Raises:
            ConfigError: lengths differ, a value is not finite, or fewer than two labels occur.
        """
        values, voices = _checked(features, speakers)
        targets, groups = np.asarray(labels, dtype=str), np.asarray(scenes, dtype=str)
        if not len(values) == len(targets) == len(groups):
            raise ConfigError(
                f"emotion recogniser: {len(values)} feature rows, {len(targets)} labels, "
                f"{len(groups)} scenes; wanted equal numbers",
                code="E-EVAL-PAIRS",
            )
        if len(np.unique(targets)) < 2:
            raise ConfigError(
                "emotion recogniser: the training set has fewer than two emotions; "
                "label more clips or leave EMO-ACC out",
                code="E-EVAL-LABELS",
            )
        chosen, accuracy = _choose(values, targets, voices, groups, seed)
        normaliser = _Normaliser(values, voices)
        classifier = chosen.build(values.shape[1], seed)
        classifier.fit(normaliser(values, voices), targets)
        return cls(normaliser, classifier, chosen, accuracy)

    def predict(self, features: ArrayLike, speakers: Sequence[str]) -> tuple[str, ...]:
        """Predict one label per row of (N, D) features; rows are independent of each other.

        Raises:
            ConfigError: lengths differ or a value is not finite.
        """
        values, voices = _checked(features, speakers)
        if len(values) == 0:
            return ()
        predicted = self._classifier.predict(self._normaliser(values, voices))
        return tuple(str(label) for label in predicted)

    def evaluate(
        self, features: ArrayLike, labels: Sequence[str], speakers: Sequence[str]
    ) -> EmotionReport:
        """Predict labels (:meth:`predict`) and compare them with the true ones.

        Raises:
            ConfigError: lengths differ, a value is not finite, or there is no utterance.
        """
        return emotion_report(labels, self.predict(features, speakers))


def emotion_report(labels: Sequence[str], predicted: Sequence[str]) -> EmotionReport:
    """Compare predicted labels with true labels.

    Raises:
        ConfigError: lengths differ or there is no utterance.
    """
    if len(labels) != len(predicted) or not labels:
        raise ConfigError(
            f"emotion report: {len(labels)} labels and {len(predicted)} predictions; "
            "wanted equal numbers, at least one",
            code="E-EVAL-PAIRS",
        )
    classes = _ordered({*labels, *predicted})
    present = [name for name in classes if name in set(labels)]
    hits = sum(a == b for a, b in zip(labels, predicted, strict=True))
    _, low, high = wilson(hits, len(labels))
    confusion = confusion_matrix(labels, predicted, labels=list(classes))
    return EmotionReport(
        accuracy=hits / len(labels),
        accuracy_low=low,
        accuracy_high=high,
        majority_accuracy=max(list(labels).count(name) for name in present) / len(labels),
        macro_f1=float(
            f1_score(labels, predicted, labels=present, average="macro", zero_division=0)
        ),
        classes=classes,
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        count=len(labels),
    )


def _ordered(names: set[str]) -> tuple[str, ...]:
    known = [name for name in EMOTIONS if name in names]
    return (*known, *sorted(names - set(known)))


def _checked(features: ArrayLike, speakers: Sequence[str]) -> tuple[Matrix, NDArray[np.str_]]:
    values = np.asarray(features, dtype=np.float64)
    voices = np.asarray(speakers, dtype=str)
    if len(values) == 0:
        return values.reshape(0, -1) if values.ndim < 2 else values, voices
    if values.ndim != 2 or len(voices) != len(values):
        raise ConfigError(
            f"emotion recogniser: features of shape {values.shape} and {len(voices)} speakers; "
            "wanted (N, D) and N",
            code="E-EVAL-PAIRS",
        )
    if not np.isfinite(values).all():
        raise ConfigError("emotion recogniser: a feature is not finite", code="E-EVAL-FINITE")
    return values, voices


def _choose(
    values: Matrix,
    targets: NDArray[np.str_],
    voices: NDArray[np.str_],
    groups: NDArray[np.str_],
    seed: int,
) -> tuple[Candidate, float | None]:
    """Choose the candidate with the best cross-validation accuracy.

    With fewer than two scenes no folds exist; the result is then a fixed candidate and None.
    """
    folds = list(_folds(values, targets, voices, groups))
    if not folds:
        return CANDIDATES[1], None
    best, best_share = CANDIDATES[0], -1.0
    total = sum(len(fold.held_targets) for fold in folds)
    for candidate in CANDIDATES:
        hits = 0
        for fold in folds:
            classifier = candidate.build(values.shape[1], seed).fit(fold.values, fold.targets)
            hits += int(np.sum(classifier.predict(fold.held_values) == fold.held_targets))
        if hits / total > best_share:  # of equal candidates, keep the earlier, simpler one
            best, best_share = candidate, hits / total
    return best, best_share


class _Fold(NamedTuple):
    """One cross-validation split; both parts are normalised with statistics of the kept part."""

    values: Matrix
    targets: NDArray[np.str_]
    held_values: Matrix
    held_targets: NDArray[np.str_]


def _folds(
    values: Matrix,
    targets: NDArray[np.str_],
    voices: NDArray[np.str_],
    groups: NDArray[np.str_],
) -> Iterator[_Fold]:
    count = min(FOLDS, len(np.unique(groups)))
    if count < 2:
        return
    for kept, held in GroupKFold(count).split(values, targets, groups):
        if len(np.unique(targets[kept])) < 2:
            continue
        normalise = _Normaliser(values[kept], voices[kept])
        yield _Fold(
            normalise(values[kept], voices[kept]),
            targets[kept],
            normalise(values[held], voices[held]),
            targets[held],
        )
