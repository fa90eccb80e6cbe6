"""Read a subtitle track of a media file as the text of a subtitle file.

Runs in the decoder child. The packets of a text track are its cues, so nothing is decoded. Tracks
that are pictures of words (DVD, Blu-ray) cannot be read and are named. Of several tracks one is
chosen by the rules of :mod:`redub.footage.subtitles.beside`; a track that is marked as default is
preferred.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from av.stream import Disposition

from redub.core.errors import ClipError
from redub.footage.container import MediaFile, open_media
from redub.footage.language import language_code
from redub.footage.limits import DecodeLimits
from redub.footage.paths import open_regular
from redub.footage.subtitles.beside import FOREIGN_PARTS, SubtitleFile, choose

MAX_BYTES = 16 << 20
_LINES = {"subrip": ".srt", "text": ".srt", "mov_text": ".srt", "webvtt": ".vtt"}
_EVENTS = {"ass": ".ass"}
_FORMAT = "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text"
_LONGEST_S = 10.0  # of a cue whose packet states no length


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedSubtitles:
    """The subtitle track of a source.

    Attributes:
        content: UTF-8 text of a subtitle file; empty: no track can be read.
        suffix: of the format of ``content``.
        track: the track that was read, for people; empty without one.
        unused: sentences about the other subtitle tracks.
        problem, language: as of :class:`redub.footage.subtitles.beside.Choice`.
    """

    content: bytes = b""
    suffix: str = ".srt"
    track: str = ""
    unused: tuple[str, ...] = ()
    problem: str = ""
    language: str = ""


def read_embedded(path: Path, language: str, limits: DecodeLimits) -> EmbeddedSubtitles:
    """Choose and read a subtitle track.

    Args:
        language: two letters of ISO 639-1; empty: see :mod:`redub.footage.subtitles.beside`.

    Raises:
        ClipError: any ``E-IN-`` or ``E-SEC-`` fault of the file; E-SUB-TEXT, the track is larger
            than the limit.
    """
    with open_regular(path) as descriptor, open_media(descriptor, limits) as media:
        streams = {_name(stream): stream for stream in media.container.streams.subtitles}
        named = {name: _described(name, stream) for name, stream in streams.items()}
        usable = [named[name] for name, stream in streams.items() if _suffix(stream)]
        choice = choose(usable, language)
        unused = [f"{_name(s)}: pictures of words are not read" for s in streams.values()
                  if not _suffix(s)]  # fmt: skip
        unused += map(str, choice.unused)
        if choice.path is None:
            return EmbeddedSubtitles(unused=tuple(unused), problem=choice.problem)
        stream = streams[choice.path]
        write = _events if _suffix(stream) == ".ass" else _lines
        return EmbeddedSubtitles(
            content=write(media, stream),
            suffix=_suffix(stream),
            track=choice.path,
            unused=tuple(unused),
            language=choice.language,
        )


def _codec(stream: Any) -> str:
    """The name of the codec, not of its decoder: ``ass``, not ``ssa``."""
    return "" if stream.codec_context is None else str(stream.codec_context.codec.canonical_name)


def _suffix(stream: Any) -> str:
    codec = _codec(stream)
    return _LINES.get(codec) or _EVENTS.get(codec) or ""


def _name(stream: Any) -> str:
    said = [_codec(stream) or "unknown", stream.language or "", stream.metadata.get("title", "")]
    return f"subtitle track {stream.index} ({', '.join(filter(None, said))[:120]})"


def _described(name: str, stream: Any) -> SubtitleFile:
    title = stream.metadata.get("title", "").casefold()
    marked = stream.disposition
    return SubtitleFile(
        path=name,
        language=language_code(stream.language or ""),
        is_foreign_parts=bool(marked & (Disposition.forced | Disposition.comment))
        or any(word in title.split() for word in FOREIGN_PARTS),
        is_for_deaf=bool(marked & Disposition.hearing_impaired) or "sdh" in title.split(),
        order=(0 if marked & Disposition.default else 1, stream.index),
    )


def _cues(media: MediaFile, stream: Any) -> list[tuple[float, float, str]]:
    """Start and end in seconds since the origin, and the text, of every packet."""
    cues: list[tuple[float, float, str]] = []
    total = 0
    for packet in media.text_packets(stream.index):
        text = _text(bytes(packet), _codec(stream))
        total += len(text)
        if total > MAX_BYTES:
            raise ClipError(
                f"{_name(stream)} has more than {MAX_BYTES >> 20} MiB of text", code="E-SUB-TEXT"
            )
        if packet.pts is None or not text.strip():
            continue
        start_s = float(packet.pts * packet.time_base) - media.origin_s
        lasts_s = float(packet.duration * packet.time_base) if packet.duration else 0.0
        cues.append((start_s, start_s + lasts_s, text))
    starts = [cue[0] for cue in cues[1:]] + [media.declared_duration_s or math.inf]
    return [
        (start_s, end_s if end_s > start_s else min(following_s, start_s + _LONGEST_S), text)
        for (start_s, end_s, text), following_s in zip(cues, starts, strict=True)
    ]


def _text(content: bytes, codec: str) -> str:
    if codec == "mov_text":  # 16 bits of length, the text, then boxes with styles
        content = content[2 : 2 + int.from_bytes(content[:2], "big")]
        if content.startswith((b"\xfe\xff", b"\xff\xfe")):
            return content.decode("utf-16", errors="replace")
    return content.decode("utf-8", errors="replace").replace("\0", "")


def _lines(media: MediaFile, stream: Any) -> bytes:
    """SRT or WebVTT."""
    is_vtt = _suffix(stream) == ".vtt"
    clock: Callable[[float], str] = _clock if is_vtt else lambda s: _clock(s).replace(".", ",")
    parts = ["WEBVTT\n\n"] if is_vtt else []
    for number, (start_s, end_s, text) in enumerate(_cues(media, stream), start=1):
        index = "" if is_vtt else f"{number}\n"
        parts.append(f"{index}{clock(start_s)} --> {clock(end_s)}\n{text.strip()}\n\n")
    return "".join(parts).encode()


def _clock(time_s: float) -> str:
    ms = round(abs(time_s) * 1000)
    sign = "-" if time_s < 0 and ms else ""
    hours, minutes = ms // 3_600_000, ms // 60_000 % 60
    return f"{sign}{hours:02d}:{minutes:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"


def _events(media: MediaFile, stream: Any) -> bytes:
    """ASS: the header of the track, and an event for each packet."""
    header = bytes(stream.codec_context.extradata or b"").decode("utf-8", errors="replace")
    parts = [header.replace("\0", "").rstrip(), "\n"]
    if "[Events]" not in header:
        parts.append(f"[Events]\n{_FORMAT}\n")
    for start_s, end_s, text in _cues(media, stream):
        _, layer, rest = (*text.split(",", 2), "", "")[:3]
        times = f"{_clock(start_s)[:-1]},{_clock(end_s)[:-1]}"
        parts.append(f"Dialogue: {layer},{times},{rest.rstrip()}\n")
    return "".join(parts).encode()
