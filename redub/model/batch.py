"""One padded batch of dubbing lines, and the widths that every system is built for.

Letters: B batch, P phonemes, T mel frames, V video frames, R frames of the timbre mel,
C mel channels, K references per modality, M modalities (scene, face, text).
Masks end in ``_valid`` and are True where real.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from redub.core.types import AudioSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureWidths:
    """How wide each input is; a system can only read features of the widths it was built for.

    ``phonemes`` counts table rows, the pad row 0 included. ``scene``, ``face`` and ``text`` are
    the emotion vectors of the three query modalities, ``audio`` that of a retrieved recording.
    ``sound`` describes the mel frames. ``expression`` is the frame-level feature of the face (1
    where lines have none).
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
    expression: int = 1

    @property
    def mel(self) -> int:
        """C, the channels of a mel frame."""
        return self.sound.mel_channels

    @property
    def modalities(self) -> tuple[int, int, int]:
        """Emotion vector widths in the order of ``core.types.MODALITIES``."""
        return (self.scene, self.face, self.text)


class Prosody(NamedTuple):
    """Pitch and energy of every mel frame."""

    pitch: Tensor  # (B, T) octaves from harmonics.PITCH_CENTRE_HZ, 0 where unvoiced
    voiced: Tensor  # (B, T) bool, True where the frame has a pitch
    energy: Tensor  # (B, T) standardised log-energy


class Control(NamedTuple):
    """What is asked of the voice of each line; see :mod:`redub.model.control`."""

    pitch: Tensor  # (B,) octaves up
    pitch_range: Tensor  # (B,) how much the pitch moves around its mean, 1 = as it would
    energy: Tensor  # (B,) on the scale of ``Prosody.energy``
    rate: Tensor  # (B,) how fast, 1 = as it would
    silence: int  # the phoneme id of a pause: what a faster line gives its time to


class DubbingBatch(NamedTuple):
    """Padded, standardised inputs; durations, mel and prosody are what only a recorded line has.

    A line without a face has no valid row in ``lips_valid``; a line without one of the emotion
    vectors has False in ``modalities_valid``. Padding holds zeros, and no system may depend on it.
    """

    clip_ids: tuple[str, ...]
    phonemes: Tensor  # (B, P) int64, 0 = pad
    phonemes_valid: Tensor  # (B, P) bool
    mel_frames: Tensor  # (B,) int64, the length that the picture dictates
    frames_valid: Tensor  # (B, T) bool, T = mel_frames.max()
    lips: Tensor  # (B, V, lips), V >= 1
    lips_valid: Tensor  # (B, V) bool
    speaker: Tensor  # (B, speaker)
    timbre: Tensor  # (B, R, C), R >= 16
    timbre_valid: Tensor  # (B, R) bool
    modalities: tuple[Tensor, Tensor, Tensor]  # (B, scene), (B, face), (B, text)
    modalities_valid: Tensor  # (B, M) bool
    hits: tuple[Tensor, Tensor, Tensor]  # (B, K, scene), (B, K, face), (B, K, text)
    hits_audio: Tensor  # (B, M, K, audio), the sound of each hit
    hits_score: Tensor  # (B, M, K) similarity, higher is more alike
    hits_valid: Tensor  # (B, M, K) bool
    emotions: Tensor  # (B,) int64, -1 where unknown
    expression: Tensor  # (B, E, expression) of the face, frame by frame, E >= 4
    expression_valid: Tensor  # (B, E) bool
    durations: Tensor | None  # (B, P) int64, sums to mel_frames
    mel: Tensor | None  # (B, T, C)
    prosody: Prosody | None
    control: Control | None = None  # what a director asks of each line; None asks nothing

    def to(self, device: torch.device | str) -> DubbingBatch:
        """The same batch on another device; to a GPU it is copied while the host goes on."""
        return DubbingBatch._make(_moved(value, device) for value in self)

    def without_recording(self) -> DubbingBatch:
        """The batch as it is when the line has not been spoken yet: what synthesis may see."""
        return self._replace(durations=None, mel=None, prosody=None)


def _moved(value: object, device: torch.device | str) -> object:
    if isinstance(value, Tensor):
        if torch.device(device).type == "cuda" and value.device.type == "cpu":
            return value.pin_memory().to(device, non_blocking=True)
        return value.to(device)
    if isinstance(value, Prosody | Control):
        return type(value)._make(_moved(part, device) for part in value)
    if isinstance(value, tuple):
        return tuple(_moved(part, device) for part in value)
    return value
