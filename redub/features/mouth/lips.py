"""Mouth shape, motion and low-frequency appearance in every frame; light normalised per clip.

Letters: V video frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from redub.core.types import ClipMedia, FloatArray
from redub.features.base import FeatureSchema, LocalExtractor, Media, frames_of
from redub.features.mouth.shape import MouthShape, darkness, mouth_shape

DCT_SIDE = 16  # the crop is scaled to this side before its cosine transform
APPEARANCE = tuple(
    sorted(((u, v) for u in range(7) for v in range(7)), key=lambda place: (sum(place), place))[:24]
)  # (0, 0), (0, 1), (1, 0), (0, 2), …: low frequencies first
MOVING = 12  # for so many appearance coefficients the change is a column, too
SHAPES = len(MouthShape._fields)

DIMENSIONS: tuple[str, ...] = (
    *MouthShape._fields,
    *(f"appearance_{u}_{v}" for u, v in APPEARANCE),
    "motion",
    *(f"{name}_change" for name in MouthShape._fields),
    *(f"appearance_{u}_{v}_change" for u, v in APPEARANCE[:MOVING]),
)
"""Names of the columns; ``appearance_u_v`` has u vertical and v horizontal half waves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LipConfig:
    """No settings: the measurements are fixed."""


class LipExtractor(LocalExtractor):
    """Compute one row of measurements per frame from mouth crops."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("mouth_crop",)
    Config: ClassVar[type] = LipConfig

    def __init__(self, config: LipConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One row of ``len(DIMENSIONS)`` numbers per frame."""
        return FeatureSchema(kind="frames", width=len(DIMENSIONS))

    def extract(self, media: ClipMedia) -> FloatArray:
        """Measure every mouth crop of one clip.

        Returns:
            (V, 57) float32 in the order of :data:`DIMENSIONS`; a change is the value minus the
            previous frame's, 0 in the first frame.
        """
        dark = media.once(darkness, frames_of(media.features, "mouth_crop"))
        shapes = np.stack(media.once(mouth_shape, dark), axis=1)  # (V, SHAPES)
        look = low_frequencies(dark)  # (V, 24)
        motion = np.abs(changes(dark)).mean(axis=(1, 2))[:, None]
        rows = (shapes, look, motion, changes(shapes), changes(look[:, :MOVING]))
        return np.concatenate(rows, axis=1).astype(np.float32)


def changes(values: FloatArray) -> FloatArray:
    """Compute first differences along axis 0 with a leading 0, so that the length stays."""
    return np.diff(values, axis=0, prepend=values[:1])


def low_frequencies(dark: FloatArray) -> FloatArray:
    """Compute the low orthonormal 2-D cosine coefficients of each image, about -1 to 1.

    Args:
        dark: (V, side, side).

    Returns:
        (V, 24) float32 in the order of :data:`APPEARANCE`.
    """
    rows = []
    for crop in dark:
        small = cv2.resize(crop, (DCT_SIDE, DCT_SIDE), interpolation=cv2.INTER_AREA)
        spectrum = cv2.dct(small) / DCT_SIDE
        rows.append([spectrum[u, v] for u, v in APPEARANCE])
    return np.asarray(rows, dtype=np.float32)
