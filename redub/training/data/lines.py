"""One line to learn or to speak, as plain arrays; and the scale on which a system sees them.

Letters: P phonemes, T mel frames, V video frames, R frames of a timbre mel, K references.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ClipError
from redub.core.types import MODALITIES, FloatArray
from redub.model.batch import CONTEXT_MODALITIES
from redub.model.blocks.harmonics import PITCH_CENTRE_HZ
from redub.model.registry import reads_of

IntArray = NDArray[np.integer[Any]]

ENERGY_FLOOR = 1e-2
"""Added to the linear energy before its logarithm: far below speech, above digital silence."""

CLIP_AT = 10.0
"""Standardised values end here, so that no dimension that was still in training can explode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """What one query found, best first; K may be 0."""

    vectors: FloatArray  # (K, modality width) the hits' vectors of the query's own modality
    audio: FloatArray  # (K, audio width) how the same footage sounded
    scores: FloatArray  # (K,) higher is more alike


SIDES = ("previous", "following")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextLine:
    """The line before or after another one, as it was recorded; what it has no value of is None.

    phonemes: (P,) ids of its words. lips, expression, sound: (n, W) by frame. mel: (T, C) natural
    log, and with it f0_hz and energy (T, 1). whole: (W,) of face, text and audio, the ones that
    there are.
    """

    phonemes: IntArray | None = None
    lips: FloatArray | None = None
    expression: FloatArray | None = None
    sound: FloatArray | None = None
    mel: FloatArray | None = None
    f0_hz: FloatArray | None = None
    energy: FloatArray | None = None
    whole: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DubbingLine:
    """One clip's inputs and, for a recorded line, what was spoken.

    phonemes: (P,) ids, silence rows included, as they are in the alignment; a line to be spoken
        gets them from :func:`with_silence`.
    mel_frames: T, from the video. Recorded lines have ``durations`` (P,) that sum to T, ``mel``
        (T, C) natural log, and for prosody ``f0_hz`` (T,), 0 = unvoiced, and ``energy`` (T,) >= 0;
        for systems of units ``sound`` (A, W), a feature on a clock of its own.
    lips, expression: (V, lips) and (V, expression), or None without a face. speaker_vector:
        (speaker,).
    timbres: mels (R, C) of other lines in the same voice; training takes turns by epoch.
    vectors, hits: by modality; an absent modality is left out.
    context: by side, for systems that see it; a side without a line is left out.
    emotion: id, -1 where unknown.
    """

    clip_id: str
    speaker: str
    phonemes: IntArray
    mel_frames: int
    speaker_vector: FloatArray
    timbres: Sequence[FloatArray]
    lips: FloatArray | None = None
    expression: FloatArray | None = None
    durations: IntArray | None = None
    mel: FloatArray | None = None
    f0_hz: FloatArray | None = None
    energy: FloatArray | None = None
    sound: FloatArray | None = None
    emotion: int = -1
    vectors: Mapping[str, FloatArray] = field(default_factory=dict)
    hits: Mapping[str, Hits] = field(default_factory=dict)
    context: Mapping[str, ContextLine] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.phonemes) == 0 or self.mel_frames < 1 or not self.timbres:
            raise ClipError(
                f"{self.clip_id}: {len(self.phonemes)} phonemes, {self.mel_frames} frames, "
                f"{len(self.timbres)} timbre mels; wanted at least one of each",
                code="E-LINE-EMPTY",
            )
        lengths = {"mel": self.mel, "f0_hz": self.f0_hz, "energy": self.energy}
        for name, value in lengths.items():
            if value is not None and len(value) != self.mel_frames:
                raise ClipError(
                    f"{self.clip_id}: {name} has {len(value)} frames, the video has "
                    f"{self.mel_frames}; compute both from the same clip",
                    code="E-LINE-LENGTH",
                )
        if self.durations is not None and (
            len(self.durations) != len(self.phonemes)
            or int(self.durations.sum()) != self.mel_frames
        ):
            raise ClipError(
                f"{self.clip_id}: {len(self.durations)} durations sum to "
                f"{int(self.durations.sum())} frames; wanted {len(self.phonemes)} durations and "
                f"{self.mel_frames} frames",
                code="E-LINE-LENGTH",
            )

    @property
    def is_recorded(self) -> bool:
        """Whether the line can be trained on: it has a mel and its alignment."""
        return self.mel is not None and self.durations is not None


def with_silence(phonemes: IntArray, *, silence: int) -> IntArray:
    """The phonemes of a line to be spoken: one silence before and one after, never twice.

    Aligned training lines start and end with silence where there was any, so a system knows what
    to do with both; how long they last is for the duration predictor and the lips to say.
    """
    ids = np.asarray(phonemes)
    head = [] if len(ids) and ids[0] == silence else [silence]
    tail = [] if len(ids) and ids[-1] == silence else [silence]
    return np.concatenate((head, ids, tail)).astype(ids.dtype)


@dataclass(frozen=True, slots=True)
class Scale:
    """Mean and standard deviation per dimension; a dimension that never moved has deviation 1."""

    mean: FloatArray
    deviation: FloatArray

    def apply(self, values: FloatArray) -> FloatArray:
        """Standardise (..., width), ending at ±10."""
        scaled = (values - self.mean) / self.deviation
        ended: FloatArray = np.clip(scaled, -CLIP_AT, CLIP_AT).astype(np.float32)
        return ended

    def undo(self, values: FloatArray) -> FloatArray:
        """Back to the original unit."""
        return (values * self.deviation + self.mean).astype(np.float32)


class _Moments:
    """Running sums of one feature, so that fitting reads each line once and keeps none."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Any = 0.0
        self.squares: Any = 0.0

    def add(self, rows: FloatArray) -> None:
        exact = rows.astype(np.float64)
        self.count += len(rows)
        self.total = self.total + exact.sum(0)
        self.squares = self.squares + (exact * exact).sum(0)

    def scale(self) -> Scale:
        mean = self.total / self.count
        variance = np.maximum(self.squares / self.count - mean * mean, 0.0)
        deviation = np.sqrt(variance)
        still = deviation <= 1e-6 * np.maximum(np.abs(mean), 1.0)
        return Scale(mean.astype(np.float32), np.where(still, 1.0, deviation).astype(np.float32))


ONLY_GROWN = {
    "expression": "local_face",
    "frames_of_sound": "local_audio",
    **{f"whole_{name}": f"global_{name}" for name in CONTEXT_MODALITIES},
}
"""Scales that a system may lack, and the feature each is of."""


@dataclass(frozen=True, slots=True)
class FeatureScaler:
    """The scale of every feature, fitted on the training lines and kept in the checkpoint.

    Keys: mel, lips, expression, speaker, audio (of the hits), the modalities, log_energy, and of
    the context frames_of_sound, whole_face, whole_text, whole_audio. A feature that no training
    line had keeps its values.
    """

    scales: Mapping[str, Scale]

    @classmethod
    def fit(cls, lines: Iterable[DubbingLine]) -> FeatureScaler:
        """Measure every feature of the training lines."""
        moments: dict[str, _Moments] = {}
        for line in lines:
            for name, rows in _measured(line):
                if len(rows):
                    moments.setdefault(name, _Moments()).add(rows)
        return cls({name: moments[name].scale() for name in sorted(moments)})

    def with_new(self, fitted: FeatureScaler, grown_from: str) -> FeatureScaler:
        """These scales, and fitted ones of what a system that was grown from another reads anew.

        A feature of the other system without a scale stays without: its weights read plain values.
        """
        known = reads_of(grown_from)
        new = {name for name, feature in ONLY_GROWN.items() if feature not in known}
        anew = {name: scale for name, scale in fitted.scales.items() if name in new}
        return FeatureScaler({**anew, **self.scales})

    def apply(self, name: str, values: FloatArray) -> FloatArray:
        """Standardise one feature, (..., width)."""
        scale = self.scales.get(name)
        return values.astype(np.float32) if scale is None else scale.apply(values)

    def undo(self, name: str, values: FloatArray) -> FloatArray:
        """Back to the feature's own unit."""
        scale = self.scales.get(name)
        return values if scale is None else scale.undo(values)

    def to_json(self) -> dict[str, dict[str, list[float]]]:
        """Plain lists for the checkpoint's ``config.json``; exact for float32."""
        return {
            name: {"mean": _plain(scale.mean), "deviation": _plain(scale.deviation)}
            for name, scale in self.scales.items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Mapping[str, Sequence[float]]]) -> FeatureScaler:
        """The inverse of :meth:`to_json`."""
        return cls(
            {
                name: Scale(
                    np.asarray(value["mean"], np.float32),
                    np.asarray(value["deviation"], np.float32),
                )
                for name, value in values.items()
            }
        )


def pitch_of(f0_hz: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Octaves from ``PITCH_CENTRE_HZ`` (T,), 0 where unvoiced, and which frames are voiced."""
    f0_hz = f0_hz.astype(np.float32, copy=False)
    voiced = f0_hz > 0
    octaves = np.log2(np.where(voiced, f0_hz, PITCH_CENTRE_HZ) / PITCH_CENTRE_HZ)
    return octaves.astype(np.float32), voiced


def f0_of(octaves: FloatArray, voiced: NDArray[np.bool_]) -> FloatArray:
    """The inverse of :func:`pitch_of`: Hz, 0 where unvoiced."""
    return np.where(voiced, PITCH_CENTRE_HZ * 2.0**octaves, 0.0).astype(np.float32)


def log_energy(energy: FloatArray) -> FloatArray:
    """Natural log of linear energy (T,), with a floor for silence."""
    exact = energy.astype(np.float32, copy=False)
    logarithm: FloatArray = np.log(exact + np.float32(ENERGY_FLOOR)).astype(np.float32)
    return logarithm


def _plain(values: FloatArray) -> list[float]:
    return [float(value) for value in values]


def _measured(line: DubbingLine) -> Iterable[tuple[str, FloatArray]]:
    """Every (feature, rows) of a line that enters the scaler."""
    yield "speaker", line.speaker_vector[None]
    yield "mel", line.timbres[0] if line.mel is None else line.mel
    if line.lips is not None:
        yield "lips", line.lips
    if line.expression is not None:
        yield "expression", line.expression
    if line.energy is not None:
        yield "log_energy", log_energy(line.energy)[:, None]
    for modality in MODALITIES:
        if modality in line.vectors:
            yield modality, line.vectors[modality][None]
        if modality in line.hits:
            yield "audio", line.hits[modality].audio
    if line.sound is not None:
        yield "frames_of_sound", line.sound
    for neighbour in line.context.values():
        if neighbour.sound is not None:
            yield "frames_of_sound", neighbour.sound
        for name, vector in neighbour.whole.items():
            yield f"whole_{name}", vector[None]
