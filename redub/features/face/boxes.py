"""Read face boxes that the user drew, for footage where detectors fail, as in animation.

Each CSV file has a header and one row per box::

    clip_id,frame,x,y,w,h
    film/scene_1/3,0,412,96,180,210
    film/scene_1/3,40,430,99,182,214

``frame`` counts video frames of the clip from 0 (25 per second). ``x, y`` is the left upper corner
of the box and ``w, h`` its size, in pixels of the decoded frame. With the optional columns
``width,height`` they are in pixels of a frame of that size, and are scaled. Other columns are
allowed and ignored. Letters: V video frames.
"""

from __future__ import annotations

import csv
import io
import math
import reprlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from redub.core.errors import ClipError
from redub.core.types import FloatArray
from redub.features.face.detector import Box, recorded_score
from redub.features.weights.folder import WeightFolder

KIND = "face_boxes"
WANTED = ("clip_id", "frame", "x", "y", "w", "h")
FRAME_SIZE = ("width", "height")
FRAME_DIGITS = 9  # a year at 25 per second
FURTHEST = 1_000_000  # pixels; no frame is so large, and sums with it stay exact

_SHORT = reprlib.Repr()  # messages quote only the start of a long cell
_SHORT.maxstring = 60


class GivenBox(NamedTuple):
    """One row of a file, with its place for messages."""

    frame: int
    x: float
    y: float
    w: float
    h: float
    frame_size: tuple[float, float] | None  # frame width and height that the box refers to
    place: str  # "boxes.csv line 7"


class UserBoxes:
    """All boxes of one entry of the ledger.

    Attributes:
        by_clip: clip id → boxes in order of their frames.
    """

    def __init__(self, weights: WeightFolder) -> None:
        """Read every CSV file of the entry.

        Raises:
            ModelRefusedError: E-MODEL-BOXES, with the file and line of wrong rows.
        """
        given: dict[str, dict[int, GivenBox]] = {}
        wrong: list[str] = []
        for name in sorted(weights.files):
            for clip_id, box in _read(weights, name, wrong):
                boxes = given.setdefault(clip_id, {})
                if box.frame in boxes:
                    first = boxes[box.frame].place
                    again = f"frame {box.frame} of {_SHORT.repr(clip_id)} again ({first})"
                    wrong.append(f"{box.place}: {again}")
                boxes.setdefault(box.frame, box)
        if wrong:
            more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
            raise weights.refused("; ".join(wrong[:3]) + more, code="E-MODEL-BOXES")
        self.by_clip: Mapping[str, list[GivenBox]] = {
            clip_id: [boxes[frame] for frame in sorted(boxes)] for clip_id, boxes in given.items()
        }

    def rows(self, clip_id: str, count: int, size: tuple[int, int]) -> FloatArray | None:
        """Compute a box for every frame of a clip.

        Args:
            count: V, the number of frames.
            size: width and height of the decoded frame.

        Returns:
            (V, 5) float32 rows like those of ``face_track``; None if the clip has no boxes. Between
            given frames boxes are interpolated linearly, also across a cut. Before the first and
            after the last given frame the box does not change.

        Raises:
            ClipError: E-FEAT-BOXES, a frame number beyond the clip, or a box whose middle lies
                outside the frame.
        """
        given = self.by_clip.get(clip_id)
        if given is None:
            return None
        boxes = [_placed(box, count, size) for box in given]
        rows = np.zeros((count, 5), dtype=np.float64)
        at = [box.frame for box in given]
        for column, values in enumerate(zip(*(box[:4] for box in boxes), strict=True)):
            rows[:, column] = np.interp(np.arange(count), at, values)
        rows[at, 4] = [recorded_score(box) for box in boxes]
        return rows.astype(np.float32)


def _placed(given: GivenBox, count: int, size: tuple[int, int]) -> Box:
    if given.frame >= count:
        raise ClipError(
            f"{given.place}: frame {given.frame}, but the clip's frames are 0 to {count - 1}",
            code="E-FEAT-BOXES",
        )
    drawn = given.frame_size or size
    across, down = size[0] / drawn[0], size[1] / drawn[1]
    x, y, w, h = given.x * across, given.y * down, given.w * across, given.h * down
    if not (0 <= x + w / 2 <= size[0] and 0 <= y + h / 2 <= size[1]):
        raise ClipError(
            f"{given.place}: the box's middle ({x + w / 2:.0f}, {y + h / 2:.0f}) lies outside "
            f"the {size[0]} x {size[1]} frame; if it was drawn on another size, add the columns "
            "width,height",
            code="E-FEAT-BOXES",
        )
    return Box(x, y, w, h, 1.0, "user boxes")


def _read(weights: WeightFolder, name: str, wrong: list[str]) -> Iterator[tuple[str, GivenBox]]:
    """Yield the valid rows of one file; append a message for each other row to ``wrong``."""
    text = weights.text(name).removeprefix("\ufeff")  # spreadsheets write a byte order mark
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        header = [cell.strip() for cell in next(reader, [])]
        missing = [column for column in WANTED if column not in header]
        if missing or (len(set(FRAME_SIZE) & set(header)) == 1) or len(set(header)) < len(header):
            wrong.append(
                f"{name} line 1: the header is {_SHORT.repr(','.join(header))}, wanted "
                f"{','.join(WANTED)} and optionally {','.join(FRAME_SIZE)}"
            )
            return
        for cells in reader:
            place = f"{name} line {reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                wrong.append(f"{place}: {len(cells)} columns, wanted {len(header)}")
                continue
            row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            try:
                yield row["clip_id"], _given(row, place)
            except ValueError as error:
                wrong.append(f"{place}: {error}")
    except csv.Error as error:
        wrong.append(f"{name} line {reader.line_num}: {error}")


def _given(row: Mapping[str, str], place: str) -> GivenBox:
    """Parse one row; raises ValueError that says what is wrong in a cell."""
    if not row["clip_id"]:
        raise ValueError("clip_id is empty")
    frame = row["frame"]
    if not (frame.isascii() and frame.isdigit()):
        raise ValueError(f"frame is {_SHORT.repr(frame)}, wanted a whole number from 0")
    if len(frame) > FRAME_DIGITS:
        raise ValueError(
            f"frame is {_SHORT.repr(frame)}, wanted a number of at most {FRAME_DIGITS} digits"
        )
    x, y, w, h = (_number(row, column) for column in ("x", "y", "w", "h"))
    frame_size = None
    if FRAME_SIZE[0] in row:
        frame_size = (_number(row, "width"), _number(row, "height"))
    for column, size in (("w", w), ("h", h)):
        if size <= 0:
            raise ValueError(f"{column} is {_SHORT.repr(row[column])}, wanted above 0")
    for column, size in zip(FRAME_SIZE, frame_size, strict=True) if frame_size else ():
        if size < 1:  # a tiny frame size would scale its boxes to infinity
            raise ValueError(f"{column} is {_SHORT.repr(row[column])}, wanted at least 1")
    return GivenBox(int(frame), x, y, w, h, frame_size, place)


def _number(row: Mapping[str, str], column: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not abs(value) <= FURTHEST:  # also true for NaN
        wanted = f"at most {FURTHEST} pixels" if math.isfinite(value) else "a number"
        raise ValueError(f"{column} is {_SHORT.repr(row[column])}, wanted {wanted}")
    return value
