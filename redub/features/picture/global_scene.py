"""Sentence-level scene context: statistics of the look and the motion of whole frames in a clip.

It is measured in whole frames including people, without a caption. Authentic-Dubber's ablation uses
I3D here instead of the scene caption (arXiv:2511.14249, rows 1 and 3). This is signal processing,
not a network; it does not recognise objects or actions.
Letters: V video frames, P frames in which colours are measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from redub.core.errors import FeatureAbsent
from redub.core.types import ByteArray, ClipMedia, FloatArray
from redub.features.base import FeatureSchema, LocalExtractor, Media
from redub.features.centred import centred
from redub.features.picture.attributes import (
    HUE_BINS,
    MOST_COLOUR_FRAMES,
    FrameAttributes,
    measure_frames,
)
from redub.features.picture.edge_histograms import COLUMNS, ORIENTATIONS, ROWS, edge_histograms
from redub.features.picture.scene_emotion import HUE_WEIGHT, SCALES
from redub.features.picture.small_frames import small_frames

Floats = NDArray[np.float64]

LEVELS = (
    "lightness",
    "saturation",
    "chroma",
    "contrast",
    "colourfulness",
    "detail",
    "light_from_above",
)
"""Measurements of each frame, with the scales that ``scene_emotion`` has for a clip."""

PRESENT = 0.15  # mean chroma above which the hues of a frame count almost fully
GRID = 3  # motion is measured in 3 x 3 cells of the frame
TYPICAL = 0.01  # typical change of grey levels (0–1) from frame to frame

DIMENSIONS: tuple[str, ...] = (
    *(f"{level}_{statistic}" for statistic in ("mean", "spread") for level in LEVELS),
    *(f"hue_{30 * i}_{statistic}" for statistic in ("mean", "spread") for i in range(HUE_BINS)),
    *(
        f"edges_{row}_{column}_{180 * turn / ORIENTATIONS:g}"
        for row in range(ROWS)
        for column in range(COLUMNS // 2)
        for turn in range(ORIENTATIONS)
    ),
    *(
        f"motion_{row}_{column}_{statistic}"
        for statistic in ("mean", "spread")
        for row in range(GRID)
        for column in range(GRID)
    ),
)
"""Names of the dimensions. Edges: cell row, cell column from outside, gradient angle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalSceneConfig:
    """No settings: the statistics are fixed."""


class GlobalSceneExtractor(LocalExtractor):
    """Compute one vector from frames."""

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    Config: ClassVar[type] = GlobalSceneConfig

    def __init__(self, config: GlobalSceneConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One vector of ``len(DIMENSIONS)`` numbers."""
        return FeatureSchema(kind="vector", width=len(DIMENSIONS))

    def extract(self, media: ClipMedia) -> FloatArray:
        """Summarise one clip.

        Returns:
            (104,) float32 in the order of :data:`DIMENSIONS`, with a norm above 0. Level means are
            centred: 0 is an ordinary frame. Spreads and motions of a still clip are 0, hues of a
            grey clip are 0; the edges have norm 1, or 0 without edges.

        Raises:
            FeatureAbsent: E-FEAT-NOFRAMES, the clip has no frames.
        """
        if media.frames is None or len(media.frames) == 0:
            raise FeatureAbsent("the clip has no video frame to measure", code="E-FEAT-NOFRAMES")
        small = media.once(small_frames, media.frames)
        some = np.linspace(0, len(small) - 1, min(len(small), MOST_COLOUR_FRAMES))
        chosen = small[some.round().astype(int)]  # (P, 64, 64, 3)
        seen = [measure_frames(one[None], small=one[None]) for one in chosen]
        parts = (
            level_entries(seen),
            hue_entries(seen),
            edge_entries(chosen),
            motion_entries(small),
        )
        return np.concatenate(parts).astype(np.float32)


def level_entries(seen: Sequence[FrameAttributes]) -> Floats:
    """Compute (14,): centred means of the levels, then their standard deviations over frames."""
    rows = np.array([[getattr(one, name) for name in LEVELS] for one in seen])  # (P, 7)
    places, scales = zip(*(SCALES[name] for name in LEVELS), strict=True)
    nothing = (0.0,) * len(LEVELS)
    return np.concatenate(
        [
            centred(rows.mean(axis=0).tolist(), places, scales),
            centred(rows.std(axis=0).tolist(), nothing, scales),
        ]
    )


def hue_entries(seen: Sequence[FrameAttributes]) -> Floats:
    """Compute (24,): mean and standard deviation of each hue's share minus the mean share."""
    shares = np.array([one.hue_shares for one in seen])  # (P, 12)
    # Hues of nearly grey frames are noise, so each frame is weighted by its chroma.
    presence = np.tanh(np.array([one.chroma for one in seen]) / PRESENT)[:, None]
    rows = HUE_WEIGHT * presence * (shares - shares.mean(axis=1, keepdims=True))
    return np.concatenate([rows.mean(axis=0), rows.std(axis=0)])


def edge_entries(pictures: ByteArray) -> Floats:
    """Compute (48,) edge histograms of the lightness of (P, 64, 64, 3) frames."""
    scaled = pictures.astype(np.float32) / 255.0
    light = np.stack([cv2.cvtColor(one, cv2.COLOR_RGB2LAB)[..., 0] for one in scaled])
    return edge_histograms((light / 100.0).astype(np.float32)).astype(np.float64)


def motion_entries(small: ByteArray) -> Floats:
    """Compute (18,): mean and standard deviation of the change from frame to frame in each cell.

    Args:
        small: (V, 64, 64, 3) uint8; a single frame gives 0.
    """
    grey = np.stack([cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in small]) / 255.0
    moved = np.abs(np.diff(grey, axis=0)) if len(grey) > 1 else np.zeros_like(grey)
    bands = np.array_split(moved, GRID, axis=1)
    cells = [
        cell.mean(axis=(1, 2)) for band in bands for cell in np.array_split(band, GRID, axis=2)
    ]
    rows = np.stack(cells, axis=1)  # (V - 1, 9); a row of 0 for a single frame
    bounded: Floats = np.tanh(np.concatenate([rows.mean(axis=0), rows.std(axis=0)]) / TYPICAL)
    return bounded
