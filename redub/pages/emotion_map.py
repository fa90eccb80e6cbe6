"""The emotion map: the library drawn flat, every clip a point that plays, and what is missing.

One self-contained HTML file: no request leaves it and only its own script runs. Points are coloured
and shaped alike, so that nothing is said by colour alone. Without the script the first colouring,
the legend's counts and the holes are still there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
from markupsafe import Markup

from redub.core.types import EMOTIONS, ByteArray, Waveform
from redub.pages.figures import number
from redub.pages.media import data_address, encode_sound, poster_jpeg
from redub.pages.spelling import visible
from redub.pages.templating import asset, templates

WIDTH = 720.0  # of the drawing, in its own units; about one pixel on a desk
MARGIN = 26.0
FLATTEST, TALLEST = 0.62, 0.95  # height of the drawing by its width
STACK_STEP = 5.0  # units between clips that lie in the same place
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))

SLOTS = 8
OTHER, UNNAMED = 8, 9
"""Colours and shapes 0 to 7 are for the largest groups; grey ones for the rest and for no name."""

EMOTION_SLOTS = dict(zip(EMOTIONS, (4, 2, 3, 6, 7, 0, 1, 5), strict=True))
COLOURINGS = ("emotion", "film", "speaker")

POSTER_SIDE = 176  # pixels of the longer side
SOUND_BITS_PER_S = 24_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPoint:
    """One library clip.

    x, y: place in [-1, 1], y upwards. neighbours: (number of the point, similarity), nearest
    first. poster: JPEG. sound: AAC in MP4. Either is empty where it is not embedded.
    """

    clip_id: str
    x: float
    y: float
    text: str = ""
    speaker: str = ""
    emotion: str = ""
    film: str = ""
    scene: str = ""
    source: str = ""
    start_s: float = 0.0
    end_s: float = 0.0
    neighbours: tuple[tuple[int, float], ...] = ()
    poster: bytes = b""
    sound: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """One thing that is missing, in words and numbers; ``clips``: ids of examples."""

    said: str
    clips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HoleList:
    """Holes of one kind, worst first; ``more``: how many are not listed."""

    title: str
    note: str = ""
    holes: tuple[Hole, ...] = ()
    more: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionMap:
    """The whole page. ``build``: of the index. ``vectors``: what the points are, in words.

    drawn_by: how the picture was made and how far it may be trusted. notes: what is not shown.
    """

    title: str
    project: str
    build: str
    vectors: str
    similarity: str
    points: tuple[MapPoint, ...]
    drawn_by: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    holes: tuple[HoleList, ...] = ()


class Group(NamedTuple):
    """One line of a legend."""

    name: str
    slot: int
    size: int


class Legend(NamedTuple):
    """How one colouring divides the points. ``of``: group number of every point."""

    by: str
    groups: tuple[Group, ...]
    of: tuple[int, ...]


class Dot(NamedTuple):
    """A point on the drawing; ``name`` is what it is called for those who do not see it."""

    x: str
    y: str
    slot: int
    name: str


def render_map(data: EmotionMap) -> str:
    """Draw the page.

    Returns:
        A complete HTML document (UTF-8, no external address). The same data give the same text.
    """
    script = asset("map.js")
    legends = [legend(by, [getattr(p, by) for p in data.points]) for by in COLOURINGS]
    height, places = drawing(data.points)
    dots = [
        Dot(f"{x:.2f}", f"{y:.2f}", legends[0].groups[group].slot, called(point))
        for (x, y), group, point in zip(places, legends[0].of, data.points, strict=True)
    ]
    body = (
        templates()
        .get_template("map.html")
        .render(
            map=data,
            style=asset("report.css") + asset("faces.css") + asset("map.css"),
            script=script,
            script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            clips=_clips_json(data, legends),
            dots=dots,
            height=f"{height:.1f}",
            width=f"{WIDTH:.1f}",
            legends=legends,
            media=list(_media(data.points)),
            number=number,
            numbers={point.clip_id: row for row, point in enumerate(data.points)},
            shapes=SHAPES,
        )
    )
    return str(body).lstrip()


def called(point: MapPoint) -> str:
    """A point in words: the line, and who says it, feeling what, where."""
    said = f"“{point.text}”" if point.text else point.clip_id
    facts = (point.speaker, point.emotion, point.film, point.scene)
    return ", ".join([said, *filter(None, facts)])


def legend(by: str, names: Sequence[str]) -> Legend:
    """Divide points by a name: the eight largest groups, the rest as one, and those without.

    Emotions keep their colours from page to page and stand in the order of ``EMOTIONS``; other
    names are ordered by size, then by name.
    """
    counts = Counter(names)
    unnamed = counts.pop("", 0)
    by_size = sorted(counts, key=lambda name: (-counts[name], name))
    shown, rest = by_size[:SLOTS], by_size[SLOTS:]
    slots = _slots(by, shown)
    if by == "emotion":
        order = {name: place for place, name in enumerate(EMOTIONS)}
        shown.sort(key=lambda name: (order.get(name, len(order)), -counts[name], name))
    groups = [Group(name, slots[name], counts[name]) for name in shown]
    of = {name: place for place, name in enumerate(shown)}
    if rest:
        of |= dict.fromkeys(rest, len(groups))
        said = f"{len(rest)} other {by}s" if len(rest) > 1 else rest[0]
        groups.append(Group(said, OTHER, sum(counts[name] for name in rest)))
    if unnamed:
        of[""] = len(groups)
        groups.append(Group(f"no {by} named", UNNAMED, unnamed))
    return Legend(by, tuple(groups), tuple(of[name] for name in names))


def _slots(by: str, names: Sequence[str]) -> dict[str, int]:
    """A colour and shape for each of at most eight names."""
    slots = {n: EMOTION_SLOTS[n] for n in names if n in EMOTION_SLOTS} if by == "emotion" else {}
    free = iter(slot for slot in range(SLOTS) if slot not in slots.values())
    return {name: slots[name] if name in slots else next(free) for name in names}


def drawing(points: Sequence[MapPoint]) -> tuple[float, list[tuple[float, float]]]:
    """Height of the drawing and the place of every point on it, y downwards.

    Points that lie in the very same place are fanned out around it, so that each can be chosen.
    """
    tallest = max((abs(point.y) for point in points), default=0.0)
    height = WIDTH * min(TALLEST, max(FLATTEST, tallest))
    scale = min(WIDTH / 2 - MARGIN, (height / 2 - MARGIN) / tallest if tallest else math.inf)
    piled: Counter[tuple[float, float]] = Counter()
    places = []
    for point in points:
        under = piled[point.x, point.y]
        piled[point.x, point.y] += 1
        away, angle = STACK_STEP * math.sqrt(under), GOLDEN_ANGLE * under
        places.append(
            (
                WIDTH / 2 + scale * point.x + away * math.cos(angle),
                height / 2 - scale * point.y + away * math.sin(angle),
            )
        )
    return height, places


def _clips_json(data: EmotionMap, legends: Sequence[Legend]) -> Markup:
    """What the script must know of every point, safe inside a script element."""
    clips = [
        {
            "id": visible(point.clip_id),
            "text": visible(point.text),
            "emotion": visible(point.emotion),
            "speaker": visible(point.speaker),
            "film": visible(point.film),
            "scene": visible(point.scene),
            "source": visible(point.source),
            "at": clock_text(point.start_s),
            "lasts": f"{point.end_s - point.start_s:.2f} s",
            "near": [[row, f"{score:.3f}"] for row, score in point.neighbours],
            "groups": [legend.of[number] for legend in legends],
        }
        for number, point in enumerate(data.points)
    ]
    slots = {legend.by: [group.slot for group in legend.groups] for legend in legends}
    text = json.dumps({"clips": clips, "slots": slots}, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def clock_text(seconds: float) -> str:
    """A place in a film, as players show it: 1:02:03.4."""
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{start}:{rest / 10:04.1f}"


def _media(points: Sequence[MapPoint]) -> Any:
    """(id, data address) of every embedded poster and sound."""
    for row, point in enumerate(points):
        if point.poster:
            yield f"poster-{row}", Markup(data_address(point.poster, "image/jpeg"))
        if point.sound:
            yield f"sound-{row}", Markup(data_address(point.sound, "audio/mp4"))


# -- media that are small


def small_poster(frame: ByteArray) -> bytes:
    """A (H, W, 3) RGB frame as a JPEG of about five kilobytes."""
    height, width = frame.shape[:2]
    shrink = min(1.0, POSTER_SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return poster_jpeg(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))


def small_sound(waveform: Waveform) -> bytes:
    """Mono AAC in MP4 at three kilobytes a second: words and feeling are still clear."""
    return encode_sound(waveform, "aac", bits_per_s=SOUND_BITS_PER_S)


# -- shapes


def _polygon(corners: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in corners) + "z"


def _star(points: int, outer: float, inner: float) -> str:
    angles = [math.pi * k / points for k in range(2 * points)]
    radii = [inner if k % 2 else outer for k in range(2 * points)]
    corners = [(r * math.sin(a), -r * math.cos(a)) for r, a in zip(radii, angles, strict=True)]
    return _polygon(corners)


SHAPES = (
    "M-1 0a1 1 0 1 0 2 0a1 1 0 1 0-2 0z",
    "M-.89-.89h1.78v1.78h-1.78z",
    _polygon([(0, -1.25), (1.16, 0.83), (-1.16, 0.83)]),
    _polygon([(0, -1.32), (1.16, 0), (0, 1.32), (-1.16, 0)]),
    _polygon([(0, 1.25), (1.16, -0.83), (-1.16, -0.83)]),
    "M-.42-1.2h.84v.78h.78v.84h-.78v.78h-.84v-.78h-.78v-.84h.78z",
    _star(5, 1.42, 0.62),
    _polygon([(-1.05, -1.1), (1.05, -1.1), (-1.05, 1.1), (1.05, 1.1)]),
    "M-.85 0a.85.85 0 1 0 1.7 0a.85.85 0 1 0-1.7 0zM-.4 0a.4.4 0 1 1 .8 0a.4.4 0 1 1-.8 0z",
    "M-.5 0a.5.5 0 1 0 1 0a.5.5 0 1 0-1 0z",
)
"""SVG paths of the slots, about one unit around the middle, of about equal area."""
