"""The decoder process, which opens untrusted media. :class:`DecoderChild` starts it.

The process has a limited address space and few descriptors, cannot gain privileges, has no network
if the kernel allows that, and ends with its parent. Its standard input is the socket for requests
and replies. Its standard output and error are a pipe of at most 64 KiB, so the messages of a
library can neither corrupt a reply nor fill the memory.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np

from redub.core.errors import ClipError
from redub.core.types import ByteArray
from redub.footage import wire
from redub.footage.decode import decode_in_process
from redub.footage.embedded import read_embedded
from redub.footage.limits import DecodeLimits, peak_memory_mib
from redub.footage.messages import (
    DecodeReply,
    FaultReply,
    ProbeReply,
    ProbeRequest,
    Reply,
    Request,
    SubtitlesReply,
    SubtitlesRequest,
    read_request,
    text_of,
)
from redub.footage.probe import probe

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # linux/prctl.h
_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000  # linux/sched.h
_MAX_DESCRIPTORS = 64


def confine(limits: DecodeLimits, parent_pid: int) -> None:
    """Give up privileges, network, memory and descriptors that decoding does not need.

    The process exits at once if its parent is no longer ``parent_pid``.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent handles them and ends this process
    if os.getppid() != parent_pid:
        sys.exit(0)  # the parent died before the line above
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Move to an empty network namespace. Without privileges that needs a user namespace, and some
    # kernels forbid both. The whitelists of protocols and formats apply in any case.
    if libc.unshare(_CLONE_NEWNET) != 0:
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    memory = limits.memory_mib << 20
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_DESCRIPTORS, _MAX_DESCRIPTORS))


def allow_cpu(seconds: int) -> None:
    """Limit the CPU time of the next request, counted from the CPU time used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


class SharedBuffer:
    """Shared memory that the child fills and the parent maps, without a copy.

    Attributes:
        descriptor: the memory file, None before :meth:`allocate` and for size 0.
        size: in bytes.
    """

    def __init__(self) -> None:
        self.descriptor: int | None = None
        self.size = 0

    def allocate(self, size: int) -> ByteArray:
        """Create the memory file and map it as a (size,) uint8 array.

        Raises:
            MemoryError: the memory limit of the process is reached.
        """
        self.size = size
        if size == 0:
            return np.zeros(0, np.uint8)
        self.descriptor = os.memfd_create("redub-clip", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, size)
        try:
            # numpy keeps the mapping open as long as an array refers to it.
            return np.frombuffer(mmap.mmap(self.descriptor, size), np.uint8)
        except OSError as error:
            raise MemoryError from error  # mmap raises OSError where memory is short

    def close(self) -> None:
        """Close the memory file; mapped arrays stay valid."""
        if self.descriptor is not None:
            os.close(self.descriptor)


def answer(request: Request, limits: DecodeLimits, shared: SharedBuffer) -> Reply:
    """Execute one request and return the reply without the arrays.

    Raises:
        ClipError: a fault of the file or the clip.
        MemoryError: the memory limit is reached.
    """
    path = Path(request.path)
    allow_cpu(request.cpu_s)
    if isinstance(request, ProbeRequest):
        return ProbeReply(info=probe(path, limits), peak_memory_mib=peak_memory_mib())
    if isinstance(request, SubtitlesRequest):
        found = read_embedded(path, request.language, limits)
        shared.allocate(len(found.content))[:] = np.frombuffer(found.content, np.uint8)
        return SubtitlesReply(
            size=len(found.content),
            suffix=found.suffix,
            track=found.track,
            unused=found.unused,
            problem=found.problem,
            language=found.language,
            peak_memory_mib=peak_memory_mib(),
        )
    clip = decode_in_process(
        path,
        start_frame=request.start_frame,
        end_frame=request.end_frame,
        video=request.video,
        audio=request.audio,
        decoder=request.decoder,
        channel=request.channel,
        frames=request.frames,
        waveform=request.waveform,
        limits=limits,
        allocate=shared.allocate,
    )
    return DecodeReply(
        shape=None if clip.frames is None else clip.frames.shape,
        samples=None if clip.waveform is None else len(clip.waveform.samples),
        notes=tuple(clip.notes),
        decoder=clip.decoder,
        peak_memory_mib=peak_memory_mib(),
    )


def serve(link: socket.socket, limits: DecodeLimits) -> None:
    """Answer requests until the parent closes the socket."""
    while True:
        try:
            request, _ = wire.receive(link, read_request)
        except wire.WireClosedError:
            return
        shared = SharedBuffer()
        reply: Reply
        try:
            reply = answer(request, limits, shared)
        except ClipError as error:
            reply = FaultReply(
                code=error.code, message=error.message, peak_memory_mib=peak_memory_mib()
            )
        except MemoryError:
            reply = FaultReply(
                code="E-DEC-MEM",
                message=f"decoding needs more than {limits.memory_mib} MiB; raise the limit, or "
                "scale the file down first",
                peak_memory_mib=peak_memory_mib(),
            )
        with_arrays = isinstance(reply, (DecodeReply, SubtitlesReply))
        try:
            wire.send(link, text_of(reply), shared.descriptor if with_arrays else None)
        except wire.WireClosedError:
            return
        finally:
            shared.close()


def main() -> None:
    """Run the decoder process.

    Arguments of the command line: the process id of the parent, then ``name=value`` for each
    field of :class:`DecodeLimits`. Standard input is the socket.
    """
    parent_pid = int(sys.argv[1])
    limits = DecodeLimits(**dict(_setting(word) for word in sys.argv[2:]))
    # The pipe holds 64 KiB: non-blocking writes beyond that fail, so the process never waits.
    for stream in (1, 2):
        fcntl.fcntl(stream, fcntl.F_SETFL, fcntl.fcntl(stream, fcntl.F_GETFL) | os.O_NONBLOCK)
    link = socket.socket(fileno=os.dup(0))
    confine(limits, parent_pid)
    serve(link, limits)


def _setting(word: str) -> tuple[str, Any]:
    name, _, value = word.partition("=")
    return name, type(getattr(DecodeLimits(), name))(value)


if __name__ == "__main__":
    main()
