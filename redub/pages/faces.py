"""The contact sheet of faces: what the face and lip extractors were fed, clip by clip.

One self-contained HTML file without any script: no request leaves it. It works by keyboard and on
a phone, and follows the reader's light or dark setting.
Letters: H and W picture height and width.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
from markupsafe import Markup

from redub.core.types import ByteArray, FloatArray
from redub.pages.contents import QuarantineRow, Table
from redub.pages.figures import number
from redub.pages.media import data_address, poster_jpeg
from redub.pages.templating import asset, templates

FED_SIDE = 96  # pixels that a fed picture is shown at; larger ones are scaled down


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """One picture as an extractor got it: (H, W, 3) RGB or (H, W) grey, uint8."""

    label: str
    picture: ByteArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One sampled frame.

    frame: (H, W, 3) uint8 RGB as decoded. box: x, y, w, h in its pixels, or None. found_by: the
    detector; empty where the box is interpolated or held. landmarks: (68, 2) in its pixels.
    """

    number: int
    time_s: float
    frame: ByteArray
    box: tuple[float, float, float, float] | None = None
    found_by: str = ""
    landmarks: FloatArray | None = None
    fed: tuple[Fed, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceClip:
    """One clip. ``trouble``: (feature, why it has no value); ``look``: why it is worth a look."""

    clip_id: str
    text: str = ""
    speaker: str = ""
    face_source: str = ""
    mouth_source: str = ""
    moments: tuple[Moment, ...] = ()
    trouble: tuple[tuple[str, str], ...] = ()
    look: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceSheet:
    """The whole page; empty parts are left out. ``created``: already formatted."""

    title: str
    project: str
    created: str
    summary: str = ""
    clips: tuple[FaceClip, ...] = ()
    counts: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    absent: tuple[Table, ...] = ()
    quarantine: tuple[QuarantineRow, ...] = ()


def render_faces(sheet: FaceSheet) -> str:
    """Draw the page.

    Returns:
        A complete HTML document (UTF-8, no external address, no script). The same sheet gives the
        same text.
    """
    body = (
        templates()
        .get_template("faces.html")
        .render(
            sheet=sheet,
            style=asset("report.css") + asset("faces.css"),
            frame=lambda moment: Markup(data_address(poster_jpeg(moment.frame), "image/jpeg")),
            fed_picture=lambda fed: Markup(data_address(_fed_png(fed.picture), "image/png")),
            number=number,
            outline=outline,
            place=lambda value: f"{value:.1f}",
        )
    )
    return str(body).lstrip()


def outline(moment: Moment) -> str:
    """Box and landmarks in words, for those who do not see them."""
    if moment.box is None:
        said = "no face box"
    else:
        x, y, w, h = (round(value) for value in moment.box)
        who = f"found by {moment.found_by}" if moment.found_by else "between two found ones"
        said = f"face box {who}, {w} by {h} pixels at {x}, {y}"
    points = ", with landmarks" if moment.landmarks is not None else ""
    return f"frame {moment.number}: {said}{points}"


def _fed_png(picture: ByteArray) -> bytes:
    """As it is, to the pixel, unless it is larger than it will be shown."""
    shrink = min(1.0, FED_SIDE / max(picture.shape[:2]))
    if shrink < 1.0:
        size = [max(1, round(side * shrink)) for side in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    shown = picture if picture.ndim == 2 else picture[:, :, ::-1]
    _, encoded = cv2.imencode(".png", shown)
    return bytes(encoded)
