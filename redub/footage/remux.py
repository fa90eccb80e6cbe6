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
import numpy as np
from av.stream import Disposition

from redub.core.errors import ClipError, StorageError
from redub.core.types import Waveform
from redub.footage.container import DEMUXERS, MediaFile, open_media
from redub.footage.encode import SoundWriter, open_output, whole_file
from redub.footage.limits import DecodeLimits
from redub.footage.paths import descriptor_path, open_regular
from redub.footage.streams.geometry import FrameGeometry

log = logging.getLogger(__name__)

DISCLOSURE = "This file contains AI-generated speech, made with redub."


CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}


CONTAINER_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "comment"}


BROADCAST_FORMATS = frozenset({"mpegts", "mpeg", "mpegvideo", "vob"})
"""Containers whose timestamps may start at any value; in other containers they start at 0."""


KEPT_TAGS = frozenset({"hvc1", "dvh1"})
"""Codec tags that are kept: Apple plays HEVC only under ``hvc1``, FFmpeg writes ``hev1``."""


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
    codec, or they have no usable timestamps, the video is re-encoded as H.264, upright and with its
    pixel aspect, and the report says so. The film's sound track is replaced
    (:mod:`redub.footage.streams.choice`), and the dub is the default track; other tracks, metadata
    and chapters stay if the container can hold them. The metadata field ``comment`` marks the file
    as AI-generated.

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
                audio_index=None if media.audio is None else media.audio.index,
                geometry=media.geometry,
                video_end_s=_video_end_s(media),
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
    audio_index: int | None
    geometry: FrameGeometry | None
    video_end_s: Fraction
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
            # Timestamps of a broadcast container start at any value: shift them to 0.
            shift_s = self.origin_s if source.format.name in BROADCAST_FORMATS else Fraction(0)
            tracks, encoder, sound = self._tracks(source, output, shift_s, copy=copy, notes=notes)
            text = _SubtitleWriter(output, self.subtitles) if self.subtitles else None
            output.start_encoding()
            if text:
                text.write_all(self.origin_s - shift_s)
            packets = source.demux([*tracks, *([] if copy else [video])])
            for packet in _with_decoding_times(packets, video):
                if packet.stream == video and packet.dts is not None:
                    sound.write_until(packet.dts * packet.time_base - shift_s)
                if packet.stream == video and encoder is not None:
                    self._reencode(packet, encoder, output, shift_s)
                elif packet.size:  # demux marks the end of each stream with an empty packet
                    _copy(packet, tracks[packet.stream], output, shift_s)
            if encoder is not None:
                output.mux(encoder.encode(None))
                notes.append(f"the video ({video.codec_context.name}) was re-encoded as H.264")
            sound.finish()
        return DubReport(video_copied=copy, notes=tuple(notes))

    def _sound(self, source: Any, output: Any, shift_s: Fraction, notes: list[str]) -> SoundWriter:
        """Open the dubbed track, as the default one; cut it at the end of the video."""
        length_s = self.video_end_s - self.origin_s
        keep = max(0, round(length_s * self.waveform.sample_rate_hz))
        kept = Waveform(self.waveform.samples[:keep], self.waveform.sample_rate_hz)
        over_s = self.waveform.duration_s - kept.duration_s
        if over_s > 0:
            notes.append(f"{over_s:.3f} s of sound after the end of the video were cut")
        sound = SoundWriter(output, kept, start_s=self.origin_s - shift_s)
        sound.stream.disposition = Disposition.default
        if self.audio_index is not None and source.streams[self.audio_index].language:
            sound.stream.metadata["language"] = source.streams[self.audio_index].language
        return sound

    def _tracks(
        self, source: Any, output: Any, shift_s: Fraction, *, copy: bool, notes: list[str]
    ) -> tuple[dict[Any, Any], Any, SoundWriter]:
        """Open an output track for every stream, in the order of the source.

        Returns:
            Source stream → copied track, the video encoder if the video is not copied, and the
            writer of the dubbed track, which stands where the replaced track stood.
        """
        tracks: dict[Any, Any] = {}
        encoder: Any = None
        sound: SoundWriter | None = None
        for stream in source.streams:
            is_video = stream.index == self.video_index
            if stream.index == self.audio_index:
                sound = self._sound(source, output, shift_s, notes)
                continue
            if is_video and not copy:
                encoder = self._video_encoder(output, stream)
                continue
            if stream.type == "attachment" and self.container == "matroska" and stream.name:
                output.add_attachment(stream.name, stream.mimetype or "", stream.data)  # a font
                continue
            codec = getattr(getattr(stream, "codec_context", None), "name", None)
            if not _fits(self.container, stream.type, codec):
                if is_video:
                    raise _CannotCopyError(f"{self.container} cannot hold {codec} video")
                what = f"{stream.type} track {stream.index} ({codec})"
                notes.append(f"{what} does not fit {self.container}: left out")
                continue
            tracks[stream] = _track_like(stream, output)
        return tracks, encoder, sound or self._sound(source, output, shift_s, notes)

    def _video_encoder(self, output: Any, video: Any) -> Any:
        context = video.codec_context
        encoder = output.add_stream("libx264", rate=video.average_rate or 25)
        width, height = context.width - context.width % 2, context.height - context.height % 2
        aspect = Fraction(1) if self.geometry is None else self.geometry.pixel_aspect
        if self.geometry is not None and self.geometry.quarter_turns % 2:
            width, height, aspect = height, width, 1 / aspect
        encoder.width, encoder.height = width, height
        if aspect != 1:
            encoder.codec_context.sample_aspect_ratio = aspect
        encoder.pix_fmt = "yuv420p"
        encoder.codec_context.thread_count = 1
        encoder.codec_context.time_base = video.time_base
        encoder.codec_context.max_b_frames = 0
        encoder.codec_context.flags |= av.codec.context.Flags.bitexact
        encoder.options = {"crf": "16", "preset": "medium"}
        encoder.disposition = Disposition.default
        return encoder

    def _reencode(self, packet: Any, encoder: Any, output: Any, shift_s: Fraction) -> None:
        for frame in packet.decode():
            if frame.pts is None:
                continue
            pts, time_base = frame.pts - round(shift_s / frame.time_base), frame.time_base
            if self.geometry is not None and not self.geometry.is_upright:
                frame = _upright(frame, self.geometry)
            frame.pict_type = av.video.frame.PictureType.NONE
            plain = frame.reformat(width=encoder.width, height=encoder.height, format="yuv420p")
            plain.pts, plain.time_base = pts, time_base
            output.mux(encoder.encode(plain))


def _track_like(stream: Any, output: Any) -> Any:
    """Open a track with the parameters, metadata and disposition of a source stream."""
    track = output.add_stream_from_template(stream)
    track.metadata.update(stream.metadata)
    track.time_base = stream.time_base
    track.disposition = stream.disposition
    if stream.type == "audio":  # the dub is the default
        track.disposition = Disposition(stream.disposition & ~Disposition.default)
    if stream.type == "video" and stream.codec_context.codec_tag in KEPT_TAGS:
        track.codec_tag = stream.codec_context.codec_tag
    return track


def _upright(frame: Any, geometry: FrameGeometry) -> Any:
    """Turn the pixels of a frame, so that the new film needs no display matrix."""
    planes = frame.reformat(format="yuv444p").to_ndarray()  # (3, H, W)
    turned = np.stack([geometry.set_upright(plane) for plane in planes])
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(turned), format="yuv444p")


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


def _video_end_s(media: MediaFile) -> Fraction:
    """End of the last frame in the source's timestamps.

    MP4 declares it. Other containers declare the end of the longest stream, or the start of the
    last frame, so their packets are read.
    """
    video = media.video
    if video is None:
        return Fraction(0)
    if video.duration and media.format_name.startswith("mov"):
        return Fraction((video.start_time or 0) + video.duration) * Fraction(video.time_base)
    step_s = 1 / Fraction(video.average_rate or 25)
    end_s = Fraction(0)
    for packet in media.packets():
        stamp = packet.dts if media.counts_frames or packet.pts is None else packet.pts
        if packet.stream.type == "video" and stamp is not None:
            lasts_s = packet.duration * packet.time_base if packet.duration else step_s
            end_s = max(end_s, Fraction(stamp * packet.time_base + lasts_s))
    return end_s


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
