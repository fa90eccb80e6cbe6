"""One utterance as plain arrays, for training or synthesis, and the scaling of its features.

Letters: P phonemes, T mel frames, V video frames, C mel channels, R frames of a reference mel,
K hits, W width, A rows of a feature with its own rate.
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
from redub.model.registry import system_spec

IntArray = NDArray[np.integer[Any]]

ENERGY_FLOOR = 1e-2
"""Added to the linear energy before its logarithm; far below speech, above digital silence."""

CLIP_AT = 10.0
"""Limit of standardised values, for dimensions that hardly varied in the training set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """The retrieved clips of one query, best first; K may be 0."""

    vectors: FloatArray  # (K, modality width) vectors in the query's modality
    audio: FloatArray  # (K, audio width) audio emotion vectors of the same clips
    scores: FloatArray  # (K,) higher is more alike


SIDES = ("previous", "following")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjacentUtterance:
    """The features of an adjacent utterance, as recorded; None where it has no value.

    phonemes: (P,) ids of its words. lips, local_face, sound: (n, W) by frame. mel: (T, C) natural
    log, with f0_hz and energy (T, 1). global_features: (W,) by ``face``, ``text`` and ``audio``; a
    missing vector is left out.
    """

    phonemes: IntArray | None = None
    lips: FloatArray | None = None
    local_face: FloatArray | None = None
    sound: FloatArray | None = None
    mel: FloatArray | None = None
    f0_hz: FloatArray | None = None
    energy: FloatArray | None = None
    global_features: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One clip's inputs and, for a recorded utterance, its recording.

    phonemes: (P,) ids with silences, as in the alignment; :func:`with_silence` adds them for an
        utterance to speak.
    mel_frames: T, from the video.
    durations, mel, f0_hz, energy, sound: the recording. ``durations`` (P,) sum to T; ``mel`` (T, C)
        natural log; ``f0_hz`` (T,), 0 = unvoiced; ``energy`` (T,) >= 0; ``sound`` (A, W), a
        frame-level audio feature with its own rate, for systems of units.
    lips, local_face: (V, lips) and (V, local_face), or None without a face.
    speaker_vector: (speaker,).
    reference_mels: (R, C) each, of other utterances of the same voice; training takes them in turn
        by epoch.
    vectors, hits: by modality; a missing modality is left out.
    context: the adjacent utterances by side (``previous``, ``following``), for context systems; a
        missing one is left out.
    emotion: id, -1 where unknown.

    Raises:
        ClipError: E-LINE-EMPTY or E-LINE-LENGTH, arrays are empty or do not fit each other.
    """

    clip_id: str
    speaker: str
    phonemes: IntArray
    mel_frames: int
    speaker_vector: FloatArray
    reference_mels: Sequence[FloatArray]
    lips: FloatArray | None = None
    local_face: FloatArray | None = None
    durations: IntArray | None = None
    mel: FloatArray | None = None
    f0_hz: FloatArray | None = None
    energy: FloatArray | None = None
    sound: FloatArray | None = None
    emotion: int = -1
    vectors: Mapping[str, FloatArray] = field(default_factory=dict)
    hits: Mapping[str, Hits] = field(default_factory=dict)
    context: Mapping[str, AdjacentUtterance] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.phonemes) == 0 or self.mel_frames < 1 or not self.reference_mels:
            raise ClipError(
                f"{self.clip_id}: {len(self.phonemes)} phonemes, {self.mel_frames} frames, "
                f"{len(self.reference_mels)} reference mels; wanted at least one of each",
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
        """Whether the utterance has a mel and durations, so that it can be trained on."""
        return self.mel is not None and self.durations is not None


def with_silence(phonemes: IntArray, *, silence: int) -> IntArray:
    """Add a silence at the start and the end of phonemes (P,), unless there is one already.

    Aligned training utterances have such silences too. The model predicts how long they last.
    """
    ids = np.asarray(phonemes)
    head = [] if len(ids) and ids[0] == silence else [silence]
    tail = [] if len(ids) and ids[-1] == silence else [silence]
    return np.concatenate((head, ids, tail)).astype(ids.dtype)


@dataclass(frozen=True, slots=True)
class Scale:
    """Mean and standard deviation (W,) per dimension; a constant dimension has deviation 1."""

    mean: FloatArray
    deviation: FloatArray

    def apply(self, values: FloatArray) -> FloatArray:
        """Standardise (..., W) and clip to ±``CLIP_AT``; float32."""
        scaled = (values - self.mean) / self.deviation
        clipped: FloatArray = np.clip(scaled, -CLIP_AT, CLIP_AT).astype(np.float32)
        return clipped

    def undo(self, values: FloatArray) -> FloatArray:
        """Undo the standardisation of (..., W); clipped values stay clipped."""
        return (values * self.deviation + self.mean).astype(np.float32)


class _Moments:
    """Running sums of one feature, so that each utterance is read once and not kept."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Any = 0.0
        self.squares: Any = 0.0

    def add(self, rows: FloatArray) -> None:
        """Add rows (n, W), in float64."""
        exact = rows.astype(np.float64)
        self.count += len(rows)
        self.total = self.total + exact.sum(0)
        self.squares = self.squares + (exact * exact).sum(0)

    def scale(self) -> Scale:
        """Mean and deviation of all rows so far; at least one."""
        mean = self.total / self.count
        variance = np.maximum(self.squares / self.count - mean * mean, 0.0)
        deviation = np.sqrt(variance)
        constant = deviation <= 1e-6 * np.maximum(np.abs(mean), 1.0)
        return Scale(mean.astype(np.float32), np.where(constant, 1.0, deviation).astype(np.float32))


ONLY_GROWN = ("local_face", "local_audio", *(f"global_{name}" for name in CONTEXT_MODALITIES))
"""Features, and names of their scales, that only extended systems read."""


@dataclass(frozen=True, slots=True)
class FeatureScaler:
    """The scale of every feature, fitted on the training set and kept in the checkpoint.

    Keys: mel, lips, local_face, speaker, audio (of the hits), the modalities, log_energy, and for
    context local_audio, global_face, global_text, global_audio. A feature without a scale, because
    no training utterance has it, is not standardised.
    """

    scales: Mapping[str, Scale]

    @classmethod
    def fit(cls, lines: Iterable[Utterance]) -> FeatureScaler:
        """Fit the scale of every feature of the training utterances."""
        moments: dict[str, _Moments] = {}
        for line in lines:
            for name, rows in _measured(line):
                if len(rows):
                    moments.setdefault(name, _Moments()).add(rows)
        return cls({name: moments[name].scale() for name in sorted(moments)})

    def with_new(self, fitted: FeatureScaler, grown_from: str) -> FeatureScaler:
        """Keep these scales, of a base system; add scales of features that it does not read.

        A feature of the base system without a scale stays without: its weights read plain values.

        Args:
            fitted: scales fitted on the training set of the extended system.
            grown_from: name of the base system.
        """
        new = set(ONLY_GROWN) - set(system_spec(grown_from).reads)
        added = {name: scale for name, scale in fitted.scales.items() if name in new}
        return FeatureScaler({**added, **self.scales})

    def apply(self, name: str, values: FloatArray) -> FloatArray:
        """Standardise one feature (..., W); without a scale, values stay as they are."""
        scale = self.scales.get(name)
        return values.astype(np.float32) if scale is None else scale.apply(values)

    def undo(self, name: str, values: FloatArray) -> FloatArray:
        """Undo :meth:`apply` for one feature (..., W)."""
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
        """Read what :meth:`to_json` returned."""
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
    """Convert F0 in Hz to octaves from ``PITCH_CENTRE_HZ``, 0 where unvoiced, and a voiced mask."""
    f0_hz = f0_hz.astype(np.float32, copy=False)
    voiced = f0_hz > 0
    octaves = np.log2(np.where(voiced, f0_hz, PITCH_CENTRE_HZ) / PITCH_CENTRE_HZ)
    return octaves.astype(np.float32), voiced


def f0_of(octaves: FloatArray, voiced: NDArray[np.bool_]) -> FloatArray:
    """Convert octaves from ``PITCH_CENTRE_HZ`` to Hz, 0 where unvoiced."""
    return np.where(voiced, PITCH_CENTRE_HZ * 2.0**octaves, 0.0).astype(np.float32)


def log_energy(energy: FloatArray) -> FloatArray:
    """Natural log of linear energy (T,) plus ``ENERGY_FLOOR``."""
    exact = energy.astype(np.float32, copy=False)
    logarithm: FloatArray = np.log(exact + np.float32(ENERGY_FLOOR)).astype(np.float32)
    return logarithm


def _plain(values: FloatArray) -> list[float]:
    return [float(value) for value in values]


def _measured(line: Utterance) -> Iterable[tuple[str, FloatArray]]:
    """Every (feature, rows (n, W)) of an utterance, for the scaler."""
    yield "speaker", line.speaker_vector[None]
    yield "mel", line.reference_mels[0] if line.mel is None else line.mel
    if line.lips is not None:
        yield "lips", line.lips
    if line.local_face is not None:
        yield "local_face", line.local_face
    if line.energy is not None:
        yield "log_energy", log_energy(line.energy)[:, None]
    for modality in MODALITIES:
        if modality in line.vectors:
            yield modality, line.vectors[modality][None]
        if modality in line.hits:
            yield "audio", line.hits[modality].audio
    if line.sound is not None:
        yield "local_audio", line.sound
    for adjacent in line.context.values():
        if adjacent.sound is not None:
            yield "local_audio", adjacent.sound
        for name, vector in adjacent.global_features.items():
            yield f"global_{name}", vector[None]
