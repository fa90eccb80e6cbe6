"""Contact sheet of faces: the input of the face and lip extractors, for every clip.

One self-contained HTML file without scripts and network requests. It works with the keyboard and on
a phone, and follows the browser's light or dark setting.

Letters: H and W image height and width.
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

FED_SIDE = 96  # pixels; larger input images are scaled down


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """One input image of an extractor: (H, W, 3) RGB or (H, W) grey, uint8."""

    label: str
    picture: ByteArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One sampled video frame.

    frame: (H, W, 3) uint8 RGB as decoded. box: x, y, w, h in pixels of the frame, or None.
    found_by: the detector; empty where the box is interpolated or repeated. landmarks: (68, 2) in
    pixels of the frame. fed: the extractor inputs made from this frame.
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
    """One clip. ``trouble``: (feature, why it has no value). ``look``: why to check this clip."""

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
    """The whole page; empty parts are omitted. ``created``: a time stamp, already formatted."""

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
    """Render the page.

    Returns:
        A complete HTML document (UTF-8, no external addresses, no script). The same sheet gives the
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
    """Describe box and landmarks in words, as alternative text of the frame."""
    if moment.box is None:
        text = "no face box"
    else:
        x, y, w, h = (round(value) for value in moment.box)
        origin = f"found by {moment.found_by}" if moment.found_by else "interpolated or repeated"
        text = f"face box {origin}, {w} by {h} pixels at {x}, {y}"
    points = ", with landmarks" if moment.landmarks is not None else ""
    return f"frame {moment.number}: {text}{points}"


def _fed_png(picture: ByteArray) -> bytes:
    """Encode an image as PNG, scaled down if it is larger than its size on the page."""
    shrink = min(1.0, FED_SIDE / max(picture.shape[:2]))
    if shrink < 1.0:
        size = [max(1, round(side * shrink)) for side in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    shown = picture if picture.ndim == 2 else picture[:, :, ::-1]
    _, encoded = cv2.imencode(".png", shown)
    return bytes(encoded)
