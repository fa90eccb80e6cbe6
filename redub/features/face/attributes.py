"""Measured attributes of a face in a clip: mouth, mouth corners, brows, eyes, head, liveliness.

All values are measured in grey crops of the face box, with fixed positions of brows, eyes and mouth
in a Haar box. A turned head, hair over the brows or glasses cause errors. So the values are
estimates for the comparison of clips, not landmarks. Light is normalised per clip.
Letters: V video frames.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from redub.core.errors import FeatureAbsent
from redub.core.types import ByteArray, ClipMedia, FloatArray
from redub.features.base import frames_of
from redub.features.face.crops import WHOLE_FACE, grey_crops
from redub.features.mouth.shape import MouthShape, darkness, mouth_shape
from redub.features.picture.edge_histograms import slope_of_edges

Floats = NDArray[np.float64]

SIDE = 64  # of the face crops
SKIN_PERCENTILE = 65.0
LEAST_OPENING = 0.008  # of the mouth crop; a smaller change is noise
LEAST_SPREAD = 20.0  # grey levels; with less contrast the crop does not show brows
BROW_ROWS, EYE_ROWS = (0.18, 0.36), (0.33, 0.52)
SHADE = 0.15  # darker pixels may be a brow; edges of lighter skin are ignored
BROW_COLUMNS = (
    0.2,
    0.45,
)  # of the left brow without the temple; the right brow is mirrored


class FaceMeasures(NamedTuple):
    """Measurements per frame of one clip, (V,) float64 each; heights are fractions of the box."""

    mouth: MouthShape
    brow_height: Floats  # distance of the brows above the eyes
    brow_slant: Floats  # slope of the brows towards the nose: positive if inner ends are lower
    eye_contrast: Floats  # absolute difference of the eye rows from skin
    upper_motion: Floats  # change from the last frame at brows and eyes
    lower_motion: Floats  # change from the last frame around the mouth
    head_speed: Floats  # motion of the box's centre, in box widths per frame
    size: Floats  # box width divided by its mean


class FaceAttributes(NamedTuple):
    """One number per attribute of a clip; trends are the last third minus the first third."""

    opening_mean: float
    opening_range: float  # standard deviation over the clip
    opening_rate_hz: float  # openings beyond the mean opening, per second
    hole_mean: float
    width_mean: float
    width_range: float
    bright_mean: float  # bright part of the mouth (teeth)
    corner_lift: float
    corner_trend: float
    skew: float  # height difference of the two corners
    brow_height: float
    brow_slant: float
    brow_trend: float
    eye_contrast: float
    upper_motion: float
    lower_motion: float
    liveliness_trend: float
    head_speed: float
    head_range: float  # standard deviation of the centre, box widths
    approach: float  # growth of the box


def face_crops(frames: ByteArray, track: FloatArray) -> FloatArray:
    """Cut face crops and normalise their light per clip.

    Args:
        frames: (V, H, W, 3) uint8 RGB.
        track: (V, 5) rows of ``face_track``.

    Returns:
        (V, 64, 64) float32 darkness: 0 is skin, 1 the darkest level of the clip, negative values
        are brighter than skin.
    """
    crops = grey_crops(frames, track, WHOLE_FACE, SIDE)
    darkest, skin = (float(level) for level in np.percentile(crops, (1.0, SKIN_PERCENTILE)))
    spread = max(skin - darkest, LEAST_SPREAD)
    dark: FloatArray = np.clip((skin - crops.astype(np.float32)) / spread, -1.0, 1.0)
    return dark.astype(np.float32)


def measure_face(faces: FloatArray, mouth: MouthShape, track: FloatArray) -> FaceMeasures:
    """Measure the face in every frame.

    Args:
        faces: (V, 64, 64) from :func:`face_crops`.
        mouth: measurements of the same frames.
        track: (V, 5) rows of ``face_track``.
    """
    dark = faces.astype(np.float64)
    start, stop = (round(share * SIDE) for share in BROW_COLUMNS)
    left, right = dark[:, :, start:stop], dark[:, :, ::-1][:, :, start:stop]
    profile = (left.mean(axis=2) + right.mean(axis=2)) / 2  # (V, 64) over rows
    brow = slice(*(round(share * SIDE) for share in BROW_ROWS))
    slants = [slope_of_edges(_blurred(np.maximum(side[:, brow], SHADE))) for side in (left, right)]
    rows = slice(round(EYE_ROWS[0] * SIDE), round(EYE_ROWS[1] * SIDE))
    steps = np.abs(np.diff(dark, axis=0, prepend=dark[:1]))
    boxes = np.asarray(track, dtype=np.float64)
    centres = boxes[:, :2] + boxes[:, 2:4] / 2
    width = boxes[:, 2].mean()
    path = np.diff(centres, axis=0, prepend=centres[:1])
    return FaceMeasures(
        mouth=mouth,
        brow_height=_row_of_shade(profile, EYE_ROWS) - _row_of_shade(profile, BROW_ROWS),
        brow_slant=np.mean(slants, axis=0, dtype=np.float64),
        eye_contrast=(np.abs(left) + np.abs(right))[:, rows].mean(axis=(1, 2)) / 2,
        upper_motion=steps[:, SIDE // 8 : SIDE // 2].mean(axis=(1, 2)),
        lower_motion=steps[:, round(0.62 * SIDE) :, SIDE // 4 : -SIDE // 4].mean(axis=(1, 2)),
        head_speed=np.hypot(*path.T) / width,
        size=boxes[:, 2] / width,
    )


def summarise_face(measures: FaceMeasures, track: FloatArray, *, fps: int) -> FaceAttributes:
    """Summarise the measurements of a clip to one number per attribute."""
    mouth = measures.mouth
    boxes = np.asarray(track, dtype=np.float64)
    centres = (boxes[:, :2] + boxes[:, 2:4] / 2) / boxes[:, 2].mean()
    liveliness = measures.upper_motion + measures.lower_motion
    return FaceAttributes(
        opening_mean=float(mouth.opening.mean()),
        opening_range=float(mouth.opening.std()),
        opening_rate_hz=_rises(mouth.opening) * fps / len(mouth.opening),
        hole_mean=float(mouth.hole.mean()),
        width_mean=float(mouth.width.mean()),
        width_range=float(mouth.width.std()),
        bright_mean=float(mouth.bright.mean()),
        corner_lift=float(np.median(mouth.corner_lift)),
        corner_trend=trend(mouth.corner_lift),
        skew=float(np.median(mouth.skew)),
        brow_height=float(np.median(measures.brow_height)),
        brow_slant=float(np.median(measures.brow_slant)),
        brow_trend=trend(measures.brow_height),
        eye_contrast=float(measures.eye_contrast.mean()),
        upper_motion=float(measures.upper_motion.mean()),
        lower_motion=float(measures.lower_motion.mean()),
        liveliness_trend=trend(liveliness[1:]),
        head_speed=float(measures.head_speed.mean()),
        head_range=float(np.hypot(*centres.std(axis=0))),
        approach=trend(measures.size),
    )


def attributes_of(
    faces: FloatArray, mouth: MouthShape, track: FloatArray, *, fps: int
) -> FaceAttributes:
    """Compute the attributes from face crops (V, 64, 64), mouth shapes and face boxes (V, 5)."""
    return summarise_face(measure_face(faces, mouth, track), track, fps=fps)


def faces_of_clip(media: ClipMedia) -> FloatArray:
    """Return :func:`face_crops` of the tracked face.

    Raises:
        FeatureAbsent: E-FEAT-NOFACE, the clip has no frames.
    """
    if media.frames is None:
        raise FeatureAbsent("the clip has no video frame with a face", code="E-FEAT-NOFACE")
    return media.once(face_crops, media.frames, frames_of(media.features, "face_track"))


def attributes_of_clip(media: ClipMedia, *, fps: int) -> FaceAttributes:
    """Compute the attributes of the tracked face, from ``face_track`` and ``mouth_crop``.

    Raises:
        FeatureAbsent: E-FEAT-NOFACE, the clip has no frames.
    """
    faces = faces_of_clip(media)
    mouth = media.once(mouth_shape, media.once(darkness, frames_of(media.features, "mouth_crop")))
    track = frames_of(media.features, "face_track")
    return media.once(attributes_of, faces, mouth, track, fps=fps)


def trend(values: FloatArray | Floats) -> float:
    """Compute mean of the last third minus mean of the first third; 0 for less than 3 values."""
    third = len(values) // 3
    if third == 0:
        return 0.0
    return float(
        np.mean(values[-third:], dtype=np.float64) - np.mean(values[:third], dtype=np.float64)
    )


def _rises(values: FloatArray) -> int:
    """Count upward crossings of the mean, with a hysteresis of a quarter standard deviation."""
    margin = max(0.25 * float(values.std()), LEAST_OPENING)
    state, rises = False, 0
    for value in values - values.mean():
        if not state and value > margin:
            state, rises = True, rises + 1
        elif state and value < -margin:
            state = False
    return rises


def _blurred(crops: Floats) -> FloatArray:
    return np.stack([cv2.GaussianBlur(p, (0, 0), 1.0) for p in crops]).astype(np.float32)


def _row_of_shade(profile: Floats, rows: tuple[float, float]) -> Floats:
    """The mean dark position of a (V, 64) profile between two rows, in box heights."""
    start, stop = (round(share * SIDE) for share in rows)
    part = profile[:, start:stop]
    # Darkness that most rows share is shade or hair, not a brow or an eye.
    weight = np.clip(part - np.quantile(part, 0.3, axis=1, keepdims=True), 1e-6, None)
    place = (np.arange(start, stop) + 0.5) / SIDE
    row: Floats = (weight * place).sum(axis=1) / weight.sum(axis=1)
    return row
