"""Examine one source before its clips are decoded: its streams, its completeness, its decoder.

The whole file is read once (packets, without decoding), because headers can be wrong: a truncated
file still declares its full length, and a declared frame rate is only an average.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ClipError
from redub.core.types import VideoSpec, channel_in
from redub.footage.container import MediaFile, open_media
from redub.footage.decode import AUDIO_GAP_S, read_frames
from redub.footage.decord_reader import DecordReader
from redub.footage.limits import DecodeLimits
from redub.footage.paths import open_regular
from redub.footage.streams.channels import choose_channel
from redub.footage.structure import is_matroska, is_mp4, missing_bytes

_SAMPLED_FRAMES = 5
_SAMPLED_KEYS = 4
_MEAN_LEVELS = 1.0  # allowed mean difference of the two readers, of 255; 0.2 on real footage
_PEAK_LEVELS = 16.0  # allowed 99.9th percentile of the difference; 5 on real footage
_SAME_TIME_S = 1e-3
_TRUNCATION_S = 0.1
_STEADY = 0.1  # allowed deviation of frame intervals at a constant rate, as a part of a frame
_NOTED_S = 0.1  # shorter holes and ends of the sound are not noted
_READ_AHEAD_BYTES = 400 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """Properties of one media file.

    Attributes:
        container: FFmpeg's name of the demuxer ("mov", "matroska", …).
        duration_s: length of the video, or of the sound if there is no video.
        width, height: in pixels as shown, upright and with square pixels; 0 without video.
        fps: average frames per second; 0 without video.
        frames: number of video frames in the file, counted and not read from the header.
        is_vfr: whether the frame rate varies.
        av_mismatch_ms: length of the sound minus length of the video, in milliseconds.
        decoder: the reader of the video frames; ``why_decoder`` gives the reason in one sentence.
        reading: how the file is read, where it is not the ordinary way: streams that are not the
            first ones, ``in-order``, ``mirrored``, ``channel=2``; empty for most files.
        notes: peculiarities of the file, as sentences.
    """

    container: str
    duration_s: float
    has_video: bool
    has_audio: bool
    width: int = 0
    height: int = 0
    fps: float = 0.0
    frames: int = 0
    is_vfr: bool = False
    video_codec: str = ""
    audio_codec: str = ""
    sample_rate_hz: int = 0
    av_mismatch_ms: int = 0
    decoder: Literal["decord", "pyav"] = "pyav"
    why_decoder: str = ""
    reading: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def channel(self) -> int | None:
        """The channel of the sound to use, counted from 0; None for the mean of all channels."""
        return channel_in(self.reading)


def probe(path: Path, limits: DecodeLimits | None = None) -> SourceInfo:
    """Examine a source in this process; :meth:`DecoderChild.probe` does it in a child process.

    Raises:
        ClipError: any ``E-IN-`` or ``E-SEC-`` fault of the file.
    """
    limits = limits or DecodeLimits()
    with open_regular(path) as descriptor, open_media(descriptor, limits) as media:
        packets = _read_packets(media)
        _require_whole(media, packets)
        decoder: Literal["decord", "pyav"] = "pyav"
        why = "the source has no video"
        geometry = media.geometry if media.video is not None else None
        if geometry is not None:
            why_not = _why_not_decord(media, packets, limits)
            decoder = "pyav" if why_not else "decord"
            why = why_not or (
                f"H.264 in a short file, and all {packets.frames} timestamps and "
                f"{len(_sampled(packets))} sampled frames agree with PyAV"
            )
        spoken = choose_channel(media, packets.audio_end_s)
        unusual = list(media.unusual)
        if spoken.channel is not None:
            unusual.append(f"channel={spoken.channel}")
        width, height = (0, 0) if geometry is None else geometry.upright(1 << 30)
        mismatch_s = 0.0
        if media.video is not None and media.audio is not None:
            mismatch_s = packets.audio_end_s - packets.video_end_s
        return SourceInfo(
            container=media.format_name.split(",")[0],
            duration_s=packets.video_end_s if media.video is not None else packets.audio_end_s,
            has_video=media.video is not None,
            has_audio=media.audio is not None,
            width=width,
            height=height,
            fps=0.0 if geometry is None else packets.fps or media.fps,
            frames=0 if geometry is None else packets.frames,
            is_vfr=geometry is not None and packets.is_vfr,
            video_codec=""
            if media.video is None or geometry is None
            else media.video.codec_context.name,
            audio_codec="" if media.audio is None else media.audio.codec_context.name,
            sample_rate_hz=0 if media.audio is None else int(media.audio.rate),
            av_mismatch_ms=round(1000 * mismatch_s),
            decoder=decoder,
            why_decoder=why,
            reading=" ".join(unusual),
            notes=(*filter(None, (*media.choices, spoken.note)), *_notes(media, packets)),
        )


@dataclass(frozen=True, slots=True)
class _Packets:
    """Times from the packets of a file, in seconds since the origin, without damaged packets."""

    times_s: NDArray[np.float64]  # (n,) of all video frames, increasing
    key_times_s: NDArray[np.float64]  # of the key frames, increasing
    has_open_groups: bool  # a frame is stored after a key frame but shown before it
    video_end_s: float
    audio_end_s: float
    holes: tuple[tuple[float, float], ...] = ()  # (start, length) of gaps in the sound

    @property
    def frames(self) -> int:
        """Number of video frames."""
        return len(self.times_s)

    @property
    def fps(self) -> float:
        """Average frames per second; 0 for fewer than two frames."""
        if self.frames < 2 or self.times_s[-1] <= self.times_s[0]:
            return 0.0
        return float((self.frames - 1) / (self.times_s[-1] - self.times_s[0]))

    @property
    def is_vfr(self) -> bool:
        """Whether the intervals between frames vary by more than ``_STEADY`` of the median."""
        steps = np.diff(self.times_s)
        if len(steps) < 2:
            return False
        usual = np.median(steps)
        # Matroska rounds timestamps to milliseconds; that is not a variable rate.
        return bool(np.abs(steps - usual).max() > max(_STEADY * usual, 2e-3))


def _read_packets(media: MediaFile) -> _Packets:
    stamps: list[float] = []
    keys: list[float] = []
    has_open_groups = False
    ends = {"video": 0.0, "audio": 0.0}
    step_s = 1 / media.fps
    holes: list[tuple[float, float]] = []
    # A WAV of unknown size ends inside a packet, which FFmpeg marks as corrupt; its samples are
    # right. Where the size is known, missing_bytes finds what is lost.
    keeps_partial = media.format_name == "wav"
    sounds = 0
    for packet in media.packets():
        if (packet.is_corrupt and not keeps_partial) or packet.is_discard:
            continue
        kind = packet.stream.type
        stamp = packet.pts
        if stamp is None or (kind == "video" and media.counts_frames):
            stamp = packet.dts
        lasts_s = float(packet.duration * packet.time_base) if packet.duration else 0.0
        time_s = ends[kind]
        if stamp is not None:
            time_s = float(stamp * packet.time_base) - media.origin_s
        if kind == "video":
            stamps.append(time_s)
            if packet.is_keyframe:
                keys.append(time_s)
            has_open_groups |= bool(keys) and time_s < keys[-1]
            lasts_s = lasts_s or step_s
        else:
            gap_s = time_s - ends[kind]
            if sounds and gap_s > AUDIO_GAP_S:
                holes.append((ends[kind], gap_s))
            sounds += 1
        ends[kind] = max(ends[kind], time_s + lasts_s)
    times_s = np.sort(np.asarray(stamps, np.float64))
    return _Packets(
        times_s,
        np.sort(np.asarray(keys)),
        has_open_groups,
        ends["video"],
        ends["audio"],
        tuple(holes),
    )


def _require_whole(media: MediaFile, packets: _Packets) -> None:
    """Raise ClipError if the file is truncated, or its header declares an impossible count."""
    declared = int(media.video.frames) if media.video is not None else 0
    size = os.fstat(media.descriptor).st_size
    if declared > size:
        raise ClipError(
            f"the header declares {declared} video frames in a file of {size} bytes, which is "
            "impossible; convert the file or copy it again",
            code="E-IN-FORMAT",
        )
    missing = missing_bytes(media.descriptor)
    declared_s = media.declared_duration_s or 0.0
    if missing:
        if media.video is not None:
            wanted = declared or round(declared_s * media.fps)
            what = f"declared {wanted} frames, decoded {packets.frames}"
        else:
            what = f"the sound ends after {packets.audio_end_s:.2f} s"
        raise ClipError(
            f"{what}: the file is truncated, {missing} bytes that it declares are missing; "
            "copy it again",
            code="E-IN-TRUNC",
        )
    # FLAC declares no sizes in bytes, but its header has the number of samples.
    if media.format_name == "flac" and declared_s - packets.audio_end_s > _TRUNCATION_S:
        raise ClipError(
            f"declared {declared_s:.2f} s of sound, decoded {packets.audio_end_s:.2f} s: the file "
            "is truncated; copy it again",
            code="E-IN-TRUNC",
        )


def _why_not_decord(media: MediaFile, packets: _Packets, limits: DecodeLimits) -> str:
    """The reason not to use decord, as one sentence; empty if decord may read the source."""
    assert media.video is not None
    assert media.geometry is not None
    codec = media.video.codec_context.name
    head = os.pread(media.descriptor, 16, 0)
    if codec != "h264" or not (is_mp4(head) or is_matroska(head)):
        container = media.format_name.split(",")[0]
        return f"decord is used only for H.264 in MP4 or Matroska; this is {codec} in {container}"
    if packets.video_end_s > limits.max_clip_s:
        return "decord would read the whole long source for every clip; PyAV reads only the clip"
    if packets.has_open_groups:
        return "groups of pictures are open: decord returns wrong frames after a seek"
    if not media.geometry.is_upright:
        return "the video is stored rotated or mirrored: decord does not set it upright"
    if "video=" in " ".join(media.unusual):
        return "the film is not the first video stream, and decord may read another one"
    if media.geometry.pixel_aspect != 1:
        return "the pixels are not square, and decord ignores that"
    video = VideoSpec()
    width, height = media.geometry.fitted(video.max_side)
    if packets.frames * width * height * 3 > _READ_AHEAD_BYTES:
        return "decord decodes ahead without limit, and this source would not fit in memory"
    try:
        return _disagreement(media, packets, width, height)
    except ClipError as error:
        return f"one of the two readers cannot read sampled frames ({error.message})"


def _sampled(packets: _Packets) -> list[int]:
    """Indices of the frames at which the two readers are compared.

    They are spread over the source; some lie just before a key frame, where a wrong seek shows.
    """
    spread = np.linspace(0, packets.frames - 1, _SAMPLED_FRAMES).round().astype(int)
    keys = np.searchsorted(packets.times_s, packets.key_times_s)
    before = keys[keys > 0] - 1
    chosen = before[:: max(len(before) // _SAMPLED_KEYS, 1)][:_SAMPLED_KEYS]
    return sorted({int(index) for index in [*spread, *chosen]})


def _disagreement(media: MediaFile, packets: _Packets, width: int, height: int) -> str:
    """How decord and PyAV differ, as one sentence; empty if they agree."""
    # PyAV reads first: if it finds damage, decord is not started, because it could abort.
    indices = _sampled(packets)
    expected = np.zeros((len(indices), height, width, 3), np.uint8)
    read_frames(media, [float(packets.times_s[index]) for index in indices], expected)
    reader = DecordReader(media, width, height)
    if len(reader.start_s) != packets.frames:
        return f"decord counts {len(reader.start_s)} frames, the file has {packets.frames}"
    late_s = float(np.abs(reader.start_s - packets.times_s).max())
    if late_s > _SAME_TIME_S:
        return f"decord's timestamps are up to {1000 * late_s:.1f} ms off"
    # Read backwards, one by one: then every read is a seek, like the first read of a clip.
    found = np.concatenate([reader.read([index]) for index in reversed(indices)])[::-1]
    levels = np.abs(found.astype(np.int16) - expected)
    mean, peak = float(levels.mean()), float(np.percentile(levels, 99.9))
    if mean > _MEAN_LEVELS or peak > _PEAK_LEVELS:
        return (
            f"decord's frames differ from PyAV's by {mean:.1f} levels on average and {peak:.0f} "
            f"at the 99.9th percentile; allowed are {_MEAN_LEVELS:g} and {_PEAK_LEVELS:g}"
        )
    return ""


def _notes(media: MediaFile, packets: _Packets) -> list[str]:
    notes = []
    if media.geometry is not None and media.geometry.quarter_turns:
        turned = 90 * media.geometry.quarter_turns
        notes.append(f"the video is stored rotated; it is turned {turned} degrees left")
    if media.geometry is not None and media.geometry.is_mirrored:
        notes.append("the video is stored mirrored; left and right are swapped, then it is turned")
    if media.geometry is not None and media.geometry.pixel_aspect != 1:
        notes.append(f"pixels of aspect {media.geometry.pixel_aspect}; scaled to square pixels")
    if abs(media.origin_s) > _SAME_TIME_S:
        notes.append(f"timestamps begin at {media.origin_s:.3f} s; times count from there")
    if media.video_start_s > 1 / media.fps:
        notes.append(f"the video begins {media.video_start_s:.3f} s after the sound")
    if media.video is not None and media.audio_start_s > 1 / media.fps:
        notes.append(
            f"the sound begins {media.audio_start_s:.3f} s after the video; silence comes first"
        )
    silent_s = sum(length_s for _, length_s in packets.holes)
    if silent_s > _NOTED_S:
        many = "1 hole" if len(packets.holes) == 1 else f"{len(packets.holes)} holes"
        notes.append(
            f"the sound has {many} of together {silent_s:.3f} s, the first at "
            f"{packets.holes[0][0]:.3f} s; they are filled with silence"
        )
    if media.video is not None and media.audio is not None:
        short_s = packets.video_end_s - packets.audio_end_s
        if short_s > max(_NOTED_S, 2 / media.fps):
            notes.append(f"the sound ends {short_s:.3f} s before the video; silence follows")
    return notes
