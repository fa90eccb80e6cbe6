"""Table of dubbing systems: ``name → "module:Class"``.

A system is an ``nn.Module`` built as ``System(config, widths)``. ``System.Config`` is the frozen
dataclass of its settings, ``System.PRESETS`` maps preset names to settings. Its input is a
:class:`~redub.model.batch.DubbingBatch`, its output a :class:`~redub.model.output.DubbingOutput`.
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
"""Features of an utterance that all systems get, so that compared systems can share a pack."""

CONTEXT = ("global_face", "global_text", "global_audio", "local_audio")
"""Additional features of adjacent utterances, for systems with context."""

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
"""Features that each system reads, which its training pack must contain."""

LIPS_READ_TEXT = ("dsu_avo", "hpm_dubbing", "mc_dubber", "m2ci_dubber")
"""Systems in which video frames attend to phonemes; in the others phonemes attend to frames."""
WITH_CONTEXT = ("mc_dubber", "m2ci_dubber", "redub_dubber")
"""Systems that read adjacent utterances."""


def reads_of(name: str) -> tuple[str, ...]:
    """Return the features that a system reads.

    Raises:
        ConfigError: unknown system; the message suggests the nearest known name.
    """
    if name not in READS:
        raise ConfigError(f"unknown system '{name}'; {nearest(name, READS)}", code="E-CFG-NAME")
    return READS[name]


GROWN_FROM = {
    "mc_dubber": "hpm_dubbing",
    "m2ci_dubber": "hpm_dubbing",
    "redub_dubber": "authentic_dubber",
}
"""Systems that extend another system: the weights of that system can initialise them."""


def reads_context(name: str) -> bool:
    """Whether a system reads adjacent utterances."""
    return name in WITH_CONTEXT


def system(name: str) -> Any:
    """Load the class of a system.

    Raises:
        ConfigError: unknown system; the message suggests the nearest known name.
    """
    return load(SYSTEMS, name, kind="system")


def configured(name: str, preset: str, overrides: Mapping[str, Any] | None = None) -> Any:
    """Build the settings of a preset with some values overridden.

    Args:
        overrides: setting → value; nested tables override single values of nested settings.

    Raises:
        ConfigError: unknown system, preset or setting, or a value out of range.
    """
    presets = system(name).PRESETS
    if preset not in presets:
        raise ConfigError(
            f"system '{name}' has no preset '{preset}'; {nearest(preset, presets)}",
            code="E-CFG-VALUE",
        )
    values = _changed(asdict(presets[preset]), overrides or {})
    return from_mapping(type(presets[preset]), values, where=f"{name}.{preset}")


def _changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Override values of nested mappings; other values stay."""
    both = {
        name: _changed(values[name], change)
        for name, change in changes.items()
        if isinstance(change, Mapping) and isinstance(values.get(name), Mapping)
    }
    return {**values, **changes, **both}
