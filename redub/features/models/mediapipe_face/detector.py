"""Detect faces in a frame with MediaPipe's two detectors, through OpenCV's dnn module.

Both networks give, for every anchor (a point of a grid), a score and a box with six points. The
short-range network takes a third of the time of the full-range network, but misses faces of less
than about a tenth of the frame. So the second is used only where the first finds no large face.

Source: Bazarevsky et al., "BlazeFace" (arXiv:1907.05047), and the public graph settings of
MediaPipe (Apache-2.0): anchor grids, input range -1 to 1, scores by the logistic function, boxes in
pixels of the input relative to their anchor, overlapping boxes averaged by score.
Letters: A anchors, H and W frame height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from redub.core.types import ByteArray, FloatArray
from redub.features.face.detector import Box, overlap
from redub.features.face.following import LinkedFollower, Track
from redub.features.models.mediapipe_face.network import open_network
from redub.features.weights.folder import WeightFolder

Floats = NDArray[np.float64]

SAME_FACE = 0.3  # two boxes with more overlap are one face; MediaPipe's setting
EYES, MOUTH = (0, 1), 3  # of the six points: right eye, left eye, nose, mouth, both ears
NEAR = 0.23  # of the longer side; by smaller faces, there may be others that are too small
RIVALS = 0.5  # of the widest face; active_speaker.RIVAL is 0.6, and sizes differ a little
THOROUGH_EVERY = 3  # searches of a shot with one face; the full-range network is slow
LARGER, HIGHER = 1.165, 0.117  # of a cascade's box against a network's box, see cascade_box


class Grid(NamedTuple):
    """One grid of anchors: cells per side, and anchors at the middle of each cell."""

    cells: int
    anchors: int


@dataclass(frozen=True, slots=True)
class DetectorKind:
    """One detector.

    Attributes:
        file: name in the fetched folder.
        side: of the square input, pixels.
        grids: of its anchors, in the order of the outputs.
        scores, boxes: names of the outputs, (1, A, 1) and (1, A, 16).
    """

    file: str
    side: int
    grids: tuple[Grid, ...]
    scores: str
    boxes: str


SHORT_RANGE = DetectorKind(
    "face_detection_short_range.tflite",
    128,
    (Grid(16, 2), Grid(8, 6)),
    "classificators",
    "regressors",
)
FULL_RANGE = DetectorKind(
    "face_detection_full_range.tflite",
    192,
    (Grid(48, 1),),
    "reshaped_classifier_face_4",
    "reshaped_regressor_face_4",
)


class Found(NamedTuple):
    """Faces of one frame, best first, in pixels of the frame; F faces."""

    boxes: Floats  # (F, 4) left, top, right, bottom
    points: Floats  # (F, 6, 2) x and y
    scores: Floats  # (F,) 0–1


class MediaPipeDetector:
    """The two detectors for whole frames; the constructor loads the networks."""

    def __init__(self, weights: WeightFolder, *, min_face: float, threshold: float) -> None:
        """Load both networks.

        Args:
            min_face: smallest face, as a fraction of the shorter side of the frame.
            threshold: least score of a face, 0–1.

        Raises:
            ModelRefusedError: E-MODEL-FILE, OpenCV cannot read a file, or it is another network.
        """
        self.min_face = min_face
        self.threshold = threshold
        self.short_range = Detector(weights, SHORT_RANGE)
        self.full_range = Detector(weights, FULL_RANGE)

    def faces(self, frame: ByteArray, *, thorough: bool = True) -> list[Box]:
        """Find the faces in an (H, W, 3) RGB frame, best first, as boxes of the cascades' form.

        Args:
            thorough: search for faces that are too small for the short-range network, too, where
                it finds no large one. Without, they are found only where it finds none at all.
        """
        near = self._boxes(self.short_range, frame)
        if near and (not thorough or near[0].w >= NEAR * max(frame.shape[:2])):
            return near
        # A face that both find keeps one network's box: theirs differ by a few pixels.
        more = [
            box
            for box in self._boxes(self.full_range, frame)
            if all(overlap(box, known) < SAME_FACE for known in near)
        ]
        return sorted([*near, *more], key=_best_first)

    def follow(self, frames: ByteArray, probes: list[int], needed: float) -> list[Track]:
        """Track the faces of one shot; see :data:`redub.features.face.following.Follow`.

        While there is one face only, every third search is thorough; with rivals, every one is.
        """
        searches, crowded = count(), False

        def faces_of(frame: ByteArray) -> list[Box]:
            nonlocal crowded
            thorough = next(searches) % THOROUGH_EVERY == 0 or crowded
            found = self.faces(frame, thorough=thorough)
            widest = max((box.w for box in found), default=0.0)
            crowded = crowded or sum(box.w >= RIVALS * widest for box in found) > 1
            return found

        return LinkedFollower(faces_of).follow(frames, probes, needed)

    def _boxes(self, network: Detector, frame: ByteArray) -> list[Box]:
        least = self.min_face * min(frame.shape[:2])
        found = network.find(frame, self.threshold)
        boxes = [
            cascade_box(corners, points, float(score))
            for corners, points, score in zip(*found, strict=True)
        ]
        boxes = [box for box in boxes if box.w >= least]
        return sorted(boxes, key=_best_first)


def _best_first(box: Box) -> tuple[float, float, float]:
    return -box.area * box.score, box.x, box.y


class Detector:
    """One of the two networks."""

    def __init__(self, weights: WeightFolder, kind: DetectorKind) -> None:
        self.kind = kind
        self.anchors = anchors_of(kind.grids)
        shapes = {kind.scores: (1, len(self.anchors), 1), kind.boxes: (1, len(self.anchors), 16)}
        self.run = open_network(weights, kind.file, kind.side, shapes)

    def find(self, frame: ByteArray, threshold: float) -> Found:
        """Find the faces of an (H, W, 3) RGB frame with a score of at least ``threshold``."""
        square, scale, shift = letterboxed(frame, self.kind.side)
        scores, boxes = self.run(square)
        found = decoded(scores[0, :, 0], boxes[0], self.anchors, self.kind.side, threshold)
        merged = merged_overlaps(found)
        return Found(
            (merged.boxes * self.kind.side - np.tile(shift, 2)) / scale,
            (merged.points * self.kind.side - shift) / scale,
            merged.scores,
        )


def anchors_of(grids: Sequence[Grid]) -> Floats:
    """Compute the anchors, (A, 2) x and y as fractions of the input's side, row by row."""
    parts = []
    for cells, anchors in grids:
        middle = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(middle, middle, indexing="ij")
        parts.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), anchors, axis=0))
    return np.concatenate(parts)


def letterboxed(frame: ByteArray, side: int) -> tuple[ByteArray, float, Floats]:
    """Scale a frame into a black square.

    Returns:
        (side, side, 3) picture; pixels of it per pixel of the frame; (2,) x and y of the frame's
        left upper corner in it.
    """
    height, width = frame.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    small = cv2.resize(frame, size, interpolation=way)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    square = np.zeros((side, side, 3), dtype=np.uint8)
    square[top : top + size[1], left : left + size[0]] = small
    return square, scale, np.array([left, top], dtype=np.float64)


def decoded(
    scores: FloatArray, boxes: FloatArray, anchors: Floats, side: int, threshold: float
) -> Found:
    """Convert the outputs of a network to boxes with at least a score, best first.

    Args:
        scores: (A,) before the logistic function.
        boxes: (A, 16) x and y of the middle, width, height, x and y of six points, in pixels.
        anchors: (A, 2) from :func:`anchors_of`; positions are relative to them.

    Returns:
        Boxes and points as fractions of the input's side.
    """
    chance = 1.0 / (1.0 + np.exp(-np.clip(scores.astype(np.float64), -100, 100)))
    kept = np.flatnonzero(chance >= threshold)
    kept = kept[np.argsort(-chance[kept], kind="stable")]
    values = boxes[kept].astype(np.float64) / side  # (F, 16)
    middle, half = values[:, :2] + anchors[kept], values[:, 2:4] / 2
    points = values[:, 4:].reshape(-1, 6, 2) + anchors[kept][:, None]
    corners = np.concatenate([middle - half, middle + half], axis=1)
    return Found(corners, points, chance[kept])


def merged_overlaps(found: Found) -> Found:
    """Average the boxes that overlap a better box, weighted by their scores.

    The score of the best box stays. This keeps a box steady from frame to frame.
    """
    left = np.arange(len(found.scores))
    merged = []
    while len(left):
        same = overlaps(found.boxes[left[0]], found.boxes[left]) > SAME_FACE
        same[0] = True
        group = left[same]
        weight = found.scores[group] / found.scores[group].sum()
        box = weight @ found.boxes[group]
        points = np.tensordot(weight, found.points[group], axes=1)
        merged.append((box, points, found.scores[group[0]]))
        left = left[~same]
    if not merged:
        return Found(np.zeros((0, 4)), np.zeros((0, 6, 2)), np.zeros(0))
    return Found(*(np.array(column) for column in zip(*merged, strict=True)))


def overlaps(box: Floats, boxes: Floats) -> Floats:
    """Compute the intersection over union of one box (4,) with each of (F, 4) boxes."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.maximum(high - low, 0.0).prod(axis=1)
    areas = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0).prod(axis=1)
    area = np.maximum(box[2:] - box[:2], 0.0).prod()
    union: Floats = np.maximum(areas + area - shared, 1e-12)
    return np.asarray(shared / union)


def cascade_box(corners: Floats, points: Floats, score: float) -> Box:
    """Convert a box to the form of the cascades' boxes, on which other features rely.

    The networks' boxes are tight; the cascades' have eyes at 0.4 and the mouth at 0.78 of their
    height. The sizes are medians over ten recordings of real faces. "Up" is along the face.

    Args:
        corners: (4,) left, top, right, bottom.
        points: (6, 2) of :class:`Found`.
    """
    side = LARGER * float((corners[2:] - corners[:2]).max())
    eyes, mouth = points[list(EYES)].mean(axis=0), points[MOUTH]
    down = (mouth - eyes) / max(float(np.hypot(*(mouth - eyes))), 1e-6)
    x, y = (corners[:2] + corners[2:]) / 2 - HIGHER * side * down - side / 2
    return Box(float(x), float(y), side, side, min(score, 1.0), "mediapipe")
