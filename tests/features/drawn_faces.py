"""Faces drawn with known geometry: the planted answers of the picture tests.

The frontal Haar cascade finds these drawings; every parameter is known exactly.
"""

import cv2
import numpy as np

from redub.core.types import Clip, ClipMedia

SUPERSAMPLED = 2


def media_of(frames, **features):
    frames = None if frames is None else np.asarray(frames, dtype=np.uint8)
    clip = Clip(
        clip_id="film/scene/0",
        source="film.mp4",
        source_digest="",
        start_frame=0,
        end_frame=0 if frames is None else len(frames),
        film="film",
        scene="scene",
        position=0,
    )
    return ClipMedia(clip=clip, frames=frames, features=features)


def draw_face(
    *,
    size=192,
    centre=(0.5, 0.5),
    radius=0.3,
    opening=0.2,
    smile=0.0,
    brow_lift=0.0,
    frown=0.0,
    background=(70, 110, 140),
    skin=(224, 180, 150),
    gain=1.0,
):
    """One picture (size, size, 3) uint8 RGB.

    centre, radius: of the head, in picture sides. opening: height of the mouth's hole, 0 closed to
    1 wide. smile: corner lift, -1 to 1. brow_lift: brow height, -1 to 1. frown: 1 pulls the inner
    ends of the brows down (anger), -1 up (sadness). gain: brightness of everything.
    """
    scale = size * SUPERSAMPLED
    picture = np.empty((scale, scale, 3), dtype=np.uint8)
    picture[:] = background
    r = radius * scale
    cx, cy = centre[0] * scale, centre[1] * scale
    dark, lip, eye = (60, 40, 35), (165, 70, 75), (250, 250, 250)

    def at(x, y):
        return (round(cx + x * r), round(cy + y * r))

    def oval(x, y, a, b, colour):
        axes = (max(1, round(a * r)), max(1, round(b * r)))
        cv2.ellipse(picture, at(x, y), axes, 0, 0, 360, colour, -1, cv2.LINE_AA)

    oval(0, -0.15, 0.98, 1.2, dark)  # hair
    oval(0, 0.1, 0.82, 1.1, skin)
    for side in (-1, 1):
        oval(0.36 * side, -0.1, 0.21, 0.13, tuple(int(0.78 * c) for c in skin))
        oval(0.36 * side, -0.1, 0.17, 0.09, eye)
        oval(0.36 * side, -0.1, 0.085, 0.09, dark)
        height = -0.36 - 0.12 * brow_lift
        inner, outer = height + 0.1 * frown, height - 0.06 * frown
        thickness = max(1, round(0.07 * r))
        ends = at(0.17 * side, inner), at(0.57 * side, outer)
        cv2.line(picture, *ends, dark, thickness, cv2.LINE_AA)
    shade = tuple(int(0.8 * c) for c in skin)
    cv2.line(picture, at(0, -0.05), at(-0.08, 0.3), shade, max(1, round(0.06 * r)), cv2.LINE_AA)
    oval(0, 0.31, 0.12, 0.05, shade)
    _mouth(picture, at, opening, smile, lip, dark)
    small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return np.clip(gain * small.astype(np.float64), 0, 255).round().astype(np.uint8)


def _mouth(picture, at, opening, smile, lip, dark):
    across = np.linspace(-1, 1, 41)
    bend = -0.16 * smile * across**2 + 0.06 * smile  # corners up when smiling
    bulge = 1 - across**2
    for part, thick in ((lip, 0.07), (dark, 0.0)):
        half = 0.15 * opening * bulge + thick * (0.35 + 0.65 * bulge)
        upper = [at(0.36 * x, 0.6 + b - h) for x, b, h in zip(across, bend, half, strict=True)]
        lower = [at(0.36 * x, 0.6 + b + h) for x, b, h in zip(across, bend, half, strict=True)]
        outline = np.array(upper + lower[::-1], dtype=np.int32)
        cv2.fillPoly(picture, [outline], part, cv2.LINE_AA)


def talking(openings, **settings):
    """(V, size, size, 3) uint8: one frame per mouth opening; list-valued settings vary by frame."""
    frames = []
    for i, opening in enumerate(openings):
        here = {k: v[i] if isinstance(v, (list, np.ndarray)) else v for k, v in settings.items()}
        frames.append(draw_face(opening=float(opening), **here))
    return np.stack(frames)
