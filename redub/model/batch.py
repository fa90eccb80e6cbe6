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
    where lines have none). The last four are of the lines before and after: face, text and audio of
    a whole line, and the frame-level feature of its sound.
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
    whole_face: int = 1
    whole_text: int = 1
    whole_audio: int = 1
    frames_of_sound: int = 1

    @property
    def mel(self) -> int:
        """C, the channels of a mel frame."""
        return self.sound.mel_channels

    @property
    def modalities(self) -> tuple[int, int, int]:
        """Emotion vector widths in the order of ``core.types.MODALITIES``."""
        return (self.scene, self.face, self.text)

    @property
    def whole(self) -> tuple[int, int, int]:
        """Sentence-level widths of the context in the order of ``CONTEXT_MODALITIES``."""
        return (self.whole_face, self.whole_text, self.whole_audio)


class Prosody(NamedTuple):
    """Pitch and energy of every mel frame."""

    pitch: Tensor  # (B, T) octaves from harmonics.PITCH_CENTRE_HZ, 0 where unvoiced
    voiced: Tensor  # (B, T) bool, True where the frame has a pitch
    energy: Tensor  # (B, T) standardised log-energy


CONTEXT_MODALITIES = ("face", "text", "audio")


class Context(NamedTuple):
    """The line before each line, or the one after it, of the same scene, as it was recorded.

    A line without such a neighbour, or a neighbour without a value, has no valid row.
    """

    phonemes: Tensor  # (B, P) int64, 0 = pad
    phonemes_valid: Tensor  # (B, P) bool
    lips: Tensor  # (B, V, lips), V >= 1
    lips_valid: Tensor  # (B, V) bool
    expression: Tensor  # (B, E, expression), E >= 4
    expression_valid: Tensor  # (B, E) bool
    sound: Tensor  # (B, A, frames_of_sound), A >= 16
    sound_valid: Tensor  # (B, A) bool
    whole: tuple[Tensor, Tensor, Tensor]  # (B, whole_face), (B, whole_text), (B, whole_audio)
    whole_valid: Tensor  # (B, 3) bool
    mel: Tensor  # (B, T, C), T >= 1
    mel_valid: Tensor  # (B, T) bool
    prosody: Prosody


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
    previous: Context | None = None  # the lines before; None for systems that see none
    following: Context | None = None
    sound: Tensor | None = None  # (B, A, frames_of_sound) of the recording, for systems of units
    sound_valid: Tensor | None = None  # (B, A) bool

    def to(self, device: torch.device | str) -> DubbingBatch:
        """The same batch on another device; to a GPU it is copied while the host goes on."""
        return DubbingBatch._make(_moved(value, device) for value in self)

    def without_recording(self) -> DubbingBatch:
        """The batch as it is when the line has not been spoken yet: what synthesis may see."""
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
