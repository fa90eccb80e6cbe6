"""Draw the background: a colour gradient and props in the light of an emotion.

The light is a cue of the emotion: its hue, saturation and lightness depend on the emotion. The
place (room, park, street, hall) and the layout of the props do not.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from redub.core.types import ByteArray
from redub.footage.demo_film.picture import Colour, Pen, Points, hsl, mixed, oval


class Light(NamedTuple):
    """The light of an emotion: hue in degrees, saturation and lightness 0–1."""

    hue_deg: float
    saturation: float
    lightness: float


LIGHTS: dict[str, Light] = {
    "angry": Light(4.0, 0.78, 0.36),
    "disgust": Light(82.0, 0.60, 0.40),
    "fear": Light(268.0, 0.45, 0.17),
    "happy": Light(48.0, 0.88, 0.66),
    "neutral": Light(35.0, 0.10, 0.58),
    "sad": Light(217.0, 0.45, 0.33),
    "surprise": Light(318.0, 0.75, 0.68),
    "others": Light(174.0, 0.55, 0.50),
}

PLACES = ("room", "park", "street", "hall")


def jittered(light: Light, rng: np.random.Generator) -> Light:
    """Draw a random variation of a light, for one shot."""
    hue, saturation, lightness = rng.normal(0, 1, 3)
    return Light(
        light.hue_deg + 7 * hue,
        float(np.clip(light.saturation + 0.06 * saturation, 0.04, 1.0)),
        float(np.clip(light.lightness + 0.04 * lightness, 0.1, 0.85)),
    )


def _gradient(height: int, width: int, top: Colour, bottom: Colour) -> ByteArray:
    share = np.linspace(0, 1, height)[:, None, None]
    column = np.array(top) + (np.array(bottom) - np.array(top)) * share  # (H, 1, 3)
    picture: ByteArray = np.round(column).astype(np.uint8).repeat(width, axis=1)
    return picture


def _box(left: float, top: float, right: float, bottom: float) -> Points:
    """The corners of an upright rectangle."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _room(pen: Pen, shade: Colour, bright: Colour, shift: float) -> None:
    pen.fill(_box(-0.95 + shift, -0.9, -0.35 + shift, -0.1), shade)
    for x in (-0.9 + shift, -0.62 + shift):
        pen.fill(_box(x, -0.84, x + 0.22, -0.16), bright)
    pen.fill(_box(0.6 + shift, -0.8, 0.95 + shift, -0.35), shade)
    pen.fill(_box(0.65 + shift, -0.75, 0.9 + shift, -0.4), bright)
    pen.fill(_box(-1.2, 0.75, 1.2, 1.1), shade)


def _park(pen: Pen, shade: Colour, bright: Colour, shift: float) -> None:
    pen.fill(oval(0.7 + shift, -0.7, 0.2, 0.2), bright)
    for x, y, radius in ((-0.9, 0.9, 0.75), (0.2, 1.05, 0.8), (1.1, 0.85, 0.7)):
        pen.fill(oval(x + shift, y, radius, 0.55), shade)
    pen.fill(_box(-0.84 + shift, -0.2, -0.72 + shift, 0.6), shade)
    pen.fill(oval(-0.78 + shift, -0.4, 0.26, 0.36), mixed(shade, bright, 0.25))


def _street(pen: Pen, shade: Colour, bright: Colour, shift: float) -> None:
    for x, top in ((-1.05, -0.55), (-0.62, -0.8), (0.5, -0.65), (0.9, -0.9)):
        pen.fill(_box(x + shift, top, x + 0.38 + shift, 1.1), shade)
        for row in range(3):
            for column in (0.06, 0.22):
                left, upper = x + column + shift, top + 0.1 + 0.28 * row
                pen.fill(_box(left, upper, left + 0.1, upper + 0.14), bright)


def _hall(pen: Pen, shade: Colour, bright: Colour, shift: float) -> None:
    for x in (-0.95 + shift, -0.6 + shift, 0.48 + shift, 0.83 + shift):
        pen.fill(_box(x, -0.8, x + 0.16, 0.95), shade)
        pen.fill(_box(x - 0.04, -0.86, x + 0.2, -0.74), bright)
    pen.fill(_box(-1.2, -1.1, 1.2, -0.9), shade)


PAINTERS = {"room": _room, "park": _park, "street": _street, "hall": _hall}


def paint_place(place: str, light: Light, shift: float, *, height: int, width: int) -> ByteArray:
    """Paint a background without a character.

    Args:
        place: one of :data:`PLACES`.
        shift: moves the props sideways, in half frame widths.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    hue, saturation, lightness = light
    top = hsl(hue, saturation, lightness + 0.09)
    bottom = hsl(hue + 12, saturation, lightness - 0.07)
    canvas = _gradient(height, width, top, bottom)
    shade = hsl(hue - 8, saturation * 0.9, lightness * 0.72)
    bright = hsl(hue + 8, saturation, min(lightness + 0.16, 0.9))
    pen = Pen(canvas, width / 2, height / 2, width / 2, 0.0)
    PAINTERS[place](pen, shade, bright, shift)
    pen.paint()
    softened: ByteArray = cv2.GaussianBlur(canvas, (0, 0), width / 160).astype(np.uint8)
    return softened
