"""The casting sheet of one line: who was retrieved for it, who was not, and why.

One self-contained HTML file: no request leaves it. Its own small script is named by digest in the
content security policy; it attaches media that are shown more than once and stops one sound when
another starts. Everything can be read without it.
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
    """A stretch of a text; ``shared``: an emotion word that the other side has too."""

    text: str
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CastText:
    """A text that a vector was made of, or that helps to read a card: caption, line, reaction."""

    title: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CastClip:
    """One clip, shown wherever it was retrieved; its media are in the file once.

    ``picture`` has the clip's sound in it; ``sound`` is for pages that leave films out, and for
    clips without a picture. ``trouble``: why the picture cannot be shown.
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
    """One clip that was retrieved by one modality.

    ``margin``: score minus that of the best clip that could have come in its place; nan where
    there is none. ``shares``: one per class of the modality, empty where unknown. ``why_gone``: why
    the director's notes lost it; asked for only where they did.
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
    """What one modality was asked, and who answered.

    Attributes:
        similarity: how alikeness was measured, in words.
        texts: what the line's own vector was made of.
        labels: the emotion classes; ``shares`` of the line, one per label, empty where unknown.
        hits: best first. With director's notes: what came without them.
        after: what came with the notes; None where there are none.
        candidates: eligible clips that have a vector here, under the notes where there are any.
        silence: why nobody, or fewer than K, answered; empty where K did.
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
    """One clip that could not be retrieved; ``also``: further reasons than the one it is under."""

    clip_id: str
    speaker: str = ""
    film: str = ""
    scene: str = ""
    text: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CastReason:
    """Why some clips could not be retrieved; a clip with several reasons is under each.

    ``clips``: the first of them, ``count`` in all. ``count_before``: how many it were without the
    director's notes; None where there are none.
    """

    name: str
    words: str
    count: int
    count_before: int | None = None
    clips: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CastingSheet:
    """The whole page; ``created`` is already formatted.

    ``library`` clips can be retrieved by somebody, ``eligible`` of them by this line (under the
    notes; ``eligible_before`` without them). ``outside``: clips of the project that the library
    does not have.
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
    """What the director's notes did to one hit."""

    kind: Literal["kept", "new", "gone"]
    said: str


class Bar(NamedTuple):
    """One emotion class: the share of the line and of the clip; None where unknown."""

    label: str
    asked: float | None
    given: float | None


def changes(
    before: Sequence[CastHit], after: Sequence[CastHit]
) -> tuple[list[Change], list[Change]]:
    """What became of each hit of ``before``, and where each hit of ``after`` came from."""
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
    """The classes of the line and of a hit, side by side; empty where neither is known."""
    if not modality.shares and not hit.shares:
        return []
    return [
        Bar(label, _at(modality.shares, place), _at(hit.shares, place))
        for place, label in enumerate(modality.labels)
    ]


def _at(shares: Sequence[float], place: int) -> float | None:
    return shares[place] if place < len(shares) else None


def render_casting(sheet: CastingSheet, *, size_limit_mib: float = 40.0) -> str:
    """Draw the page.

    Args:
        size_limit_mib: a page that would be larger shows library clips by a still picture and
            sound instead of a film, and says so.

    Returns:
        A complete HTML document (UTF-8, no external address). The same sheet gives the same text.
    """
    page = _Page(sheet, films=True).render()
    if len(page.encode()) > size_limit_mib * MIB:
        page = _Page(sheet, films=False).render()
    return page


class _Page:
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
        """Every card's clip, as often as there are cards."""
        yield self.sheet.line
        for modality in self.sheet.modalities:
            for hit in (*modality.hits, *(modality.after or ())):
                yield hit.clip

    def _has_film(self, clip: CastClip) -> bool:
        is_asked = clip.clip_id == self.sheet.line.clip_id
        return clip.picture is not None and (self.films or is_asked)

    def _media(self, clip: CastClip) -> Iterator[tuple[bytes, str]]:
        """The bytes that one card needs, as :meth:`_player` will ask for them."""
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
        """The film with its sound; else the still picture and the sound, where they are known."""
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
                visible(f"Picture of {clip.clip_id}"),
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
        """The address itself, or where the script finds what several cards share."""
        own, value = self.shelf.attribute(content, mime)
        written = name if own == "src" else f"data-shared-{name}"
        return Markup(' {}="{}"').format(Markup(written), Markup(value))


def _figure(value: float, digits: int, *, signed: bool = False) -> str:
    """A decimal of fixed length with a true minus; a dash where there is no number."""
    if not math.isfinite(value):
        return "–"
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")
