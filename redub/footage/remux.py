"""Put dubbed sound onto a film whose video packets are copied untouched.

Video is re-encoded only where the output container cannot hold its packets; the report says so.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from redub.core.errors import ClipError, StorageError
from redub.core.types import Waveform
from redub.footage.container import DEMUXERS, open_media
from redub.footage.encode import SoundWriter, open_output, whole_file
from redub.footage.limits import DecodeLimits
from redub.footage.paths import descriptor_path, open_regular

log = logging.getLogger(__name__)

DISCLOSURE = "This file contains AI-generated speech, made with redub."


CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}


CONTAINER_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "comment"}


BROADCAST_FORMATS = frozenset({"mpegts", "mpeg", "mpegvideo", "vob"})
"""Containers whose timestamps may start at any value; in other containers they start at 0."""


DISK_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM}
)


@dataclass(frozen=True, slots=True)
class DubReport:
    """How the source was written.

    Attributes:
        video_copied: True if the video packets were copied, False if they were re-encoded.
        notes: tracks that were left out and sound that was cut, as sentences.
    """

    video_copied: bool
    notes: tuple[str, ...] = ()


def write_dubbed(
    source: Path, out: Path, waveform: Waveform, *, subtitles: Path | None = None
) -> DubReport:
    """Write a copy of a film with a dubbed sound track.

    Video packets are copied without re-encoding. Only if the output container cannot hold their
    codec, or they have no usable timestamps, the video is re-encoded as H.264, and the report says
    so. The first sound track is replaced; other tracks, metadata and chapters stay if the container
    can hold them. The metadata field ``comment`` marks the file as AI-generated.

    Args:
        source: any film that redub can read, with or without sound.
        out: ``.mp4``, ``.m4v``, ``.mov`` or ``.mkv``; must not be the source, a link or a device.
        waveform: sample 0 is at the source's origin (:mod:`redub.footage.container`); samples after
            the end of the video are cut.
        subtitles: an SRT file, added as a subtitle track.

    Raises:
        ClipError: the source or the subtitle file cannot be read, or the source has no video.
        StorageError: the target cannot be written.
    """
    if out.suffix.lower() not in CONTAINERS:
        known = ", ".join(CONTAINERS)
        raise StorageError(f"{out.name}: wanted a name in {known}", code="E-STORE-TARGET")
    with open_regular(source) as descriptor:
        if out.exists() and out.samefile(source):
            raise StorageError(
                f"{out} is the source itself; choose another name", code="E-STORE-TARGET"
            )
        with open_media(descriptor, DecodeLimits()) as media:
            if media.video is None:
                raise ClipError(f"{source.name} has no video to dub", code="E-IN-NOVIDEO")
            dub = _Dub(
                descriptor=descriptor,
                container=CONTAINERS[out.suffix.lower()],
                video_index=media.video.index,
                origin_s=Fraction(media.origin_s).limit_denominator(90_000_000),
                waveform=waveform,
                subtitles=subtitles,
            )
        with whole_file(out) as beside:
            return _copied_or_encoded(dub, source, beside)


class _CannotCopyError(Exception):
    """The output container cannot hold the video packets of the source."""


def _copied_or_encoded(dub: _Dub, source: Path, beside: Path) -> DubReport:
    try:
        try:
            return dub.write(beside, copy=True)
        except _CannotCopyError as reason:
            log.warning("%s: %s; the video is re-encoded", source.name, reason)
            beside.unlink(missing_ok=True)
            return dub.write(beside, copy=False)
    except av.error.FFmpegError as error:
        if error.errno in DISK_ERRORS:
            raise  # an error of the disk, not of the film: whole_file turns it into StorageError
        raise ClipError(f"cannot dub {source.name}: {error}", code="E-IN-CORRUPT") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dub:
    """The parts of a dubbed film; :meth:`write` muxes them in one pass over the source."""

    descriptor: int
    container: str
    video_index: int
    origin_s: Fraction
    waveform: Waveform
    subtitles: Path | None

    def write(self, beside: Path, *, copy: bool) -> DubReport:
        """Write the whole film.

        Raises:
            _CannotCopyError: only with ``copy``: the video must be re-encoded.
        """
        whitelist = {"format_whitelist": ",".join(DEMUXERS)}
        notes: list[str] = []
        with (
            av.open(descriptor_path(self.descriptor), options=whitelist) as source,
            open_output(beside, self.container) as output,
        ):
            video = source.streams[self.video_index]
            output.metadata.update(
                {k: v for k, v in source.metadata.items() if k.lower() not in CONTAINER_TAGS}
            )
            output.metadata["comment"] = DISCLOSURE
            tracks = self._tracks(source, output, copy=copy, notes=notes)
            encoder = None if copy else _video_encoder(output, video)
            # Timestamps of a broadcast container start at any value: shift them to 0.
            shift_s = self.origin_s if source.format.name in BROADCAST_FORMATS else Fraction(0)
            sound = self._sound(source, output, video, shift_s, notes)
            text = _SubtitleWriter(output, self.subtitles) if self.subtitles else None
            output.start_encoding()
            if text:
                text.write_all(self.origin_s - shift_s)
            packets = source.demux([*tracks, *([] if copy else [video])])
            for packet in _with_decoding_times(packets, video):
                if packet.stream == video and packet.dts is not None:
                    sound.write_until(packet.dts * packet.time_base - shift_s)
                if packet.stream == video and encoder is not None:
                    _reencode(packet, encoder, output, shift_s)
                elif packet.size:  # demux marks the end of each stream with an empty packet
                    _copy(packet, tracks[packet.stream], output, shift_s)
            if encoder is not None:
                output.mux(encoder.encode(None))
                notes.append(f"the video ({video.codec_context.name}) was re-encoded as H.264")
            sound.finish()
        return DubReport(video_copied=copy, notes=tuple(notes))

    def _sound(
        self, source: Any, output: Any, video: Any, shift_s: Fraction, notes: list[str]
    ) -> SoundWriter:
        """Open the dubbed track; cut it at the end of the video."""
        length_s = _video_end_s(source, video) - self.origin_s
        keep = max(0, round(length_s * self.waveform.sample_rate_hz))
        kept = Waveform(self.waveform.samples[:keep], self.waveform.sample_rate_hz)
        over_s = self.waveform.duration_s - kept.duration_s
        if over_s > 0:
            notes.append(f"{over_s:.3f} s of sound after the end of the video were cut")
        sound = SoundWriter(output, kept, start_s=self.origin_s - shift_s)
        for original in source.streams.audio[:1]:
            if original.language:
                sound.stream.metadata["language"] = original.language
        return sound

    def _tracks(self, source: Any, output: Any, *, copy: bool, notes: list[str]) -> dict[Any, Any]:
        """Open an output track for every stream that is copied."""
        tracks: dict[Any, Any] = {}
        for stream in source.streams:
            is_video = stream.index == self.video_index
            if stream in source.streams.audio[:1] or (is_video and not copy):
                continue
            codec = getattr(getattr(stream, "codec_context", None), "name", None)
            if not _fits(self.container, stream.type, codec):
                if is_video:
                    raise _CannotCopyError(f"{self.container} cannot hold {codec} video")
                what = f"{stream.type} track {stream.index} ({codec})"
                notes.append(f"{what} does not fit {self.container}: left out")
                continue
            track = output.add_stream_from_template(stream)
            track.metadata.update(stream.metadata)
            track.time_base = stream.time_base
            tracks[stream] = track
        return tracks


def _with_decoding_times(packets: Iterable[Any], video: Any) -> Iterator[Any]:
    """Fill in the decoding times of the first frames, which Matroska omits.

    A frame must be decoded before the next frame, and at or before its presentation time.
    """
    step = max(1, round(1 / (video.average_rate or 25) / video.time_base))
    waiting: list[Any] = []
    for packet in packets:
        if packet.stream == video and packet.dts is None and packet.pts is not None:
            waiting.append(packet)
            continue
        if waiting and packet.stream == video:
            following = packet.dts if packet.dts is not None else waiting[-1].pts + step
            for early in reversed(waiting):
                following = early.dts = min(following - step, early.pts)
            yield from waiting
            waiting.clear()
        yield packet


def _copy(packet: Any, track: Any, output: Any, shift_s: Fraction) -> None:
    """Mux one packet without re-encoding, with its timestamps shifted."""
    if packet.dts is None or packet.pts is None:
        if packet.stream.type == "video":
            raise _CannotCopyError("its packets have no presentation times")
        packet.pts = packet.dts = packet.pts if packet.dts is None else packet.dts
        if packet.pts is None:
            return
    moved = round(shift_s / packet.time_base)
    packet.pts -= moved
    packet.dts -= moved
    packet.stream = track
    output.mux_one(packet)


MP4_HOLDS = {
    "video": {"h264", "hevc", "av1", "libdav1d", "vp9", "libvpx-vp9", "mpeg4", "mjpeg"},
    "audio": {"aac", "mp3", "mp3float", "ac3", "eac3", "opus", "libopus", "flac", "alac"},
    "subtitle": {"mov_text"},
}


MATROSKA_LEAVES = {"mov_text", "none"}


def _fits(container: str, kind: str, codec: str | None) -> bool:
    """Whether the container can hold a stream of this type and codec."""
    if container == "matroska":
        return kind in ("video", "audio", "subtitle") and codec not in MATROSKA_LEAVES
    return codec in MP4_HOLDS.get(kind, set())


def _video_end_s(source: Any, video: Any) -> Fraction:
    """End of the last frame in the source's timestamps, from the headers only."""
    if video.duration:
        start = video.start_time or 0
        return Fraction(start + video.duration) * Fraction(video.time_base)
    if source.duration:
        return Fraction(source.duration + (source.start_time or 0), av.time_base)
    return Fraction(10**9)  # unknown (a broken index): no sound is cut


def _video_encoder(output: Any, video: Any) -> Any:
    context = video.codec_context
    encoder = output.add_stream("libx264", rate=video.average_rate or 25)
    encoder.width, encoder.height = (
        context.width - context.width % 2,
        context.height - context.height % 2,
    )
    encoder.pix_fmt = "yuv420p"
    encoder.codec_context.thread_count = 1
    encoder.codec_context.time_base = video.time_base
    encoder.codec_context.max_b_frames = 0
    encoder.codec_context.flags |= av.codec.context.Flags.bitexact
    encoder.options = {"crf": "16", "preset": "medium"}
    return encoder


def _reencode(packet: Any, encoder: Any, output: Any, shift_s: Fraction) -> None:
    for frame in packet.decode():
        if frame.pts is None:
            continue
        frame.pts -= round(shift_s / frame.time_base)
        frame.pict_type = av.video.frame.PictureType.NONE
        plain = frame.reformat(width=encoder.width, height=encoder.height, format="yuv420p")
        plain.pts, plain.time_base = frame.pts, frame.time_base
        output.mux(encoder.encode(plain))


ASS_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\nPlayResX: 384\nPlayResY: 288\n\n[V4+ Styles]\n"
    b"Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, "
    b"Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, "
    b"Shadow, Alignment, MarginL, MarginR, MarginV, Encoding\n"
    b"Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0\n\n"
    b"[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)
"""Header with the default style; libav's mov_text encoder needs one to open."""


class _SubtitleWriter:
    """Copy the cues of an SRT file into a subtitle track."""

    def __init__(self, output: Any, path: Path) -> None:
        try:
            self.cues = av.open(str(path))
        except (av.error.FFmpegError, OSError) as error:
            raise ClipError(f"cannot read subtitles {path}: {error}", code="E-IN-SRT") from error
        self.output, self.in_mp4 = output, output.format.name != "matroska"
        if self.in_mp4:
            self.stream = output.add_stream("mov_text")
            self.stream.codec_context.subtitle_header = ASS_HEADER
            self.stream.time_base = Fraction(1, 1000)
        else:
            self.stream = output.add_stream_from_template(self.cues.streams.subtitles[0])

    def write_all(self, start_s: Fraction) -> None:
        """Mux all cues; time 0 of the file is ``start_s`` in the output."""
        with self.cues:
            for cue in self.cues.demux():
                if cue.pts is None:
                    continue
                payload = bytes(cue)
                if self.in_mp4:  # a mov_text sample is its length in two bytes, then UTF-8
                    payload = len(payload[:65535]).to_bytes(2, "big") + payload[:65535]
                packet = av.Packet(payload)
                packet.pts = packet.dts = cue.pts + round(start_s / cue.time_base)
                packet.duration = cue.duration
                packet.time_base = cue.time_base
                packet.stream = self.stream
                self.output.mux_one(packet)
