"""Sentence-level face context: statistics of the motion and appearance of the face in a clip.

The papers use MAE-DFER here; this builtin backend is signal processing, not a network.
Letters: V video frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from redub.core.types import ClipMedia, FloatArray
from redub.features.base import FeatureSchema, LocalExtractor, Media, frames_of
from redub.features.face.attributes import faces_of_clip, trend
from redub.features.face.motion import DIMENSIONS as COLUMNS
from redub.features.face.motion import motion_rows
from redub.features.picture.edge_histograms import DIMENSIONS as EDGES
from redub.features.picture.edge_histograms import face_edges

MOVING = tuple(
    name for name in COLUMNS if name.startswith(("motion_", "head_"))
)  # the motion columns of local_face
TYPICAL = 0.02  # their typical size, in normalised grey levels or box widths per frame

DIMENSIONS: tuple[str, ...] = (
    *EDGES,
    *(f"{column}_{statistic}" for statistic in ("mean", "spread", "trend") for column in MOVING),
)
"""Names of the dimensions: edge histograms; mean, standard deviation and trend of each motion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalFaceConfig:
    """No settings: the statistics are fixed."""


class GlobalFaceExtractor(LocalExtractor):
    """Compute one vector from frames and face boxes."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    reads: ClassVar[tuple[str, ...]] = ("face_track",)
    Config: ClassVar[type] = GlobalFaceConfig

    def __init__(self, config: GlobalFaceConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One vector of ``len(DIMENSIONS)`` numbers."""
        return FeatureSchema(kind="vector", width=len(DIMENSIONS))

    def extract(self, media: ClipMedia) -> FloatArray:
        """Summarise the face of one clip.

        Returns:
            (132,) float32 in the order of :data:`DIMENSIONS`; a trend is the last third minus the
            first third. Motions are in units of :data:`TYPICAL` and bounded to -1–1 by tanh.

        Raises:
            FeatureAbsent: E-FEAT-NOFACE, the clip has no frames.
        """
        faces = faces_of_clip(media)
        every = media.once(motion_rows, faces, frames_of(media.features, "face_track"))
        rows = every[:, [COLUMNS.index(name) for name in MOVING]]
        # The changes of the first row are 0 by definition, so this row is left out.
        seen = rows[1:] if len(rows) > 1 else rows
        trends = np.array([trend(column) for column in seen.T])
        statistics = np.concatenate([seen.mean(axis=0), seen.std(axis=0), trends])
        bounded = np.tanh(statistics / TYPICAL)
        return np.concatenate([media.once(face_edges, faces), bounded]).astype(np.float32)
