"""Cut the same part of a face out of every frame.

Letters: V video frames, H and W frame height and width.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from redub.core.types import ByteArray, FloatArray


class Region(NamedTuple):
    """A part of the face box, in fractions of it: 0 is the left or top edge, 1 right or bottom."""

    left: float
    top: float
    right: float
    bottom: float


WHOLE_FACE = Region(0.0, 0.0, 1.0, 1.0)
MOUTH = Region(0.25, 0.62, 0.75, 0.95)


def grey_crops(frames: ByteArray, track: FloatArray, region: Region, size: int) -> ByteArray:
    """Cut a square grey crop out of every frame; the region is scaled to fill the square.

    Args:
        frames: (V, H, W, 3) uint8 RGB.
        track: (V, 5) rows of ``face_track``.

    Returns:
        (V, size, size) uint8. Where the region is outside the frame, the frame's edge is repeated.
    """
    crops = np.empty((len(frames), size, size), dtype=np.uint8)
    for k, (frame, row) in enumerate(zip(frames, track, strict=True)):
        x, y, w, h = (float(value) for value in row[:4])
        width = max(1, round((region.right - region.left) * w))
        height = max(1, round((region.bottom - region.top) * h))
        # OpenCV has pixel centres at whole numbers, so the middle of pixels 0..n-1 is (n-1)/2.
        centre_x = x + (region.left + region.right) / 2 * w - 0.5
        centre_y = y + (region.top + region.bottom) / 2 * h - 0.5
        grey, left, top = _around(frame, centre_x, centre_y, width, height)
        patch = cv2.getRectSubPix(grey, (width, height), (centre_x - left, centre_y - top))
        shrinking = width > size or height > size
        way = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
        crops[k] = cv2.resize(patch, (size, size), interpolation=way)
    return crops


def _around(
    frame: ByteArray, centre_x: float, centre_y: float, width: int, height: int
) -> tuple[ByteArray, int, int]:
    """The grey pixels from which a patch is interpolated, and their left and top position.

    Only this part of the frame is converted to grey, because a face is a small part. Outside the
    frame its edge is repeated; OpenCV does that only for patches that touch the frame.
    """
    left, right = math.floor(centre_x - width / 2) - 2, math.ceil(centre_x + width / 2) + 3
    top, bottom = math.floor(centre_y - height / 2) - 2, math.ceil(centre_y + height / 2) + 3
    rows, columns = frame.shape[:2]
    x0, x1 = min(max(left, 0), columns - 1), max(min(right, columns), 1)
    y0, y1 = min(max(top, 0), rows - 1), max(min(bottom, rows), 1)
    grey = cv2.cvtColor(frame[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY)
    left, top = min(left, x0), min(top, y0)
    missing = (y0 - top, max(bottom - y1, 0), x0 - left, max(right - x1, 0))
    if any(missing):
        grey = cv2.copyMakeBorder(grey, *missing, cv2.BORDER_REPLICATE)
    return np.asarray(grey, dtype=np.uint8), left, top
