"""Where a clip's camera changes: the first frame of every shot.

Letters: V video frames, H and W picture height and width.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from redub.core.types import ByteArray

THUMBNAIL = 32  # a cut changes the whole picture, so 32 x 32 cells are enough to see it
CUT_LEVEL = 24.0  # mean grey-level difference of a cut, of 255; a walking camera stays below ~15
CUT_RATIO = 3.0  # a cut also stands out from the motion around it


def thumbnails(frames: ByteArray) -> NDArray[np.float32]:
    """Grey thumbnails.

    Args:
        frames: (V, H, W, 3) uint8 RGB.

    Returns:
        (V, 32, 32) float32, grey levels 0–255.
    """
    size = (THUMBNAIL, THUMBNAIL)
    small = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in small]
    return np.asarray(grey, dtype=np.float32).reshape(-1, THUMBNAIL, THUMBNAIL)


def shot_starts(frames: ByteArray) -> list[int]:
    """The first frame of every shot, ascending; frame 0 always is one.

    A fade is no cut: only a step between two neighbouring frames that is both large and much
    larger than the steps within half a second around it counts.
    """
    small = thumbnails(frames)
    steps = np.abs(np.diff(small, axis=0)).mean(axis=(1, 2))  # (V - 1,)
    starts = [0]
    for i, step in enumerate(steps):
        around = np.delete(steps[max(0, i - 12) : i + 13], min(i, 12))
        usual = float(np.median(around)) if len(around) else 0.0
        if step >= CUT_LEVEL and step >= CUT_RATIO * usual:
            starts.append(i + 1)
    return starts
