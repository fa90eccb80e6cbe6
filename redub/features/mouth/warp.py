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

from redub.core.types import ByteArray, FloatArray
from redub.features.picture.shots import shot_starts
from redub.features.picture.small_pictures import small_pictures

Floats = NDArray[np.float64]

SIDE = 96
WINDOW = 12  # frames around each one that its landmarks are smoothed over
FACE = {36: (-45.0, 0.0), 39: (-17.0, 0.0), 42: (17.0, 0.0), 45: (45.0, 0.0), 33: (0.0, 45.0)}
"""Points that hardly move in speech, in pixels of the crop: corners of the eyes, base of the nose
(indices of the 68-point scheme; x to the right, y down, 0 between the eyes)."""
MOUTH_POINTS = slice(48, 68)
LEAST_SIZE = 0.05  # pixels of the frame per pixel of the crop; below (eyes 4.5 apart), no face


def make_a_face(landmarks: FloatArray) -> bool:
    """Whether landmarks (V, 136) can turn a mouth upright: all frames show a face, one way up.

    A network that sees no face scatters its points. In every frame the face must have
    :data:`LEAST_SIZE` along the clip's mean direction; so it also has in any average.
    """
    faces = landmarks.reshape(len(landmarks), 68, 2)[:, list(FACE)].astype(np.float64)
    sizes = np.array([_size(_centred(face)) for face in faces])
    mean = sizes.mean()
    length = float(np.abs(mean))
    return length > 0 and bool(((sizes * np.conj(mean)).real / length >= LEAST_SIZE).all())


def upright_mouths(frames: ByteArray, landmarks: FloatArray) -> ByteArray:
    """Cut out the mouth of every frame.

    Args:
        frames: (V, H, W, 3) uint8 RGB.
        landmarks: (V, 136) x and y of 68 points in pixels, the middle of the first pixel being
            0.5, that :func:`make_a_face`.

    Returns:
        (V, 96, 96) uint8 grey. Where a crop leaves the picture, its edge is repeated.
    """
    raw = landmarks.reshape(len(landmarks), 68, 2).astype(np.float64)
    cuts = shot_starts(small_pictures(frames))[1:]  # over one, two faces would be averaged
    points = np.concatenate([smoothed_landmarks(shot) for shot in np.split(raw, cuts)])
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
    seen = _centred(points)
    power = float(np.vdot(seen, seen).real)
    factor = np.conj(_size(seen)) * np.vdot(_WANTED, _WANTED).real / power
    return np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])


def _centred(points: Floats) -> NDArray[np.complex128]:
    """(5,) points about their middle as complex numbers: a turn with a scale is one factor."""
    about = points - points.mean(axis=0)
    numbers: NDArray[np.complex128] = about[:, 0] + 1j * about[:, 1]
    return numbers


_WANTED = _centred(np.array(list(FACE.values())))


def _size(seen: NDArray[np.complex128]) -> complex:
    """The factor that takes :data:`FACE` nearest to the points seen: Σ conj(q) p / Σ |q|²."""
    return complex(np.vdot(_WANTED, seen) / np.vdot(_WANTED, _WANTED).real)


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
