"""The one decoder child of this process, kept between tasks and closed with the stage.

One thread talks to it, so that the next clip is decoded while the extractors work on this one.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from redub.footage.child import DecoderChild
from redub.footage.limits import DecodeLimits
from redub.pipeline.store.project import Project

_CHILDREN: dict[DecodeLimits, DecoderChild] = {}
_THREADS: list[ThreadPoolExecutor] = []


def limits_of(project: Project) -> DecodeLimits:
    """What one decode may use, from ``[footage]``."""
    footage = project.config.footage
    return DecodeLimits(
        memory_mib=footage.memory_mib, wall_s=footage.wall_s, max_clip_s=footage.max_clip_s
    )


def shared_decoder(project: Project) -> DecoderChild:
    """This process's child under the project's limits; started by its first request."""
    limits = limits_of(project)
    if limits not in _CHILDREN:
        _close_children()
        _CHILDREN[limits] = DecoderChild(limits)
    return _CHILDREN[limits]


def decoder_thread() -> ThreadPoolExecutor:
    """The thread that asks the child; it lives as long as the child does.

    A child ends with the thread that started it, so a thread per request would cost a process
    per request.
    """
    if not _THREADS:
        _THREADS.append(ThreadPoolExecutor(max_workers=1, thread_name_prefix="decoder"))
    return _THREADS[0]


def close_decoders() -> None:
    """End the children of this process; a worker's end by themselves when the worker does."""
    for thread in _THREADS:
        thread.shutdown(wait=False, cancel_futures=True)
    _close_children()
    while _THREADS:
        _THREADS.pop().shutdown()


def _close_children() -> None:
    while _CHILDREN:
        _CHILDREN.popitem()[1].close()
