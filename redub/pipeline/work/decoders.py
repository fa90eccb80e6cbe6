"""The decoder child of this process: kept between tasks, closed at the end of the stage.

One thread sends requests to the child, so that it decodes the next clip while the extractors work
on the present one.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from redub.features.models.native.child import close_children
from redub.footage.child import DecoderChild
from redub.footage.limits import DecodeLimits
from redub.pipeline.store.project import Project

_CHILDREN: dict[DecodeLimits, DecoderChild] = {}
_THREADS: list[ThreadPoolExecutor] = []


def limits_of(project: Project) -> DecodeLimits:
    """Limits of one decode (memory, wall time, clip length), from ``[footage]``."""
    footage = project.config.footage
    return DecodeLimits(
        memory_mib=footage.memory_mib,
        wall_s=footage.wall_s,
        max_clip_s=footage.max_clip_s,
        max_concealed_share=footage.max_concealed_share,
    )


def shared_decoder(project: Project) -> DecoderChild:
    """This process's decoder child under the project's limits; its first request starts it."""
    limits = limits_of(project)
    if limits not in _CHILDREN:
        _close_children()
        _CHILDREN[limits] = DecoderChild(limits)
    return _CHILDREN[limits]


def decoder_thread() -> ThreadPoolExecutor:
    """The thread that sends requests to the child; it lives as long as the child.

    A child ends with the thread that started it, so one thread per request would need one child
    process per request.
    """
    if not _THREADS:
        _THREADS.append(ThreadPoolExecutor(max_workers=1, thread_name_prefix="decoder"))
    return _THREADS[0]


def close_decoders() -> None:
    """End the children of this process; those of a worker process end with the worker."""
    for thread in _THREADS:
        thread.shutdown(wait=False, cancel_futures=True)
    _close_children()
    while _THREADS:
        _THREADS.pop().shutdown()
    close_children()


def _close_children() -> None:
    while _CHILDREN:
        _CHILDREN.popitem()[1].close()
