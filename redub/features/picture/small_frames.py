"""Small colour copies of the frames of a clip, for colour statistics and the detection of cuts.

Letters: V video frames, H and W frame height and width.
"""

from __future__ import annotations

import cv2
import numpy as np

from redub.core.types import ByteArray

SIDE = 64  # colour statistics and cuts do not need details


def small_frames(frames: ByteArray) -> ByteArray:
    """Scale (V, H, W, 3) frames to (V, 64, 64, 3) uint8 RGB by averaging."""
    small = np.empty((len(frames), SIDE, SIDE, 3), dtype=np.uint8)
    for k, frame in enumerate(frames):
        small[k] = cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return small
