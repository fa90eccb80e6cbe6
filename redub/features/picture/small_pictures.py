"""Small colour copies of a clip's frames: enough for moods and cuts, and made once for both.

Letters: V video frames, H and W picture height and width.
"""

from __future__ import annotations

import cv2
import numpy as np

from redub.core.types import ByteArray

SIDE = 64  # mood is in large areas and a cut changes everything: neither is in the detail


def small_pictures(frames: ByteArray) -> ByteArray:
    """(V, 64, 64, 3) uint8 RGB from (V, H, W, 3): every cell is the mean of its pixels."""
    small = np.empty((len(frames), SIDE, SIDE, 3), dtype=np.uint8)
    for k, frame in enumerate(frames):
        small[k] = cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return small
