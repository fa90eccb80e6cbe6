"""Open a media file with PyAV, choose its streams, and read their frames from any time on.

All times are seconds since the file's *origin*: the start of its first stream. If the sound starts
less than one video frame earlier (the priming of an AAC encoder), the origin is the start of the
video, so that the grid of an ordinary file matches its frames. Video, sound and subtitles share
the origin.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import av

from redub.core.errors import ClipError
from redub.footage.limits import DecodeLimits
from redub.footage.paths import descriptor_path
from redub.footage.streams.choice import choose_audio, choose_video
from redub.footage.streams.display_times import DisplayTimes
from redub.footage.streams.geometry import FrameGeometry, orientation
from redub.footage.streams.groups import from_key
from redub.footage.structure import missing_bytes

DEMUXERS = ("mov", "matroska", "avi", "mpegts", "mpeg", "wav", "flac", "mp3", "ogg")
"""FFmpeg demuxers that may run; playlists (hls, concat, dash) are not allowed."""

# Reorder depth of H.264 and HEVC: a key frame may be stored this many frames before it is shown.
_REORDER_FRAMES = 16
_AUDIO_PREROLL_S = 0.35  # decoders of AAC, Opus and MP3 need earlier packets for a correct result
_BACK_OFF_S = (0.0, 5.0, 20.0, 80.0)
_KEPT = {"video": 3, "audio": 32}  # key packets before the wanted one, in a file read in order
_SEEKLESS = frozenset(("mpeg", "mpegvideo"))
"""Demuxers that give wrong times after a seek: MPEG program streams (.mpg, .vob) store a time only
for some frames, and FFmpeg counts the others from the place where it begins to read."""


class MediaFile:
    """One opened media file. Use :func:`open_media`.

    Attributes:
        video: the PyAV stream of the film, or None (:mod:`redub.footage.streams.choice`).
        audio: the PyAV stream of the film's sound track, or None.
        choices: sentences about the choice of the two streams.
        unusual: what differs from reading the first streams as they are, as short words.
        geometry: geometry of the video frames, None without video.
        origin_s: timestamp in the file that counts as time 0.
        lost_frames: video frames that could not be decoded since :meth:`video_frames` began.
        video_start_s, audio_start_s: starts of the streams, in seconds since the origin.
    """

    def __init__(self, descriptor: int, limits: DecodeLimits) -> None:
        self.descriptor = descriptor
        self.limits = limits
        self.geometry: FrameGeometry | None = None
        self.origin_s = 0.0
        self.video_start_s = self.audio_start_s = 0.0
        self.choices: tuple[str, ...] = ()
        self.unusual: tuple[str, ...] = ()
        self.lost_frames = 0
        self._empty: set[int] = set()  # sound streams without sound
        self._open()
        try:
            self._find_origin()
        except BaseException:
            self.close()
            raise

    @property
    def format_name(self) -> str:
        """FFmpeg's name of the container format."""
        return str(self.container.format.name)

    @property
    def declared_duration_s(self) -> float | None:
        """Length that the container declares, in seconds; None if it declares none."""
        duration = self.container.duration
        return None if duration is None else duration / av.time_base

    @property
    def fps(self) -> float:
        """Declared average frame rate; 25 if none is declared."""
        rate = self.video.average_rate if self.video is not None else None
        return float(rate) if rate else 25.0

    @property
    def same_time_s(self) -> float:
        """Times closer than this (in seconds) count as equal: half a tick of the timestamps.

        At most 0.6 ms: timestamps of Matroska are whole milliseconds, and in a film of 23.976 fps
        a frame can start 1 ms after a whole second.
        """
        tick_s = float(self.video.time_base) if self.video is not None else 0.0
        return min(0.55 * tick_s, 5.9e-4) + 1e-5

    @property
    def can_seek(self) -> bool:
        """Whether times are right after a seek; otherwise the file is read from its beginning."""
        return self.format_name not in _SEEKLESS

    @property
    def counts_frames(self) -> bool:
        """Whether presentation times must be counted (AVI with B-frames).

        AVI stores no presentation times. The n-th shown frame then gets the time of the n-th
        packet, so decoding must start at the beginning of the file.
        """
        if self.video is None or self.format_name != "avi":
            return False
        return bool(self.video.codec_context.has_b_frames)

    def video_frames(self, start_s: float) -> Iterator[tuple[float, Any]]:
        """Yield (seconds since the origin, PyAV frame) in presentation order.

        Begins at or before the frame that is shown at ``start_s``. The caller checks
        ``frame.is_corrupt``, because a damaged frame matters only if it is shown.

        Raises:
            ClipError: E-IN-CORRUPT, E-IN-TOOBIG.
        """
        clean = False
        self.lost_frames = 0
        back_s = _REORDER_FRAMES / self.fps
        last_s = self.video_start_s - 1 / self.fps
        for frame in self._frames("video", start_s - back_s, wanted_s=start_s):
            if frame is None:  # damage
                if clean and not self.limits.max_concealed_share:
                    raise _corrupt("a video frame could not be decoded")
                self.lost_frames += clean
                continue
            self._check_size(frame.width, frame.height)
            time_s = self._time_of(frame, last_s + 1 / self.fps)
            if time_s < last_s:
                continue  # a damaged timestamp: times must not decrease
            clean = clean or not frame.is_corrupt
            last_s = time_s
            yield time_s, frame

    def audio_frames(self, start_s: float) -> Iterator[tuple[float, Any]]:
        """Yield (seconds since the origin, PyAV sound frame) in order.

        Begins at or before ``start_s`` if there is sound at that time.

        Raises:
            ClipError: E-IN-CORRUPT.
        """
        begun = False
        next_s = self.audio_start_s
        for frame in self._frames("audio", start_s - _AUDIO_PREROLL_S, wanted_s=start_s):
            if frame is None:
                if begun:
                    raise _corrupt("a piece of sound could not be decoded")
                continue
            begun = True
            time_s = self._time_of(frame, next_s)
            next_s = time_s + frame.samples / frame.sample_rate
            yield time_s, frame

    def packets(self) -> Iterator[Any]:
        """Yield all packets of both streams from the beginning, without decoding.

        For a truncated file the packets end early without an error; :func:`missing_bytes` detects
        the truncation.

        Raises:
            ClipError: E-IN-CORRUPT.
        """
        self._rewind()
        streams = [stream for stream in (self.video, self.audio) if stream is not None]
        try:
            yield from (packet for packet in self._demux(*streams) if packet.size)
        except ClipError:
            if not missing_bytes(self.descriptor):
                raise

    def text_packets(self, index: int) -> Iterator[Any]:
        """Yield the packets of a subtitle stream from the beginning, without decoding.

        Raises:
            ClipError: E-IN-CORRUPT.
        """
        self._rewind()
        yield from (packet for packet in self._demux(self.container.streams[index]) if packet.size)

    def close(self) -> None:
        """Close the container; the descriptor stays open."""
        self.container.close()

    def _open(self) -> None:
        self.container = _open_container(self.descriptor)
        self._is_fresh = True
        try:
            self._choose_streams()
        except BaseException:
            self.close()
            raise

    def _choose_streams(self) -> None:
        video = choose_video(self.container)
        audio = choose_audio(self.container, self._empty)
        self.video, self.audio = video.stream, audio.stream
        self.choices = tuple(filter(None, (video.note, audio.note)))
        unusual = [] if video.ordinary or self.video is None else [f"video={self.video.index}"]
        if self.audio is not None and not audio.ordinary:
            unusual.append(f"sound={self.audio.index}")
        if self.video is not None and not self.can_seek:
            unusual.append("in-order")
        self.unusual = tuple(unusual)
        if self.video is None and self.audio is None:
            raise ClipError(
                f"the {self.format_name} file holds no video and no sound that can be decoded; "
                "convert it, or take it out of the folder",
                code="E-IN-FORMAT",
            )
        if self.video is not None:
            self._check_size(self.video.width, self.video.height)
            # The header may be wrong: with this option the decoder refuses large frames before it
            # allocates memory. It counts padded sides, so it gets twice the limit; _check_size
            # is exact.
            most = 2 * max(self.limits.max_pixels_per_frame, 128 * 128)
            self.video.codec_context.options = {"max_pixels": str(most)}
        for stream in (self.video, self.audio):
            if stream is not None:
                # One thread: the pipeline runs one decoder per core, and results must not depend
                # on the number of cores.
                stream.codec_context.thread_count = 1

    def _find_origin(self) -> None:
        frame, sound = self._first_frames()
        while sound is None and self.audio is not None:  # declared, but it holds no sound
            self._empty.add(self.audio.index)
            self._rewind()  # chooses again, without the empty track
            if self.audio is not None:
                frame, sound = self._first_frames()
        if self.video is not None and frame is None:
            raise ClipError(
                "no video frame could be decoded; copy or convert the file again",
                code="E-IN-TRUNC" if missing_bytes(self.descriptor) else "E-IN-CORRUPT",
            )
        starts = [self._time_of(first, 0.0) for first in (frame, sound) if first is not None]
        if not starts:
            raise ClipError("no sound could be decoded; copy the file again", code="E-IN-CORRUPT")
        self.origin_s = min(starts)
        if frame is not None and self.video is not None:
            self._check_size(frame.width, frame.height)
            if starts[0] - self.origin_s < 1 / self.fps:
                self.origin_s = starts[0]
            aspect = self.video.sample_aspect_ratio
            turns, is_mirrored = orientation(frame)
            self.geometry = FrameGeometry(
                width=frame.width,
                height=frame.height,
                pixel_aspect=Fraction(aspect) if aspect else Fraction(1),
                quarter_turns=turns,
                is_mirrored=is_mirrored,
            )
            if is_mirrored:
                self.unusual += ("mirrored",)
            self.video_start_s = self._time_of(frame, 0.0)
        if sound is not None:
            self.audio_start_s = self._time_of(sound, 0.0)

    def _first_frames(self) -> tuple[Any, Any]:
        """The first video frame and the first sound frame that can be decoded, or None."""
        self._is_fresh = False
        wanted = {s.index: None for s in (self.video, self.audio) if s is not None}
        found: dict[int, Any] = {}
        stamps: deque[int] = deque()
        for packet in self._demux(*(self.container.streams[i] for i in wanted)):
            if packet.stream_index not in found:
                shown = stamps if self.counts_frames and packet.stream.type == "video" else None
                frames = [frame for frame in _decoded([packet], shown) if frame is not None]
                if frames:
                    found[packet.stream_index] = frames[0]
            if len(found) == len(wanted):
                break
        frame = found.get(self.video.index) if self.video is not None else None
        sound = found.get(self.audio.index) if self.audio is not None else None
        return frame, sound

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self.limits.max_pixels_per_frame:
            raise ClipError(
                f"video frames of {width}x{height} are larger than the limit of "
                f"{self.limits.max_pixels_per_frame} pixels; scale the file down first",
                code="E-IN-TOOBIG",
            )

    def _time_of(self, frame: Any, otherwise_s: float) -> float:
        if frame.pts is None:
            return otherwise_s
        return float(frame.pts * frame.time_base) - self.origin_s

    def _frames(self, kind: str, seek_s: float, *, wanted_s: float) -> Iterator[Any]:
        """Yield decoded frames from a key frame at or before ``wanted_s``; None means damage.

        A seek may land too late (a coarse or missing index). So the time of the first key packet
        is checked, and the seek is repeated from further back, at last from the beginning.
        """
        counts = kind == "video" and self.counts_frames
        if not self.can_seek:
            self._rewind()
            yield from _decoded(
                from_key(
                    self._demux(getattr(self, kind)), wanted_s, self.origin_s, kept=_KEPT[kind]
                )
            )
            return
        for back_off_s in () if counts else _BACK_OFF_S:
            target_s = seek_s - back_off_s
            started_s = self.video_start_s if kind == "video" else self.audio_start_s
            if target_s <= started_s or not self._seek(kind, target_s + self.origin_s):
                break
            self._is_fresh = False
            packets = self._demux(getattr(self, kind))
            first = next((p for p in packets if p.is_keyframe and p.pts is not None), None)
            if first is None or self._time_of(first, 0.0) > wanted_s:
                continue
            # Frames of an open group that refer to frames before the seek are broken. But they are
            # shown before the key frame, so before ``wanted_s``.
            yield from _decoded(itertools.chain([first], packets))
            return
        self._rewind()
        yield from _decoded(self._demux(getattr(self, kind)), deque() if counts else None)

    def _demux(self, *streams: Any) -> Iterator[Any]:
        times = self._display_times()
        try:
            for packet in self.container.demux(list(streams)):
                if times is not None and packet.size and packet.stream == self.video:
                    packet.pts = times.of(packet)
                yield packet
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError) as error:
            raise _corrupt(
                f"the container cannot be read to its end ({first_line(error)})"
            ) from error

    def _display_times(self) -> DisplayTimes | None:
        """Counts the times of an MPEG-1 or MPEG-2 video that is read in order."""
        video = self.video
        if video is None or self.can_seek or video.codec.name not in ("mpeg1video", "mpeg2video"):
            return None
        rate = video.codec_context.framerate or video.average_rate or 25
        return DisplayTimes(Fraction(rate), Fraction(video.time_base))

    def _seek(self, kind: str, file_s: float) -> bool:
        stream = getattr(self, kind)
        try:
            self.container.seek(int(file_s / stream.time_base), stream=stream)
        except MemoryError:
            raise
        except av.FFmpegError:
            return False
        return True

    def _rewind(self) -> None:
        # Open the container again: the result of a seek to 0 depends on the format.
        if not self._is_fresh:
            self.close()
            self._open()
        self._is_fresh = False


def _open_container(descriptor: int) -> Any:
    options = {"protocol_whitelist": "file", "format_whitelist": ",".join(DEMUXERS)}
    try:
        return av.open(descriptor_path(descriptor), options=options, metadata_errors="replace")
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError) as error:
        missing = missing_bytes(descriptor)
        if missing:
            raise ClipError(
                f"the file is truncated: {missing} bytes that it declares are missing, among "
                "them its index; copy it again",
                code="E-IN-TRUNC",
            ) from error
        raise ClipError(
            "not a media container that redub reads (MP4/MOV, MKV/WebM, AVI, MPEG-TS/PS, WAV, "
            f"FLAC, MP3, Ogg): {first_line(error)}; convert it, or take it out of the folder",
            code="E-IN-FORMAT",
        ) from error


def _decoded(packets: Iterable[Any], stamps: deque[int] | None = None) -> Iterator[Any]:
    """Yield frames in presentation order; None means damage.

    Args:
        stamps: queue of packet times that no frame has yet; only if presentation times must be
            counted (:attr:`MediaFile.counts_frames`).
    """
    for packet in packets:
        if stamps is not None and packet.size and packet.dts is not None:
            stamps.append(packet.dts)
        try:
            frames = packet.decode()
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError):
            yield None
            continue
        for frame in frames:
            if stamps:
                frame.pts = stamps.popleft()
            yield frame


def _corrupt(what: str) -> ClipError:
    return ClipError(
        f"{what}: bytes inside the file are damaged; copy or convert it again",
        code="E-IN-CORRUPT",
    )


def first_line(error: Exception) -> str:
    """Return the first line of a library's error, without error number and stack trace."""
    said = getattr(error, "strerror", None) or str(error)
    return (said.splitlines() or [type(error).__name__])[0]


@contextmanager
def open_media(descriptor: int, limits: DecodeLimits) -> Iterator[MediaFile]:
    """Open the media file of a checked descriptor, and close it when the block ends.

    Raises:
        ClipError: E-IN-FORMAT, E-IN-TRUNC, E-IN-CORRUPT, E-IN-TOOBIG.
    """
    media = MediaFile(descriptor, limits)
    try:
        yield media
    finally:
        media.close()
