"""Cut mouth crops that are rotated upright, scaled and centred by landmarks, for lip readers.

Source: the pre-processing of the LRW lip readers (Martinez et al., "Lipreading using temporal
convolutional networks", ICASSP 2020, and its public code). Landmarks are smoothed over 12 frames; a
similarity transform maps eye corners and nose to a mean face; 96 x 96 pixels are cut around the
middle of the mouth. The mean face of the source is a file that redub does not contain. :data:`FACE`
replaces it with textbook proportions, at about one pixel per millimetre of an adult's face.
Letters: V video frames, H and W frame height and width.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from redub.core.types import ByteArray, FloatArray

Floats = NDArray[np.float64]

SIDE = 96
WINDOW = 12  # landmarks are smoothed over so many frames
FACE = {36: (-45.0, 0.0), 39: (-17.0, 0.0), 42: (17.0, 0.0), 45: (45.0, 0.0), 33: (0.0, 45.0)}
"""Points that hardly move in speech, in pixels of the crop: corners of the eyes, base of the nose
(indices of the 68-point scheme; x to the right, y down, origin between the eyes)."""
MOUTH_POINTS = slice(48, 68)
LEAST_SIZE = 0.05  # least pixels of the frame per pixel of the crop (eyes 4.5 pixels apart)


def make_a_face(landmarks: FloatArray) -> bool:
    """Return whether (V, 136) landmarks form a face of similar orientation in all frames.

    Without a face a network returns scattered points. In every frame the face must have at least
    :data:`LEAST_SIZE` along the mean direction of the clip; then any average of frames has, too.
    """
    faces = landmarks.reshape(len(landmarks), 68, 2)[:, list(FACE)].astype(np.float64)
    sizes = np.array([_size(_centred(face)) for face in faces])
    mean = sizes.mean()
    length = float(np.abs(mean))
    return length > 0 and bool(((sizes * np.conj(mean)).real / length >= LEAST_SIZE).all())


def upright_mouths(frames: ByteArray, landmarks: FloatArray, shots: Sequence[int]) -> ByteArray:
    """Cut out the mouth of every frame.

    Args:
        frames: (V, H, W, 3) uint8 RGB.
        landmarks: (V, 136) x and y of 68 points in pixels (the first pixel's middle is 0.5), for
            which :func:`make_a_face` is True.
        shots: first frame of each shot; landmarks are not smoothed across a cut.

    Returns:
        (V, 96, 96) uint8 grey. Outside the frame its edge is repeated.
    """
    raw = landmarks.reshape(len(landmarks), 68, 2).astype(np.float64)
    points = np.concatenate([smoothed_landmarks(shot) for shot in np.split(raw, shots[1:])])
    crops = np.empty((len(frames), SIDE, SIDE), dtype=np.uint8)
    for k, (frame, face) in enumerate(zip(frames, points, strict=True)):
        turn = upright_similarity(face[list(FACE)])
        crops[k] = _cut(frame, turn, face[MOUTH_POINTS].mean(axis=0))
    return crops


def smoothed_landmarks(points: Floats) -> Floats:
    """Smooth the shape of the face in one shot over 12 frames; the position is not smoothed.

    So the landmarks do not lag behind a fast head. Near the ends the window shrinks symmetrically.
    Takes and returns (V, 68, 2).
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
    """Compute the 2 x 2 matrix of rotation and scale that maps a face onto :data:`FACE`.

    Least squares over the five points (5, 2), in the order of :data:`FACE`, relative to their mean.
    """
    seen = _centred(points)
    power = float(np.vdot(seen, seen).real)
    factor = np.conj(_size(seen)) * np.vdot(_WANTED, _WANTED).real / power
    return np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])


def _centred(points: Floats) -> NDArray[np.complex128]:
    """(5,) points relative to their mean as complex numbers: a factor rotates and scales them."""
    about = points - points.mean(axis=0)
    numbers: NDArray[np.complex128] = about[:, 0] + 1j * about[:, 1]
    return numbers


_WANTED = _centred(np.array(list(FACE.values())))


def _size(seen: NDArray[np.complex128]) -> complex:
    """The factor that maps :data:`FACE` (q) best onto the points p: Σ conj(q) p / Σ |q|²."""
    return complex(np.vdot(_WANTED, seen) / np.vdot(_WANTED, _WANTED).real)


def _cut(frame: ByteArray, turn: Floats, middle: Floats) -> ByteArray:
    """Cut the (96, 96) grey crop around a point, rotated and scaled by a 2 x 2 matrix."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    shrink = float(np.sqrt(np.linalg.det(turn)))
    if shrink < 0.5:  # a warp samples single pixels and would skip the pixels between
        height, width = grey.shape
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        scale = np.array([size[0] / width, size[1] / height])
        turn, middle = turn / scale, middle * scale
    # From pixels of the crop to pixels of the frame; OpenCV has pixel centres at whole numbers.
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
