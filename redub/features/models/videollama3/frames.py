"""Video frames with their times, as VideoLLaMA 3 takes them."""

from __future__ import annotations

from typing import NamedTuple

from redub.core.types import ByteArray


class TimedImages(NamedTuple):
    """(N, H, W, 3) uint8 RGB frames with sides in whole tokens, and their times in seconds."""

    images: ByteArray
    seconds: tuple[float, ...]
