"""The decoder process, which opens untrusted media. :class:`DecoderChild` starts it.

The process has a limited address space and few descriptors, cannot gain privileges, has no network
if the kernel allows that, and ends with its parent. Its standard input is the socket for requests
and replies. Its standard output and error are a pipe of at most 64 KiB, so the messages of a
library can neither corrupt a reply nor fill the memory.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np

from redub.core import wire
from redub.core.child_process import quiet_output
from redub.core.confine import allow_cpu, confine
from redub.core.errors import ClipError
from redub.core.shared_memory import SharedBuffer
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
    quiet_output()
    link = socket.socket(fileno=os.dup(0))
    confine(limits.memory_mib, parent_pid)
    serve(link, limits)


def _setting(word: str) -> tuple[str, Any]:
    name, _, value = word.partition("=")
    return name, type(getattr(DecodeLimits(), name))(value)


if __name__ == "__main__":
    main()
