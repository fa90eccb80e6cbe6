"""Read video frames by timestamp with decord, for files where decord agrees with PyAV.

decord 0.6 returns wrong frames without an error for MPEG-TS, for files with an edit list and for
B-frames in AVI. It aborts the process on some damaged files, and it decodes ahead without limit.
So redub uses it only for short H.264 files in MP4 or Matroska, only inside the decoder child, and
only if timestamps and sampled frames agree with PyAV (:mod:`redub.footage.probe`).
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

_BATCH = 32  # frames copied at a time


class DecordReader:
    """A decord reader of one checked file descriptor.

    Attributes:
        start_s: (n,) float64, start of each frame in seconds since the file's origin.
        end_s: end of the last frame in seconds since the file's origin.

    Raises:
        ClipError: E-IN-CORRUPT, decord cannot read the file.
    """

    def __init__(self, media: MediaFile, width: int, height: int) -> None:
        decord.logging.set_level(decord.logging.QUIET)
        path = descriptor_path(media.descriptor)
        try:
            # More threads are not faster: feature extraction runs one decoder per core.
            self._reader = decord.VideoReader(
                path, ctx=decord.cpu(0), width=width, height=height, num_threads=1
            )
            stamps = self._reader.get_frame_timestamp(range(len(self._reader)))  # (n, 2)
        except (decord.DECORDError, RuntimeError) as error:
            raise _refused(error) from error
        stamps = np.asarray(stamps, np.float64)
        # decord counts time from its first frame, wherever that frame lies in the file.
        self.start_s: NDArray[np.float64] = stamps[:, 0] - stamps[0, 0] + media.video_start_s
        self.end_s = float(stamps[-1, 1] - stamps[0, 0] + media.video_start_s)

    def read(self, indices: Sequence[int]) -> ByteArray:
        """Decode the frames with these indices.

        Returns:
            (n, H, W, 3) uint8 RGB, in the order of ``indices``.

        Raises:
            ClipError: E-IN-CORRUPT, decord cannot decode them.
        """
        try:
            frames: Any = self._reader.get_batch(list(indices)).asnumpy()
        except (decord.DECORDError, RuntimeError) as error:
            raise _refused(error) from error
        return np.asarray(frames, np.uint8)


def read_with_decord(
    reader: DecordReader, times_s: Sequence[float], out: ByteArray, *, same_time_s: float
) -> None:
    """Fill ``out`` (V, H, W, 3) with the frames that are shown at ``times_s``.

    Args:
        times_s: V increasing times in seconds since the file's origin.
        same_time_s: a frame that starts at most this much later still counts as shown.
    """
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
