"""Cut square colour images of a face around its box, as input of face networks.

Letters: V video frames, N images, H and W frame height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from redub.core.errors import FeatureAbsent
from redub.core.types import ByteArray, ClipMedia, FloatArray
from redub.features.base import frames_of


class FaceCrops(NamedTuple):
    """Face images and their squares in the frames.

    Attributes:
        crops: (N, size, size, 3) uint8 RGB.
        squares: (N, 3) left, top, side of each square, in pixels of the decoded frame; pixel k
            reaches from k to k + 1, as in ``face_track``.
    """

    crops: ByteArray  # (N, size, size, 3) RGB
    squares: FloatArray  # (N, 3)


def cut_faces(
    frames: ByteArray,
    track: FloatArray,
    size: int,
    margin: float,
    at: Sequence[int] | None = None,
    average: bool = True,
) -> FaceCrops:
    """Cut the face out of some frames.

    Args:
        frames: (V, H, W, 3) uint8 RGB.
        track: (V, 5) rows of ``face_track``.
        size: side of the images in pixels.
        margin: how much longer than the longer side of the box the square is, as a fraction.
        at: indices of the frames, in the wanted order; by default all frames.
        average: average pixels where a square is scaled down. False interpolates between four
            adjacent pixels, for networks that were trained on such images.

    Returns:
        One image per chosen frame. Outside the frame its edge is repeated.
    """
    chosen = range(len(frames)) if at is None else at
    crops = np.empty((len(chosen), size, size, 3), dtype=np.uint8)
    squares = np.empty((len(chosen), 3), dtype=np.float32)
    for i, k in enumerate(chosen):
        x, y, w, h = (float(value) for value in track[k, :4])
        side = max(2, round(max(w, h) * (1.0 + margin)))
        centre_x, centre_y = x + w / 2, y + h / 2
        # OpenCV has pixel centres at whole numbers, boxes have them half a pixel later.
        patch = cv2.getRectSubPix(frames[k], (side, side), (centre_x - 0.5, centre_y - 0.5))
        way = cv2.INTER_AREA if average and side > size else cv2.INTER_LINEAR
        crops[i] = cv2.resize(patch, (size, size), interpolation=way)
        squares[i] = (centre_x - side / 2, centre_y - side / 2, side)
    return FaceCrops(crops, squares)


def frames_with_face(media: ClipMedia) -> tuple[ByteArray, FloatArray]:
    """Return the frames (V, H, W, 3) of a clip and its face boxes (V, 5).

    Raises:
        FeatureAbsent: E-FEAT-NOFACE, the clip has no frames.
    """
    if media.frames is None or len(media.frames) == 0:
        raise FeatureAbsent("the clip has no video frame to find a face in", code="E-FEAT-NOFACE")
    return media.frames, frames_of(media.features, "face_track")
