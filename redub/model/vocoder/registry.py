"""The vocoders, mel to waveform: ``name → "module:Class"``.

A vocoder is built as ``Vocoder(config)``, ``Vocoder.Config`` being a frozen dataclass whose field
``audio`` is the run's :class:`~redub.core.types.AudioSpec`; ``vocode(mel)`` takes (T, C) natural
log-mel and gives a :class:`~redub.core.types.Waveform` of exactly T hops.
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
    """The class of a vocoder; an unknown name answers with the known ones."""
    return load(VOCODERS, name, kind="vocoder")
