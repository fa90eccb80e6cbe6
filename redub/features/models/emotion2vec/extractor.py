"""Emotion of a voice by emotion2vec: one vector per line, or one per mel frame.

Per line (``audio_emotion``) it is what Authentic-Dubber's library holds; its audio nodes take 1024
numbers, so it used the plus_large model. Per frame (``local_audio``) it is this project's
substitute for M2CI-Dubber's emotion-aware 10 ms model, of which no checkpoint is public: 20 ms
frames of an emotion model, brought to 10 ms. It is not that model.

Source: emotion2vec (arXiv:2312.15185). Letters: S samples, F frames (50 Hz), T mel frames, D width.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from redub.core.errors import ConfigError
from redub.core.types import AudioSpec, ClipMedia, FloatArray, Value
from redub.features.base import FeatureSchema, Media
from redub.features.models.emotion2vec.checkpoint import (
    Emotion2vecSettings,
    load_network,
    read_settings,
    unused,
)
from redub.features.models.model_extractor import ModelExtractor
from redub.features.models.shared_networks import shared
from redub.features.sound.samples import waveform_of
from redub.features.sound.speech_input import RATE_HZ, on_mel_clock, speech_of

if TYPE_CHECKING:
    from torch import Tensor

    from redub.features.models.emotion2vec.network import FrameMaker


@dataclass(frozen=True, slots=True, kw_only=True)
class Emotion2vecConfig:
    """Settings of ``[features.audio_emotion]`` when made by ``emotion2vec``.

    chunk_s: longer lines are heard in pieces of at most this, because attention grows with the
        square; the vector is the mean over the frames of all pieces.
    """

    audio: AudioSpec
    weights: str = "emotion2vec"
    chunk_s: float = 30.0

    def __post_init__(self) -> None:
        _check_chunk(self.chunk_s, "audio_emotion")


@dataclass(frozen=True, slots=True, kw_only=True)
class Emotion2vecFramesConfig:
    """Settings of ``[features.local_audio]`` when made by ``emotion2vec_frames``.

    between: where the frames between the network's own come from: ``shifted``, a second pass over
        the sound without its first 10 ms; ``linear``, the mean of their neighbours, at half the
        cost and with no new information.
    """

    audio: AudioSpec
    weights: str = "emotion2vec"
    chunk_s: float = 30.0
    between: Literal["shifted", "linear"] = "shifted"

    def __post_init__(self) -> None:
        _check_chunk(self.chunk_s, "local_audio")


def _check_chunk(chunk_s: float, feature: str) -> None:
    if not 1.0 <= chunk_s <= 60.0:
        raise ConfigError(
            f"features.{feature}.chunk_s is {chunk_s}; wanted 1 to 60", code="E-CFG-VALUE"
        )


class _Emotion2vec(ModelExtractor):
    """What both features share: settings, loading, and frames at 50 Hz."""

    kind: ClassVar[str] = "emotion2vec"
    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"waveform"})
    batch: ClassVar[int] = 16

    @functools.cached_property
    def settings(self) -> Emotion2vecSettings:
        return read_settings(self.weights)

    def load(self) -> Any:
        """The network; extractors of one process that use the same files share it."""
        device = self.runtime.torch_device()
        return shared(
            "emotion2vec",
            self.weights,
            lambda: load_network(self.weights, self.settings).to(device),
            device,
        )

    def maker(self) -> FrameMaker:
        from redub.features.models.emotion2vec.network import FrameMaker

        hop, window = self.settings.hop, self.settings.window
        return FrameMaker(
            self.network,
            hop=hop,
            window=window,
            longest=int((self.config.chunk_s * RATE_HZ - window) // hop + 1),
            normalise=self.settings.normalise,
        )

    def describe(self) -> dict[str, str]:
        described = super().describe()
        described["frames"] = f"{RATE_HZ / self.settings.hop:g} per second"
        described["labels"] = ", ".join(self.labels()) or "none: a model without classifier"
        return described

    def labels(self) -> list[str]:
        """Emotions by row of the classifier, without places that the publisher left unused."""
        rows = self.settings.labels if has_classifier(self.network) else ()
        return [label for label in rows if not unused(label)]


class Emotion2vecExtractor(_Emotion2vec):
    """Sound in, (D,) float32 out: the mean of the last block over all frames."""

    Config: ClassVar[type] = Emotion2vecConfig

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="vector", width=self.settings.width)

    def prepare(self, media: ClipMedia) -> FloatArray:
        return speech_of(media, self.config.audio, least=self.settings.window)

    def size(self, prepared: FloatArray) -> float:
        return len(prepared)

    def compute(self, inputs: Sequence[FloatArray]) -> list[Value]:
        return [mean.cpu().numpy() for mean in self._means(inputs)]

    def _means(self, inputs: Sequence[FloatArray]) -> list[Tensor]:
        import torch

        with torch.inference_mode():
            frames = self.maker().frames(inputs, self.runtime.torch_device())
            return [rows.mean(dim=0) for rows in frames]  # (D,) each

    def scores(self, media: ClipMedia) -> dict[str, float]:
        """Probability of every emotion the classifier knows; empty where it has none.

        Raises:
            ClipError, FeatureAbsent: as :func:`redub.features.sound.speech_input.speech_of`.
        """
        import torch

        labels = self.settings.labels
        if not has_classifier(self.network):
            return {}
        mean = self._means([self.prepare(media)])[0]
        shut = torch.tensor([unused(label) for label in labels], device=mean.device)
        with torch.inference_mode():
            logits = self.network.proj(mean).masked_fill(shut, float("-inf"))
            chances = logits.softmax(dim=-1).tolist()
        found = zip(labels, chances, strict=True)
        return {label: chance for label, chance in found if not unused(label)}


class FramesInput(NamedTuple):
    speech: FloatArray  # (S,) at 16 kHz
    frames: int  # T


class Emotion2vecFramesExtractor(_Emotion2vec):
    """Sound in, (T, D) float32 out, ``T = audio.frame_count(S)``."""

    Config: ClassVar[type] = Emotion2vecFramesConfig
    batch: ClassVar[int] = 8

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="frames", width=self.settings.width)

    def prepare(self, media: ClipMedia) -> FramesInput:
        audio = self.config.audio
        frames = audio.frame_count(len(waveform_of(media).samples))
        return FramesInput(speech_of(media, audio, least=self.settings.window), frames)

    def size(self, prepared: FramesInput) -> float:
        return len(prepared.speech)

    def compute(self, inputs: Sequence[FramesInput]) -> list[Value]:
        import torch

        from redub.features.models.emotion2vec.network import interleaved, midpoints

        maker, half = self.maker(), self.settings.hop // 2
        device = self.runtime.torch_device()
        with torch.inference_mode():
            frames = maker.frames([given.speech for given in inputs], device)
            if self.config.between == "linear":
                merged = [midpoints(own) for own in frames]
            else:
                later = [given.speech[half:] for given in inputs]
                enough = [k for k, speech in enumerate(later) if maker.count(len(speech))]
                heard = dict(
                    zip(enough, maker.frames([later[k] for k in enough], device), strict=True)
                )
                merged = [interleaved(own, heard.get(k, own[:0])) for k, own in enumerate(frames)]
        return [
            on_mel_clock(
                rows.cpu().numpy(),
                given.frames,
                self.config.audio,
                shift=half,
                window=self.settings.window,
            )
            for rows, given in zip(merged, inputs, strict=True)
        ]


def has_classifier(network: Any) -> bool:
    return network.proj is not None
