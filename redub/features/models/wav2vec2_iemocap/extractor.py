"""Sentence-level speech emotion by wav2vec 2.0 on IEMOCAP, in either of its two public forms.

speechbrain's checkpoint is a fine-tuned wav2vec2-base: the vector is the mean over time of its
normalised last layer, 768 numbers. superb's keeps wav2vec2-base frozen and trains only layer
weights and a projector: the vector is the mean of the projected weighted sum, 256 numbers.
Source: M2CI-Dubber (arXiv:2412.18748) takes its global audio feature from "Wav2Vec 2.0 fine-tuned
on IEMOCAP"; which checkpoint and layer is not published.
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
    """The layout of the folder decides what the vector is."""

    audio: AudioSpec
    weights: str = "wav2vec2_iemocap"


class Wav2vec2GlobalAudio(ModelExtractor):
    """Sound in, one vector out.

    Lines go through the network one by one: its first layer normalises over the whole time axis,
    so in a padded batch every shorter line would come out otherwise.
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
        from redub.features.models.wav2vec2_iemocap.network import load_network

        return load_network(self.weights, self.runtime.torch_device())

    def describe(self) -> dict[str, str]:
        says = {**super().describe(), "layout": layout_of(self.weights)}
        labels = labels_of(self.weights)
        return {**says, "labels": ", ".join(labels)} if labels else says

    def prepare(self, media: ClipMedia) -> FloatArray:
        """(S,) float32 samples at 16 kHz.

        Raises:
            FeatureAbsent: E-FEAT-NOSOUND, E-FEAT-SILENT, E-FEAT-SHORT.
        """
        return speech_of(media, self.config.audio)

    def compute(self, inputs: Sequence[FloatArray]) -> list[Any]:
        network: SpeechEmotionNetwork = self.network
        return [np.asarray(network.vector(speech), dtype=np.float32) for speech in inputs]
