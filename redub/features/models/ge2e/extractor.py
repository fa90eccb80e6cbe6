"""Speaker embedding by a GE2E encoder: the vectors of one speaker lie close together.

The weights are Resemblyzer's published file. Where the weights of Silero VAD are recorded, only
speech is encoded: pauses and noise between the words are cut out. Resemblyzer does so with another
detector, so its vectors differ slightly. Other d-vectors (StyleDubber's TorchScript model) are not
compatible.

Letters: B windows, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from redub.core.errors import ConfigError, FeatureAbsent
from redub.core.types import AudioSpec, ClipMedia, FloatArray, Value
from redub.features.base import FeatureSchema, Media
from redub.features.models.model_extractor import ModelExtractor
from redub.features.sound.speech_input import WINDOW, speech_of
from redub.features.weights.checkpoint_parts import only_file, tensor_table
from redub.features.weights.folder import load_strictly

WIDTH = 256
STATE_KEYS = ("model_state", "model")
VAD = "silero_vad"
SPARSEST = 0.625  # windows per second at which adjacent windows just touch


@dataclass(frozen=True, slots=True, kw_only=True)
class Ge2eConfig:
    """Settings of ``[features.speaker]`` with the backend ``ge2e``; defaults as in Resemblyzer.

    Attributes:
        weights: entry of the weights ledger.
        windows_per_s: number of windows of 1.6 s that begin per second, 0.625 to 100.
        coverage: fraction of the last window that must contain sound, or the window is dropped.
        vad: entry of the weights ledger with Silero VAD, used if it is recorded; empty for none.
    """

    audio: AudioSpec
    weights: str = "ge2e"
    windows_per_s: float = 1.3
    coverage: float = 0.75
    vad: str = VAD

    def __post_init__(self) -> None:
        if not SPARSEST <= self.windows_per_s <= 100:
            raise ConfigError(
                f"features.speaker.windows_per_s is {self.windows_per_s}; wanted {SPARSEST} to 100",
                code="E-CFG-VALUE",
            )
        if not 0 < self.coverage <= 1:
            raise ConfigError(
                f"features.speaker.coverage is {self.coverage}; wanted more than 0, at most 1",
                code="E-CFG-VALUE",
            )


class Ge2eExtractor(ModelExtractor):
    """Compute a unit vector of 256 non-negative numbers from sound."""

    kind: ClassVar[str] = "ge2e"
    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"waveform"})
    Config: ClassVar[type] = Ge2eConfig
    batch: ClassVar[int] = 64

    @classmethod
    def weights_optional(cls, config: Any) -> dict[str, tuple[str, str]]:
        """Return the voice activity detector."""
        return {VAD: (config.vad, VAD)} if config.vad else {}

    @property
    def schema(self) -> FeatureSchema:
        """One vector of 256 numbers."""
        return FeatureSchema(kind="vector", width=WIDTH)

    def load(self) -> Any:
        """Load the encoder onto the device.

        Raises:
            ModelRefusedError: the file is not the encoder, or is not trusted.
        """
        from redub.features.models.ge2e.network import SIMILARITY, SpeakerEncoder

        name = only_file(self.weights, ".pt", ".pth", ".safetensors")
        values = self.weights.tensors(name)
        found = next((values[key] for key in STATE_KEYS if key in values), values)
        encoder = SpeakerEncoder()
        state = tensor_table(found, self.weights, name)
        load_strictly(encoder, state, self.weights, extra=SIMILARITY)
        return encoder.eval().to(self.runtime.torch_device())

    def prepare(self, media: ClipMedia) -> FloatArray:
        """Compute the (B, 160, 40) mel windows of the clip.

        Raises:
            ClipError, FeatureAbsent: as ``speech_of``.
        """
        from redub.features.models.ge2e.network import mel_windows, raised
        from redub.features.models.silero_vad.network import speech_alone

        speech = raised(speech_of(media, self.config.audio))
        if VAD in self.folders:
            alone = speech_alone(self._detector, speech)
            # A voice that the detector does not hear (a whisper, a shout from afar) is no reason to
            # lose the utterance: then all of its sound is encoded.
            speech = alone if len(alone) >= WINDOW else speech
        return mel_windows(speech, self.config.windows_per_s, self.config.coverage)

    @cached_property
    def _detector(self) -> Any:
        from redub.features.models.silero_vad.network import load_voice_activity

        return load_voice_activity(self.folders[VAD])

    def compute(self, inputs: Sequence[FloatArray]) -> list[Value]:
        """Encode the windows of all clips at once; the vector of a clip is the mean of its windows.

        Raises:
            FeatureAbsent: E-FEAT-VOICELESS, the output of the encoder is all zeros.
        """
        import torch

        encoder, device = self.network, self.runtime.torch_device()
        windows = torch.from_numpy(np.concatenate(inputs))
        if device.type == "cuda":
            windows = windows.pin_memory()
        with torch.inference_mode():
            vectors = encoder(windows.to(device, non_blocking=True)).cpu().numpy()
        ends = np.cumsum([len(given) for given in inputs])
        return [_unit(part.mean(axis=0)) for part in np.split(vectors, ends[:-1])]

    def size(self, prepared: FloatArray) -> float:
        """Number of windows, for sorting into batches."""
        return len(prepared)


def _unit(vector: FloatArray) -> FloatArray:
    length = float(np.linalg.norm(vector))
    if length == 0.0:
        raise FeatureAbsent(
            "the speaker encoder gives a vector of zeros: it finds no voice",
            code="E-FEAT-VOICELESS",
        )
    unit: FloatArray = (vector / length).astype(np.float32)
    return unit
