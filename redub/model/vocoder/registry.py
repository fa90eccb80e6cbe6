"""Table of vocoders: ``name → "module:Class"``.

A vocoder is built as ``Vocoder(config)``. ``Vocoder.Config`` is a frozen dataclass whose field
``audio`` is the project's :class:`~redub.core.types.AudioSpec`. ``vocode(mel)`` converts (T, C)
natural log-mel to a :class:`~redub.core.types.Waveform` of exactly T hops.
"""

from __future__ import annotations

from typing import Any

from redub.core.registry import load

VOCODERS = {
    "griffin_lim": "redub.model.vocoder.griffin_lim:GriffinLim",
    "hifi_gan": "redub.model.vocoder.hifi_gan:HifiGan",
    "bigvgan": "redub.model.vocoder.bigvgan:BigVgan",
}


def vocoder(name: str) -> Any:
    """Load the class of a vocoder.

    Raises:
        ConfigError: unknown name; the message suggests the nearest known one.
    """
    return load(VOCODERS, name, kind="vocoder")
