"""Sentence-level speech emotion by wav2vec 2.0 on IEMOCAP, with one of two public checkpoints.

The checkpoint of speechbrain is a fine-tuned wav2vec2-base. The vector is the mean over time of its
normalised last layer, 768 numbers. The checkpoint of superb has a frozen wav2vec2-base with trained
layer weights and projector. The vector is the mean of the projected weighted sum, 256 numbers.
Source: the global audio feature of M2CI-Dubber (arXiv:2412.18748) is "Wav2Vec 2.0 fine-tuned on
IEMOCAP"; checkpoint and layer are not published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from redub.core.types import AudioSpec, ClipMedia, FloatArray
from redub.features.base import FeatureSchema, Media
from redub.features.models.model_extractor import ModelExtractor
from redub.features.models.wav2vec2_iemocap.checkpoint import (
    SPEECHBRAIN_WIDTH,
    labels_of,
    layout_of,
)
from redub.features.sound.speech_input import speech_of

if TYPE_CHECKING:
    from redub.features.models.wav2vec2_iemocap.network import SpeechEmotionNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Wav2vec2IemocapConfig:
    """Settings of ``[features.global_audio]`` with the backend ``wav2vec2``.

    The layout of the folder decides which vector is computed.
    """

    audio: AudioSpec
    weights: str = "wav2vec2_iemocap"


class Wav2vec2GlobalAudio(ModelExtractor):
    """Compute one vector from sound.

    The network processes utterances one by one. Its first layer normalises over the whole time
    axis, so padding in a batch would change the values of shorter utterances.
    """

    kind = "wav2vec2_iemocap"
    media: ClassVar[frozenset[Media]] = frozenset({"waveform"})
    Config: ClassVar[type] = Wav2vec2IemocapConfig
    one_by_one = True

    @property
    def schema(self) -> FeatureSchema:
        """Width 768 for speechbrain's layout, ``classifier_proj_size`` (256) for superb's."""
        width = SPEECHBRAIN_WIDTH
        if layout_of(self.weights) == "superb":
            stated = self.weights.json("config.json").get("classifier_proj_size", 256)
            if not isinstance(stated, int):
                raise self.weights.refused(
                    f"config.json: classifier_proj_size is {stated!r}", code="E-MODEL-FILE"
                )
            width = stated
        return FeatureSchema(kind="vector", width=width)

    def load(self) -> SpeechEmotionNetwork:
        """Load the network onto the device.

        Raises:
            ModelRefusedError: the files are not this model, or are not trusted.
        """
        from redub.features.models.wav2vec2_iemocap.network import load_network

        return load_network(self.weights, self.runtime.torch_device())

    def describe(self) -> dict[str, str]:
        """Add the layout and the emotion labels to the description."""
        described = {**super().describe(), "layout": layout_of(self.weights)}
        labels = labels_of(self.weights)
        return {**described, "labels": ", ".join(labels)} if labels else described

    def prepare(self, media: ClipMedia) -> FloatArray:
        """Return the (S,) float32 samples at 16 kHz.

        Raises:
            FeatureAbsent: E-FEAT-NOSOUND, E-FEAT-SILENT, E-FEAT-SHORT.
        """
        return speech_of(media, self.config.audio)

    def compute(self, inputs: Sequence[FloatArray]) -> list[Any]:
        """Compute the vector of each input, one by one."""
        network: SpeechEmotionNetwork = self.network
        return [np.asarray(network.vector(speech), dtype=np.float32) for speech in inputs]
