"""The systems that can be trained: ``name → "module:Class"``.

A system is an ``nn.Module`` built as ``System(config, widths)``; ``System.Config`` is its frozen
dataclass, ``System.PRESETS`` maps preset names to configs, and calling it with a
:class:`~redub.model.batch.DubbingBatch` gives a :class:`~redub.model.output.DubbingOutput`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from redub.core.config import from_mapping, nearest
from redub.core.errors import ConfigError
from redub.core.registry import load

SYSTEMS = {
    "authentic_dubber": "redub.model.authentic_dubber:AuthenticDubber",
    "style_dubber": "redub.model.style_dubber:StyleDubber",
    "fastspeech2": "redub.model.fastspeech2:FastSpeech2",
}

LINE = (
    "mel", "f0", "energy", "phonemes", "durations", "lips", "speaker",
    "scene_emotion", "face_emotion", "text_emotion",
)  # fmt: skip
"""What a line is made of, whoever speaks it: systems that are compared share their packs."""

READS = {
    "authentic_dubber": LINE,
    "style_dubber": (*LINE, "local_face"),
    "fastspeech2": LINE,
}
"""The features that each system reads: what a pack for it holds."""


def reads_of(name: str) -> tuple[str, ...]:
    """The features that a system declares.

    Raises:
        ConfigError: there is no such system, with the nearest known name.
    """
    if name not in READS:
        raise ConfigError(f"unknown system '{name}'; {nearest(name, READS)}", code="E-CFG-NAME")
    return READS[name]


def system(name: str) -> Any:
    """The class of a system; an unknown name answers with the known ones."""
    return load(SYSTEMS, name, kind="system")


def configured(name: str, preset: str, overrides: Mapping[str, Any] | None = None) -> Any:
    """A system's preset with single keys changed, checked like any other config."""
    presets = system(name).PRESETS
    if preset not in presets:
        raise ConfigError(
            f"system '{name}' has no preset '{preset}'; {nearest(preset, presets)}",
            code="E-CFG-VALUE",
        )
    values = {**asdict(presets[preset]), **(overrides or {})}
    return from_mapping(type(presets[preset]), values, where=f"{name}.{preset}")
