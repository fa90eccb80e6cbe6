"""Decode in a child process: send requests, wait with a deadline, replace a child that died.

decord aborts the whole process on some files, and any decoder may hang. So no decoder runs in a
worker process: one damaged file must not destroy the work on other files.
"""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np

from redub.core import wire
from redub.core.child_process import ChildProcess
from redub.core.errors import ClipError
from redub.core.shared_memory import mapped
from redub.core.types import AudioSpec, VideoSpec, Waveform
from redub.footage.decode import DecodedClip, check_request
from redub.footage.embedded import MAX_BYTES, EmbeddedSubtitles
from redub.footage.faults import FAULTS
from redub.footage.limits import DecodeLimits
from redub.footage.messages import (
    DecodeReply,
    DecodeRequest,
    FaultReply,
    MessageError,
    ProbeReply,
    ProbeRequest,
    Reply,
    Request,
    SubtitlesReply,
    SubtitlesRequest,
    read_reply,
    text_of,
)
from redub.footage.paths import open_regular
from redub.footage.probe import SourceInfo

Wanted = TypeVar("Wanted", ProbeReply, SubtitlesReply, DecodeReply)

_ATTEMPTS = 2


class DecoderChild:
    """Probe and decode in a child process that may crash, hang or run out of memory.

    The first request starts the process. It is replaced when it dies, after a timeout, and after
    ``limits.clips_per_child`` requests. Requests from several threads run one after another.
    The child dies with the *thread* that started it, because Linux ties the parent-death signal to
    a thread. A later request from another thread then starts a new child.
    """

    def __init__(self, limits: DecodeLimits | None = None) -> None:
        self.limits = limits or DecodeLimits()
        settings = [f"{name}={value}" for name, value in asdict(self.limits).items()]
        self._child = ChildProcess("redub.footage.decoder_child", settings)
        self._lock = threading.Lock()
        self._closing = False

    def __enter__(self) -> DecoderChild:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the child; None before the first request and after :meth:`close`."""
        return self._child.pid

    def probe(self, path: Path) -> SourceInfo:
        """Examine one source; see :func:`redub.footage.probe.probe`.

        Raises:
            ClipError: any fault of the file, or E-DEC-CRASH, E-DEC-TIMEOUT, E-DEC-MEM.
        """
        with open_regular(path) as descriptor:
            extra_s = self.limits.extra_s(os.fstat(descriptor).st_size)
        wanted = ProbeRequest(path=os.path.abspath(path), cpu_s=self.limits.cpu_s + extra_s)
        reply, memory = self._ask(wanted, ProbeReply, extra_s)
        if memory is not None:
            os.close(memory)
        return reply.info

    def subtitles(self, path: Path, language: str = "") -> EmbeddedSubtitles:
        """Read a subtitle track; see :func:`redub.footage.embedded.read_embedded`.

        Raises:
            ClipError: any fault of the file, or E-DEC-CRASH, E-DEC-TIMEOUT, E-DEC-MEM.
        """
        with open_regular(path) as descriptor:
            extra_s = self.limits.extra_s(os.fstat(descriptor).st_size)
        cpu_s = self.limits.cpu_s + extra_s
        wanted = SubtitlesRequest(path=os.path.abspath(path), cpu_s=cpu_s, language=language)
        reply, memory = self._ask(wanted, SubtitlesReply, extra_s)
        content = mapped(memory)
        if len(content) != reply.size or reply.size > 4 * MAX_BYTES:
            raise _nonsense(f"{len(content)} bytes for {reply.size}")
        return EmbeddedSubtitles(
            content=content.tobytes(),
            suffix=reply.suffix,
            track=reply.track,
            unused=reply.unused,
            problem=reply.problem,
            language=reply.language,
        )

    def decode(
        self,
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
    ) -> DecodedClip:
        """Decode one clip; see :func:`redub.footage.decode.decode_in_process`.

        Raises:
            ClipError: any fault of the file or clip, or E-DEC-CRASH, E-DEC-TIMEOUT, E-DEC-MEM.
        """
        check_request(start_frame, end_frame, video, decoder, self.limits)
        with open_regular(path):
            pass  # a pipe or device must not reach the child, where opening it could block
        request = DecodeRequest(
            path=os.path.abspath(path),
            cpu_s=self.limits.cpu_s,
            start_frame=start_frame,
            end_frame=end_frame,
            video=video,
            audio=audio,
            decoder=decoder,
            channel=channel,
            frames=frames,
            waveform=waveform,
        )
        reply, descriptor = self._ask(request, DecodeReply, 0)
        try:
            return _clip_of(reply, descriptor, audio)
        except ValueError as error:
            raise _nonsense("no clip") from error

    def close(self) -> None:
        """End the process, also during a request; a later request starts a new process."""
        self._closing = True
        self._child.kill()  # before the lock: another thread may hold the lock for a minute
        with self._lock:
            self._child.stop()
            self._closing = False

    def _ask(self, request: Request, kind: type[Wanted], extra_s: int) -> tuple[Wanted, int | None]:
        """Send a request and wait for the reply; try again after a crash or a changed file."""
        with self._lock:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    reply, descriptor = self._exchange(request, self.limits.wall_s + extra_s)
                except wire.WireTimeoutError:
                    raise self._timed_out(self.limits.wall_s + extra_s, attempt) from None
                except wire.WireClosedError:
                    fault = self._death(attempt)
                    if self._closing or attempt == _ATTEMPTS or fault.code != "E-DEC-CRASH":
                        raise fault from None
                    continue
                except MessageError as error:
                    raise _nonsense("a reply that cannot be read") from error
                if isinstance(reply, kind):
                    return reply, descriptor
                if descriptor is not None:
                    os.close(descriptor)
                if not isinstance(reply, FaultReply):
                    raise _nonsense("the reply to another request")
                if reply.code != "E-IN-CHANGED" or attempt == _ATTEMPTS:
                    raise _error_of(reply, attempt)
        raise AssertionError("the last attempt returns or raises")

    def _exchange(self, request: Request, wall_s: float) -> tuple[Reply, int | None]:
        if self._child.exchanges >= self.limits.clips_per_child:
            self._child.stop()
        return self._child.exchange(text_of(request), read_reply, wall_s=wall_s)

    def _timed_out(self, wall_s: float, attempt: int) -> ClipError:
        pid = self._child.pid
        peak_mib = None if pid is None else _peak_memory_mib(pid)
        self._child.stop()
        return ClipError(
            f"decoding did not finish in {wall_s:g} s and was stopped; raise the limit if the file "
            "is just slow",
            code="E-DEC-TIMEOUT",
            signal="SIGKILL",
            peak_memory_mib=peak_mib,
            attempts=attempt,
        )

    def _death(self, attempt: int) -> ClipError:
        """Make the error for a child that died, from its exit status and last output."""
        ending = self._child.ending()
        if ending.status == -signal.SIGXCPU:
            return ClipError(
                f"decoding used its {self.limits.cpu_s} s of CPU time and was stopped; raise the "
                "limit if the file is just slow",
                code="E-DEC-TIMEOUT",
                signal="SIGXCPU",
                attempts=attempt,
            )
        return ClipError(
            f"the decoder process ended {ending}; take the file out, or convert it",
            code="E-DEC-CRASH",
            signal=ending.signal,
            attempts=attempt,
        )


def _nonsense(what: str) -> ClipError:
    return ClipError(f"the decoder process sent {what}; take the file out", code="E-DEC-CRASH")


def _error_of(reply: FaultReply, attempt: int) -> ClipError:
    """The error that the child reported; an unknown code becomes E-IN-FORMAT."""
    return ClipError(
        reply.message,
        code=reply.code if reply.code in FAULTS else "E-IN-FORMAT",
        attempts=attempt,
        peak_memory_mib=reply.peak_memory_mib,
    )


def _clip_of(reply: DecodeReply, descriptor: int | None, audio: AudioSpec) -> DecodedClip:
    """Map the memory file of the child as arrays; changes stay private to this process."""
    shape, samples = reply.shape, reply.samples
    frame_bytes = int(np.prod(shape)) if shape is not None else 0
    data = mapped(descriptor)
    wanted = frame_bytes + 4 * (samples or 0)
    if len(data) != wanted:
        raise _nonsense(f"{len(data)} bytes for {wanted}")
    return DecodedClip(
        frames=None if shape is None else data[:frame_bytes].reshape(shape),
        waveform=None
        if samples is None
        else Waveform(data[frame_bytes:].view(np.float32), audio.sample_rate_hz),
        notes=reply.notes,
        decoder=reply.decoder,
        peak_memory_mib=reply.peak_memory_mib,
    )


def _peak_memory_mib(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) // 1024 if found else None
