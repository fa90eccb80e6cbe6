"""Casting sheet of one utterance: which clips were retrieved, which were excluded, and why.

One self-contained HTML file without network requests. The content security policy allows only the
page's own small script, by its digest. The script attaches media that are shown more than once and
stops one sound when another starts. All text can be read without it.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from markupsafe import Markup

from redub.pages.contents import Picture, Sound
from redub.pages.figures import number
from redub.pages.media import MediaShelf, poster_jpeg, sound_bytes
from redub.pages.spelling import visible
from redub.pages.templating import asset, templates

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text; ``shared``: an emotion word that also occurs in the other text."""

    text: str
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CastText:
    """A text from which a vector was computed, or that explains a card: caption, line, reaction."""

    title: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CastClip:
    """One clip. It may be shown on several cards; its media are stored once.

    ``picture``: video with sound. ``sound``: used by pages that omit videos, and for clips without
    a video. ``trouble``: why the video cannot be shown.
    """

    clip_id: str
    text: str = ""
    speaker: str = ""
    emotion: str = ""
    film: str = ""
    scene: str = ""
    picture: Picture | None = None
    sound: Sound | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CastHit:
    """One clip that one modality retrieved.

    ``margin``: score minus the score of the best clip that was not retrieved; NaN where there is
    none. ``shares``: one probability per class of the modality, empty where unknown. ``why_gone``:
    why the clip is no longer retrieved with the director's notes; shown only for such clips.
    """

    rank: int  # from 1
    clip: CastClip
    score: float
    margin: float = math.nan
    texts: tuple[CastText, ...] = ()
    shares: tuple[float, ...] = ()
    why_gone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CastModality:
    """Retrieval by one modality: its query and its hits.

    Attributes:
        similarity: name of the similarity, in words.
        texts: texts from which the query vector was computed.
        labels: emotion classes.
        shares: probabilities of the query, one per label, empty where unknown.
        hits: best first; if there are director's notes, the hits without the notes.
        after: hits with the notes; None without notes.
        candidates: number of eligible clips that have a vector, with the notes if there are any.
        silence: why fewer than K clips were retrieved; empty where there are K hits.
    """

    modality: str
    similarity: str
    texts: tuple[CastText, ...] = ()
    labels: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    hits: tuple[CastHit, ...] = ()
    after: tuple[CastHit, ...] | None = None
    candidates: int = 0
    silence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """One clip that could not be retrieved; ``also``: additional reasons besides the listed one."""

    clip_id: str
    speaker: str = ""
    film: str = ""
    scene: str = ""
    text: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CastReason:
    """One reason why clips could not be retrieved; a clip with several reasons is under each.

    ``count``: number of clips with this reason. ``clips``: the first ones. ``count_before``: the
    number without the director's notes; None if there are no notes.
    """

    name: str
    words: str
    count: int
    count_before: int | None = None
    clips: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CastingSheet:
    """The whole page.

    ``created``: a time stamp, already formatted. ``library``: number of clips in the library.
    ``eligible``: number of them that this utterance may retrieve, with the notes if there are any;
    ``eligible_before``: without the notes. ``outside``: clips of the project that are not in the
    library, by reason.
    """

    title: str
    project: str
    created: str
    line: CastClip
    summary: str = ""
    line_facts: tuple[tuple[str, str], ...] = ()
    line_texts: tuple[CastText, ...] = ()
    notes: tuple[str, ...] = ()
    modalities: tuple[CastModality, ...] = ()
    library: int = 0
    eligible: int = 0
    eligible_before: int | None = None
    reasons: tuple[CastReason, ...] = ()
    outside: tuple[CastReason, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


class Change(NamedTuple):
    """Effect of the director's notes on one hit; ``said``: the effect in words."""

    kind: Literal["kept", "new", "gone"]
    said: str


class Bar(NamedTuple):
    """One emotion class: probability of the query and of the retrieved clip; None if unknown."""

    label: str
    query: float | None
    retrieved: float | None


def changes(
    before: Sequence[CastHit], after: Sequence[CastHit]
) -> tuple[list[Change], list[Change]]:
    """Compare the hits without and with the director's notes.

    Returns:
        For each hit of ``before``, its rank with the notes or why it is gone; for each hit of
        ``after``, its rank without the notes or that it is new.
    """
    old = {hit.clip.clip_id: hit.rank for hit in before}
    new = {hit.clip.clip_id: hit.rank for hit in after}
    left, right = [], []
    for hit in before:
        rank = new.get(hit.clip.clip_id)
        if rank is None:
            why = f": {hit.why_gone}" if hit.why_gone else ""
            left.append(Change("gone", f"gone{why}"))
        else:
            left.append(Change("kept", f"kept{_moved(hit.rank, rank, f'to rank {rank}')}"))
    for hit in after:
        rank = old.get(hit.clip.clip_id)
        if rank is None:
            right.append(Change("new", "new"))
        else:
            right.append(Change("kept", f"kept{_moved(rank, hit.rank, f'from rank {rank}')}"))
    return left, right


def _moved(old: int, new: int, whither: str) -> str:
    if old == new:
        return ", same rank"
    return f", {'up' if new < old else 'down'} {abs(new - old)} {whither}"


def class_bars(modality: CastModality, hit: CastHit) -> list[Bar]:
    """Pair the class probabilities of the query and of a hit; empty if both are unknown."""
    if not modality.shares and not hit.shares:
        return []
    return [
        Bar(label, _at(modality.shares, place), _at(hit.shares, place))
        for place, label in enumerate(modality.labels)
    ]


def _at(shares: Sequence[float], place: int) -> float | None:
    return shares[place] if place < len(shares) else None


def render_casting(sheet: CastingSheet, *, size_limit_mib: float = 40.0) -> str:
    """Render the page.

    Args:
        size_limit_mib: size limit in MiB. A page that would be larger shows library clips by a
            still image and audio instead of a video, and states this.

    Returns:
        A complete HTML document (UTF-8, no external addresses). The same sheet gives the same text.
    """
    page = _Page(sheet, films=True).render()
    if len(page.encode()) > size_limit_mib * MIB:
        page = _Page(sheet, films=False).render()
    return page


class _Page:
    """One rendering of the sheet, with or without videos of library clips."""

    def __init__(self, sheet: CastingSheet, *, films: bool) -> None:
        self.sheet = sheet
        self.films = films
        self.shelf = MediaShelf()
        self._encoded: dict[str, tuple[bytes, str]] = {}
        self._posters: dict[str, bytes] = {}
        for clip in self._shown():
            for content, mime in self._media(clip):
                self.shelf.announce(content, mime)

    def render(self) -> str:
        """Fill the template; returns the HTML text."""
        script = asset("casting.js")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        helpers: dict[str, Callable[..., Any]] = {
            "bars": class_bars,
            "changes": changes,
            "figure": _figure,
            "number": number,
            "player": self._player,
            "width": lambda share: f"{100 * min(1.0, max(0.0, share or 0.0)):.1f}%",
        }
        body = (
            templates()
            .get_template("casting.html")
            .render(
                sheet=self.sheet,
                films=self.films,
                has_notes=bool(self.sheet.notes),
                style=asset("report.css") + asset("casting.css"),
                script=script,
                script_digest=digest,
                shelf=self.shelf,
                **helpers,
            )
        )
        return str(body).lstrip()

    def _shown(self) -> Iterator[CastClip]:
        """Yield the clip of every card, once per card."""
        yield self.sheet.line
        for modality in self.sheet.modalities:
            for hit in (*modality.hits, *(modality.after or ())):
                yield hit.clip

    def _has_film(self, clip: CastClip) -> bool:
        is_query = clip.clip_id == self.sheet.line.clip_id
        return clip.picture is not None and (self.films or is_query)

    def _media(self, clip: CastClip) -> Iterator[tuple[bytes, str]]:
        """Yield the media that :meth:`_player` uses for one card."""
        if clip.picture is not None and clip.picture.poster is not None:
            yield self._poster(clip.clip_id, clip.picture), "image/jpeg"
        if clip.picture is not None and self._has_film(clip):
            yield clip.picture.mp4, "video/mp4"
        elif clip.sound is not None:
            yield self._sound(clip.clip_id, clip.sound)

    def _poster(self, clip_id: str, picture: Picture) -> bytes:
        assert picture.poster is not None
        if clip_id not in self._posters:
            self._posters[clip_id] = poster_jpeg(picture.poster)
        return self._posters[clip_id]

    def _sound(self, clip_id: str, sound: Sound) -> tuple[bytes, str]:
        if clip_id not in self._encoded:
            self._encoded[clip_id] = sound_bytes(sound, "aac")
        return self._encoded[clip_id]

    def _player(self, clip: CastClip, name: str) -> Markup:
        """Make the player of a clip: the video, or else still image and audio where they exist."""
        picture, size, poster = clip.picture, Markup(""), None
        if picture is not None and picture.poster is not None:
            height, width = picture.poster.shape[:2]
            size = Markup(' width="{}" height="{}"').format(width, height)
            poster = self._poster(clip.clip_id, picture)
        if picture is not None and self._has_film(clip):
            still = (
                Markup("") if poster is None else self._attribute(poster, "image/jpeg", "poster")
            )
            film = self._attribute(picture.mp4, "video/mp4", "src")
            return Markup(
                '<video controls playsinline preload="none" aria-label="{}"{}{}{}></video>'
            ).format(visible(name), size, still, film)
        parts = Markup("")
        if poster is not None:
            parts += Markup('<img alt="{}"{}{}>').format(
                visible(f"Frame of {clip.clip_id}"),
                size,
                self._attribute(poster, "image/jpeg", "src"),
            )
        if clip.sound is not None:
            sound = self._attribute(*self._sound(clip.clip_id, clip.sound), "src")
            parts += Markup('<audio controls preload="none" aria-label="{}"{}></audio>').format(
                visible(name), sound
            )
        return parts

    def _attribute(self, content: bytes, mime: str, name: Literal["src", "poster"]) -> Markup:
        """Make an attribute with the address, or with the key of a medium that cards share."""
        own, value = self.shelf.attribute(content, mime)
        written = name if own == "src" else f"data-shared-{name}"
        return Markup(' {}="{}"').format(Markup(written), Markup(value))


def _figure(value: float, digits: int, *, signed: bool = False) -> str:
    """Format a number with fixed decimals and a minus sign U+2212; a dash if it is not finite."""
    if not math.isfinite(value):
        return "–"
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")
