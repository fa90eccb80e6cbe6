"""Speaker embedding of a GE2E encoder: vectors of one voice lie close together.

It takes Resemblyzer's published file. Resemblyzer also cuts long pauses out with a voice activity
detector before it listens; that step is left out here, so a line with long pauses differs a little
from Resemblyzer's vector. Other d-vectors (StyleDubber's TorchScript one) are not interchangeable.

Letters: B windows, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from redub.core.errors import ConfigError, FeatureAbsent
from redub.core.types import AudioSpec, ClipMedia, FloatArray, Value
from redub.features.base import FeatureSchema, Media
from redub.features.models.model_extractor import ModelExtractor
from redub.features.sound.speech_input import speech_of
from redub.features.weights.checkpoint_parts import only_file, tensor_table
from redub.features.weights.folder import load_strictly

WIDTH = 256
STATE_KEYS = ("model_state", "model")
SPARSEST = 0.625  # windows per second at which neighbours just touch


@dataclass(frozen=True, slots=True, kw_only=True)
class Ge2eConfig:
    """Settings of ``[features.speaker]`` when made by ``ge2e``; the defaults are Resemblyzer's.

    windows_per_s: windows of 1.6 s that begin in a second.
    coverage: share of the last window that must be sound for it to count.
    """

    audio: AudioSpec
    weights: str = "ge2e"
    windows_per_s: float = 1.3
    coverage: float = 0.75

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
    """Sound in, a unit vector of 256 numbers, none below 0, out."""

    kind: ClassVar[str] = "ge2e"
    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"waveform"})
    Config: ClassVar[type] = Ge2eConfig
    batch: ClassVar[int] = 64

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="vector", width=WIDTH)

    def load(self) -> Any:
        from redub.features.models.ge2e.network import SIMILARITY, SpeakerEncoder

        name = only_file(self.weights, ".pt", ".pth", ".safetensors")
        values = self.weights.tensors(name)
        found = next((values[key] for key in STATE_KEYS if key in values), values)
        encoder = SpeakerEncoder()
        state = tensor_table(found, self.weights, name)
        load_strictly(encoder, state, self.weights, extra=SIMILARITY)
        return encoder.eval().to(self.runtime.torch_device())

    def prepare(self, media: ClipMedia) -> FloatArray:
        """(B, 160, 40) mel windows of the clip."""
        from redub.features.models.ge2e.network import mel_windows, raised

        speech = raised(speech_of(media, self.config.audio))
        return mel_windows(speech, self.config.windows_per_s, self.config.coverage)

    def compute(self, inputs: Sequence[FloatArray]) -> list[Value]:
        """One pass over the windows of all clips; a clip is the mean of its windows.

        Raises:
            FeatureAbsent: E-FEAT-VOICELESS, the encoder answers with nothing but zeros.
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
        return len(prepared)


def _unit(vector: FloatArray) -> FloatArray:
    length = float(np.linalg.norm(vector))
    if length == 0.0:
        raise FeatureAbsent("the encoder heard no voice in it", code="E-FEAT-VOICELESS")
    unit: FloatArray = (vector / length).astype(np.float32)
    return unit
