"""Find the cuts in a clip: the first frame of every shot.

Letters: V video frames, H and W frame height and width.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from redub.core.types import ByteArray

THUMBNAIL = 32  # a cut changes the whole frame, so 32 x 32 cells are enough
CUT_LEVEL = 24.0  # least mean grey-level difference of a cut, of 255; a moving camera gives ~15
CUT_RATIO = 3.0  # least ratio of a cut's difference to the differences around it


def grey_thumbnails(small: ByteArray) -> NDArray[np.float32]:
    """Compute (V, 32, 32) float32 grey levels, 0–255, of :func:`small_frames`."""
    size = (THUMBNAIL, THUMBNAIL)
    smaller = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in small]
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in smaller]
    return np.asarray(grey, dtype=np.float32).reshape(-1, THUMBNAIL, THUMBNAIL)


def shot_starts(small: ByteArray) -> list[int]:
    """Return the first frame of every shot, ascending; frame 0 is always included.

    The difference of two consecutive frames is a cut if it is large, and also much larger than the
    differences within half a second around it. A fade is not a cut.

    Args:
        small: (V, 64, 64, 3) uint8, :func:`redub.features.picture.small_frames.small_frames`.
    """
    steps = np.abs(np.diff(grey_thumbnails(small), axis=0)).mean(axis=(1, 2))  # (V - 1,)
    starts = [0]
    for i in map(int, np.flatnonzero(steps >= CUT_LEVEL)):
        around = np.delete(steps[max(0, i - 12) : i + 13], min(i, 12))
        usual = float(np.median(around)) if len(around) else 0.0
        if steps[i] >= CUT_RATIO * usual:
            starts.append(i + 1)
    return starts
