"""Which way the edges of a face region run, cell by cell.

Brows, lids and lips are edges; their slope is what an expression changes, while skin and light are
not edges at all.
Source: Dalal & Triggs, "Histograms of oriented gradients for human detection" (CVPR 2005); here
averaged over time and over the mirror image, with one normalisation per region.
Letters: V video frames.
"""

from __future__ import annotations

import numpy as np

from redub.core.types import FloatArray

ROWS, COLUMNS, ORIENTATIONS = 3, 4, 8
WIDTH = ROWS * COLUMNS // 2 * ORIENTATIONS  # the right half is folded onto the left

REGIONS = ((8, 33, 4, 60), (38, 63, 12, 52))  # rows and columns of brows with eyes, and of mouth
MOST_FRAMES = 24  # edges are averaged over time, so this many frames tell them

DIMENSIONS: tuple[str, ...] = tuple(
    f"{part}_{row}_{column}_{180 * turn / ORIENTATIONS:g}"
    for part in ("brows", "mouth")
    for row in range(ROWS)
    for column in range(COLUMNS // 2)
    for turn in range(ORIENTATIONS)
)
"""Names of :func:`face_edges`: region, cell row, cell column from outside, gradient angle."""


def face_edges(faces: FloatArray) -> FloatArray:
    """(96,) float32: edge histograms of brows with eyes, then of the mouth, each of length 1 or 0.

    Args:
        faces: (V, 64, 64) from ``face_attributes.face_pictures``.
    """
    some = np.linspace(0, len(faces) - 1, min(len(faces), MOST_FRAMES)).round().astype(int)
    chosen = faces[some]
    return np.concatenate(
        [edge_histograms(chosen[:, top:bottom, left:right]) for top, bottom, left, right in REGIONS]
    )


def edge_histograms(pictures: FloatArray) -> FloatArray:
    """The folded mean histogram of a region.

    Args:
        pictures: (V, height, width), width a multiple of 4, symmetric about the face's middle.

    Returns:
        (48,) float32 by row, column from the outer to the inner, orientation of the gradient
        0–180 degrees; square roots, centred, of length 1, or all 0 where there are no edges. A
        mirrored picture gives the same.
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
    """The mean slope of the near-horizontal edges in each picture.

    Args:
        pictures: (V, height, width).

    Returns:
        (V,) float32 rows per column, above 0 where edges sink to the right; 0 without edges.
    """
    down, across = np.gradient(pictures.astype(np.float64), axis=(1, 2))
    steepness = (down**2).sum(axis=(1, 2))
    slope = -(down * across).sum(axis=(1, 2)) / np.maximum(steepness, 1e-6)
    return np.asarray(slope, dtype=np.float32)
