"""Read pictures with decord, addressed by timestamp, on files where it agrees with PyAV.

decord 0.6 returns wrong pictures without an error on MPEG-TS, on cuts with an edit list and on
B-frames in AVI, aborts the process on some damaged files, and decodes ahead without bound. So it
is given short H.264 files in MP4 or Matroska only, after their timestamps and sampled pictures
have been compared (:mod:`redub.footage.probe`), inside the decoder child.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import decord
import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ClipError
from redub.core.types import ByteArray
from redub.footage.container import MediaFile, first_line
from redub.footage.paths import descriptor_path

_BATCH = 32  # pictures copied at a time


class DecordReader:
    """One reader over a checked descriptor; ``start_s`` are times since the file's origin."""

    def __init__(self, media: MediaFile, width: int, height: int) -> None:
        decord.logging.set_level(decord.logging.QUIET)
        path = descriptor_path(media.descriptor)
        try:
            # More threads make it no faster (feature extraction runs one decoder per core).
            self._reader = decord.VideoReader(
                path, ctx=decord.cpu(0), width=width, height=height, num_threads=1
            )
            stamps = self._reader.get_frame_timestamp(range(len(self._reader)))  # (n, 2)
        except (decord.DECORDError, RuntimeError) as error:
            raise _refused(error) from error
        stamps = np.asarray(stamps, np.float64)
        # decord counts from its first picture, wherever that lies in the file.
        self.start_s: NDArray[np.float64] = stamps[:, 0] - stamps[0, 0] + media.video_start_s
        self.end_s = float(stamps[-1, 1] - stamps[0, 0] + media.video_start_s)

    def read(self, indices: Sequence[int]) -> ByteArray:
        """(n, H, W, 3) uint8 RGB."""
        try:
            pictures: Any = self._reader.get_batch(list(indices)).asnumpy()
        except (decord.DECORDError, RuntimeError) as error:
            raise _refused(error) from error
        return np.asarray(pictures, np.uint8)


def read_with_decord(
    reader: DecordReader, times_s: Sequence[float], out: ByteArray, *, same_time_s: float
) -> None:
    """Fill ``out`` (V, H, W, 3) with the pictures shown at ``times_s`` (rising)."""
    wanted = np.searchsorted(reader.start_s, np.asarray(times_s) + same_time_s, side="right") - 1
    wanted = np.maximum(wanted, 0)
    for first in range(0, len(wanted), _BATCH):
        indices, places = np.unique(wanted[first : first + _BATCH], return_inverse=True)
        out[first : first + _BATCH] = reader.read(indices.tolist())[places]


def _refused(error: Exception) -> ClipError:
    return ClipError(
        f"decord could not read the file: {first_line(error)[:200]}; ingest it again",
        code="E-IN-CORRUPT",
    )
