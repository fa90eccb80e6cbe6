"""Scene emotion vector: emotion scores of the caption, and measured attributes.

Retrieval compares these vectors by cosine, so every entry is centred: 0 is an ordinary value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from redub.core.types import EMOTIONS, ClipMedia, FloatArray
from redub.features.base import FeatureSchema, Media
from redub.features.centred import centred, centred_scores
from redub.features.picture.attributes import HUE_BINS, FrameAttributes, colour_affect
from redub.features.picture.scene_caption import measure_scene
from redub.features.text.emotion_lexicon import emotion_scores

SCALES: dict[str, tuple[float, float]] = {
    "lightness": (0.5, 0.25),
    "saturation": (0.4, 0.25),
    "chroma": (0.2, 0.15),
    "contrast": (0.13, 0.08),
    "colourfulness": (0.3, 0.2),
    "detail": (0.02, 0.02),
    "light_from_above": (0.0, 0.2),
    "motion": (0.004, 0.008),
    "lightness_trend": (0.0, 0.1),
}
"""Attribute → (ordinary value, scale), from the range of film frames."""

DIMENSIONS: tuple[str, ...] = (
    *(f"word_{emotion}" for emotion in EMOTIONS),
    *SCALES,
    "warmth",
    "pleasure",
    "arousal",
    *(f"hue_{30 * i}" for i in range(HUE_BINS)),
)
"""Names of the dimensions."""

HUE_WEIGHT = 2.0  # the hue says more about the mood of a scene than another attribute


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneEmotionConfig:
    """Settings of the builtin ``scene_emotion``.

    Attributes:
        word_weight: weight of the eight caption scores; attributes have weight 1.
    """

    word_weight: float = 1.0


class SceneEmotionExtractor:
    """Compute one vector from caption and frames."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    reads: ClassVar[tuple[str, ...]] = ("scene_caption", "face_track")
    optional: ClassVar[frozenset[str]] = frozenset({"face_track"})
    Config: ClassVar[type] = SceneEmotionConfig

    def __init__(self, config: SceneEmotionConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One vector of ``len(DIMENSIONS)`` numbers."""
        return FeatureSchema(kind="vector", width=len(DIMENSIONS))

    def extract(self, media: ClipMedia) -> FloatArray:
        """Score the caption and centre the attributes.

        Returns:
            (32,) float32 in the order of :data:`DIMENSIONS`, with a norm above 0.

        Raises:
            FeatureAbsent: E-FEAT-NOFRAMES, the clip has no frames.
        """
        attributes = measure_scene(media)
        words = centred_scores(emotion_scores(str(media.features["scene_caption"])))
        parts = (self.config.word_weight * words, attribute_vector(attributes))
        return np.concatenate(parts).astype(np.float32)


def attribute_vector(attributes: FrameAttributes) -> FloatArray:
    """Compute the attributes' part of the vector, (24,) float32."""
    values = [getattr(attributes, name) for name in SCALES]
    places, scales = zip(*SCALES.values(), strict=True)
    affect = colour_affect(attributes)
    # A faint tint says little about the mood, so the hue is weighted by the amount of colour.
    presence = float(np.tanh(attributes.chroma / 0.15))
    warmth = presence * (attributes.warm_share - attributes.cool_share)
    shares = np.array(attributes.hue_shares)
    hues = HUE_WEIGHT * presence * (shares - shares.mean())
    return np.concatenate(
        [centred(values, places, scales), [warmth, affect.pleasure, affect.arousal], hues]
    ).astype(np.float32)
