"""The one decoder child of this process, kept between tasks and closed with the stage."""

from __future__ import annotations

from redub.footage.child import DecoderChild
from redub.footage.limits import DecodeLimits
from redub.pipeline.project import Project

_CHILDREN: dict[DecodeLimits, DecoderChild] = {}


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
        close_decoders()
        _CHILDREN[limits] = DecoderChild(limits)
    return _CHILDREN[limits]


def close_decoders() -> None:
    """End the children of this process; a worker's end by themselves when the worker does."""
    while _CHILDREN:
        _CHILDREN.popitem()[1].close()
