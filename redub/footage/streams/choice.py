"""Choose the film and its sound among the streams of a file, and say what was chosen.

The film is the video stream that is no picture: no attached cover, no still image, and no stream of
one picture beside longer media. Of several, a default one comes first, then the longest, then the
largest. The sound is the default track. Tracks of another purpose (commentary, description,
karaoke, music and effects) are used only where there is no other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import av
from av.stream import Disposition

_NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_PICTURE_CODECS = frozenset(("mjpeg", "png", "apng", "bmp", "gif", "tiff", "webp", "jpegls"))
_STILL_S = 0.25  # a picture stream of at most this length is a cover, if the media last longer
_MEDIA_S = 1.0

_OTHER_PURPOSE = {
    Disposition.comment: "commentary",
    Disposition.lyrics: "lyrics",
    Disposition.karaoke: "karaoke",
    Disposition.hearing_impaired: "for the hearing impaired",
    Disposition.visual_impaired: "for the visually impaired",
    Disposition.descriptions: "description",
    Disposition.clean_effects: "effects",
    Disposition.non_diegetic: "not of the scene",
    Disposition.dependent: "part of another track",
}
_PURPOSES_OF_TITLES = (
    (re.compile(r"comment(?:ary|aries|aire|ator)|kommentar|comentari|\bcomments?\b"), "commentary"),
    (
        re.compile(
            r"descri(?:ption|ptive|bed|pci)|audiodes[ck]|h(?:ö|oe)rfilm|\bdvs\b|\bad\b"
            r"|visual(?:ly)?[ _-]impair|sehbehindert"
        ),
        "description",
    ),
    (re.compile(r"hearing[ _-]impair|\bhoh\b"), "for the hearing impaired"),
    (re.compile(r"karaoke|sing[ -]?along|instrumental"), "karaoke"),
    (re.compile(r"\bm ?& ?e\b|music (?:and|&) effects|(?:isolated|music) (?:score|only)"), "music"),
)
_PURPOSES_OF_LANGUAGES = {"qad": "description", "zxx": "no speech"}


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen stream of one type, and a sentence if there was a choice (else empty).

    ``ordinary``: whether it is the first stream of its type, which players without rules take.
    """

    stream: Any | None
    note: str = ""
    ordinary: bool = True


def has_decoder(stream: Any) -> bool:
    """Whether FFmpeg has a decoder for the stream."""
    return stream.codec_context is not None


def choose_video(container: Any) -> Choice:
    """The stream that holds the film; None if there is only sound, or sound and a cover."""
    streams = [stream for stream in container.streams.video if has_decoder(stream)]
    films = [stream for stream in streams if not _is_picture(stream, container)]
    if not films:
        note = "the only picture is a cover, so the file has no video" if streams else ""
        return Choice(None, note, ordinary=True)
    chosen = max(films, key=_film_order)
    others = [stream for stream in streams if stream is not chosen]
    covers = [stream for stream in others if stream not in films]
    note = ""
    if len(films) > 1 or any(not s.disposition & Disposition.attached_pic for s in covers):
        named = ", ".join(
            f"stream {s.index} ({_video_words(s)}{'' if s in films else ', a cover'})"
            for s in others
        )
        note = f"video stream {chosen.index} ({_video_words(chosen)}) is the film; not used: "
        note += named
    return Choice(chosen, note, ordinary=chosen is streams[0])


def choose_audio(container: Any, empty: Collection[int] = ()) -> Choice:
    """The track that holds the film's sound.

    Args:
        empty: indices of streams that hold no sound.
    """
    streams = [s for s in container.streams.audio if has_decoder(s)]
    usable = [s for s in streams if s.index not in empty]
    if not usable:
        return Choice(None)
    chosen = min(
        usable,
        key=lambda s: (bool(purpose_of(s)), not s.disposition & Disposition.default, s.index),
    )
    note = ""
    if len(streams) > 1:
        others = [
            f"track {place} ({_sound_words(stream, empty)})"
            for place, stream in enumerate(streams, start=1)
            if stream is not chosen
        ]
        place = streams.index(chosen) + 1
        note = f"sound track {place} of {len(streams)} ({_sound_words(chosen)}) is used; not used: "
        note += ", ".join(others)
    return Choice(chosen, note, ordinary=chosen is streams[0])


def purpose_of(stream: Any) -> str:
    """What a sound track is for, if it is not the film's own sound; else empty.

    From the disposition, then the title or handler name, then the language code.
    """
    for flag, purpose in _OTHER_PURPOSE.items():
        if stream.disposition & flag:
            return purpose
    title = _title(stream).casefold()
    for pattern, purpose in _PURPOSES_OF_TITLES:
        if pattern.search(title):
            return purpose
    return _PURPOSES_OF_LANGUAGES.get((stream.language or "").casefold(), "")


def _is_picture(stream: Any, container: Any) -> bool:
    if stream.disposition & _NO_FILM:
        return True
    media_s = max([_length_s(other) for other in container.streams], default=0.0)
    media_s = max(media_s, (container.duration or 0) / av.time_base)
    own_s = _length_s(stream)
    is_one = stream.frames == 1 or 0 < own_s <= _STILL_S
    if stream.codec_context.name in _PICTURE_CODECS:
        # Matroska may declare no length of a stream: beside another codec, a picture is a cover.
        others = [s for s in container.streams.video if has_decoder(s) and s is not stream]
        is_one |= own_s == 0 and any(not _is_picture_codec(other) for other in others)
    return bool(is_one and media_s > _MEDIA_S and media_s > 4 * own_s)


def _is_picture_codec(stream: Any) -> bool:
    return stream.codec_context.name in _PICTURE_CODECS


def _film_order(stream: Any) -> tuple[bool, float, int, int]:
    is_default = bool(stream.disposition & Disposition.default)
    return is_default, round(_length_s(stream), 1), stream.width * stream.height, -stream.index


def _length_s(stream: Any) -> float:
    """Declared length of a stream in seconds; 0 if it declares none."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    tag = next((v for k, v in stream.metadata.items() if k.upper().startswith("DURATION")), "")
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", tag.strip())
    return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3]) if found else 0.0


def _title(stream: Any) -> str:
    names = {key.casefold(): value for key, value in stream.metadata.items()}
    return " ".join(names[key] for key in ("title", "name", "handler_name") if key in names)


def _video_words(stream: Any) -> str:
    return f"{stream.codec_context.name}, {stream.width}x{stream.height}"


def _sound_words(stream: Any, empty: Collection[int] = ()) -> str:
    title = _title(stream)
    words: Sequence[str] = (
        f"'{title}'" if title and title != "SoundHandler" else "",
        stream.language or "",
        "default" if stream.disposition & Disposition.default else "",
        purpose_of(stream),
        "empty" if stream.index in empty else "",
    )
    return ", ".join(filter(None, words)) or stream.codec_context.name
