"""Padded batches of utterances, and the feature widths that systems are built for.

Letters: B batch, P phonemes, T mel frames, V video frames, E face feature frames, A audio feature
frames, R frames of the reference mel, C mel channels, K references per modality, M modalities
(scene, face, text). Masks end in ``_valid`` and are True at real (not padded) positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from redub.core.types import AudioSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureWidths:
    """Width of each input feature; a system accepts only features of the widths it was built for.

    ``sound``: settings of the mel. ``scene``, ``face``, ``text``: emotion vectors of the three
    query modalities. ``audio``: emotion vector of a retrieved recording. ``phonemes``: number of
    embeddings, including the padding row 0. ``local_face``: frame-level face feature (1 if there is
    none). ``global_*``: sentence-level features of adjacent utterances. ``local_audio``:
    frame-level audio feature.
    """

    sound: AudioSpec
    lips: int
    speaker: int
    scene: int
    face: int
    text: int
    audio: int
    phonemes: int = 88
    emotions: int = 8
    local_face: int = 1
    global_face: int = 1
    global_text: int = 1
    global_audio: int = 1
    local_audio: int = 1

    @property
    def mel(self) -> int:
        """C, the number of mel channels."""
        return self.sound.mel_channels

    @property
    def modalities(self) -> tuple[int, int, int]:
        """Widths of the emotion vectors, in the order of ``core.types.MODALITIES``."""
        return (self.scene, self.face, self.text)

    @property
    def global_features(self) -> tuple[int, int, int]:
        """Widths of the sentence-level context features, in the order of ``CONTEXT_MODALITIES``."""
        return (self.global_face, self.global_text, self.global_audio)


class Prosody(NamedTuple):
    """Pitch and energy of every mel frame."""

    pitch: Tensor  # (B, T) octaves from harmonics.PITCH_CENTRE_HZ, 0 where unvoiced
    voiced: Tensor  # (B, T) bool, True where the frame has a pitch
    energy: Tensor  # (B, T) standardised log-energy


CONTEXT_MODALITIES = ("face", "text", "audio")


class Context(NamedTuple):
    """Features of the recorded utterance before (or after) each utterance, in the same scene.

    Where there is no adjacent utterance, or it lacks a feature, the mask is False everywhere.
    """

    phonemes: Tensor  # (B, P) int64, 0 = pad
    phonemes_valid: Tensor  # (B, P) bool
    lips: Tensor  # (B, V, lips), V >= 1
    lips_valid: Tensor  # (B, V) bool
    local_face: Tensor  # (B, E, local_face), E >= 4
    local_face_valid: Tensor  # (B, E) bool
    sound: Tensor  # (B, A, local_audio), A >= 16
    sound_valid: Tensor  # (B, A) bool
    global_features: tuple[
        Tensor, Tensor, Tensor
    ]  # (B, global_face), (B, global_text), (B, global_audio)
    global_valid: Tensor  # (B, 3) bool
    mel: Tensor  # (B, T, C), T >= 1
    mel_valid: Tensor  # (B, T) bool
    prosody: Prosody


class Control(NamedTuple):
    """Requested changes of prosody for each utterance; see :mod:`redub.model.control`."""

    pitch: Tensor  # (B,) octaves to add
    pitch_range: Tensor  # (B,) factor of the pitch deviation from its mean, 1 = unchanged
    energy: Tensor  # (B,) to add, on the scale of ``Prosody.energy``
    rate: Tensor  # (B,) factor of the speaking rate, 1 = unchanged
    silence: int  # phoneme id of a pause; pauses absorb the change of speaking rate


class DubbingBatch(NamedTuple):
    """Padded, standardised inputs; only recorded utterances have durations, mel and prosody.

    An utterance without a face has no True in ``lips_valid``; a missing emotion vector has False in
    ``modalities_valid``. Padding is zeros, and the output of a system must not depend on it.
    """

    clip_ids: tuple[str, ...]
    phonemes: Tensor  # (B, P) int64, 0 = pad
    phonemes_valid: Tensor  # (B, P) bool
    mel_frames: Tensor  # (B,) int64, the length given by the video
    frames_valid: Tensor  # (B, T) bool, T = mel_frames.max()
    lips: Tensor  # (B, V, lips), V >= 1
    lips_valid: Tensor  # (B, V) bool
    speaker: Tensor  # (B, speaker)
    reference_mel: Tensor  # (B, R, C), R >= 16
    reference_valid: Tensor  # (B, R) bool
    modalities: tuple[Tensor, Tensor, Tensor]  # (B, scene), (B, face), (B, text)
    modalities_valid: Tensor  # (B, M) bool
    hits: tuple[Tensor, Tensor, Tensor]  # (B, K, scene), (B, K, face), (B, K, text)
    hits_audio: Tensor  # (B, M, K, audio), audio emotion vector of each hit
    hits_score: Tensor  # (B, M, K) similarity, higher is more similar
    hits_valid: Tensor  # (B, M, K) bool
    emotions: Tensor  # (B,) int64, -1 where unknown
    local_face: Tensor  # (B, E, local_face) frame-level face feature, E >= 4
    local_face_valid: Tensor  # (B, E) bool
    durations: Tensor | None  # (B, P) int64, sums to mel_frames
    mel: Tensor | None  # (B, T, C)
    prosody: Prosody | None
    control: Control | None = None  # requested changes of prosody; None changes nothing
    previous: Context | None = None  # preceding utterances; None for systems without context
    following: Context | None = None  # following utterances; None for systems without context
    sound: Tensor | None = None  # (B, A, local_audio) of the recording, for unit prediction
    sound_valid: Tensor | None = None  # (B, A) bool

    def to(self, device: torch.device | str) -> DubbingBatch:
        """Copy the batch to a device; copies to a GPU are asynchronous."""
        return DubbingBatch._make(_moved(value, device) for value in self)

    def without_recording(self) -> DubbingBatch:
        """Return the batch without features of the recording, as synthesis must see it."""
        return self._replace(durations=None, mel=None, prosody=None, sound=None, sound_valid=None)


def _moved(value: object, device: torch.device | str) -> object:
    if isinstance(value, Tensor):
        if torch.device(device).type == "cuda" and value.device.type == "cpu":
            return value.pin_memory().to(device, non_blocking=True)
        return value.to(device)
    if isinstance(value, Prosody | Control | Context):
        return type(value)._make(_moved(part, device) for part in value)
    if isinstance(value, tuple):
        return tuple(_moved(part, device) for part in value)
    return value
