"""Histograms of the edge directions in the regions of a face.

Brows, lids and lips are edges. An expression changes their slope, while skin and light have no
edges.
Source: Dalal & Triggs, "Histograms of oriented gradients for human detection" (CVPR 2005); here
averaged over time and over the mirror image, with one normalisation per region.
Letters: V video frames.
"""

from __future__ import annotations

import numpy as np

from redub.core.types import FloatArray

ROWS, COLUMNS, ORIENTATIONS = 3, 4, 8
WIDTH = ROWS * COLUMNS // 2 * ORIENTATIONS  # the right half is mirrored and added to the left

REGIONS = ((8, 33, 4, 60), (38, 63, 12, 52))  # rows and columns of brows with eyes, and of mouth
MOST_FRAMES = 24  # edges are averaged over time, so this many frames are enough

DIMENSIONS: tuple[str, ...] = tuple(
    f"{part}_{row}_{column}_{180 * turn / ORIENTATIONS:g}"
    for part in ("brows", "mouth")
    for row in range(ROWS)
    for column in range(COLUMNS // 2)
    for turn in range(ORIENTATIONS)
)
"""Names of the dimensions of :func:`face_edges`: region, row, column from outside, angle."""


def face_edges(faces: FloatArray) -> FloatArray:
    """Compute the edge histograms of the eye region, then of the mouth; (96,) float32.

    Each of the two parts has the norm 1, or 0 without edges.

    Args:
        faces: (V, 64, 64) from ``face_attributes.face_crops``.
    """
    some = np.linspace(0, len(faces) - 1, min(len(faces), MOST_FRAMES)).round().astype(int)
    chosen = faces[some]
    return np.concatenate(
        [edge_histograms(chosen[:, top:bottom, left:right]) for top, bottom, left, right in REGIONS]
    )


def edge_histograms(pictures: FloatArray) -> FloatArray:
    """Compute the mean edge histogram of a region and its mirror image.

    Args:
        pictures: (V, height, width), width a multiple of 4, symmetric about the middle of the face.

    Returns:
        (48,) float32, ordered by row, column from the outside, and gradient angle 0–180 degrees.
        The square roots are centred and have the norm 1; all 0 without edges. A mirrored image
        gives the same values.
    """
    down, across = np.gradient(pictures.astype(np.float64), axis=(1, 2))
    strength = np.hypot(down, across)
    turn = np.mod(np.arctan2(down, across), np.pi) / np.pi * ORIENTATIONS
    low = np.floor(turn)
    share = turn - low
    height, width = pictures.shape[1:]
    row = np.arange(height) * ROWS // height
    column = np.arange(width) * COLUMNS // width
    cell = (row[:, None] * COLUMNS + column) * ORIENTATIONS  # (height, width)
    shape = (ROWS, COLUMNS, ORIENTATIONS)
    histogram = np.zeros(shape)
    for step, weight in ((0, strength * (1 - share)), (1, strength * share)):
        place = cell + (low.astype(np.int64) + step) % ORIENTATIONS
        counted = np.bincount(place.ravel(), weight.ravel(), minlength=histogram.size)
        histogram += counted.reshape(shape)
    # Mirroring swaps the columns and turns an angle a into 180 - a.
    mirrored = histogram[:, ::-1][:, :, (-np.arange(ORIENTATIONS)) % ORIENTATIONS]
    folded = np.sqrt((histogram + mirrored)[:, : COLUMNS // 2]).ravel()
    centred = folded - folded.mean()
    length = float(np.linalg.norm(centred))
    if length < 1e-9:
        return np.zeros(WIDTH, dtype=np.float32)
    return np.asarray(centred / length, dtype=np.float32)


def slope_of_edges(pictures: FloatArray) -> FloatArray:
    """Compute the mean slope of the nearly horizontal edges in each image.

    Args:
        pictures: (V, height, width).

    Returns:
        (V,) float32 rows per column; positive if edges go down to the right, 0 without edges.
    """
    down, across = np.gradient(pictures.astype(np.float64), axis=(1, 2))
    steepness = (down**2).sum(axis=(1, 2))
    slope = -(down * across).sum(axis=(1, 2)) / np.maximum(steepness, 1e-6)
    return np.asarray(slope, dtype=np.float32)
