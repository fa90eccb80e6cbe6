"""Emotion map: the library as a 2-D map of clips that can be played, with lists of coverage holes.

One self-contained HTML file without network requests; only its own script runs. Groups differ in
colour and shape, so that the page can be read without colour vision. Without the script, the first
colouring, the legend's counts and the coverage holes are still shown.
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

WIDTH = 720.0  # of the drawing, in SVG units; about one pixel each on a desktop screen
MARGIN = 26.0
FLATTEST, TALLEST = 0.62, 0.95  # limits of height / width of the drawing
STACK_STEP = 5.0  # units between clips that have the same position
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))

SLOTS = 8
OTHER, UNNAMED = 8, 9
"""Slots of colour and shape: 0 to 7 for the largest groups, 8 for the others, 9 for no name."""

EMOTION_SLOTS = dict(zip(EMOTIONS, (4, 2, 3, 6, 7, 0, 1, 5), strict=True))
COLOURINGS = ("emotion", "film", "speaker")

POSTER_SIDE = 176  # pixels of the longer side
SOUND_BITS_PER_S = 24_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPoint:
    """One library clip.

    x, y: position in [-1, 1], y upwards. neighbours: (number of the point, similarity), most
    similar first. poster: JPEG. sound: AAC in MP4. Both are empty where they are not embedded.
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
    """One coverage hole, in words and numbers; ``clips``: ids of examples."""

    said: str
    clips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HoleList:
    """Coverage holes of one kind, worst first; ``more``: number of holes that are not listed."""

    title: str
    note: str = ""
    holes: tuple[Hole, ...] = ()
    more: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionMap:
    """The whole page.

    build: of the index. vectors: description of the vectors that are mapped. drawn_by: method and
    trustworthiness of the map. notes: what is not shown.
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
    """One entry of a legend."""

    name: str
    slot: int
    size: int


class Legend(NamedTuple):
    """Groups of one colouring; ``of``: group number of every point."""

    by: str
    groups: tuple[Group, ...]
    of: tuple[int, ...]


class Dot(NamedTuple):
    """A point on the drawing; ``name``: its accessible name."""

    x: str
    y: str
    slot: int
    name: str


def render_map(data: EmotionMap) -> str:
    """Render the page.

    Returns:
        A complete HTML document (UTF-8, no external addresses). The same data give the same text.
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
    """Describe a point in words: text (or clip id), speaker, emotion, film and scene."""
    title = f"“{point.text}”" if point.text else point.clip_id
    facts = (point.speaker, point.emotion, point.film, point.scene)
    return ", ".join([title, *filter(None, facts)])


def legend(by: str, names: Sequence[str]) -> Legend:
    """Group points by name: the eight largest groups, one group of all others, one without a name.

    Emotions have fixed colours and are listed in the order of ``EMOTIONS``; other names are sorted
    by size, then by name.

    Args:
        by: the field that is grouped: emotion, film or speaker.
        names: its value for every point, "" where unknown.
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
        name_of_rest = f"{len(rest)} other {by}s" if len(rest) > 1 else rest[0]
        groups.append(Group(name_of_rest, OTHER, sum(counts[name] for name in rest)))
    if unnamed:
        of[""] = len(groups)
        groups.append(Group(f"no {by} named", UNNAMED, unnamed))
    return Legend(by, tuple(groups), tuple(of[name] for name in names))


def _slots(by: str, names: Sequence[str]) -> dict[str, int]:
    """Assign a slot of colour and shape to each of at most eight names."""
    slots = {n: EMOTION_SLOTS[n] for n in names if n in EMOTION_SLOTS} if by == "emotion" else {}
    free = iter(slot for slot in range(SLOTS) if slot not in slots.values())
    return {name: slots[name] if name in slots else next(free) for name in names}


def drawing(points: Sequence[MapPoint]) -> tuple[float, list[tuple[float, float]]]:
    """Compute the height of the drawing and the position of every point on it, y downwards.

    Points with equal positions are spread around that position, so that each can be selected.
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
    """Serialise the points for the page's script, escaped for use in a script element."""
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
    """Format a position in a film as video players do, such as 1:02:03.4."""
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{start}:{rest / 10:04.1f}"


def _media(points: Sequence[MapPoint]) -> Any:
    """Yield (id, data address) of every embedded poster and sound."""
    for row, point in enumerate(points):
        if point.poster:
            yield f"poster-{row}", Markup(data_address(point.poster, "image/jpeg"))
        if point.sound:
            yield f"sound-{row}", Markup(data_address(point.sound, "audio/mp4"))


# -- small media


def small_poster(frame: ByteArray) -> bytes:
    """Encode an (H, W, 3) RGB frame as a JPEG of about five kilobytes."""
    height, width = frame.shape[:2]
    shrink = min(1.0, POSTER_SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return poster_jpeg(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))


def small_sound(waveform: Waveform) -> bytes:
    """Encode mono AAC in MP4 at 24 kbit/s: words and emotion remain clear."""
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
"""SVG paths of the slots, centred, with a radius of about one unit and about equal area."""
