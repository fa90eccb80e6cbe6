"""Choose the video frames that a caption model sees, and resize them for the network.

Letters: V video frames of the clip, N chosen frames, H and W frame height and width, S side of
the square input of a network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import FeatureAbsent
from redub.core.extras import optional
from redub.core.types import ByteArray, ClipMedia, FloatArray
from redub.features.base import frames_of
from redub.features.picture.shots import shot_starts
from redub.features.picture.small_frames import small_frames

Aspect = Literal["crop", "pad", "squash"]
"""How a frame becomes square: crop to the middle, pad with bars, or squash both sides."""


def uniform_frames(count: int, wanted: int) -> list[int]:
    """Choose ``wanted`` frame indices uniformly from ``count`` frames; short clips repeat frames.

    Source: the public preprocessing of VideoLLaMA 2, sampling mode ``uniform``: the middle of each
    of ``wanted`` intervals of (count - 1) / wanted frames, halves rounded up.
    """
    middles = (np.arange(wanted) + 0.5) * (count - 1) / wanted
    return [int(k) for k in np.round(middles + 1e-6)]


def clip_frames(media: ClipMedia) -> ByteArray:
    """Return all frames of a clip, (V, H, W, 3) uint8.

    Raises:
        FeatureAbsent: E-FEAT-NOFRAMES, the clip has no frames.
    """
    if media.frames is None or len(media.frames) == 0:
        raise FeatureAbsent("the clip has no video frame to describe", code="E-FEAT-NOFRAMES")
    return media.frames


def face_crops(
    media: ClipMedia, wanted: int, *, margin: float
) -> tuple[list[ByteArray], list[int]]:
    """Cut squares around the face out of ``wanted`` frames.

    Only shots in which the face was found are used: in other shots ``face_track`` has a box that
    contains no face.

    Returns:
        The squares, (side, side, 3) each, and the indices of their frames.

    Raises:
        FeatureAbsent: E-FEAT-NOFACE, no shot shows the face; E-FEAT-NOFRAMES.
    """
    frames, track = clip_frames(media), frames_of(media.features, "face_track")
    shots = [*media.once(shot_starts, media.once(small_frames, frames)), len(frames)]
    shown = [
        k for start, end in pairwise(shots) if track[start:end, 4].any() for k in range(start, end)
    ]
    if not shown:
        raise FeatureAbsent("no shot of the clip shows a face", code="E-FEAT-NOFACE")
    chosen = [shown[k] for k in uniform_frames(len(shown), wanted)]
    return [face_square(frames[k], track[k], margin=margin) for k in chosen], chosen


def face_square(frame: ByteArray, box: FloatArray, *, margin: float) -> ByteArray:
    """Cut the square around a box out of a frame.

    Args:
        frame: (H, W, 3).
        box: x, y, w, h (further values are ignored), in pixels; may reach outside the frame.
        margin: added on every side, as a fraction of the longer side of the box.

    Returns:
        (side, side, 3), a view of ``frame``. The square is moved to lie inside the frame, and its
        side is at most the shorter side of the frame.
    """
    x, y, w, h = (float(value) for value in box[:4])
    height, width = frame.shape[:2]
    side = max(1, min(round(max(w, h) * (1 + 2 * margin)), height, width))
    left = min(max(0, round(x + w / 2 - side / 2)), width - side)
    top = min(max(0, round(y + h / 2 - side / 2)), height - side)
    return frame[top : top + side, left : left + side]


def square_images(
    pictures: Iterable[ByteArray], side: int, *, aspect: Aspect, bars: Sequence[int]
) -> ByteArray:
    """Resize images of any size to squares of one size.

    Args:
        pictures: (H, W, 3) uint8 RGB each.
        aspect: ``crop`` scales the shorter side to ``side`` and takes the middle; ``pad`` first
            adds bars of the colour ``bars``; ``squash`` scales both sides independently.

    Returns:
        (N, S, S, 3) uint8, S = ``side``; bicubic interpolation.
    """
    image = pillow_image()
    return np.stack([_square(image.fromarray(p), side, aspect, bars) for p in pictures])


def pillow_image() -> Any:
    """Pillow's ``Image`` module: the captioners were trained on pictures that it scaled.

    Raises:
        MissingExtraError: the extra 'paper' is not installed.
    """
    return optional("PIL.Image", extra="paper", purpose="captions by a network")


def _square(picture: Any, side: int, aspect: Aspect, bars: Sequence[int]) -> ByteArray:
    if aspect == "pad":
        picture = _with_bars(picture, bars)
    if aspect == "squash":
        return resized(picture, side, side)
    width, height = picture.size
    shorter = min(width, height)
    whole = resized(picture, side * width // shorter, side * height // shorter)
    top, left = (whole.shape[0] - side) // 2, (whole.shape[1] - side) // 2
    return whole[top : top + side, left : left + side]


def _with_bars(picture: Any, colour: Sequence[int]) -> Any:
    width, height = picture.size
    side = max(width, height)
    square = pillow_image().new("RGB", (side, side), tuple(colour))
    square.paste(picture, ((side - width) // 2, (side - height) // 2))
    return square


def resized(picture: Any, width: int, height: int) -> ByteArray:
    """(height, width, 3) uint8, bicubic."""
    bicubic = pillow_image().Resampling.BICUBIC
    scaled: NDArray[np.uint8] = np.asarray(picture.resize((width, height), bicubic))
    return scaled
