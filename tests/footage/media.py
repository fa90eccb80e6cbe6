"""Small test media: every picture carries its number as bars, the sound is a known chirp.

So a test can read from a decoded picture which one it is, and compare sound with a formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np

BARS = 12
TICK = Fraction(1, 24_000)  # 25, 30 and 24000/1001 pictures per second are whole numbers of it


def bars(number: int, width: int = 96, height: int = 48) -> Any:
    """(H, W, 3) uint8: twelve upright bars, the bits of ``number``, lowest first."""
    column = np.arange(width) * BARS // width
    bits = (number >> column) & 1
    return np.broadcast_to((bits * 195 + 30)[None, :, None], (height, width, 3)).astype(np.uint8)


def number_of(picture: Any) -> int:
    """The number whose bars a decoded picture shows."""
    brightness = picture.mean(axis=(0, 2))
    edges = np.linspace(0, len(brightness), BARS + 1)
    bits = []
    for first, last in pairwise(edges):
        margin = (last - first) * 0.25
        bar = brightness[int(np.ceil(first + margin)) : int(last - margin) or 1]
        bits.append(bar.mean() > 127)
    return sum(int(bit) << place for place, bit in enumerate(bits))


def numbers_of(pictures: Any) -> list[int]:
    return [number_of(picture) for picture in pictures]


def steady(count: int, fps: Fraction | int = 25, start: Fraction | int = 0) -> list[Fraction]:
    """Times of ``count`` pictures at a constant rate."""
    return [Fraction(start) + k / Fraction(fps) for k in range(count)]


def shown_at(times: Sequence[Fraction], moments: Sequence[Fraction]) -> list[int]:
    """The plain oracle: at each moment the last picture that has begun, else the first."""
    return [max([i for i, t in enumerate(times) if t <= moment], default=0) for moment in moments]


def grid(start: int, end: int) -> list[Fraction]:
    return [Fraction(k, 25) for k in range(start, end)]


def chirp(times_s: Any) -> Any:
    """Half-scale sound whose pitch rises, so that no two moments sound alike."""
    times_s = np.asarray(times_s, np.float64)
    return 0.5 * np.sin(2 * np.pi * (200 * times_s + 150 * times_s**2))


def make(
    path: Path,
    times: Sequence[Fraction] = (),
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    size: tuple[int, int] = (96, 48),
    tick: Fraction = TICK,
    rate: Fraction | int = 25,
    gop: int = 12,
    bframes: int = 0,
    picture: Any = bars,
    sound: str = "",
    sound_s: float | None = None,
    sound_start_s: float = 0.0,
    sound_rate_hz: int = 48_000,
    layout: str = "mono",
    signal: Any = chirp,
    format: str | None = None,
    container_options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """Encode pictures shown at ``times``, and sound if a codec is named.

    ``signal`` maps seconds to sound; the file's sound at time t is ``signal(t)``.
    """
    with av.open(
        str(path), "w", format=format, container_options=container_options or {}
    ) as output:
        video = audio = None
        if times:
            video = output.add_stream(codec, rate=rate, options=options or {})
            video.width, video.height = size
            video.pix_fmt = pixels
            video.codec_context.thread_count = 1
            video.codec_context.time_base = tick
            video.codec_context.gop_size = gop
            video.codec_context.max_b_frames = bframes
            if aspect is not None:
                video.codec_context.sample_aspect_ratio = aspect
        if sound:
            audio = output.add_stream(sound, rate=sound_rate_hz, layout=layout)
        packets = []
        if video is not None:
            packets += _pictures(video, times, size, pixels, tick, picture)
        if audio is not None:
            length_s = float(times[-1] + 1 / Fraction(rate)) if sound_s is None else sound_s
            packets += _sound(audio, length_s, sound_start_s, sound_rate_hz, layout, signal)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            output.mux(packet)
    return path


def _pictures(
    stream: Any,
    times: Sequence[Fraction],
    size: tuple[int, int],
    pixels: str,
    tick: Any,
    paint: Any,
) -> list[Any]:
    packets = []
    for number, time in enumerate(times):
        frame = av.VideoFrame.from_ndarray(paint(number, *size), format="rgb24")
        frame = frame.reformat(format=pixels)
        frame.pts, frame.time_base = int(time / tick), tick
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _sound(
    stream: Any, length_s: float, start_s: float, rate_hz: int, layout: str, signal: Any
) -> list[Any]:
    first, count = round(start_s * rate_hz), round(length_s * rate_hz)
    values = np.asarray(signal((first + np.arange(count)) / rate_hz), np.float32)
    channels = np.atleast_2d(values)
    if len(channels) == 1:
        channels = np.repeat(channels, len(av.AudioLayout(layout).channels), axis=0)
    packets = []
    for position in range(0, count, 1024):
        piece = np.ascontiguousarray(channels[:, position : position + 1024])
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate_hz, first + position
        frame.time_base = Fraction(1, rate_hz)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def remux(source: Path, target: Path, *, repeats: int = 1, format: str | None = None) -> Path:
    """Copy the packets of the picture, ``repeats`` times one after the other."""
    with av.open(str(source)) as opened, av.open(str(target), "w", format=format) as output:
        stream = opened.streams.video[0]
        copied = output.add_stream_from_template(stream)
        packets = [p for p in opened.demux(stream) if p.size]
        bodies = [(bytes(p), p.pts, p.dts, p.duration, p.is_keyframe) for p in packets]
        length = sum(p.duration for p in packets)
        for turn in range(repeats):
            for body, pts, dts, duration, is_key in bodies:
                packet = av.Packet(body)
                packet.stream, packet.time_base = copied, stream.time_base
                packet.pts, packet.dts = pts + turn * length, dts + turn * length
                packet.duration, packet.is_keyframe = duration, is_key
                output.mux(packet)
    return target
