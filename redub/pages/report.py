"""Render the report of a run as one self-contained HTML file.

The file sends no network requests, works with the keyboard and on a phone, and follows the
browser's light or dark setting. The content security policy allows only the page's own script, by
its digest, so that markup that passed the escaping by mistake could not run a script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from redub.pages.contents import Line, Picture, ReportData, Sound, Take, TrainingSample
from redub.pages.figures import LineChart, Tick, nice_ticks, number
from redub.pages.media import Codec, MediaShelf, data_address, mel_png, poster_jpeg, sound_bytes
from redub.pages.report_charts import (
    curves,
    emotion_chart,
    metric_charts,
    pitch_chart,
    system_colours,
)
from redub.pages.report_results import cells, differences
from redub.pages.spelling import interval_text, marked, measure_text, seconds_text, visible
from redub.pages.templating import asset, templates

MIB = 1024 * 1024


class _Economy(NamedTuple):
    """One level of file size; levels are tried in order until the file is small enough.

    ``codec``: of the audio. ``library_pictures``: whether videos of library clips are embedded.
    ``said``: the explanation on the page.
    """

    codec: Codec
    library_pictures: bool
    said: str


ECONOMIES = (
    _Economy("flac", True, "Audio is lossless (FLAC)."),
    _Economy("aac", True, "To keep this file small, audio is AAC at 56 kbit/s."),
    _Economy(
        "aac",
        False,
        "To keep this file small, audio is AAC at 56 kbit/s, and videos of library clips are left "
        "out (only their first frames are shown).",
    ),
)


def render_report(data: ReportData, *, size_limit_mib: float = 40.0) -> str:
    """Render the page.

    Args:
        size_limit_mib: size limit in MiB. Audio is lossless if the page stays below the limit;
            otherwise it is compressed; if that is not enough, the videos of retrieved library
            clips are omitted, too. The page states this. A page that is still larger is returned.

    Returns:
        A complete HTML document (UTF-8, no external addresses). The same data give the same text.
    """
    page = ""
    for economy in ECONOMIES:
        page = _Page(data, economy).render()
        if len(page.encode()) <= size_limit_mib * MIB:
            break
    return page


class TakeView(NamedTuple):
    """A take with its mel image and its position on the time axis."""

    take: Take
    colour: int
    mel: Markup | None
    width_percent: float  # relative to the longest take of the utterance
    span_s: float


class LineView(NamedTuple):
    """What is drawn of one utterance; ``ticks``: of the time axis."""

    takes: tuple[TakeView, ...]
    ticks: tuple[Tick, ...]
    pitch: LineChart | None


class _Page:
    """One rendering of the report at one level of file size."""

    def __init__(self, data: ReportData, economy: _Economy) -> None:
        self.data = data
        self.economy = economy
        self.shelf = MediaShelf()
        self.colours = system_colours(data)
        self._encoded: dict[int, tuple[bytes, str]] = {}
        for content, mime in self._media():
            self.shelf.announce(content, mime)

    def render(self) -> str:
        """Fill the template; returns the HTML text."""
        script = asset("report.js")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        helpers: dict[str, Callable[..., Any]] = {
            "cells": cells,
            "colour": lambda system: self.colours.get(system, 0),
            "film": self._film,
            "interval": interval_text,
            "line_view": self._line_view,
            "marked": marked,
            "measure": measure_text,
            "number": number,
            "picture": _picture,
            "player": self._player,
            "seconds": seconds_text,
            "thumbnail": self._thumbnail,
            "share": lambda part, whole: round(100 * part / whole, 2) if whole > 0 else 0,
        }
        body = (
            templates()
            .get_template("report.html")
            .render(
                data=self.data,
                economy=self.economy,
                style=asset("report.css"),
                script=script,
                script_digest=digest,
                charts=curves(self.data.charts, self.colours),
                metric_charts=metric_charts(self.data.results, self.colours),
                differences=differences(self.data.comparisons, self.data.results),
                emotion_chart=emotion_chart(self.data.emotion, self.colours),
                emotions=sorted({line.emotion for line in self.data.lines if line.emotion}),
                speakers=sorted({line.speaker for line in self.data.lines if line.speaker}),
                shelf=self.shelf,
                **helpers,
            )
        )
        return str(body).lstrip()

    # Media.

    def _media(self) -> Iterator[tuple[bytes, str]]:
        """Yield every medium of the page and its MIME type, once per use."""
        for line in self.data.lines:
            if line.picture:
                yield line.picture.mp4, "video/mp4"
            for take in line.takes:
                if take.sound:
                    yield self._sound(take.sound)
            for neighbour in (n for c in line.casting for n in c.neighbours):
                if neighbour.sound:
                    yield self._sound(neighbour.sound)
                if neighbour.picture and self.economy.library_pictures:
                    yield neighbour.picture.mp4, "video/mp4"
        for strip in self.data.strips:
            for sound in (strip.recorded, *(sample.sound for sample in strip.samples)):
                if sound:
                    yield self._sound(sound)

    def _sound(self, sound: Sound) -> tuple[bytes, str]:
        if id(sound) not in self._encoded:  # the data live longer than this object: ids are unique
            self._encoded[id(sound)] = sound_bytes(sound, self.economy.codec)
        return self._encoded[id(sound)]

    def _player(self, sound: Sound, name: str) -> Markup:
        attribute, value = self.shelf.attribute(*self._sound(sound))
        return Markup('<audio controls preload="none" aria-label="{}" {}="{}"></audio>').format(
            visible(name), Markup(attribute), Markup(value)
        )

    def _film(self, picture: Picture, name: str) -> Markup:
        attributes = self._film_attributes(picture)
        return Markup(
            '<video controls playsinline preload="none" aria-label="{}"{}></video>'
        ).format(visible(name), attributes)

    def _thumbnail(self, picture: Picture, name: str) -> Markup:
        if not self.economy.library_pictures:
            if picture.poster is None:
                return Markup("")
            poster = data_address(poster_jpeg(picture.poster), "image/jpeg")
            return Markup('<span class="thumb"><img src="{}" alt="{}"></span>').format(
                poster, visible(name)
            )
        attributes = self._film_attributes(picture)
        return Markup(
            '<button type="button" class="thumb" aria-label="{}">'
            '<video playsinline preload="none"{}></video></button>'
        ).format(visible(name), attributes)

    def _film_attributes(self, picture: Picture) -> Markup:
        found = Markup("")
        if picture.poster is not None:
            poster = data_address(poster_jpeg(picture.poster), "image/jpeg")
            found += Markup(' poster="{}"').format(poster)
        attribute, value = self.shelf.attribute(picture.mp4, "video/mp4")
        return found + Markup(' {}="{}"').format(Markup(attribute), Markup(value))

    # Lines.

    def _line_view(self, line: Line) -> LineView:
        mels = [take.mel for take in line.takes if take.mel is not None and len(take.mel)]
        loudest = max((float(np.max(mel)) for mel in mels), default=0.0)
        longest = max((_frames(take) for take in line.takes), default=0)
        takes = []
        for take in line.takes:
            mel = None
            if take.mel is not None and len(take.mel):
                png = mel_png(np.asarray(take.mel, np.float32), loudest=loudest)
                mel = Markup(data_address(png, "image/png"))
            width = 100 * _frames(take) / longest if longest else 100.0
            takes.append(
                TakeView(
                    take,
                    self.colours.get(take.system, 0),
                    mel,
                    round(width, 3),
                    _frames(take) * self.data.hop_s,
                )
            )
        span = longest * self.data.hop_s
        return LineView(
            takes=tuple(takes),
            ticks=tuple(
                Tick(f"{number(round(t, 6))} s", round(100 * t / span, 3))
                for t in (nice_ticks(0.0, span, 5) if span else ())
            ),
            pitch=pitch_chart(line, self.colours, hop_s=self.data.hop_s, span_s=span),
        )


def _picture(sample: TrainingSample, name: str) -> Markup:
    """Make the image element of a training sample, with its values as alternative text."""
    figures = ", ".join(f"{figure} {value}" for figure, value in sample.figures)
    text = f"{name}: predicted and recorded mel, pitch and phoneme durations. {figures}".strip()
    return Markup('<img src="{}" alt="{}" width="840" height="900" loading="lazy">').format(
        Markup(data_address(sample.picture, "image/png")), visible(text)
    )


def _frames(take: Take) -> int:
    tracks = (take.mel, take.f0_hz)
    return max((len(t) for t in tracks if t is not None), default=sum(n for _, n in take.durations))
