"""Measured attributes of a clip's frames: colour, light, contrast, motion; and hue names.

Source: colourfulness after Hasler & Süsstrunk, "Measuring colourfulness in natural images" (SPIE
2003); pleasure and arousal of a colour after Valdez & Mehrabian, "Effects of color on emotions"
(J. Experimental Psychology: General, 1994).
Letters: V video frames, H and W frame height and width.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from redub.core.types import ByteArray, FloatArray
from redub.features.picture.small_frames import SIDE, small_frames

Floats = NDArray[np.float64]

MOST_COLOUR_FRAMES = 12  # colour changes slowly, so this many frames of a clip are enough
LEAST_SCENERY = 0.12  # fraction of the frame that must remain after the person is masked
HUE_BINS = 12

Part = tuple[float, float, float, float]
BELOW = 100.0  # far below any frame
WITH_BODY: tuple[Part, ...] = ((-0.3, -0.4, 1.3, 1.2), (-0.7, 1.1, 1.7, BELOW))
HEAD_ONLY: tuple[Part, ...] = ((-0.05, -0.25, 1.05, 1.1), (0.0, 1.0, 1.0, BELOW))
"""The area of a person: left, top, right, bottom as multiples of the face box; head, then body."""

HUE_FAMILIES: tuple[tuple[float, str], ...] = (
    (15.0, "red"),
    (45.0, "orange"),
    (70.0, "yellow"),
    (165.0, "green"),
    (195.0, "teal"),
    (255.0, "blue"),
    (300.0, "violet"),
    (345.0, "pink"),
    (360.0, "red"),
)
"""Upper bound of the hue in degrees (HSV), and the name of the colour."""

GREY_BELOW = 0.1  # a clip with less mean chroma is called grey


class FrameAttributes(NamedTuple):
    """The measurements of a clip; every number is finite. Shares and levels are 0–1."""

    hue_deg: float  # circular mean weighted by chroma, 0–360, 0 = red; 0 without colour
    hue_concentration: float  # 1 if all colour has one hue, 0 if the hues cancel
    lightness: float  # mean CIE L* / 100
    saturation: float  # mean HSV saturation, weighted by value
    chroma: float  # mean of saturation times value, the amount of colour
    contrast: float  # standard deviation of L* / 100
    colourfulness: float  # Hasler–Süsstrunk's measure / 100
    detail: float  # mean difference of L* / 100 between adjacent cells
    light_from_above: float  # lightness of the upper half minus that of the lower half, -1 to 1
    warm_share: float  # fraction of the chroma from magenta-red to yellow (330–75 degrees)
    cool_share: float  # fraction of the chroma from green-cyan to violet-blue (150–285 degrees)
    motion: float  # mean change of the grey level from frame to frame
    lightness_trend: float  # lightness of the last third minus that of the first third, -1 to 1
    hue_shares: tuple[float, ...]  # chroma per 30-degree bin, centred on 0, 30, …; sums to 1 or 0


def measure_frames(
    frames: ByteArray, track: FloatArray | None = None, *, small: ByteArray | None = None
) -> FrameAttributes:
    """Measure the frames of a clip; with a face track, only the scenery around the person.

    Args:
        frames: (V, H, W, 3) uint8 RGB, V >= 1.
        track: (V, 5) rows of ``face_track``, or None to measure whole frames.
        small: :func:`small_frames` of the frames, if they are computed already.
    """
    copies = small_frames(frames) if small is None else small
    scenery = _scenery(track, frames.shape, len(copies))  # (V, SIDE, SIDE) bool
    some = np.linspace(0, len(copies) - 1, min(len(copies), MOST_COLOUR_FRAMES))
    chosen = some.round().astype(int)
    pictures = copies[chosen].astype(np.float32) / 255.0
    seen = scenery[chosen]
    value = pictures.max(axis=-1).astype(np.float64)
    chroma = value - pictures.min(axis=-1)  # saturation times value
    hues = np.stack([cv2.cvtColor(p, cv2.COLOR_RGB2HSV)[..., 0] for p in pictures])
    light = np.stack([cv2.cvtColor(p, cv2.COLOR_RGB2LAB)[..., 0] for p in pictures]) / 100.0

    lightness = light[seen].astype(np.float64)
    weight, angle = chroma[seen], np.deg2rad(hues[seen].astype(np.float64))
    total = float(weight.sum())
    across, up = float((weight * np.cos(angle)).sum()), float((weight * np.sin(angle)).sum())
    degrees = np.rad2deg(angle)
    bins = np.floor((degrees + 15.0) / 30.0).astype(int) % HUE_BINS
    shares = np.bincount(bins, weights=weight, minlength=HUE_BINS) / max(total, 1e-9)
    warm = weight[(degrees >= 330.0) | (degrees <= 75.0)].sum()
    cool = weight[(degrees >= 150.0) & (degrees <= 285.0)].sum()
    return FrameAttributes(
        hue_deg=float(np.rad2deg(np.arctan2(up, across)) % 360.0),
        hue_concentration=float(np.hypot(across, up) / max(total, 1e-9)),
        lightness=float(lightness.mean()),
        saturation=total / max(float(value[seen].sum()), 1e-9),
        chroma=total / weight.size,
        contrast=float(lightness.std()),
        colourfulness=_colourfulness(pictures[seen].astype(np.float64)),
        detail=_detail(light, seen),
        light_from_above=_light_from_above(light, seen),
        warm_share=float(warm) / max(total, 1e-9),
        cool_share=float(cool) / max(total, 1e-9),
        motion=_motion(copies, scenery),
        lightness_trend=_trend(light, seen),
        hue_shares=tuple(float(share) for share in shares),
    )


def hue_family(attributes: FrameAttributes) -> str:
    """Return the common name of the mean hue, or ``grey`` if there is hardly any colour."""
    if attributes.chroma < GREY_BELOW:
        return "grey"
    return next(name for bound, name in HUE_FAMILIES if attributes.hue_deg <= bound)


class Affect(NamedTuple):
    """Pleasure and arousal of a colour, each about -1 to 1."""

    pleasure: float
    arousal: float


def colour_affect(attributes: FrameAttributes) -> Affect:
    """Compute pleasure and arousal by Valdez & Mehrabian's regression.

    Pleasure = .69 B + .22 S; arousal = -.31 B + .60 S, with brightness B and saturation S scaled
    to -1 to 1.
    """
    brightness, saturation = 2 * attributes.lightness - 1, 2 * attributes.saturation - 1
    return Affect(
        pleasure=0.69 * brightness + 0.22 * saturation,
        arousal=-0.31 * brightness + 0.60 * saturation,
    )


def _scenery(track: FloatArray | None, shape: tuple[int, ...], count: int) -> NDArray[np.bool_]:
    """(V, 64, 64) True where the frame shows no person: outside head, hair and body."""
    seen = np.ones((count, SIDE, SIDE), dtype=bool)
    if track is None:
        return seen
    boxes = np.asarray(track, dtype=np.float64)[:, :4]
    for shares in (WITH_BODY, HEAD_ONLY):
        seen[:] = True
        for part in shares:
            for mask, (top, bottom, left, right) in zip(
                seen, _cells(part, boxes, shape), strict=True
            ):
                mask[top:bottom, left:right] = False
        if seen.mean(axis=(1, 2)).min() >= LEAST_SCENERY:
            return seen
    return np.ones_like(seen)  # an extreme close-up: measure the whole frame


def _cells(part: Part, boxes: Floats, shape: tuple[int, ...]) -> list[list[int]]:
    """Top, bottom, left, right of a part of the person in the 64 x 64 copy, for each box."""
    x, y, w, h = boxes.T
    rows = [(y + part[1] * h) / shape[1], (y + part[3] * h) / shape[1]]
    columns = [(x + part[0] * w) / shape[2], (x + part[2] * w) / shape[2]]
    edges = np.clip(np.stack([*rows, *columns], axis=1) * SIDE, 0, SIDE)  # (V, 4)
    cells: list[list[int]] = edges.round().astype(int).tolist()
    return cells


def _colourfulness(pixels: Floats) -> float:
    red, green, blue = pixels.T * 255.0
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    offset = np.hypot(red_green.mean(), yellow_blue.mean())
    return float(spread + 0.3 * offset) / 100.0


def _detail(light: Floats, seen: NDArray[np.bool_]) -> float:
    sideways = np.abs(np.diff(light, axis=2))[seen[:, :, 1:] & seen[:, :, :-1]]
    return float(sideways.mean()) if sideways.size else 0.0


def _light_from_above(light: Floats, seen: NDArray[np.bool_]) -> float:
    half = SIDE // 2
    upper, lower = light[:, :half][seen[:, :half]], light[:, half:][seen[:, half:]]
    return float(upper.mean()) - float(lower.mean()) if upper.size and lower.size else 0.0


def _trend(light: Floats, seen: NDArray[np.bool_]) -> float:
    third = len(light) // 3
    if third == 0:
        return 0.0
    first, last = light[:third][seen[:third]], light[-third:][seen[-third:]]
    return float(last.mean()) - float(first.mean())


def _motion(copies: ByteArray, scenery: NDArray[np.bool_]) -> float:
    if len(copies) < 2:
        return 0.0
    grey = np.stack([cv2.cvtColor(copy, cv2.COLOR_RGB2GRAY) for copy in copies]).astype(np.float32)
    still = scenery[1:] & scenery[:-1]
    steps = np.abs(np.diff(grey, axis=0))[still]
    return float(steps.mean()) / 255.0 if steps.size else 0.0
