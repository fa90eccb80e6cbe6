"""Decode one clip: video frames on the grid k/25 s, and sound at the sample rate of the run.

Grid frame k is the frame that a player shows at k/25 s: the last frame whose timestamp is not
later. Before the first frame of the file it is the first frame. PyAV, which reads in order of
timestamps, is the reference. decord is a second reader, for sources that it reads correctly
(:mod:`redub.footage.probe` decides).

Letters: V grid frames, H and W height and width, S samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from av.video.reformatter import VideoReformatter

from redub.core.errors import ClipError, ConfigError
from redub.core.types import AudioSpec, ByteArray, FloatArray, VideoSpec, Waveform
from redub.footage.container import MediaFile, open_media
from redub.footage.decord_reader import DecordReader, read_with_decord
from redub.footage.limits import DecodeLimits, peak_memory_mib
from redub.footage.paths import open_regular
from redub.footage.streams.channels import channels_of, names_of

Allocate = Callable[[int], ByteArray]

HOLD_S = 0.08
"""Seconds for which the last video frame may be repeated at the end of a clip."""

_MARGIN_FRAMES = 5  # frames of sound decoded before and after a clip, against resampler edges
AUDIO_GAP_S = 0.03  # smaller jumps of sound timestamps are rounding errors, not silence
_SILENCE_NOTE_S = 0.1

# Weights of the loudspeakers in the mono mix, before division by their sum. The centre channel
# holds the dialogue, the low-frequency channel has no dialogue (ITU-R BS.775).
_LOUDSPEAKERS = {"FL": 1.0, "FR": 1.0, "FC": math.sqrt(2), "LFE": 0.0}
_OTHER_LOUDSPEAKER = math.sqrt(0.5)


@dataclass(frozen=True, slots=True)
class DecodedClip:
    """The decoded frames and sound of one clip.

    Attributes:
        frames: (V, H, W, 3) uint8 RGB, upright; None if not requested or without video.
        waveform: exactly ``audio.sample_count(V, video)`` samples; None if not requested or
            without sound.
        notes: sentences about sound that was missing and filled, and about frames that the decoder
            concealed; empty for an ordinary clip.
        decoder: the reader of the video frames.
        peak_memory_mib: peak resident memory of the decoding process so far.
    """

    frames: ByteArray | None
    waveform: Waveform | None
    notes: tuple[str, ...]
    decoder: str
    peak_memory_mib: int


def decode_in_process(
    path: Path,
    *,
    start_frame: int,
    end_frame: int,
    video: VideoSpec,
    audio: AudioSpec,
    decoder: str = "pyav",
    channel: int | None = None,
    frames: bool = True,
    waveform: bool = True,
    limits: DecodeLimits | None = None,
    allocate: Allocate | None = None,
) -> DecodedClip:
    """Decode in this process. The decoder child runs this function; here it is not isolated.

    Args:
        start_frame, end_frame: on the grid of ``video.fps``; the end is exclusive.
        decoder: the reader of the video frames; PyAV always reads the sound.
        channel: the channel of the sound to use; None for the weighted mean of all.
        frames, waveform: whether to decode them; a source without the stream gives None.
        allocate: allocates one flat uint8 buffer for both results; numpy by default.

    Raises:
        ClipError: any ``E-IN-`` or ``E-SEC-`` fault of the file or clip.
        ConfigError: an unknown decoder.
    """
    limits = limits or DecodeLimits()
    allocate = allocate or _allocate
    check_request(start_frame, end_frame, video, decoder, limits)
    with open_regular(path) as descriptor, open_media(descriptor, limits) as media:
        count = end_frame - start_frame  # V
        with_frames = frames and media.geometry is not None
        width, height = media.geometry.upright(video.max_side) if media.geometry else (0, 0)
        frame_bytes = count * height * width * 3 if with_frames else 0
        with_sound = waveform and media.audio is not None
        samples = audio.sample_count(count, video) if with_sound else 0
        buffer = allocate(frame_bytes + 4 * samples)
        notes: tuple[str, ...] = ()
        video_frames: ByteArray | None = None
        sound: Waveform | None = None
        if with_frames:
            video_frames = buffer[:frame_bytes].reshape(count, height, width, 3)
            times_s = [k / video.fps for k in range(start_frame, end_frame)]
            if decoder == "decord":
                reader = DecordReader(media, width, height)
                require_reached(media, reader.end_s, times_s[-1])
                read_with_decord(reader, times_s, video_frames, same_time_s=media.same_time_s)
            else:
                concealed = read_frames(media, times_s, video_frames)
                if concealed:
                    notes = (f"{concealed} of {count} frames are damaged and were concealed",)
        if with_sound:
            mono = buffer[frame_bytes:].view(np.float32)  # (S,)
            notes += _read_sound(media, start_frame, count, video, audio, mono, channel)
            sound = Waveform(mono, audio.sample_rate_hz)
        peak_mib = peak_memory_mib()
        return DecodedClip(video_frames, sound, notes, decoder, peak_mib)


def check_request(
    start_frame: int, end_frame: int, video: VideoSpec, decoder: str, limits: DecodeLimits
) -> None:
    """Check the decoder name and the span of a clip.

    Raises:
        ClipError: E-IN-RANGE (the span is empty, reversed or negative), E-IN-TOOLONG.
        ConfigError: an unknown decoder.
    """
    if decoder not in ("pyav", "decord"):
        raise ConfigError(f"decoder '{decoder}' is unknown; wanted 'pyav' or 'decord'")
    if not 0 <= start_frame < end_frame:
        raise ClipError(
            f"the clip goes from frame {start_frame} to {end_frame}; wanted 0 <= start < end",
            code="E-IN-RANGE",
        )
    length_s = (end_frame - start_frame) / video.fps
    if length_s > limits.max_clip_s:
        raise ClipError(
            f"the clip lasts {length_s:.1f} s, the limit is {limits.max_clip_s:g} s; cut it with "
            "subtitles, one cue per utterance, or raise the limit",
            code="E-IN-TOOLONG",
        )


def read_frames(media: MediaFile, times_s: Sequence[float], out: ByteArray) -> int:
    """Fill ``out`` (V, H, W, 3) with the frames that PyAV shows at ``times_s``.

    Only the shown frames are converted to RGB, and one full-size frame is in memory at a time.

    Args:
        times_s: V increasing times in seconds since the file's origin.

    Returns:
        How many of the V frames the decoder flagged as damaged and concealed.

    Raises:
        ClipError: E-IN-CORRUPT (more frames are damaged than the limit allows), E-IN-RANGE,
            E-IN-TRUNC.
    """
    convert = _Converter(media, out)
    done = 0
    shown: Any = None
    shown_s = media.video_start_s
    same_time_s = media.same_time_s
    for time_s, frame in media.video_frames(times_s[0]):
        while done < len(times_s) and times_s[done] + same_time_s < time_s:
            convert(frame if shown is None else shown, done)
            done += 1
        if done == len(times_s):
            return convert.total()
        shown, shown_s = frame, time_s
    if shown is None:
        raise ClipError(
            "no frame of this clip could be decoded; copy the file again", code="E-IN-CORRUPT"
        )
    lasts_s = float(shown.duration * shown.time_base) if shown.duration else 0.0
    require_reached(media, shown_s + max(lasts_s, 1 / media.fps), times_s[-1])
    for k in range(done, len(times_s)):
        convert(shown, k)
    return convert.total()


def require_reached(media: MediaFile, video_end_s: float, wanted_s: float) -> None:
    """Check that the video reaches ``wanted_s``; the last frame may be held for ``HOLD_S``.

    Raises:
        ClipError: E-IN-TRUNC if the file declares more video than it has, else E-IN-RANGE.
    """
    if wanted_s <= video_end_s + HOLD_S:
        return
    declared_s = media.declared_duration_s or 0.0
    if declared_s > wanted_s:
        raise ClipError(
            f"the file declares {declared_s:.2f} s, its frames end at {video_end_s:.2f} s; "
            f"the clip needs a frame at {wanted_s:.2f} s: copy the file again",
            code="E-IN-TRUNC",
        )
    raise ClipError(
        f"the clip needs a frame at {wanted_s:.2f} s, the frames end at {video_end_s:.2f} s; "
        "correct the times of this subtitle cue",
        code="E-IN-RANGE",
    )


class _Converter:
    """Scale, rotate and store frames; a frame that is shown several times is converted once."""

    def __init__(self, media: MediaFile, out: ByteArray) -> None:
        assert media.geometry is not None
        self.out = out
        self.geometry = media.geometry
        height, width = out.shape[1:3]
        is_turned = self.geometry.quarter_turns % 2
        self.width, self.height = (height, width) if is_turned else (width, height)
        self.reformatter = VideoReformatter()
        self.last: tuple[Any, int] | None = None
        self.concealed = 0
        self.media = media

    def __call__(self, frame: Any, k: int) -> None:
        if self.last is not None and self.last[0] is frame:
            self.out[k] = self.out[self.last[1]]
            self.concealed += frame.is_corrupt
            self.total()
            return
        if frame.is_corrupt:
            self.concealed += 1
            self.total()
        scaled = self.reformatter.reformat(
            frame, width=self.width, height=self.height, format="rgb24", threads=1
        )
        self.out[k] = self.geometry.set_upright(np.asarray(scaled.to_ndarray(), np.uint8))
        self.last = (frame, k)

    def total(self) -> int:
        """How many frames are damaged or lost.

        Raises:
            ClipError: E-IN-CORRUPT, more than the limit allows.
        """
        share = self.media.limits.max_concealed_share
        found = min(self.concealed + self.media.lost_frames, len(self.out))
        if found > share * len(self.out):
            raise ClipError(
                "a frame of this clip is damaged: bytes inside the file are wrong; copy or convert "
                f"the file again, or raise footage.max_concealed_share, now {share:g}",
                code="E-IN-CORRUPT",
            )
        return found


def _read_sound(
    media: MediaFile,
    start_frame: int,
    count: int,
    video: VideoSpec,
    audio: AudioSpec,
    out: FloatArray,
    channel: int | None,
) -> tuple[str, ...]:
    """Fill ``out`` (S,) with the sound of the clip, mono and resampled once.

    The resampled piece begins a whole number of grid frames before the clip. So the samples of a
    clip are those that the resampled whole file would have there. Returns notes about gaps.
    """
    assert media.audio is not None
    rate_hz = int(media.audio.rate)
    first = round(Fraction(start_frame - _MARGIN_FRAMES, video.fps) * rate_hz)
    piece = np.zeros(
        math.ceil(Fraction(count + 2 * _MARGIN_FRAMES, video.fps) * rate_hz), np.float32
    )
    skipped = audio.sample_count(_MARGIN_FRAMES, video)
    margin = round(Fraction(_MARGIN_FRAMES, video.fps) * rate_hz)
    found_samples = _gather(media, first, rate_hz, piece, margin, channel)
    if not np.isfinite(piece).all():
        raise ClipError(
            "the sound of this clip holds NaN or infinite samples; export it again",
            code="E-IN-NONFINITE",
        )
    if rate_hz != audio.sample_rate_hz:
        piece = soxr.resample(piece, rate_hz, audio.sample_rate_hz, quality="HQ")
    found = piece[skipped : skipped + len(out)]
    out[: len(found)] = np.clip(found, -1.0, 1.0)
    out[len(found) :] = 0.0
    missing_s = count / video.fps - found_samples / rate_hz
    if missing_s > _SILENCE_NOTE_S:
        return (f"the sound covers all but {missing_s:.2f} s of the clip; the rest is silence",)
    return ()


def _gather(
    media: MediaFile,
    first: int,
    rate_hz: int,
    piece: FloatArray,
    margin: int,
    channel: int | None,
) -> int:
    """Write mono sound into ``piece``, which begins at sample ``first`` since the origin.

    Returns:
        The number of samples found between the two margins.
    """
    inner_end = len(piece) - margin
    position: int | None = None
    found = 0
    for time_s, frame in media.audio_frames(first / rate_hz):
        if frame.sample_rate != rate_hz:
            raise ClipError(
                f"the sample rate changes from {rate_hz} to {frame.sample_rate} Hz inside the "
                "file; wanted one rate: convert the file",
                code="E-IN-CORRUPT",
            )
        mono = _mono(frame, channel)
        stamped = round(time_s * rate_hz) - first
        if position is None or stamped > position + AUDIO_GAP_S * rate_hz:
            position = stamped
        elif stamped < position - AUDIO_GAP_S * rate_hz:
            mono = mono[position - stamped :]  # these samples are in the piece already
        start, end = position, position + len(mono)
        inside = slice(max(start, 0), max(min(end, len(piece)), 0))
        piece[inside] = mono[inside.start - start : max(inside.stop - start, 0)]
        found += max(min(end, inner_end) - max(start, margin), 0)
        position = end
        if end >= len(piece):
            break
    return found


def _mono(frame: Any, channel: int | None) -> FloatArray:
    """Mix one PyAV sound frame to (n,) float32; full scale is 1, loudspeakers are weighted.

    Args:
        channel: use this channel alone, if the frame has it.
    """
    samples = channels_of(frame)
    if channel is not None and channel < len(samples):
        return np.asarray(samples[channel], dtype=np.float32)
    names = names_of(frame)
    weights = np.array([_LOUDSPEAKERS.get(name, _OTHER_LOUDSPEAKER) for name in names])
    if len(names) == 1 or not weights.any():
        weights = np.ones(len(names))
    mono: FloatArray = np.asarray(weights / weights.sum() @ samples, dtype=np.float32)
    return mono


def _allocate(size: int) -> ByteArray:
    return np.zeros(size, np.uint8)
