"""How open and wide a mouth is, measured from how its crop differs from the skin around it.

The inside of a mouth and the lips are darker than skin, teeth are often brighter. Light is
normalised per clip: 0 is the skin's grey level, 1 the darkest level in the clip. Beards, deep
shadows and a badly placed box mislead these measures; they are estimates, not landmarks.
Letters: V video frames.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from redub.core.types import ByteArray, FloatArray

Floats = NDArray[np.float64]

GRID = 48  # side the crops are measured at
SKIN_PERCENTILE = 60.0  # most of a mouth crop is skin, and what is not is mostly darker
BAND = 0.28  # rows this far from the mouth's middle row may belong to its corners
LEAST_SPREAD = 12.0  # grey levels; below this a crop shows no mouth, only noise


class MouthShape(NamedTuple):
    """Shape measures per frame, all (V,) float32; lengths are shares of the crop's side."""

    opening: FloatArray  # height of the mouth's region in the middle columns, 0 closed–1
    hole: FloatArray  # share of the middle columns that is as dark as the mouth's inside
    width: FloatArray  # columns that hold lips or hole
    area: FloatArray  # share of the crop that is lips or hole
    bright: FloatArray  # share of the crop that is brighter than skin (teeth)
    centre_x: FloatArray  # centroid of what is not skin, -0.5–0.5
    centre_y: FloatArray
    corner_lift: FloatArray  # how far the corners stand above the mouth's middle (a smile)
    skew: FloatArray  # how much higher one corner stands than the other, 0 or more
    lower_edge: FloatArray  # lowest row of the mouth's region, 0–1: it sinks with the jaw


def darkness(mouths: ByteArray) -> FloatArray:
    """Light-normalised crops.

    Args:
        mouths: (V, 9216) or (V, side, side) uint8.

    Returns:
        (V, 48, 48) float32: 0 skin, 1 the clip's darkest level, below 0 brighter than skin.
    """
    side = round(np.sqrt(mouths[0].size))
    pictures = mouths.reshape(-1, side, side)
    small = np.stack([cv2.resize(p, (GRID, GRID), interpolation=cv2.INTER_AREA) for p in pictures])
    darkest, skin = (float(level) for level in np.percentile(small, (1.0, SKIN_PERCENTILE)))
    spread = max(skin - darkest, LEAST_SPREAD)
    dark: FloatArray = np.clip((skin - small.astype(np.float32)) / spread, -1.0, 1.0)
    return dark.astype(np.float32)


def mouth_shape(dark: FloatArray) -> MouthShape:
    """Measure every frame.

    Args:
        dark: (V, 48, 48) from :func:`darkness`.
    """
    levels = dark.astype(np.float64)
    lips = _step(levels, 0.3, 0.2)  # (V, 48, 48) soft 0–1: lips, hole, shadow
    hole = _step(levels, 0.72, 0.2)
    bright = _step(-levels, 0.12, 0.1)
    middle = slice(GRID * 3 // 8, GRID * 5 // 8)
    profile = lips[:, :, middle].mean(axis=2)  # (V, 48) over rows
    mouth_row = _centroid(profile)  # (V,) the shade of chin and nose lies far from it
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
    """Centroid along the last axis in -0.5–0.5; 0 where there is nothing to weigh."""
    place = (np.arange(weights.shape[-1]) + 0.5) / weights.shape[-1] - 0.5
    total = weights.sum(axis=-1)
    centroid: Floats = (weights * place).sum(axis=-1) / np.maximum(total, 1e-6)
    return centroid


def _near(row: Floats, reach: float) -> Floats:
    """(V, 48) 1 for rows within ``reach`` of ``row`` (both in shares of the crop), else 0."""
    place = (np.arange(GRID) + 0.5) / GRID - 0.5
    return (np.abs(place - row[:, None]) <= reach).astype(np.float64)


def _outwards(columns: Floats) -> Floats:
    """Running minimum from the middle to both sides: what no longer touches the mouth is cut."""
    half = columns.shape[1] // 2
    left = np.minimum.accumulate(columns[:, :half][:, ::-1], axis=1)[:, ::-1]
    right = np.minimum.accumulate(columns[:, half:], axis=1)
    return np.concatenate([left, right], axis=1)


def _edge(profile: Floats) -> Floats:
    """The row, 0–1, above which 90 % of a profile's weight lies; 0.5 where it is empty."""
    total = profile.sum(axis=-1, keepdims=True)
    share = profile.cumsum(axis=-1) / np.maximum(total, 1e-6)
    row = (share < 0.9).sum(axis=-1) / profile.shape[-1]
    return np.where(total[..., 0] > 1e-6, row, 0.5)
