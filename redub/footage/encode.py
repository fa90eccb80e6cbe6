"""Write new clips from video frames and sound.

A file appears under its name only when it is whole: it is written beside the target, synced to
disk and renamed.
Letters: S samples, H and W frame height and width."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from redub.core.durable import new_file
from redub.core.errors import ClipError, StorageError
from redub.core.types import ByteArray, FloatArray, Waveform

AAC_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``target``, which must exist; on success rename it.

    The temporary file is removed in any case.

    Raises:
        StorageError: the folder is missing, read-only or full, or the target is not a regular
            file.
    """
    if not target.parent.is_dir():
        raise StorageError(f"no folder {target.parent}; create it first", code="E-STORE-FOLDER")
    try:
        with new_file(target) as temp:
            yield temp
    except OSError as error:  # one that durable.py has no sentence for
        raise StorageError(f"cannot write {target}: {error.strerror or error}") from error


def open_output(beside: Path, container: str) -> Any:
    options = {"fflags": "+bitexact"}
    if container != "matroska":
        options["movflags"] = "+faststart"
    return av.open(str(beside), "w", format=container, options=options)


class SoundWriter:
    """Encode one mono AAC track piece by piece, so that its packets interleave with the video."""

    def __init__(self, output: Any, waveform: Waveform, *, start_s: Fraction) -> None:
        self.samples, self.rate_hz = _encodable(waveform)
        self.stream = output.add_stream("aac", rate=self.rate_hz)
        self.stream.codec_context.layout = "mono"
        self.stream.codec_context.bit_rate = 64_000 if self.rate_hz <= 24_000 else 96_000
        self.stream.codec_context.flags |= av.codec.context.Flags.bitexact
        self.stream.time_base = Fraction(1, self.rate_hz)
        self.output = output
        self.first = round(start_s * self.rate_hz)
        self.done = 0

    def write_until(self, seconds: Fraction | None) -> None:
        """Encode the samples before ``seconds`` of the film's time; None encodes the rest."""
        end = len(self.samples)
        if seconds is not None:
            end = min(end, int(seconds * self.rate_hz) - self.first)
        while self.done < end:
            block = self.samples[self.done : min(self.done + 1024, len(self.samples))]
            frame = av.AudioFrame.from_ndarray(block[None, :], format="fltp", layout="mono")
            frame.sample_rate = self.rate_hz
            frame.time_base = Fraction(1, self.rate_hz)
            frame.pts = self.first + self.done
            self.output.mux(self.stream.encode(frame))
            self.done += len(block)

    def finish(self) -> None:
        """Encode the remaining samples and flush the encoder."""
        self.write_until(None)
        self.output.mux(self.stream.encode(None))


def _encodable(waveform: Waveform) -> tuple[FloatArray, int]:
    """Clip samples to full scale; resample them to 48 kHz if AAC does not support their rate."""
    samples = np.nan_to_num(waveform.samples.astype(np.float32))
    rate_hz = waveform.sample_rate_hz
    if rate_hz not in AAC_RATES_HZ:
        import soxr  # only unusual sample rates need it

        samples = soxr.resample(samples, rate_hz, 48_000).astype(np.float32)
        rate_hz = 48_000
    return np.ascontiguousarray(np.clip(samples, -1.0, 1.0)), rate_hz


def write_clip(
    path: Path,
    frames: Iterable[ByteArray],
    fps: int,
    waveform: Waveform,
    *,
    crf: int = 25,
    comment: str = "",
) -> None:
    """Encode frames and sound as an MP4 file with H.264 and AAC.

    The same input gives the same bytes: one encoder thread, no date and no version in the file. A
    key frame comes at least every 12 frames; there are no B-frames.

    Args:
        frames: (H, W, 3) uint8 RGB each, all of one size with even sides; at least one frame.
        waveform: sound that starts with the first frame.
        crf: constant rate factor of x264; lower is better.
        comment: text of the metadata field ``comment``.

    Raises:
        ClipError: E-IN-EMPTY, ``frames`` is empty.
        StorageError: the file cannot be written.
    """
    with whole_file(path) as beside, open_output(beside, "mp4") as output:
        if comment:
            output.metadata["comment"] = comment
        video = output.add_stream("libx264", rate=fps)
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1
        video.codec_context.gop_size = 12
        video.codec_context.max_b_frames = 0
        video.codec_context.flags |= av.codec.context.Flags.bitexact
        video.options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
        sound = SoundWriter(output, waveform, start_s=Fraction(0))
        count = 0
        for count, pixels in enumerate(frames, start=1):
            if count == 1:
                video.height, video.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = count - 1, Fraction(1, fps)
            output.mux(video.encode(frame))
            sound.write_until(Fraction(count, fps))
        if not count:
            raise ClipError(f"no video frame for {path}", code="E-IN-EMPTY")
        output.mux(video.encode(None))
        sound.finish()
