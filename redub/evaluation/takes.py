"""Takes: what a metric reads of one take, and what was measured of it.

A take is one utterance spoken by one system. :class:`TakeSignals` holds its sound and the recording
that it is compared with; :class:`LineFigures` holds the figures that are recorded.

Letters: T mel frames, C mel channels, P phonemes, D width of an emotion vector.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from redub.core.metric import Absent, Interval
from redub.core.types import FloatArray, Value, Waveform
from redub.evaluation.intervals import bootstrap_difference, bootstrap_mean
from redub.evaluation.pitch_errors import PitchErrors
from redub.features.weights.folder import WeightFolder

GROUND_TRUTH, RESYNTHESIS, MEAN_MEL = "ground truth", "vocoder resynthesis", "training-mean mel"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeSignals:
    """One take and its recording.

    mel: (T, C) natural log, before the vocoder. sound_mel: (T', C) of the sound. f0_hz: (T',) of
        the sound, 0 where unvoiced. durations: (P, 2) rows (phoneme id, frames), None where they
        are not known. slot_samples: length of the video. hop_ms: duration of a mel frame.
    recorded_mel, recorded_f0_hz, recorded_durations: the same of the recording.
    phonemes: (P,) ids of the text, None where they are not known.
    weights: entry of the weights ledger → its checked folder, for metrics that run a network.
    """

    system: str
    waveform: Waveform
    slot_samples: int
    hop_ms: float
    mel: FloatArray
    sound_mel: FloatArray
    f0_hz: FloatArray
    durations: Value | None
    recorded_mel: FloatArray
    recorded_f0_hz: FloatArray
    recorded_durations: Value | None
    phonemes: Value | None = None
    weights: Mapping[str, WeightFolder] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class LineFigures:
    """Figures of one utterance by one system.

    text, emotion: words and emotion label of the utterance; empty where it has none. values: by
        metric. pitch: error counts, which are pooled over utterances. transcript: words that the
        speech recogniser found; None where it did not run. emotion_vector: (D,) audio emotion
        vector, None without speech.
    recognised_emotion: emotion that the recogniser of prosody found; recognised_by_all: that of
        the recogniser which reads every dimension; empty where none was found. offset_frames:
        lip-audio offset in video frames, positive where the sound is late. phoneme_count: phonemes
        of the text, 0 where they are not known.
    """

    clip_id: str
    system: str
    text: str
    emotion: str
    values: dict[str, float | Absent]
    pitch: PitchErrors
    transcript: str | None
    emotion_vector: list[float] | None = None
    recognised_emotion: str = ""
    recognised_by_all: str = ""
    offset_frames: int | None = None
    phoneme_count: int = 0


WITHOUT_WEIGHTS = "E-EVAL-WEIGHTS"
"""Code of a value that needs a network whose weights are not recorded."""

NOT_MEASURED = Absent("E-EVAL-NONE", "not measured")


def without_weights(package: str) -> Absent:
    """The value of a metric whose network is not recorded; the message says what to type."""
    return Absent(
        WITHOUT_WEIGHTS, f"models.lock has no {package}; type `redub weights get {package}`"
    )


def values_of(name: str, takes: Sequence[LineFigures]) -> list[float]:
    """The values of a metric, without the takes that have none."""
    found = (take.values.get(name) for take in takes)
    return [value for value in found if isinstance(value, float)]


def reason_of(name: str, takes: Sequence[LineFigures]) -> Absent:
    """The commonest reason why takes have no value of a metric."""
    found = (take.values.get(name) for take in takes)
    reasons = Counter(value for value in found if isinstance(value, Absent))
    return reasons.most_common(1)[0][0] if reasons else NOT_MEASURED


def checked_value(value: float | Absent) -> float | Absent:
    """A value of one take; :class:`Absent` where it is not finite."""
    if isinstance(value, Absent):
        return value
    if not math.isfinite(value):
        return Absent("E-EVAL-UNDEFINED", "the metric is not defined for this take")
    return float(value)


def mean_of_takes(name: str, takes: Sequence[LineFigures], resamples: int) -> Interval | Absent:
    """Compute the mean of the takes that have a value, with its 95 % bootstrap interval."""
    values = values_of(name, takes)
    if not values:
        return reason_of(name, takes)
    return bootstrap_mean(values, seed=0, resamples=resamples)


def mean_difference(
    name: str, first: Sequence[LineFigures], second: Sequence[LineFigures], resamples: int
) -> Interval | Absent:
    """Compute the mean of first - second over takes with both values, with its 95 % interval.

    Args:
        first, second: takes of the same utterances in the same order.
    """
    both = ((a.values.get(name), b.values.get(name)) for a, b in zip(first, second, strict=True))
    pairs = [(a, b) for a, b in both if isinstance(a, float) and isinstance(b, float)]
    if not pairs:
        return reason_of(name, [*first, *second])
    ones, others = zip(*pairs, strict=True)
    return bootstrap_difference(ones, others, seed=0, resamples=resamples)
