"""Detect faces in one frame with OpenCV's Haar cascades: frontal, then profiles of both sides.

Also defines the parts that all face detectors share: the box, and the encoding of its score.

Source: Viola & Jones, "Rapid object detection using a boosted cascade of simple features" (CVPR
2001); Lienhart, Kuranov & Pisarevsky (DAGM 2003) for the frontal cascade ``alt2``. The OpenCV 4
package contains the trained cascades. They find upright human and similar faces, and miss strongly
stylised, tilted or covered faces.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Detector = Literal["profile", "frontal", "yunet", "mediapipe", "user boxes"]

FULL_SIDE = 256  # longer side of the copy in which a whole frame is searched
PROFILE_SIDE = 192  # the same for the profile cascade, which is slow
WINDOW_FACE = 56  # size in pixels of a known face in the copy of its search window
WINDOW_REACH = 0.35  # how far a search window reaches beyond the last box, in box widths


class Box(NamedTuple):
    """One face in pixels of the decoded frame.

    Attributes:
        x, y, w, h: left, top, width, height.
        score: in (0, 1], higher is more certain; scores of two detectors cannot be compared.
        by: the detector.
    """

    x: float
    y: float
    w: float
    h: float
    score: float
    by: Detector = "frontal"

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return self.w * self.h


def recorded_score(box: Box) -> float:
    """Encode the detector and the score of a box as one number, for a row of ``face_track``.

    The range encodes the detector: profile (0, 0.1], frontal (0.1, 1], yunet (1, 2], mediapipe
    (2, 2.9], user boxes 3. A more reliable detector has a higher range.
    """
    offset, scale = {
        "profile": (0.0, 0.1),
        "frontal": (0.0, 1.0),  # at least 1/6, the score of one raw hit
        "yunet": (1.0, 1.0),
        "mediapipe": (2.0, 0.9),
        "user boxes": (2.0, 1.0),
    }[box.by]
    return offset + scale * box.score


def detector_of(score: float) -> Detector | None:
    """Return the detector of a row of ``face_track`` by its score; None for frames not searched."""
    if score <= 0:
        return None
    if score <= 1:
        return "frontal" if score > 0.1 else "profile"
    if score <= 2:
        return "yunet"
    return "mediapipe" if score < 2.95 else "user boxes"


def overlap(a: Box, b: Box) -> float:
    """Compute the intersection over union of two boxes, 0–1."""
    width = min(a.x + a.w, b.x + b.w) - max(a.x, b.x)
    height = min(a.y + a.h, b.y + b.h) - max(a.y, b.y)
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (a.area + b.area - shared)


class HaarFaceDetector:
    """Haar cascades for whole frames, or for the surroundings of a known face (ten times faster).

    Args:
        min_face: smallest face, as a fraction of the shorter side of the frame.
        min_neighbours: raw hits that a face needs.
    """

    def __init__(self, *, min_face: float, min_neighbours: int) -> None:
        cv2.setNumThreads(1)  # workers are processes; threads inside them only slow them down
        folder = str(Path(cv2.__file__).parent / "data") + "/"
        self.frontal = cv2.CascadeClassifier(folder + "haarcascade_frontalface_alt2.xml")
        self.profile = cv2.CascadeClassifier(folder + "haarcascade_profileface.xml")
        self.min_face = min_face
        self.min_neighbours = min_neighbours

    def frontal_faces(self, frame: Grey) -> list[Box]:
        """Find all frontal faces in a (H, W) grey frame, best first."""
        copy, scale = _shrunk(frame, FULL_SIDE)
        least = max(20, round(self.min_face * min(copy.shape)))
        return _moved(self._front(copy, least, 0), scale)

    def profile_faces(self, frame: Grey) -> list[Box]:
        """Find all profile faces of both directions in a (H, W) grey frame, best first."""
        copy, scale = _shrunk(frame, PROFILE_SIDE)
        least = max(20, round(self.min_face * min(copy.shape)))
        return _moved(self._sides(copy, least, 0), scale)

    def near(self, frame: Grey, last: Box) -> Box | None:
        """Find the face ``last`` again in a (H, W) grey frame; frontal before profile, or None."""
        height, width = frame.shape
        reach_x, reach_y = WINDOW_REACH * last.w, WINDOW_REACH * last.h
        left, top = max(0, int(last.x - reach_x)), max(0, int(last.y - reach_y))
        right = min(width, int(np.ceil(last.x + last.w + reach_x)))
        bottom = min(height, int(np.ceil(last.y + last.h + reach_y)))
        if right - left < 20 or bottom - top < 20:
            return None
        copy, scale = _shrunk(
            frame[top:bottom, left:right],
            max(20, round(WINDOW_FACE / last.w * max(right - left, bottom - top))),
        )
        face = last.w * scale
        least, most = max(20, int(0.8 * face)), int(1.3 * face) + 1
        for search in (self._front, self._sides):
            for box in _moved(search(copy, least, most), scale, left, top):
                if overlap(box, last) >= 0.3:
                    return box
        return None

    def _front(self, copy: Grey, least: int, most: int) -> list[Box]:
        return self._search(self.frontal, "frontal", copy, least, most)

    def _sides(self, copy: Grey, least: int, most: int) -> list[Box]:
        search = partial(self._search, self.profile, "profile", least=least, most=most)
        left = search(copy)
        # The cascade detects one direction only; the other one is searched in the mirrored frame.
        right = search(np.ascontiguousarray(copy[:, ::-1]))
        mirrored = [box._replace(x=copy.shape[1] - box.x - box.w) for box in right]
        return sorted(left + mirrored, key=_order)

    def _search(
        self, cascade: cv2.CascadeClassifier, by: Detector, copy: Grey, least: int, most: int
    ) -> list[Box]:
        boxes, neighbours = cascade.detectMultiScale2(
            copy,
            scaleFactor=1.1,
            minNeighbors=self.min_neighbours,
            minSize=(least, least),
            maxSize=(most, most),
        )
        # Neighbours are the overlapping raw hits of one box, the only measure of certainty.
        found = [
            Box(float(x), float(y), float(w), float(h), n / (n + 5.0), by)
            for (x, y, w, h), n in zip(
                np.reshape(boxes, (-1, 4)), np.ravel(neighbours), strict=True
            )
        ]
        return sorted(found, key=_order)


def _order(box: Box) -> tuple[float, float, float]:
    return (-box.area * box.score, box.x, box.y)


def _shrunk(frame: Grey, side: int) -> tuple[Grey, float]:
    scale = min(1.0, side / max(frame.shape))
    if scale == 1.0:
        return np.ascontiguousarray(frame), 1.0
    copy = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(copy, dtype=np.uint8), scale


def _moved(boxes: list[Box], scale: float, left: int = 0, top: int = 0) -> list[Box]:
    return [
        Box(b.x / scale + left, b.y / scale + top, b.w / scale, b.h / scale, float(b.score), b.by)
        for b in boxes
    ]
