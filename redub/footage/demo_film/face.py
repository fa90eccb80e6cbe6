"""Face motion during speech: expression, visemes, blinks and sway, one row per video frame.

Source: visemes blend by dominance as in Cohen & Massaro, "Modeling coarticulation in synthetic
visual speech" (1993); the expressions follow Ekman's basic emotions.
Letters: V video frames of a line, A viseme anchors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from redub.core.types import FloatArray
from redub.footage.demo_film.phonetics import BILABIALS
from redub.footage.demo_film.timing import SAMPLE_RATE_HZ, VIDEO_FRAME_SAMPLES, Segment

VIDEO_FPS = 25
VISEME_BLEND_S = 0.035


class Expression(NamedTuple):
    """A still facial expression; the default values are a neutral face.

    Attributes:
        brow_raise: -1 to 1.
        brow_frown: -1 to 1; positive pulls the inner ends of the brows down, negative lifts them.
        brow_tilt: lifts one brow and lowers the other.
        lids, pupil: eye opening and pupil size; 1 is normal.
        smile: -1 to 1.
        mouth_open: opening at rest.
        mouth_width: added width.
        skew: asymmetry of the mouth.
        wrinkle: wrinkling of the nose.
        gaze_x, gaze_y: -1 to 1.
        tear, blush, sweat: 0 or 1.
    """

    brow_raise: float = 0.0
    brow_frown: float = 0.0
    brow_tilt: float = 0.0
    lids: float = 1.0
    pupil: float = 1.0
    smile: float = 0.0
    mouth_open: float = 0.0
    mouth_width: float = 0.0
    skew: float = 0.0
    wrinkle: float = 0.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0
    tear: float = 0.0
    blush: float = 0.0
    sweat: float = 0.0


EXPRESSIONS: dict[str, Expression] = {
    "angry": Expression(brow_raise=-0.6, brow_frown=1.0, lids=0.8, pupil=0.8, smile=-0.7,
                        mouth_width=0.15, wrinkle=0.5),
    "disgust": Expression(brow_raise=-0.5, brow_frown=0.45, lids=0.5, smile=-0.55, skew=0.7,
                          mouth_width=-0.1, wrinkle=1.0, gaze_x=-0.5),
    "fear": Expression(brow_raise=0.6, brow_frown=-1.0, lids=1.35, pupil=0.55, smile=-0.35,
                       mouth_open=0.12, mouth_width=0.2, sweat=1.0),
    "happy": Expression(brow_raise=0.35, lids=0.72, pupil=1.1, smile=1.0, mouth_width=0.3,
                        mouth_open=0.05, blush=1.0),
    "neutral": Expression(),
    "sad": Expression(brow_raise=0.1, brow_frown=-0.85, lids=0.65, smile=-0.85, gaze_y=0.6,
                      mouth_width=-0.12, tear=1.0),
    "surprise": Expression(brow_raise=1.0, lids=1.45, pupil=0.75, mouth_open=0.2,
                           mouth_width=-0.35),
    "others": Expression(brow_raise=0.1, brow_tilt=0.8, lids=0.55, smile=0.1, skew=-0.9,
                         gaze_x=0.8, gaze_y=-0.3),
}  # fmt: skip


class Viseme(NamedTuple):
    """A mouth shape: opening 0–1, width -1–1, rounding 0–1, teeth 0–1, tongue 0–1."""

    opening: float
    width: float
    rounding: float
    teeth: float
    tongue: float


_GROUPS: tuple[tuple[str, Viseme, float], ...] = (
    ("AA AO", Viseme(0.85, 0.0, 0.15, 0.2, 0.2), 1.0),
    ("AE AY", Viseme(0.80, 0.35, 0.0, 0.5, 0.3), 1.0),
    ("AH HH", Viseme(0.50, 0.05, 0.0, 0.3, 0.2), 0.6),
    ("EH EY", Viseme(0.55, 0.35, 0.0, 0.5, 0.3), 0.9),
    ("IH", Viseme(0.35, 0.40, 0.0, 0.6, 0.3), 0.8),
    ("IY", Viseme(0.28, 0.65, 0.0, 0.7, 0.2), 1.0),
    ("ER R", Viseme(0.35, -0.30, 0.5, 0.3, 0.2), 0.9),
    ("AW OW OY", Viseme(0.60, -0.45, 0.8, 0.1, 0.1), 1.0),
    ("UH", Viseme(0.35, -0.45, 0.7, 0.1, 0.1), 0.9),
    ("UW W", Viseme(0.22, -0.75, 1.0, 0.0, 0.0), 1.3),
    ("Y", Viseme(0.25, 0.45, 0.0, 0.6, 0.2), 0.8),
    ("L", Viseme(0.35, 0.10, 0.0, 0.4, 1.0), 0.8),
    ("N T D NG K G", Viseme(0.25, 0.15, 0.0, 0.6, 0.6), 0.6),
    ("S Z", Viseme(0.14, 0.40, 0.0, 1.0, 0.0), 1.0),
    ("SH ZH CH JH", Viseme(0.22, -0.45, 0.6, 0.9, 0.0), 1.1),
    ("TH DH", Viseme(0.22, 0.10, 0.0, 0.6, 1.0), 1.0),
    ("F V", Viseme(0.08, 0.10, 0.0, 1.0, 0.0), 1.6),
    ("M B P", Viseme(0.00, -0.05, 0.0, 0.0, 0.0), 2.5),
    ("sil", Viseme(0.00, 0.00, 0.0, 0.0, 0.0), 0.5),
)
VISEMES = {symbol: (shape, pull) for names, shape, pull in _GROUPS for symbol in names.split()}


@dataclass(frozen=True, slots=True)
class Motion:
    """A moving face; every array has one row per video frame.

    Attributes:
        mouth: (V, 5) the blended :class:`Viseme`, without the expression.
        shut: (V,) bool, True where the lips are closed in any expression.
        blink: (V,) 0 open, 1 closed.
        sway: (V, 4) x and y in half head widths, roll in radians, zoom factor.
    """

    mouth: FloatArray
    shut: NDArray[np.bool_]
    blink: FloatArray
    sway: FloatArray


def shut_track(segments: list[Segment]) -> NDArray[np.bool_]:
    """Mark the frames with closed lips: (V,) bool.

    A frame is True if its middle lies in M, B or P; each such phone has at least one frame.
    """
    pictures = segments[-1].end // VIDEO_FRAME_SAMPLES
    middles = (np.arange(pictures) + 0.5) * VIDEO_FRAME_SAMPLES
    shut = np.zeros(pictures, bool)
    for segment in segments:
        if segment.symbol in BILABIALS:
            shut |= (middles >= segment.start) & (middles < segment.end)
            shut[np.argmin(np.abs(middles - (segment.start + segment.end) / 2))] = True
    return shut


def mouth_track(segments: list[Segment], *, effort: float = 1.0) -> FloatArray:
    """Blend the visemes of a line.

    Args:
        effort: scales the opening; loud speech opens the mouth wider.

    Returns:
        (V, 5) :class:`Viseme` at the middle of each frame; opening 0 where the lips are closed.
    """
    pictures = segments[-1].end // VIDEO_FRAME_SAMPLES
    middles = (np.arange(pictures) + 0.5) * VIDEO_FRAME_SAMPLES  # in samples
    starts = np.array([s.start + 0.25 * (s.end - s.start) for s in segments])
    ends = np.array([s.end - 0.25 * (s.end - s.start) for s in segments])
    clock = middles[:, None]
    outside_s = np.maximum(np.maximum(starts - clock, clock - ends), 0) / SAMPLE_RATE_HZ  # (V, A)
    pull = np.array([VISEMES[s.symbol][1] for s in segments])
    weight = pull * np.exp(-outside_s / VISEME_BLEND_S)
    shapes = np.array([VISEMES[s.symbol][0] for s in segments])  # (A, 5)
    blended = (weight[:, :, None] * shapes).sum(axis=1) / weight.sum(axis=1)[:, None]
    blended[:, 0] = np.clip(blended[:, 0] * effort, 0, 1)
    shut = shut_track(segments)
    blended[shut, 0] = 0.0
    blended[shut, 3:] = 0.0
    track: FloatArray = blended.astype(np.float32)
    return track


def motion_of(
    segments: list[Segment],
    rng: np.random.Generator,
    *,
    before: int,
    after: int,
    effort: float,
    liveliness: float,
) -> Motion:
    """Compute the motion of a whole shot: the line between silent frames.

    Args:
        before, after: silent frames before and after the line.
        effort: scales the opening of the mouth.
        liveliness: scales the movement of the head; 1 is normal.
    """
    spoken = mouth_track(segments, effort=effort)
    rest = np.zeros((1, spoken.shape[1]), np.float32)
    mouth = np.concatenate([rest.repeat(before, 0), spoken, rest.repeat(after, 0)])
    shut = np.pad(shut_track(segments), (before, after))
    pictures = len(mouth)
    clock = np.arange(pictures) / VIDEO_FPS
    blink = np.zeros(pictures, np.float32)
    at = float(rng.uniform(0.3, 2.0))
    while at * VIDEO_FPS < pictures:
        blink = np.maximum(blink, np.clip(1.3 - np.abs(clock - at) / 0.07, 0, 1))
        at += float(rng.uniform(1.5, 4.0))
    phase, pace = rng.uniform(0, 2 * np.pi, 4), rng.uniform(0.25, 0.7, 4)
    waves = np.sin(2 * np.pi * pace * clock[:, None] + phase)  # (V, 4)
    nod = 0.02 * np.convolve(mouth[:, 0], np.ones(5) / 5, mode="same")
    sway = waves * np.array([0.05, 0.025, 0.035, 0.012]) * liveliness
    sway[:, 1] += nod
    sway[:, 3] += 1.0
    return Motion(mouth, shut, blink.astype(np.float32), sway.astype(np.float32))
