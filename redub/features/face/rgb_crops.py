"""Square colour pictures of a face, cut around its box, as face networks take them.

Letters: V video frames, N pictures, H and W picture height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from redub.core.errors import FeatureAbsent
from redub.core.types import ByteArray, ClipMedia, FloatArray
from redub.features.base import frames_of


class FacePictures(NamedTuple):
    """Pictures and where they were cut.

    squares: (N, 3) rows left, top, side of each square, in pixels of the decoded frame; pixel k
        reaches from k to k + 1, as in ``face_track``.
    """

    pictures: ByteArray  # (N, size, size, 3) RGB
    squares: FloatArray  # (N, 3)


def cut_faces(
    frames: ByteArray,
    track: FloatArray,
    size: int,
    margin: float,
    at: Sequence[int] | None = None,
    average: bool = True,
) -> FacePictures:
    """Cut the face out of some frames.

    Args:
        frames: (V, H, W, 3) uint8 RGB.
        track: (V, 5) rows of ``face_track``.
        size: side of the pictures in pixels.
        margin: how much longer than the box's longer side the square is, as a share of it.
        at: which frames, in which order; all of them if not given.
        average: where the square is larger than the picture, pixels are averaged; without it they
            are interpolated between four neighbours, as networks trained on such pictures saw them.

    Returns:
        One picture per frame asked for. Where the square leaves the frame, its edge is repeated.
    """
    chosen = range(len(frames)) if at is None else at
    pictures = np.empty((len(chosen), size, size, 3), dtype=np.uint8)
    squares = np.empty((len(chosen), 3), dtype=np.float32)
    for i, k in enumerate(chosen):
        x, y, w, h = (float(value) for value in track[k, :4])
        side = max(2, round(max(w, h) * (1.0 + margin)))
        centre_x, centre_y = x + w / 2, y + h / 2
        # OpenCV puts pixel centres at whole numbers, boxes have them half a pixel later.
        patch = cv2.getRectSubPix(frames[k], (side, side), (centre_x - 0.5, centre_y - 0.5))
        way = cv2.INTER_AREA if average and side > size else cv2.INTER_LINEAR
        pictures[i] = cv2.resize(patch, (size, size), interpolation=way)
        squares[i] = (centre_x - side / 2, centre_y - side / 2, side)
    return FacePictures(pictures, squares)


def frames_with_face(media: ClipMedia) -> tuple[ByteArray, FloatArray]:
    """The frames of a clip and its face boxes.

    Raises:
        FeatureAbsent: E-FEAT-NOFACE, the clip has no picture.
    """
    if media.frames is None or len(media.frames) == 0:
        raise FeatureAbsent("the clip has no picture to find a face in", code="E-FEAT-NOFACE")
    return media.frames, frames_of(media.features, "face_track")
