"""Motion and coarse appearance of a face crop in each frame.

Letters: V video frames.
"""

from __future__ import annotations

import numpy as np

from redub.core.types import FloatArray
from redub.features.face.appearance import cosine_coefficients, slow_patterns

GRID = 3  # motion is measured in 3 x 3 cells of the crop
PATTERNS = 13
MOVING = 7

DIMENSIONS: tuple[str, ...] = (
    *(f"motion_{row}_{column}" for row in range(GRID) for column in range(GRID)),
    *(f"look_{u}_{v}" for u, v in slow_patterns(PATTERNS)),
    *(f"look_{u}_{v}_change" for u, v in slow_patterns(MOVING)),
    "head_x_change",
    "head_y_change",
    "head_size_change",
)
"""Names of the columns: cell motion, cosine patterns, changes, head motion in box widths."""


def motion_rows(faces: FloatArray, track: FloatArray) -> FloatArray:
    """Measure motion and appearance in every frame.

    Args:
        faces: (V, 64, 64) from ``face_attributes.face_crops``.
        track: (V, 5) rows of ``face_track``.

    Returns:
        (V, 32) float32 in the order of :data:`DIMENSIONS`. Motions and changes are relative to the
        previous frame and 0 in the first frame; light is normalised per clip.
    """
    moved = np.abs(np.diff(faces, axis=0, prepend=faces[:1]))
    bands = np.array_split(moved, GRID, axis=1)
    cells = [
        cell.mean(axis=(1, 2)) for band in bands for cell in np.array_split(band, GRID, axis=2)
    ]
    look = cosine_coefficients(faces, PATTERNS)
    boxes = np.asarray(track, dtype=np.float32)
    centres = boxes[:, :2] + boxes[:, 2:4] / 2
    head = np.concatenate([centres, boxes[:, 2:3]], axis=1) / boxes[:, 2].mean()
    columns = (
        np.stack(cells, axis=1),
        look,
        np.diff(look[:, :MOVING], axis=0, prepend=look[:1, :MOVING]),
        np.diff(head, axis=0, prepend=head[:1]),
    )
    return np.concatenate(columns, axis=1).astype(np.float32)
