"""468 points of a face in every frame, by MediaPipe's face mesh network.

The network sees a square around the face, turned so that the eyes are level. In the first frame of
a shot the square comes from the face box, then from the points of the frame before.

Source: Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile GPUs"
(arXiv:1907.06724), and the public graph settings of MediaPipe (Apache-2.0).
Letters: V video frames, H and W frame height and width, S side of the input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from redub.core.types import ByteArray, FloatArray
from redub.features.models.mediapipe_face.detector import HIGHER, LARGER
from redub.features.models.mediapipe_face.network import open_network
from redub.features.weights.folder import WeightFolder

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FILE = "face_landmark.tflite"
SIDE = 192
POINTS = 468
OUTER_CORNERS = (33, 263)  # of the right and of the left eye: their line is made level
ROOM = 1.5  # side of the square in sizes of the face; MediaPipe's setting
LEAST = 0.5  # least presence score of a face; MediaPipe's setting
TURNS = (0.0, math.radians(-35), math.radians(35))  # tried in turn where only the box is known
MOST_PASSES = 4  # in the first frame of a shot
SETTLED = math.radians(2)
INSIDE = 0.75  # how far the face may lie from the middle of its box, in box sizes


class Square(NamedTuple):
    """A turned square in a frame; lengths in pixels, the angle in radians, clockwise."""

    x: float
    y: float
    side: float
    angle: float


class Mesh(NamedTuple):
    """Points of a clip.

    Attributes:
        points: (V, 468, 2) x and y in pixels of the frame (pixel k reaches from k to k + 1).
        found: (V,) True where the network found a face; other points are filled in.
    """

    points: FloatArray
    found: Bools


class MediaPipeMesh:
    """The network; the constructor loads it.

    Raises:
        ModelRefusedError: E-MODEL-FILE, OpenCV cannot read the file, or it is another network.
    """

    def __init__(self, weights: WeightFolder) -> None:
        outputs = {"conv2d_20": (1, 3 * POINTS, 1, 1), "conv2d_30": (1, 1, 1, 1)}
        self.run = open_network(weights, FILE, SIDE, outputs, signed=False)

    def points(self, frame: ByteArray, square: Square) -> tuple[Floats, float]:
        """Find the points in one square of an (H, W, 3) RGB frame.

        Returns:
            (468, 2) points in the frame, and the presence score of a face, 0–1.
        """
        values, presence = self.run(turned_crop(frame, square, SIDE))
        flat = values.reshape(POINTS, 3)[:, :2].astype(np.float64) / SIDE  # 0–1 in the square
        chance = 1.0 / (1.0 + math.exp(-min(max(float(presence.item()), -100.0), 100.0)))
        return placed(flat, square), chance

    def follow(self, frames: ByteArray, track: FloatArray, shots: Sequence[int]) -> Mesh:
        """Find the points in every frame of a clip.

        Args:
            frames: (V, H, W, 3) uint8 RGB.
            track: (V, 5) rows of ``face_track``.
            shots: first frame of each shot.
        """
        points = np.zeros((len(frames), POINTS, 2))
        found = np.zeros(len(frames), dtype=bool)
        for start, end in pairwise([*shots, len(frames)]):
            last: Floats | None = None
            for k in range(start, end):
                last = self._next(frames[k], track[k], last)
                if last is not None:
                    points[k], found[k] = last, True
        return Mesh(filled(points, found, shots).astype(np.float32), found)

    def _next(self, frame: ByteArray, box: FloatArray, last: Floats | None) -> Floats | None:
        """The points of a frame, searched around those of the last frame, else in the box."""
        if last is not None:
            points, presence = self.points(frame, square_around(last))
            if presence >= LEAST and lies_in(points, box):
                return points
        for turn in TURNS:
            points, presence = self.points(frame, square_of_box(box, turn))
            if presence >= LEAST:
                points, presence = self._settled(frame, points)
                if presence >= LEAST and lies_in(points, box):
                    return points
        return None

    def _settled(self, frame: ByteArray, points: Floats) -> tuple[Floats, float]:
        """Find the points again in the square around them, until the angle of the face settles.

        A box is a rough guess, and the points of a face that is not level are biased towards level.
        """
        square, presence = square_around(points), 1.0
        for _ in range(MOST_PASSES):
            points, presence = self.points(frame, square)
            before, square = square, square_around(points)
            if presence < LEAST or abs(square.angle - before.angle) < SETTLED:
                break
        return points, presence


def square_of_box(box: FloatArray, angle: float) -> Square:
    """Compute the square around a face from its box, a row of ``face_track``."""
    x, y, w, h = (float(value) for value in box[:4])
    side = max(w, h)
    centre_x, centre_y = x + w / 2, y + h / 2
    return Square(
        centre_x - HIGHER * side * math.sin(angle),
        centre_y + HIGHER * side * math.cos(angle),
        ROOM / LARGER * side,
        angle,
    )


def square_around(points: Floats) -> Square:
    """Compute the square around the (468, 2) points of a face, turned with the line of its eyes."""
    across = points[OUTER_CORNERS[1]] - points[OUTER_CORNERS[0]]
    angle = math.atan2(across[1], across[0])
    level = points @ rotation(angle)  # in the face's own axes
    low, high = level.min(axis=0), level.max(axis=0)
    x, y = rotation(angle) @ ((low + high) / 2)
    return Square(float(x), float(y), ROOM * float((high - low).max()), angle)


def rotation(angle: float) -> Floats:
    """The 2 x 2 matrix that turns a column (x, y) clockwise on the screen, where y points down."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])


def placed(flat: Floats, square: Square) -> Floats:
    """Convert (N, 2) points from fractions of a square to pixels of the frame."""
    turned: Floats = (flat - 0.5) * square.side @ rotation(square.angle).T
    turned += (square.x, square.y)
    return turned


def turned_crop(frame: ByteArray, square: Square, size: int) -> ByteArray:
    """Cut a turned square out of an (H, W, 3) frame and scale it to (size, size, 3).

    Outside the frame its edge is repeated. Pixels are averaged where the square is much larger.
    """
    shrink = size / square.side
    if shrink < 0.5:  # a warp samples single pixels and would skip the pixels between
        frame, square = _shrunk(frame, square, shrink)
    # From pixels of the crop to pixels of the frame; OpenCV has pixel centres at whole numbers.
    back = rotation(square.angle) * (square.side / size)
    start = np.array([square.x, square.y]) - 0.5 - back @ np.full(2, (size - 1) / 2)
    warped = cv2.warpAffine(
        frame,
        np.column_stack([back, start]),
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(warped, dtype=np.uint8)


def _shrunk(frame: ByteArray, square: Square, shrink: float) -> tuple[ByteArray, Square]:
    """The part of a frame around a square, scaled down, and the square in it."""
    reach = math.ceil(square.side * 0.75)  # more than half the diagonal
    left, top = math.floor(square.x) - reach, math.floor(square.y) - reach
    rows, columns = frame.shape[:2]
    x0, x1 = min(max(left, 0), columns - 1), max(min(left + 2 * reach, columns), 1)
    y0, y1 = min(max(top, 0), rows - 1), max(min(top + 2 * reach, rows), 1)
    part = frame[y0:y1, x0:x1]
    width, height = max(1, round((x1 - x0) * shrink)), max(1, round((y1 - y0) * shrink))
    small = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    moved = Square(
        (square.x - x0) * shrink, (square.y - y0) * shrink, square.side * shrink, square.angle
    )
    return np.asarray(small, dtype=np.uint8), moved


def lies_in(points: Floats, box: FloatArray) -> bool:
    """Whether the middle of a face lies in its box, so that no other face is followed."""
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    centre, size = box[:2] + box[2:4] / 2, box[2:4]
    return bool((np.abs(middle - centre) <= INSIDE * size).all())


def filled(points: Floats, found: Bools, shots: Sequence[int]) -> Floats:
    """Fill frames without points: interpolated in their shot, else those of the nearest frame.

    Args:
        points: (V, N, 2). found: (V,). shots: first frame of each shot.
    """
    whole = points.copy()
    known = np.flatnonzero(found)
    if not len(known):
        return whole
    for start, end in pairwise([*shots, len(points)]):
        here = known[(known >= start) & (known < end)]
        for k in range(start, end):
            if found[k]:
                continue
            if not len(here):
                whole[k] = points[known[np.argmin(np.abs(known - k))]]
                continue
            after = int(np.searchsorted(here, k))
            before, next_ = here[max(after - 1, 0)], here[min(after, len(here) - 1)]
            share = (k - before) / (next_ - before) if next_ > before else 0.0
            whole[k] = (1 - share) * points[before] + share * points[next_]
    return whole
