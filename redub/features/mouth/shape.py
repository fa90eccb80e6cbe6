"""Measure opening, width and shape of a mouth, by the difference of its crop from skin.

The inside of a mouth and the lips are darker than skin; teeth are often brighter. Light is
normalised per clip: 0 is the grey level of skin, 1 the darkest level in the clip. Beards, deep
shadows and a wrong box cause errors; the values are estimates, not landmarks.
Letters: V video frames.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from redub.core.types import ByteArray, FloatArray

Floats = NDArray[np.float64]

GRID = 48  # side in pixels at which crops are measured
SKIN_PERCENTILE = 60.0  # most of a mouth crop is skin, and the rest is mostly darker
BAND = 0.28  # corners are searched up to this distance from the mouth's middle row
LEAST_SPREAD = 12.0  # grey levels; with less contrast a crop shows only noise


class MouthShape(NamedTuple):
    """Shape measurements per frame, (V,) float32 each; lengths are fractions of the crop's side."""

    opening: FloatArray  # height of the mouth region in the middle columns; 0 is closed
    hole: FloatArray  # fraction of the middle columns that is as dark as the inside of a mouth
    width: FloatArray  # width of the columns with lips or hole
    area: FloatArray  # fraction of the crop that is lips or hole
    bright: FloatArray  # fraction of the crop that is brighter than skin (teeth)
    centre_x: FloatArray  # centroid of the mouth region, -0.5 to 0.5
    centre_y: FloatArray
    corner_lift: FloatArray  # height of the corners above the middle of the mouth (a smile)
    skew: FloatArray  # height difference of the corners, 0 or more
    lower_edge: FloatArray  # lowest row of the mouth region, 0–1; it moves with the jaw


def darkness(mouths: ByteArray) -> FloatArray:
    """Normalise the light of mouth crops per clip.

    Args:
        mouths: (V, 9216) or (V, side, side) uint8.

    Returns:
        (V, 48, 48) float32 darkness: 0 is skin, 1 the darkest level of the clip, negative values
        are brighter than skin.
    """
    side = round(np.sqrt(mouths[0].size))
    frames = mouths.reshape(-1, side, side)
    small = np.stack([cv2.resize(p, (GRID, GRID), interpolation=cv2.INTER_AREA) for p in frames])
    darkest, skin = (float(level) for level in np.percentile(small, (1.0, SKIN_PERCENTILE)))
    spread = max(skin - darkest, LEAST_SPREAD)
    dark: FloatArray = np.clip((skin - small.astype(np.float32)) / spread, -1.0, 1.0)
    return dark.astype(np.float32)


def mouth_shape(dark: FloatArray) -> MouthShape:
    """Measure the mouth in every frame.

    Args:
        dark: (V, 48, 48) from :func:`darkness`.
    """
    levels = dark.astype(np.float64)
    lips = _step(levels, 0.3, 0.2)  # (V, 48, 48) soft 0–1: lips, hole, shadow
    hole = _step(levels, 0.72, 0.2)
    bright = _step(-levels, 0.12, 0.1)
    middle = slice(GRID * 3 // 8, GRID * 5 // 8)
    profile = lips[:, :, middle].mean(axis=2)  # (V, 48) over rows
    mouth_row = _centroid(profile)  # (V,) shadows of chin and nose lie far from it
    band = lips * _near(mouth_row, BAND)[:, :, None]
    columns = _outwards(band.max(axis=1))  # (V, 48)
    centre_x, centre_y = _centroid(lips.sum(axis=1)), _centroid(lips.sum(axis=2))
    sides = [slice(GRID // 6, GRID // 3), slice(GRID * 2 // 3, GRID * 5 // 6)]
    rows = [_centroid(band[:, :, part].sum(axis=2)) for part in (middle, *sides)]
    return MouthShape(
        opening=_single(profile.mean(axis=1)),
        hole=_single(hole[:, :, middle].mean(axis=(1, 2))),
        width=_single(columns.mean(axis=1)),
        area=_single(lips.mean(axis=(1, 2))),
        bright=_single(bright.mean(axis=(1, 2))),
        centre_x=_single(centre_x),
        centre_y=_single(centre_y),
        corner_lift=_single(rows[0] - (rows[1] + rows[2]) / 2),
        skew=_single(np.abs(rows[1] - rows[2])),
        lower_edge=_single(_edge(profile)),
    )


def _single(values: Floats) -> FloatArray:
    return values.astype(np.float32)


def _step(values: Floats, at: float, softness: float) -> Floats:
    return np.clip((values - at) / softness + 0.5, 0.0, 1.0)


def _centroid(weights: Floats) -> Floats:
    """Centroid along the last axis, -0.5 to 0.5; 0 if all weights are 0."""
    place = (np.arange(weights.shape[-1]) + 0.5) / weights.shape[-1] - 0.5
    total = weights.sum(axis=-1)
    centroid: Floats = (weights * place).sum(axis=-1) / np.maximum(total, 1e-6)
    return centroid


def _near(row: Floats, reach: float) -> Floats:
    """(V, 48): 1 for rows within ``reach`` of ``row`` (fractions of the crop), else 0."""
    place = (np.arange(GRID) + 0.5) / GRID - 0.5
    return (np.abs(place - row[:, None]) <= reach).astype(np.float64)


def _outwards(columns: Floats) -> Floats:
    """Running minimum from the middle to both sides: removes parts that do not touch the mouth."""
    half = columns.shape[1] // 2
    left = np.minimum.accumulate(columns[:, :half][:, ::-1], axis=1)[:, ::-1]
    right = np.minimum.accumulate(columns[:, half:], axis=1)
    return np.concatenate([left, right], axis=1)


def _edge(profile: Floats) -> Floats:
    """The row, 0–1, above which 90 % of the weight of a profile lies; 0.5 if it is empty."""
    total = profile.sum(axis=-1, keepdims=True)
    share = profile.cumsum(axis=-1) / np.maximum(total, 1e-6)
    row = (share < 0.9).sum(axis=-1) / profile.shape[-1]
    return np.where(total[..., 0] > 1e-6, row, 0.5)
