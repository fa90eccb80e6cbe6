"""Which pictures of a clip a captioner sees, and in which form.

Letters: V video frames of the clip, N pictures shown, H and W picture height and width, S side of
the square that a network looks at.
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
from redub.features.picture.small_pictures import small_pictures

Aspect = Literal["crop", "pad", "squash"]
"""How an oblong picture becomes square: its middle, with bars, or squeezed."""


def uniform_frames(count: int, wanted: int) -> list[int]:
    """The middles of ``wanted`` equal stretches of ``count`` frames; short clips repeat frames.

    Source: VideoLLaMA 2's public preprocessing, sampling mode ``uniform``: of ``wanted`` stretches
    of (count - 1) / wanted frames the middle one, halves rounded up.
    """
    middles = (np.arange(wanted) + 0.5) * (count - 1) / wanted
    return [int(k) for k in np.round(middles + 1e-6)]


def clip_pictures(media: ClipMedia) -> ByteArray:
    """All frames of a clip.

    Raises:
        FeatureAbsent: E-FEAT-NOPICTURE, the clip has none.
    """
    if media.frames is None or len(media.frames) == 0:
        raise FeatureAbsent("the clip has no picture to describe", code="E-FEAT-NOPICTURE")
    return media.frames


def face_pictures(
    media: ClipMedia, wanted: int, *, margin: float
) -> tuple[list[ByteArray], list[int]]:
    """Squares around the face in ``wanted`` frames, and which frames they are.

    Only frames of shots in which the face was found are shown: elsewhere ``face_track`` holds a box
    with no face in it.

    Raises:
        FeatureAbsent: E-FEAT-NOFACE, no shot shows the face.
    """
    frames, track = clip_pictures(media), frames_of(media.features, "face_track")
    shots = [*media.once(shot_starts, media.once(small_pictures, frames)), len(frames)]
    shown = [
        k for start, end in pairwise(shots) if track[start:end, 4].any() for k in range(start, end)
    ]
    if not shown:
        raise FeatureAbsent("no shot of the clip shows a face", code="E-FEAT-NOFACE")
    chosen = [shown[k] for k in uniform_frames(len(shown), wanted)]
    return [face_square(frames[k], track[k], margin=margin) for k in chosen], chosen


def face_square(frame: ByteArray, box: FloatArray, *, margin: float) -> ByteArray:
    """The square around a box, wholly inside the picture.

    Args:
        frame: (H, W, 3).
        box: x, y, w, h and more, in pixels; it may reach over the picture's edge.
        margin: added on every side, as a share of the box's longer side.

    Returns:
        (side, side, 3): a view of ``frame``, moved inwards, at most as large as its shorter side.
    """
    x, y, w, h = (float(value) for value in box[:4])
    height, width = frame.shape[:2]
    side = max(1, min(round(max(w, h) * (1 + 2 * margin)), height, width))
    left = min(max(0, round(x + w / 2 - side / 2)), width - side)
    top = min(max(0, round(y + h / 2 - side / 2)), height - side)
    return frame[top : top + side, left : left + side]


def square_pictures(
    pictures: Iterable[ByteArray], side: int, *, aspect: Aspect, bars: Sequence[int]
) -> ByteArray:
    """Make pictures of any sizes squares of one size.

    Args:
        pictures: (H, W, 3) uint8 RGB each.
        aspect: ``crop`` scales the shorter side to ``side`` and takes the middle, ``pad`` adds bars
            of the colour ``bars`` first, ``squash`` scales both sides on their own.

    Returns:
        (N, S, S, 3) uint8, S = ``side``; bicubic.
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
