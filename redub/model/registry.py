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
    "authentic_dubber": "redub.model.systems.authentic_dubber:AuthenticDubber",
    "style_dubber": "redub.model.systems.style_dubber:StyleDubber",
    "fastspeech2": "redub.model.systems.fastspeech2:FastSpeech2",
    "dsu_avo": "redub.model.systems.dsu_avo:DSUAVO",
    "hpm_dubbing": "redub.model.systems.hpm_dubbing:HPMDubbing",
    "mc_dubber": "redub.model.systems.mc_dubber:MCDubber",
    "m2ci_dubber": "redub.model.systems.m2ci_dubber:M2CIDubber",
    "redub_dubber": "redub.model.systems.redub_dubber:RedubDubber",
}

LINE = (
    "mel", "f0", "energy", "phonemes", "durations", "lips", "speaker",
    "scene_emotion", "face_emotion", "text_emotion",
)  # fmt: skip
"""What a line is made of, whoever speaks it: systems that are compared share their packs."""

CONTEXT = ("global_face", "global_text", "global_audio", "local_audio")
"""What the lines before and after are told by, beside the features that they are lines of."""

READS = {
    "authentic_dubber": LINE,
    "style_dubber": (*LINE, "local_face"),
    "fastspeech2": LINE,
    "dsu_avo": (*LINE, "local_audio"),
    "hpm_dubbing": (*LINE, "local_face"),
    "mc_dubber": (*LINE, "local_face"),
    "m2ci_dubber": (*LINE, "local_face", *CONTEXT),
    "redub_dubber": (*LINE, "local_face", *CONTEXT),
}
"""The features that each system reads: what a pack for it holds."""

LIPS_READ_TEXT = ("dsu_avo", "hpm_dubbing", "mc_dubber", "m2ci_dubber")
"""Systems whose pictures look at the words, where others' words look at the pictures."""
WITH_CONTEXT = ("mc_dubber", "m2ci_dubber", "redub_dubber")
"""Systems that see the lines before and after."""


def reads_of(name: str) -> tuple[str, ...]:
    """The features that a system declares.

    Raises:
        ConfigError: there is no such system, with the nearest known name.
    """
    if name not in READS:
        raise ConfigError(f"unknown system '{name}'; {nearest(name, READS)}", code="E-CFG-NAME")
    return READS[name]


GROWN_FROM = {
    "mc_dubber": "hpm_dubbing",
    "m2ci_dubber": "hpm_dubbing",
    "redub_dubber": "authentic_dubber",
}
"""Systems that are another one with parts added: its weights can start them."""


def reads_context(name: str) -> bool:
    """Whether a system sees the lines before and after."""
    return name in WITH_CONTEXT


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
    values = _changed(asdict(presets[preset]), overrides or {})
    return from_mapping(type(presets[preset]), values, where=f"{name}.{preset}")


def _changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with single keys changed, in tables within tables, too."""
    both = {
        name: _changed(values[name], change)
        for name, change in changes.items()
        if isinstance(change, Mapping) and isinstance(values.get(name), Mapping)
    }
    return {**values, **changes, **both}
