"""Media that are embedded in a page: encoded audio, poster images, mel images, data addresses.

A medium that is used once is written where it is used. A medium that is used several times (such as
a library clip retrieved by several utterances) is stored once and attached by the page's script.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import struct
import zlib
from collections import Counter
from typing import Literal

import av
import cv2
import numpy as np

from redub.core.types import ByteArray, FloatArray, Waveform
from redub.pages.contents import Sound

Codec = Literal["flac", "aac"]
MIME = {"flac": "audio/flac", "aac": "audio/mp4"}
AAC_BITS_PER_S = 56_000
POSTER_SIDE = 288
MEL_COLUMNS = 420
MEL_BYTES = 15_000
MEL_FLOOR = 8.0  # range of a mel image below its maximum, in nepers (about 70 dB)


def encode_sound(waveform: Waveform, codec: Codec, *, bits_per_s: int = AAC_BITS_PER_S) -> bytes:
    """Encode mono audio for browsers.

    FLAC is lossless (16 bit). AAC in MP4 is about a third of its size at the default ``bits_per_s``
    (used by AAC only). Samples outside [-1, 1] are clipped; empty audio becomes one zero sample.
    The same samples give the same bytes.
    """
    pcm = np.clip(np.round(waveform.samples * 32767.0), -32768, 32767).astype(np.int16)
    if len(pcm) == 0:
        pcm = np.zeros(1, np.int16)  # an empty file is an error in every browser
    buffer = io.BytesIO()
    container = av.open(
        buffer, "w", format="flac" if codec == "flac" else "mp4", options={"fflags": "+bitexact"}
    )
    with container:
        stream = container.add_stream(codec, rate=waveform.sample_rate_hz)
        stream.layout = "mono"
        stream.format = "s16" if codec == "flac" else "fltp"
        if codec == "aac":
            stream.bit_rate = bits_per_s
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = waveform.sample_rate_hz
        frame.pts = 0
        resampler = av.AudioResampler(
            format=stream.format,
            layout="mono",
            rate=waveform.sample_rate_hz,
            frame_size=stream.codec_context.frame_size or None,
        )
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def sound_bytes(sound: Sound, codec: Codec) -> tuple[bytes, str]:
    """Return the bytes of a sound and their MIME type; samples are encoded, bytes are unchanged."""
    if sound.waveform is not None:
        return encode_sound(sound.waveform, codec), MIME[codec]
    return sound.encoded, sound.mime


def poster_jpeg(frame: ByteArray) -> bytes:
    """Encode an (H, W, 3) RGB frame as a JPEG of at most 288 pixels on the longer side."""
    height, width = frame.shape[:2]
    shrink = min(1.0, POSTER_SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 72])
    return bytes(encoded)


def mel_png(mel: FloatArray, *, loudest: float) -> bytes:
    """Draw a mel spectrogram, low frequencies at the bottom, as a palette PNG.

    The number of shades is reduced until the image has at most 15 kB, or two shades are left.

    Args:
        mel: (T, C) natural-log values.
        loudest: value of the brightest colour; the same for all systems of an utterance.
    """
    columns = mel.astype(np.float64)
    if len(mel) > MEL_COLUMNS:  # means of adjacent frames; the page stretches the image
        edges = np.linspace(0, len(mel), MEL_COLUMNS + 1).astype(int)
        columns = np.add.reduceat(columns, edges[:-1], axis=0) / np.diff(edges)[:, None]
    share = np.clip((columns.T[::-1] - loudest) / MEL_FLOOR + 1, 0, 1)  # (C, T) 0 quiet, 1 loud
    for shades in (64, 40, 24, 12, 6, 2):  # noise compresses badly; fewer shades until it fits
        image = palette_png(np.round(share * (shades - 1)).astype(np.uint8), shades)
        if len(image) <= MEL_BYTES:
            break
    return image


def palette_png(levels: ByteArray, shades: int) -> bytes:
    """Encode (H, W) palette entries 0 … ``shades`` - 1 as a PNG in the colours of magma.

    Source: PNG, W3C recommendation, second edition: IHDR, PLTE, IDAT (filter 0), IEND.
    """
    height, width = levels.shape
    magma = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_MAGMA)
    places = (np.linspace(0.02, 0.98, shades) * 256).astype(int)
    palette = magma[places, 0, ::-1].tobytes()  # red, green, blue
    rows = np.concatenate([np.zeros((height, 1), np.uint8), levels], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = (
        (b"IHDR", header),
        (b"PLTE", palette),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def data_address(content: bytes, mime: str) -> str:
    """Encode content as a ``data:`` address; malformed MIME types become a generic binary type."""
    plain = mime if re.fullmatch(r"[a-z]+/[a-z0-9.+-]+", mime) else "application/octet-stream"
    return f"data:{plain};base64,{base64.b64encode(content).decode('ascii')}"


class MediaShelf:
    """Makes the attributes of media elements, and stores media that are used more than once.

    Works in two passes: call :meth:`announce` for every use, then :meth:`attribute` for every use.
    """

    def __init__(self) -> None:
        self._uses: Counter[str] = Counter()
        self.stored: dict[str, str] = {}  # key → data address

    def announce(self, content: bytes, mime: str) -> None:
        """Count one use of a medium."""
        self._uses[_key(content, mime)] += 1

    def attribute(self, content: bytes, mime: str) -> tuple[str, str]:
        """Return name and value of the attribute that gives an element its medium.

        The name is ``src`` for a medium used once; otherwise ``data-medium``, with the key under
        which the medium is in ``stored``.
        """
        key = _key(content, mime)
        if self._uses[key] < 2:
            return "src", data_address(content, mime)
        self.stored.setdefault(key, data_address(content, mime))
        return "data-medium", key


def _key(content: bytes, mime: str) -> str:
    return hashlib.sha256(mime.encode() + b"\0" + content).hexdigest()[:16]
