"""Draw the characters of the demo film with OpenCV.

Shapes are polygons in head units: the origin lies between eyes and mouth, 1 is half the width of a
head, y points down. A :class:`Pen` draws them on the canvas with sub-pixel accuracy.
Letters: H and W frame height and width.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from redub.core.types import ByteArray
from redub.footage.demo_film.face import Expression

Colour = tuple[int, int, int]
Points = NDArray[np.float64]
SHIFT = 4  # polygon corners are given in 1/16 pixel


def hsl(hue_deg: float, saturation: float, lightness: float) -> Colour:
    """Convert hue (degrees), saturation and lightness to RGB; the last two are clipped to 0–1."""
    s, lum = min(max(saturation, 0.0), 1.0), min(max(lightness, 0.0), 1.0)
    red, green, blue = colorsys.hls_to_rgb(hue_deg % 360 / 360, lum, s)
    return round(red * 255), round(green * 255), round(blue * 255)


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """Mix two colours linearly; ``share`` 0 gives ``one``, 1 gives ``other``."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _ring(count: int) -> Points:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


RING = _ring(28)


def oval(x: float, y: float, rx: float, ry: float) -> Points:
    """Return the (28, 2) corners of an upright ellipse."""
    points: Points = RING * (rx, ry) + (x, y)
    return points


class Stroke(NamedTuple):
    """A shape in head units: filled, or a line where ``width`` is above 0."""

    points: Points
    colour: Colour
    width: float


class Sheet:
    """Shapes in head units, in the order in which they cover each other."""

    def __init__(self) -> None:
        self.strokes: list[Stroke] = []

    def fill(self, points: Points, colour: Colour) -> None:
        self.strokes.append(Stroke(points, colour, 0.0))

    def line(self, points: Points, colour: Colour, width: float) -> None:
        """A stroke ``width`` head units wide, at least one pixel."""
        self.strokes.append(Stroke(points, colour, width))


class Pen(Sheet):
    """Puts a sheet's shapes onto a picture; :meth:`paint` draws what was collected."""

    def __init__(self, canvas: ByteArray, x: float, y: float, unit: float, roll: float) -> None:
        super().__init__()
        self.canvas = canvas
        cos, sin = unit * np.cos(roll), unit * np.sin(roll)
        self.turn = np.array([[cos, sin], [-sin, cos]])
        self.origin = np.array([x, y])
        self.unit = unit

    def place(self, points: Points) -> Points:
        """Convert (n, 2) points from head units to pixels."""
        x, y = points[:, :1], points[:, 1:]
        placed: Points = x * self.turn[0] + y * self.turn[1] + self.origin
        return placed

    def paint(self) -> None:
        """Draw the shapes, all of them placed at once, and forget them."""
        strokes, self.strokes = self.strokes, []
        placed = self.place(np.concatenate([stroke.points for stroke in strokes]))
        corners = np.round(placed * (1 << SHIFT)).astype(np.int32)
        first = 0
        for points, colour, width in strokes:
            shape = corners[first : first + len(points)]
            first += len(points)
            if width:
                pixels = max(1, round(width * self.unit))
                cv2.polylines(self.canvas, [shape], False, colour, pixels, cv2.LINE_AA, SHIFT)
            else:
                cv2.fillPoly(self.canvas, [shape], colour, cv2.LINE_AA, SHIFT)


@lru_cache(maxsize=1024)
def _drawn(draw: Callable[..., None], *looks: Hashable) -> tuple[Stroke, ...]:
    """The shapes of a part that is the same in most pictures of a shot."""
    sheet = Sheet()
    draw(sheet, *looks)
    return tuple(sheet.strokes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A character's appearance; ``hair`` is "bald" or a key of :data:`FRINGES`."""

    skin: Colour
    hair_colour: Colour
    hair: str
    shirt: Colour
    eyes: Colour
    lips: Colour
    head_width: float = 1.0
    jaw: float = 0.8
    eye_size: float = 1.0
    nose: float = 1.0
    glasses: bool = False
    moustache: bool = False
    beard: bool = False
    lashes: bool = False
    freckles: bool = False


class Landmarks(NamedTuple):
    """Positions of the face and its parts in the frame, in pixels (x, y)."""

    box: tuple[float, float, float, float]  # x, y, width, height of the face without hair
    left_eye: tuple[float, float]
    right_eye: tuple[float, float]
    nose: tuple[float, float]
    mouth_left: tuple[float, float]
    mouth_right: tuple[float, float]
    lip_top: tuple[float, float]  # inner edge
    lip_bottom: tuple[float, float]  # inner edge
    chin: tuple[float, float]


DARK: Colour = (38, 24, 24)
WHITE: Colour = (250, 248, 244)
ACROSS = np.linspace(-1, 1, 13)


@lru_cache(maxsize=64)
def _still_outline(look: Look) -> tuple[Points, Points, Points]:
    """The skull (18, 2), and of the jaw x (18,) and how much of the chin's height it reaches."""
    upper = np.linspace(np.pi, 2 * np.pi, 18)
    skull = np.stack([np.cos(upper) * look.head_width, -0.05 + np.sin(upper) * 1.22], axis=1)
    lower = np.linspace(0, np.pi, 20)[1:-1]
    bulge = np.sign(np.cos(lower)) * np.abs(np.cos(lower)) ** look.jaw
    return skull, bulge * look.head_width, np.sin(lower)


def _outline(look: Look, drop: float) -> Points:
    """The head without hair: a skull arc above, a jaw that follows the mouth below."""
    skull, across, reach = _still_outline(look)
    chin_y = 1.22 + drop
    jaw = np.stack([across, -0.05 + reach * (chin_y + 0.05)], axis=1)
    return np.concatenate([skull, jaw])


def _hair_behind(pen: Sheet, look: Look) -> None:
    colour = mixed(look.hair_colour, (0, 0, 0), 0.25)
    if look.hair == "long":
        pen.fill(oval(0, -0.1, 1.28 * look.head_width, 1.42), colour)
        side = np.array([[-1.28, -0.1], [1.28, -0.1], [1.2, 1.75], [-1.2, 1.75]])
        pen.fill(side * (look.head_width, 1), colour)
    elif look.hair == "bob":
        pen.fill(oval(0, -0.05, 1.3 * look.head_width, 1.4), colour)
        pen.fill(oval(-0.95 * look.head_width, 0.55, 0.4, 0.55), colour)
        pen.fill(oval(0.95 * look.head_width, 0.55, 0.4, 0.55), colour)
    elif look.hair == "bun":
        pen.fill(oval(0, -1.42, 0.48, 0.4), look.hair_colour)
        pen.fill(oval(0, -0.2, 1.14 * look.head_width, 1.2), colour)
    elif look.hair == "curls":
        for angle in np.linspace(0.95 * np.pi, 2.05 * np.pi, 9):
            x, y = np.cos(angle) * 1.02 * look.head_width, -0.3 + np.sin(angle) * 0.98
            pen.fill(oval(float(x), float(y), 0.36, 0.36), look.hair_colour)


FRINGES = {  # x and y of the hair's lower edge, from right to left
    "short": ((1.0, 0.75, 0.2, -0.35, -0.8, -1.0), (-0.45, -0.72, -0.82, -0.72, -0.8, -0.45)),
    "long": ((1.0, 0.86, 0.3, 0.0, -0.3, -0.86, -1.0), (-0.1, -0.6, -0.92, -1, -0.92, -0.6, -0.1)),
    "bob": ((1.02, 0.88, 0.5, -0.5, -0.88, -1.02), (0.1, -0.5, -0.68, -0.68, -0.5, 0.1)),
    "bun": ((0.98, 0.6, -0.1, -0.7, -0.98), (-0.3, -0.78, -0.92, -0.75, -0.3)),
    "curls": ((0.98, 0.7, 0.25, -0.2, -0.65, -0.98), (-0.4, -0.8, -0.74, -0.86, -0.74, -0.4)),
}


def _hair_front(pen: Sheet, look: Look) -> None:
    width, colour = look.head_width, look.hair_colour
    arc = np.linspace(np.pi * 1.02, np.pi * 1.98, 16)
    crown = np.stack([np.cos(arc) * 1.04 * width, -0.08 + np.sin(arc) * 1.27], axis=1)
    if look.hair == "bald":
        pen.line(
            np.array([[-0.5, -0.98], [-0.2, -1.04], [0.1, -1.05]]),
            mixed(look.skin, WHITE, 0.5),
            0.07,
        )
        return
    fringe = np.array(FRINGES[look.hair]).T * (width, 1)
    pen.fill(np.concatenate([crown, fringe]), colour)


def _eye(pen: Sheet, look: Look, side: int, face: Expression, blink: float) -> None:
    size = look.eye_size
    x, y = side * 0.42 * look.head_width, -0.12
    opening = max(0.19 * size * face.lids * (1 - blink), 0.0)
    # A soft shadow around the eye: face detectors expect eyes to be darker than cheeks.
    pen.fill(oval(x, y - 0.02, 0.34 * size, 0.27 * size), mixed(look.skin, (70, 30, 30), 0.22))
    if opening < 0.035:
        pen.line(np.stack([x + ACROSS * 0.24 * size, y + 0.05 * (1 - ACROSS**2)], 1), DARK, 0.06)
        return
    pen.fill(oval(x, y, 0.25 * size, opening), WHITE)
    pupil_x, pupil_y = x + 0.09 * face.gaze_x, y + 0.05 * face.gaze_y
    radius = 0.135 * size
    iris = oval(pupil_x, pupil_y, radius, min(radius, opening))
    pen.fill(iris, look.eyes)
    pupil = 0.085 * size * face.pupil
    pen.fill(oval(pupil_x, pupil_y, pupil, min(pupil, opening)), DARK)
    pen.fill(oval(pupil_x - 0.045, pupil_y - 0.05, 0.03, min(0.03, opening / 3)), WHITE)
    lid = np.stack([x + ACROSS * 0.27 * size, y - opening * (1 - ACROSS**2) - 0.005], axis=1)
    pen.line(lid, DARK, 0.075)
    if look.lashes:
        end = np.array([[x + side * 0.25 * size, y - 0.02], [x + side * 0.36 * size, y - 0.1]])
        pen.line(end, DARK, 0.05)


def _brow(pen: Sheet, look: Look, side: int, face: Expression) -> None:
    raised = face.brow_raise + side * face.brow_tilt
    inner_y = -0.46 - 0.14 * raised + 0.15 * face.brow_frown
    outer_y = -0.46 - 0.12 * raised - 0.08 * face.brow_frown
    arch = 0.07 + 0.06 * max(raised, 0)
    t = np.linspace(0, 1, 7)
    x = side * (0.16 + 0.54 * t) * look.head_width
    y = inner_y + (outer_y - inner_y) * t - arch * 4 * t * (1 - t)
    thickness = (0.085 - 0.05 * t) * (1.25 if not look.lashes else 0.9)
    above, below = np.stack([x, y - thickness], 1), np.stack([x, y + thickness], 1)
    pen.fill(np.concatenate([above, below[::-1]]), mixed(look.hair_colour, DARK, 0.55))


def _nose(pen: Sheet, look: Look, face: Expression) -> None:
    shade = mixed(look.skin, (120, 50, 40), 0.35)
    lift = -0.05 * face.wrinkle
    tip = np.array([[-0.13, 0.3], [-0.06, 0.37], [0.06, 0.37], [0.13, 0.3]]) * (look.nose, 1)
    tip[:, 1] += lift
    pen.fill(
        np.array([[-0.05, -0.15], [0.05, -0.15], [0.1, 0.3], [-0.1, 0.3]]),
        mixed(look.skin, WHITE, 0.22),
    )
    pen.line(tip, shade, 0.055)
    if face.wrinkle > 0.3:
        for row in (-0.1, 0.0):
            pen.line(np.array([[-0.1, row], [0.0, row + 0.04], [0.1, row]]), shade, 0.035)
        for side in (-1, 1):
            fold = np.array([[0.2, 0.3], [0.4, 0.5], [0.44, 0.68]]) * (side, 1)
            pen.line(fold, shade, 0.04)


class Mouth(NamedTuple):
    """The drawn mouth in head units: half width, half opening, centre y, corner lift, skew."""

    width: float
    opening: float
    y: float
    lift: float
    skew: float


def mouth_shape(face: Expression, viseme: NDArray[np.float32], *, shut: bool) -> Mouth:
    """Combine an expression and a (5,) viseme; ``shut`` closes the lips in any expression."""
    opening, width, rounding = (float(v) for v in viseme[:3])
    opened = 0.0 if shut else min(opening + face.mouth_open, 1.0)
    half = 0.36 * (1 + 0.32 * width + 0.3 * face.mouth_width - 0.2 * rounding)
    return Mouth(half, 0.24 * opened, 0.66 + 0.07 * opened, 0.17 * face.smile, 0.1 * face.skew)


def _draw_mouth(pen: Pen, look: Look, mouth: Mouth, viseme: NDArray[np.float32]) -> None:
    rounding, teeth, tongue = (float(v) for v in viseme[2:])
    x = ACROSS * mouth.width
    dome = 1 - ACROSS**2
    # A smile lifts the corners of the mouth; the middle keeps its place.
    base = mouth.y + mouth.lift * (dome - 0.6) + mouth.skew * ACROSS * 0.8
    round_dome = np.sqrt(dome) * (0.5 + 0.5 * rounding) + dome * (0.5 - 0.5 * rounding)
    top, bottom = base - mouth.opening * 0.8 * round_dome, base + mouth.opening * 1.2 * round_dome
    lip = 0.05 + 0.035 * rounding
    outer_top = top - lip * (0.6 + 0.7 * dome) * (1 - 0.25 * np.exp(-((ACROSS / 0.18) ** 2)))
    outer_bottom = bottom + lip * (0.5 + 1.0 * dome)
    wide = x * 1.06
    rim = np.concatenate([np.stack([wide, outer_top], 1), np.stack([wide, outer_bottom], 1)[::-1]])
    pen.fill(rim, look.lips)
    if mouth.opening < 0.012:
        pen.line(np.stack([x, base], 1), mixed(look.lips, DARK, 0.75), 0.045)
        return
    inner = np.concatenate([np.stack([x, top], 1), np.stack([x, bottom], 1)[::-1]])
    pen.fill(inner, (70, 18, 26))
    gape = bottom - top
    if teeth > 0.15:
        edge = top + np.minimum(gape * 0.45, 0.03 + 0.07 * teeth)
        keep = slice(1, -1)
        strip = [np.stack([x[keep], top[keep] + 0.01], 1), np.stack([x[keep], edge[keep]], 1)[::-1]]
        pen.fill(np.concatenate(strip), WHITE)
    if mouth.opening > 0.05:
        rise = bottom - gape * (0.25 + 0.3 * tongue)
        keep = slice(3, -3)
        strip = [np.stack([x[keep], rise[keep]], 1), np.stack([x[keep], bottom[keep]], 1)[::-1]]
        pen.fill(np.concatenate(strip), (206, 92, 98))


def _forehead(pen: Sheet, look: Look, face: Expression) -> None:
    shade = mixed(look.skin, (120, 50, 40), 0.3)
    if face.brow_frown > 0.6:
        pen.line(np.array([[-0.05, -0.42], [-0.04, -0.58]]), shade, 0.04)
        pen.line(np.array([[0.05, -0.42], [0.04, -0.58]]), shade, 0.04)
    if face.brow_raise > 0.8:
        for row in (-0.78, -0.7):
            pen.line(np.stack([ACROSS * 0.35, row - 0.03 * (1 - ACROSS**2)], 1), shade, 0.03)


def _extras(pen: Pen, look: Look, face: Expression, mouth: Mouth) -> None:
    shade = mixed(look.skin, (120, 50, 40), 0.3)
    for side in (-1, 1):
        if face.blush:
            pen.fill(oval(side * 0.6, 0.33, 0.2, 0.11), mixed(look.skin, (235, 90, 100), 0.35))
        if look.freckles:
            for dx, dy in ((0.5, 0.2), (0.6, 0.27), (0.7, 0.2), (0.58, 0.14)):
                pen.fill(oval(side * dx, dy, 0.022, 0.022), shade)
    if face.tear:
        pen.fill(oval(0.5, 0.22, 0.055, 0.11), (150, 205, 250))
    if face.sweat:
        pen.fill(oval(-0.78, -0.5, 0.06, 0.12), (165, 215, 250))
    if look.moustache:
        hair = mixed(look.hair_colour, DARK, 0.2)
        lower = np.stack([ACROSS * 0.42, mouth.y - mouth.opening * 0.8 - 0.1 + 0.05 * ACROSS**2], 1)
        upper = np.stack([ACROSS * 0.32, 0.44 + 0.07 * ACROSS**2], 1)
        pen.fill(np.concatenate([upper, lower[::-1]]), hair)
    if look.glasses:
        for side in (-1, 1):
            frame = oval(side * 0.42 * look.head_width, -0.1, 0.36, 0.32)
            pen.line(np.concatenate([frame, frame[:1]]), (110, 84, 76), 0.035)
        pen.line(np.array([[-0.08, -0.14], [0.08, -0.14]]), (110, 84, 76), 0.035)


def draw_character(
    canvas: ByteArray,
    look: Look,
    face: Expression,
    viseme: NDArray[np.float32],
    *,
    shut: bool,
    blink: float,
    sway: NDArray[np.float32],
    camera: tuple[float, float, float],
) -> Landmarks:
    """Draw one character into ``canvas`` (H, W, 3) RGB.

    Args:
        viseme: (5,) a :class:`~redub.footage.demo_film.face.Viseme`; ``shut`` closes the lips.
        sway: (4,) as in :class:`~redub.footage.demo_film.face.Motion`.
        camera: x, y of the head's centre and half its width, as fractions of the frame width.

    Returns:
        The positions of the drawn face and its parts.
    """
    size = canvas.shape[1]
    unit = camera[2] * size * float(sway[3])
    x = camera[0] * size + float(sway[0]) * unit
    y = camera[1] * size + float(sway[1]) * unit
    body = Pen(canvas, camera[0] * size + 0.4 * float(sway[0]) * unit, camera[1] * size, unit, 0.0)
    pen = Pen(canvas, x, y, unit, float(sway[2]))
    mouth = mouth_shape(face, viseme, shut=shut)
    drop = 0.55 * mouth.opening
    pen.strokes += _drawn(_hair_behind, look)
    if pen.strokes:  # bald heads have no hair behind
        pen.paint()
    _draw_body(body, look)
    for side in (-1, 1):
        pen.fill(
            oval(side * 1.0 * look.head_width, 0.05, 0.17, 0.26),
            mixed(look.skin, (150, 60, 50), 0.2),
        )
    outline = _outline(look, drop)
    pen.fill(outline, look.skin)
    if look.beard:
        low = outline[outline[:, 1] > 0.25]
        cheek = np.array([[-0.55, 0.42], [0.0, 0.4], [0.55, 0.42]]) * (look.head_width, 1)
        pen.fill(np.concatenate([low, cheek]), mixed(look.hair_colour, look.skin, 0.1))
    else:
        pen.fill(oval(0, 0.98 + drop, 0.22, 0.1), mixed(look.skin, WHITE, 0.15))
    pen.strokes += _drawn(_nose, look, face)
    for side in (-1, 1):
        pen.strokes += _drawn(_eye, look, side, face, blink)
        pen.strokes += _drawn(_brow, look, side, face)
    pen.strokes += _drawn(_forehead, look, face)
    pen.strokes += _drawn(_hair_front, look)
    _draw_mouth(pen, look, mouth, viseme)
    _extras(pen, look, face, mouth)
    pen.paint()
    return _landmarks(pen, look, mouth, outline)


def _draw_body(body: Pen, look: Look) -> None:
    """Draw neck, shoulders and collar."""
    neck = mixed(look.skin, (90, 40, 30), 0.25)
    body.fill(np.array([[-0.42, 0.7], [0.42, 0.7], [0.5, 1.9], [-0.5, 1.9]]), neck)
    shoulders = np.array(
        [[-0.45, 1.55], [0.45, 1.55], [1.35, 1.85], [1.7, 3.2], [-1.7, 3.2], [-1.35, 1.85]]
    )
    body.fill(shoulders, look.shirt)
    body.fill(np.array([[-0.45, 1.54], [0.0, 1.95], [0.45, 1.54]]), neck)
    body.paint()


def _landmarks(pen: Pen, look: Look, mouth: Mouth, outline: Points) -> Landmarks:
    corner = mouth.y - 0.6 * mouth.lift
    marks = np.array([
        [-0.42 * look.head_width, -0.12], [0.42 * look.head_width, -0.12], [0.0, 0.33],
        [-mouth.width, corner - 0.8 * mouth.skew], [mouth.width, corner + 0.8 * mouth.skew],
        [0.0, mouth.y + 0.4 * mouth.lift - 0.8 * mouth.opening],
        [0.0, mouth.y + 0.4 * mouth.lift + 1.2 * mouth.opening],
        [0.0, outline[:, 1].max()],
    ])  # fmt: skip
    placed = [(round(float(px), 2), round(float(py), 2)) for px, py in pen.place(marks)]
    skin = pen.place(outline[outline[:, 1] > -0.8])
    low, high = skin.min(axis=0), skin.max(axis=0)
    width, height = high - low
    box = tuple(round(float(v), 2) for v in (low[0], low[1], width, height))
    return Landmarks((box[0], box[1], box[2], box[3]), *placed)
