"""Face emotion vector: emotion scores of the caption, attributes, edges of brows and mouth.

Retrieval compares these vectors by cosine, so every entry is centred: 0 is an ordinary value.
Edges depend on the expression and on the person (glasses, beard, hair). Averages over time and over
the mirror image reduce the part of the person, but do not remove it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from redub.core.types import EMOTIONS, ClipMedia, FloatArray, VideoSpec
from redub.features.base import FeatureSchema, LocalExtractor, Media
from redub.features.centred import centred, centred_scores
from redub.features.face.attributes import FaceAttributes, attributes_of_clip, faces_of_clip
from redub.features.picture.edge_histograms import DIMENSIONS as EDGES
from redub.features.picture.edge_histograms import face_edges
from redub.features.text.emotion_lexicon import emotion_scores

SPEECH, EXPRESSION = 0.4, 1.5
"""Weights: the motion of mouth and head depends mostly on the words, the shape on the emotion."""

SCALES: dict[str, tuple[float, float, float]] = {
    "opening_mean": (0.25, 0.12, SPEECH),
    "opening_range": (0.06, 0.04, SPEECH),
    "opening_rate_hz": (1.5, 1.0, SPEECH),
    "hole_mean": (0.09, 0.05, SPEECH),
    "width_mean": (0.57, 0.12, SPEECH),
    "width_range": (0.08, 0.06, SPEECH),
    "bright_mean": (0.05, 0.1, SPEECH),
    "corner_lift": (0.0, 0.04, EXPRESSION),
    "corner_trend": (0.0, 0.05, SPEECH),
    "skew": (0.05, 0.04, EXPRESSION),
    "brow_height": (0.09, 0.02, EXPRESSION),
    "brow_slant": (0.0, 0.12, EXPRESSION),
    "brow_trend": (0.0, 0.03, SPEECH),
    "eye_contrast": (0.4, 0.1, SPEECH),
    "upper_motion": (0.025, 0.012, SPEECH),
    "lower_motion": (0.035, 0.015, SPEECH),
    "liveliness_trend": (0.0, 0.03, SPEECH),
    "head_speed": (0.003, 0.003, SPEECH),
    "head_range": (0.02, 0.02, SPEECH),
    "approach": (0.0, 0.05, SPEECH),
}
"""Attribute → (ordinary value, scale, weight), from the range of talking faces."""

DIMENSIONS: tuple[str, ...] = (
    *(f"word_{emotion}" for emotion in EMOTIONS),
    *SCALES,
    *EDGES,
)
"""Names of the dimensions: caption scores, attributes, edge histograms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceEmotionConfig:
    """Settings of the builtin ``face_emotion``.

    Attributes:
        word_weight, edge_weight: weights of caption scores and edges; attributes have weight 1.
    """

    video: VideoSpec
    word_weight: float = 1.0
    edge_weight: float = 2.0


class FaceEmotionExtractor(LocalExtractor):
    """Compute one vector from caption, frames, face boxes and mouth crops."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    reads: ClassVar[tuple[str, ...]] = ("face_caption", "face_track", "mouth_crop")
    Config: ClassVar[type] = FaceEmotionConfig

    def __init__(self, config: FaceEmotionConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One vector of ``len(DIMENSIONS)`` numbers."""
        return FeatureSchema(kind="vector", width=len(DIMENSIONS))

    def extract(self, media: ClipMedia) -> FloatArray:
        """Score the caption, centre the attributes, average the edges.

        Returns:
            (124,) float32 in the order of :data:`DIMENSIONS`, with a norm above 0.

        Raises:
            FeatureAbsent: E-FEAT-NOFACE, the clip has no frames.
        """
        attributes = attributes_of_clip(media, fps=self.config.video.fps)
        words = centred_scores(emotion_scores(str(media.features["face_caption"])))
        parts = (
            self.config.word_weight * words,
            attribute_vector(attributes),
            self.config.edge_weight * media.once(face_edges, faces_of_clip(media)),
        )
        return np.concatenate(parts).astype(np.float32)


def attribute_vector(attributes: FaceAttributes) -> NDArray[np.float64]:
    """Compute the attributes' part of the vector, (20,), each between minus and plus its weight."""
    values = [getattr(attributes, name) for name in SCALES]
    places, scales, weights = zip(*SCALES.values(), strict=True)
    weighted: NDArray[np.float64] = centred(values, places, scales) * np.array(weights)
    return weighted
