"""Requests to the decoder child and its replies, and their text on the wire.

A message is a JSON object: the name of its class and its fields. Fields that are None are left out.
Every field of a received message is checked, because a hostile file may control the child.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from redub.core.config import from_mapping
from redub.core.errors import ConfigError
from redub.core.types import AudioSpec, VideoSpec
from redub.footage.probe import SourceInfo


class MessageError(Exception):
    """Text that is no message of the wanted kinds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRequest:
    """Examine a source; ``cpu_s``: most seconds of CPU time for it."""

    path: str
    cpu_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtitlesRequest:
    """Read a subtitle track; see :func:`redub.footage.embedded.read_embedded`."""

    path: str
    cpu_s: int
    language: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRequest:
    """Decode one clip; see :func:`redub.footage.decode.decode_in_process`."""

    path: str
    cpu_s: int
    start_frame: int
    end_frame: int
    video: VideoSpec
    audio: AudioSpec
    decoder: str
    channel: int | None = None
    frames: bool
    waveform: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReply:
    """The description of a source."""

    info: SourceInfo
    peak_memory_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtitlesReply:
    """A subtitle track without its text, which lies in the memory file of the message.

    size: of the text in bytes; the others as in :class:`redub.footage.embedded.EmbeddedSubtitles`.
    """

    size: int
    suffix: str
    track: str
    unused: tuple[str, ...]
    problem: str
    language: str
    peak_memory_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeReply:
    """A decoded clip without its arrays, which lie in the memory file of the message.

    shape: of the frames; None without frames. samples: of the sound; None without sound.
    """

    shape: tuple[int, ...] | None = None
    samples: int | None = None
    notes: tuple[str, ...]
    decoder: str
    peak_memory_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultReply:
    """A fault of the file or the clip, as a code and a sentence."""

    code: str
    message: str
    peak_memory_mib: int


Request = ProbeRequest | SubtitlesRequest | DecodeRequest
Reply = ProbeReply | SubtitlesReply | DecodeReply | FaultReply
KINDS: dict[str, type[Request | Reply]] = {
    kind.__name__: kind
    for kind in (
        ProbeRequest,
        SubtitlesRequest,
        DecodeRequest,
        ProbeReply,
        SubtitlesReply,
        DecodeReply,
        FaultReply,
    )
}


def text_of(message: Request | Reply) -> bytes:
    """The JSON text of a message."""
    values = {name: value for name, value in asdict(message).items() if value is not None}
    return json.dumps({"message": type(message).__name__, "fields": values}).encode()


def read_request(text: bytes) -> Request:
    """Read what :func:`text_of` wrote of a request.

    Raises:
        MessageError: other text.
    """
    message = _read(text)
    if not isinstance(message, Request):
        raise MessageError("a reply instead of a request")
    return message


def read_reply(text: bytes) -> Reply:
    """Read what :func:`text_of` wrote of a reply.

    Raises:
        MessageError: other text.
    """
    message = _read(text)
    if not isinstance(message, Reply):
        raise MessageError("a request instead of a reply")
    return message


def _read(text: bytes) -> Request | Reply:
    try:
        values = json.loads(text)
        return from_mapping(KINDS[values["message"]], values["fields"])
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise MessageError(f"no message: {error!r}") from error
    except RecursionError as error:
        raise MessageError("no message: nested too deeply") from error
