"""Speech emotion by emotion2vec: one vector per utterance, or one per mel frame.

The vector of an utterance (``audio_emotion``) is the one in Authentic-Dubber's library. Its audio
nodes take 1024 numbers, so the paper used the plus_large model. The vectors per frame
(``local_audio``) replace those of M2CI-Dubber's emotion-aware 10 ms model, which is not public:
here the frames of an emotion model are resampled from 20 ms to 10 ms.

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

    from redub.features.models.emotion2vec.network import FrameExtractor


@dataclass(frozen=True, slots=True, kw_only=True)
class Emotion2vecConfig:
    """Settings of ``[features.audio_emotion]`` with the backend ``emotion2vec``.

    Attributes:
        weights: entry of the weights ledger.
        chunk_s: longest piece in seconds, 1 to 60. Longer utterances are split, because the cost
            of attention grows with the square of the length. The vector is the mean over the
            frames of all pieces.
    """

    audio: AudioSpec
    weights: str = "emotion2vec"
    chunk_s: float = 30.0

    def __post_init__(self) -> None:
        _check_chunk(self.chunk_s, "audio_emotion")


@dataclass(frozen=True, slots=True, kw_only=True)
class Emotion2vecFramesConfig:
    """Settings of ``[features.local_audio]`` with the backend ``emotion2vec_frames``.

    Attributes:
        weights: entry of the weights ledger.
        chunk_s: as in :class:`Emotion2vecConfig`.
        between: how to compute the frames between the network's frames. ``shifted`` runs the
            network again on the sound without its first 10 ms. ``linear`` takes the mean of the
            two adjacent frames, at half the cost and without new information.
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
    """Base of both emotion2vec features: settings, loading, and frames at 50 Hz."""

    kind: ClassVar[str] = "emotion2vec"
    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"waveform"})
    batch: ClassVar[int] = 16

    @functools.cached_property
    def settings(self) -> Emotion2vecSettings:
        """The settings of the model folder, read once."""
        return read_settings(self.weights)

    def load(self) -> Any:
        """Load the network; extractors of one process that use the same files share it."""
        device = self.runtime.torch_device()
        return shared(
            "emotion2vec",
            self.weights,
            lambda: load_network(self.weights, self.settings).to(device),
            device,
        )

    def frame_extractor(self) -> FrameExtractor:
        """Build the object that computes frames from waveforms of any length."""
        from redub.features.models.emotion2vec.network import FrameExtractor

        hop, window = self.settings.hop, self.settings.window
        return FrameExtractor(
            self.network,
            hop=hop,
            window=window,
            longest=int((self.config.chunk_s * RATE_HZ - window) // hop + 1),
            normalise=self.settings.normalise,
        )

    def describe(self) -> dict[str, str]:
        """Add the frame rate and the emotion labels to the description."""
        described = super().describe()
        described["frames"] = f"{RATE_HZ / self.settings.hop:g} per second"
        described["labels"] = ", ".join(self.labels()) or "none: a model without classifier"
        return described

    def labels(self) -> list[str]:
        """Return the emotions of the classifier, without rows that the publisher left unused."""
        rows = self.settings.labels if has_classifier(self.network) else ()
        return [label for label in rows if not unused(label)]


class Emotion2vecExtractor(_Emotion2vec):
    """Compute (D,) float32 from sound: the mean of the last block's output over all frames."""

    Config: ClassVar[type] = Emotion2vecConfig

    @property
    def schema(self) -> FeatureSchema:
        """One vector of the network's width."""
        return FeatureSchema(kind="vector", width=self.settings.width)

    def prepare(self, media: ClipMedia) -> FloatArray:
        """Return the sound, (S,) at 16 kHz; raises FeatureAbsent as ``speech_of``."""
        return speech_of(media, self.config.audio, least=self.settings.window)

    def size(self, prepared: FloatArray) -> float:
        """Samples of the sound, for sorting into batches."""
        return len(prepared)

    def compute(self, inputs: Sequence[FloatArray]) -> list[Value]:
        """Compute the vector of each input."""
        return [mean.cpu().numpy() for mean in self._means(inputs)]

    def _means(self, inputs: Sequence[FloatArray]) -> list[Tensor]:
        import torch

        with torch.inference_mode():
            frames = self.frame_extractor().frames(inputs, self.runtime.torch_device())
            return [rows.mean(dim=0) for rows in frames]  # (D,) each

    def scores(self, media: ClipMedia) -> dict[str, float]:
        """Compute emotion → probability with the classifier; empty if the model has none.

        Raises:
            ClipError, FeatureAbsent: as :func:`redub.features.sound.speech_input.speech_of`.
        """
        import torch

        labels = self.settings.labels
        if not has_classifier(self.network):
            return {}
        mean = self._means([self.prepare(media)])[0]
        is_unused = torch.tensor([unused(label) for label in labels], device=mean.device)
        with torch.inference_mode():
            logits = self.network.proj(mean).masked_fill(is_unused, float("-inf"))
            probabilities = logits.softmax(dim=-1).tolist()
        found = zip(labels, probabilities, strict=True)
        return {label: probability for label, probability in found if not unused(label)}


class FramesInput(NamedTuple):
    """The prepared input of one clip."""

    speech: FloatArray  # (S,) at 16 kHz
    frames: int  # T


class Emotion2vecFramesExtractor(_Emotion2vec):
    """Compute (T, D) float32 from sound, ``T = audio.frame_count(S)``."""

    Config: ClassVar[type] = Emotion2vecFramesConfig
    batch: ClassVar[int] = 8

    @property
    def schema(self) -> FeatureSchema:
        """One row of the network's width per mel frame."""
        return FeatureSchema(kind="frames", width=self.settings.width)

    def prepare(self, media: ClipMedia) -> FramesInput:
        """Return the sound and the number of mel frames; raises as ``speech_of``."""
        audio = self.config.audio
        frames = audio.frame_count(len(waveform_of(media).samples))
        return FramesInput(speech_of(media, audio, least=self.settings.window), frames)

    def size(self, prepared: FramesInput) -> float:
        """Samples of the sound, for sorting into batches."""
        return len(prepared.speech)

    def compute(self, inputs: Sequence[FramesInput]) -> list[Value]:
        """Compute the frames of each input."""
        import torch

        from redub.features.models.emotion2vec.network import interleaved, midpoints

        frame_extractor, half = self.frame_extractor(), self.settings.hop // 2
        device = self.runtime.torch_device()
        with torch.inference_mode():
            frames = frame_extractor.frames([given.speech for given in inputs], device)
            if self.config.between == "linear":
                merged = [midpoints(own) for own in frames]
            else:
                later = [given.speech[half:] for given in inputs]
                enough = [k for k, speech in enumerate(later) if frame_extractor.count(len(speech))]
                shifted = dict(
                    zip(
                        enough,
                        frame_extractor.frames([later[k] for k in enough], device),
                        strict=True,
                    )
                )
                merged = [interleaved(own, shifted.get(k, own[:0])) for k, own in enumerate(frames)]
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
    """Return whether the network has an emotion classifier."""
    return network.proj is not None
