"""Mouths turned upright, scaled and centred by landmarks, as lip readers were trained on them.

Source of the recipe: the pre-processing of the LRW lip readers (Martinez et al., "Lipreading using
temporal convolutional networks", ICASSP 2020, and its public code): landmarks smoothed over 12
frames, eye corners and nose brought to a mean face by a similarity, 96 x 96 pixels cut out around
the mouth's middle. Their mean face is a file that redub does not bring; :data:`FACE` stands in for
it, from textbook proportions, at about one pixel per millimetre of a grown-up's face.
Letters: V video frames, H and W picture height and width.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ClipError
from redub.core.types import ByteArray, FloatArray
from redub.features.shots import shot_starts

Floats = NDArray[np.float64]

SIDE = 96
WINDOW = 12  # frames around each one that its landmarks are smoothed over
FACE = {36: (-45.0, 0.0), 39: (-17.0, 0.0), 42: (17.0, 0.0), 45: (45.0, 0.0), 33: (0.0, 45.0)}
"""Points that hardly move in speech, in pixels of the crop: corners of the eyes, base of the nose
(indices of the 68-point scheme; x to the right, y down, 0 between the eyes)."""
MOUTH_POINTS = slice(48, 68)
LEAST_EYES = 4.0  # pixels from one eye's outer corner to the other's; below, this is no face


def upright_mouths(frames: ByteArray, landmarks: FloatArray) -> ByteArray:
    """Cut out the mouth of every frame.

    Args:
        frames: (V, H, W, 3) uint8 RGB.
        landmarks: (V, 136) x and y of 68 points in pixels; the middle of the first pixel is 0.5.

    Returns:
        (V, 96, 96) uint8 grey. Where a crop leaves the picture, its edge is repeated.

    Raises:
        ClipError: E-FEAT-LANDMARKS, the eyes of a frame fall together.
    """
    raw = landmarks.reshape(len(landmarks), 68, 2).astype(np.float64)
    # Over a cut, two faces would be averaged.
    points = np.concatenate([smoothed_landmarks(s) for s in np.split(raw, shot_starts(frames)[1:])])
    if np.linalg.norm(points[:, 45] - points[:, 36], axis=1).min() < LEAST_EYES:
        raise ClipError(
            f"the landmarks put the eyes less than {LEAST_EYES:.0f} pixels apart; this is no face",
            code="E-FEAT-LANDMARKS",
        )
    crops = np.empty((len(frames), SIDE, SIDE), dtype=np.uint8)
    for k, (frame, face) in enumerate(zip(frames, points, strict=True)):
        turn = upright_similarity(face[list(FACE)])
        crops[k] = _cut(frame, turn, face[MOUTH_POINTS].mean(axis=0))
    return crops


def smoothed_landmarks(points: Floats) -> Floats:
    """The face's shape averaged over 12 frames around each of a shot, at its own frame's place.

    Only the shape is smoothed: a head that moves quickly is not left behind. Near the ends the
    window shrinks symmetrically. Takes and returns (V, 68, 2).
    """
    places = points.mean(axis=1, keepdims=True)  # (V, 1, 2)
    shapes = points - places
    smooth: Floats = np.empty_like(shapes)
    for k in range(len(shapes)):
        half = min(WINDOW // 2, k, len(shapes) - 1 - k)
        smooth[k] = shapes[k - half : k + half + 1].mean(axis=0)
    smooth += places
    return smooth


def upright_similarity(points: Floats) -> Floats:
    """The 2 x 2 rotation and scale that takes a face nearest to :data:`FACE`.

    Least squares over the five points (5, 2), in the order of :data:`FACE`, about their middle.
    """
    # As complex numbers a turn with a scale is one factor: a = Σ conj(p) q / Σ |p|².
    seen = _centred(points)
    wanted = _centred(np.array(list(FACE.values())))
    factor = np.vdot(seen, wanted) / np.vdot(seen, seen).real
    return np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])


def _centred(points: Floats) -> NDArray[np.complex128]:
    about = points - points.mean(axis=0)
    numbers: NDArray[np.complex128] = about[:, 0] + 1j * about[:, 1]
    return numbers


def _cut(frame: ByteArray, turn: Floats, middle: Floats) -> ByteArray:
    """The (96, 96) grey crop around a point, turned and scaled by a 2 x 2 matrix."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    shrink = float(np.sqrt(np.linalg.det(turn)))
    if shrink < 0.5:  # a warp reads single pixels and would skip the ones between
        height, width = grey.shape
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        scale = np.array([size[0] / width, size[1] / height])
        turn, middle = turn / scale, middle * scale
    # From the crop's pixels to the frame's; pixel centres lie at whole numbers for OpenCV.
    back = np.linalg.inv(turn)
    start = middle - 0.5 - back @ np.full(2, (SIDE - 1) / 2)
    warped = cv2.warpAffine(
        grey,
        np.column_stack([back, start]),
        (SIDE, SIDE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(warped, dtype=np.uint8)
