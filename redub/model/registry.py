"""Table of dubbing systems: ``name → SystemSpec``, one row per system.

A system is an ``nn.Module`` built as ``System(config, widths)``. ``System.Config`` is the frozen
dataclass of its settings, ``System.PRESETS`` maps preset names to settings. Its input is a
:class:`~redub.model.batch.DubbingBatch`, its output a :class:`~redub.model.output.DubbingOutput`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from redub.core.config import from_mapping, merged, nearest
from redub.core.errors import ConfigError
from redub.core.registry import load

LINE = (
    "mel", "f0", "energy", "phonemes", "durations", "lips", "speaker",
    "scene_emotion", "face_emotion", "text_emotion",
)  # fmt: skip
"""Features of an utterance that all systems get, so that compared systems can share a pack."""

CONTEXT = ("global_face", "global_text", "global_audio", "local_audio")
"""Additional features of adjacent utterances, for systems with context."""


Training = Mapping[str, Mapping[str, Any]]
"""Preset to nested tables of training settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemSpec:
    """One row of the table: all that the project knows about a system besides its class.

    target: ``"module:Class"``.
    reads: the features that its training pack must contain.
    grown_from: the system that it extends; weights of that system can initialise it. Empty: none.
    context: it reads adjacent utterances.
    emotion_part: the attribute of the model that reads emotion vectors, or the scene; None in the
        model where its settings switch it off. Empty: the system has no such part.
    lips_read_text: video frames attend to phonemes; otherwise phonemes attend to frames.
    prepare: ``"module:function"`` that sets what the model does not learn by gradients, before the
        first step of a new run; called as :data:`redub.training.prepare.Prepare`. Empty: nothing.
    training: per preset, the training settings that differ from those of Authentic-Dubber (see
        :data:`redub.training.presets.TRAINING_PRESETS`), as nested tables.
    """

    target: str
    reads: tuple[str, ...]
    grown_from: str = ""
    context: bool = False
    emotion_part: str = ""
    lips_read_text: bool = False
    prepare: str = ""
    training: Training = field(default_factory=dict)


HPM_LOSSES = {
    "mel": 1.0,
    "mel_post": 1.0,
    "duration": 0.0,
    "diagonal": 0.0,
    "speaker": 0.0,
    "emotion": 0.05,
    "mel_squared": 1.0,
    "prosody_distance": 1.0,
    "ctc": 0.01,
}

# The published system learns its alignment by CTC alone, in 900,000 steps. Some hundred steps need
# the alignment loss too. CTC starts some hundred times larger than all other terms; its weight is
# small so that it does not dominate the clipped gradient.
HPM_TINY_LOSSES = {
    **HPM_LOSSES,
    "emotion": 0.2,
    "mel_squared": 0.0,
    "alignment": 0.5,
    "ctc": 0.001,
}

HPM_TRAINING: Training = {
    "paper": {
        "batching": {"lines_per_batch": 8},
        "optimiser": {"weight_decay": 1e-6},
        "losses": HPM_LOSSES,
    },
    "tiny": {"losses": HPM_TINY_LOSSES},
}

SMALL_BATCHES: Mapping[str, Any] = {
    "batching": {"lines_per_batch": 16},
    "optimiser": {"schedule": {"multiplier": 0.0625}},
}

SYSTEMS: dict[str, SystemSpec] = {
    "authentic_dubber": SystemSpec(
        target="redub.model.systems.authentic_dubber:AuthenticDubber",
        reads=LINE,
        emotion_part="graphs",
        prepare="redub.training.mel_base:prepare_mel_base",
    ),
    "style_dubber": SystemSpec(
        target="redub.model.systems.style_dubber:StyleDubber",
        reads=(*LINE, "local_face"),
        prepare="redub.training.mel_base:prepare_mel_base",
        training={
            "paper": {"losses": {"emotion": 0.1}},
        },
    ),
    "fastspeech2": SystemSpec(
        target="redub.model.systems.fastspeech2:FastSpeech2",
        reads=LINE,
        training={
            "paper": {**SMALL_BATCHES, "losses": {"mel": 1.0, "mel_post": 1.0, "duration": 1.0}},
        },
    ),
    "dsu_avo": SystemSpec(
        target="redub.model.systems.dsu_avo:DSUAVO",
        reads=(*LINE, "local_audio"),
        lips_read_text=True,
        prepare="redub.training.units:prepare_units",
        training={
            "paper": {**SMALL_BATCHES, "losses": {"mel": 1.0, "mel_post": 1.0, "units": 1.0}},
            "tiny": {"losses": {"diagonal": 0.0, "alignment": 0.5, "units": 0.2}},
        },
    ),
    "hpm_dubbing": SystemSpec(
        target="redub.model.systems.hpm_dubbing:HPMDubbing",
        reads=(*LINE, "local_face"),
        emotion_part="booster",
        lips_read_text=True,
        training=HPM_TRAINING,
    ),
    "mc_dubber": SystemSpec(
        target="redub.model.systems.mc_dubber:MCDubber",
        reads=(*LINE, "local_face"),
        grown_from="hpm_dubbing",
        context=True,
        emotion_part="booster",
        lips_read_text=True,
        training=HPM_TRAINING,
    ),
    "m2ci_dubber": SystemSpec(
        target="redub.model.systems.m2ci_dubber:M2CIDubber",
        reads=(*LINE, "local_face", *CONTEXT),
        grown_from="hpm_dubbing",
        context=True,
        emotion_part="booster",
        lips_read_text=True,
        training=HPM_TRAINING,
    ),
    "redub_dubber": SystemSpec(
        target="redub.model.systems.redub_dubber:RedubDubber",
        reads=(*LINE, "local_face", *CONTEXT),
        grown_from="authentic_dubber",
        context=True,
        emotion_part="graphs",
        prepare="redub.training.mel_base:prepare_mel_base",
    ),
}


def system_spec(name: str) -> SystemSpec:
    """Return the row of a system.

    Raises:
        ConfigError: unknown system; the message suggests the nearest known name.
    """
    if name not in SYSTEMS:
        raise ConfigError(f"unknown system '{name}'; {nearest(name, SYSTEMS)}", code="E-CFG-NAME")
    return SYSTEMS[name]


def system(name: str) -> Any:
    """Load the class of a system.

    Raises:
        ConfigError: unknown system; the message suggests the nearest known name.
    """
    return load({name: system_spec(name).target}, name, kind="system")


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
    values = merged(asdict(presets[preset]), overrides or {})
    return from_mapping(type(presets[preset]), values, where=f"{name}.{preset}")
