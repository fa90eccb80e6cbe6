"""Training settings, and the presets `paper` and `tiny` of each system."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypedDict

from redub.core.errors import ConfigError
from redub.core.registry import load
from redub.model.registry import LIPS_READ_TEXT, SYSTEMS
from redub.training.data.batching import BatchingConfig
from redub.training.losses import LossWeights
from redub.training.schedule import NoamSchedule
from redub.training.step import OptimiserConfig, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How a system is trained; defaults as published.

    ``accumulate``: batches per step, over all processes; their gradients are averaged.
    ``precision``: of the network; losses and parameters are float32. ``compile``: use
    ``torch.compile``. ``recompute``: keep about half of the activations for the backward pass and
    compute the others again; the numbers stay the same. ``validate_every`` and ``checkpoint_every``
    count steps. The newest ``keep_last`` and the best ``keep_best`` checkpoints are kept.
    """

    system: str = "authentic_dubber"
    seed: int = 0
    batching: BatchingConfig = field(default_factory=BatchingConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    accumulate: int = 1
    precision: Precision = "float32"
    compile: bool = False
    recompute: bool = False
    validate_every: int = 5000
    checkpoint_every: int = 5000
    keep_last: int = 3
    keep_best: int = 1

    def __post_init__(self) -> None:
        if self.system not in SYSTEMS:
            load(SYSTEMS, self.system, kind="system")  # raises an error with the nearest known name
        counts = ("accumulate", "validate_every", "checkpoint_every", "keep_last", "keep_best")
        if min(getattr(self, name) for name in counts) < 1:
            raise ConfigError(f"{', '.join(counts)} must be >= 1")
        if self.losses.alignment and self.system not in LIPS_READ_TEXT:
            raise ConfigError(
                f"losses.alignment is for systems in which video frames attend to phonemes "
                f"({', '.join(LIPS_READ_TEXT)}); set it to 0 for {self.system}",
                code="E-CFG-VALUE",
            )
        if self.seed < 0:
            raise ConfigError(f"train.seed is {self.seed}; wanted 0 or more", code="E-CFG-VALUE")


TRAINING_PRESETS = {
    "paper": TrainingConfig(),
    "tiny": TrainingConfig(
        batching=BatchingConfig(frames_per_batch=2400, lines_per_batch=12, reference_frames=160),
        optimiser=OptimiserConfig(
            schedule=NoamSchedule(multiplier=0.02, warmup_steps=60, milestones=()),
            weight_decay=0.01,
            ema_decay=0.98,
        ),
        losses=LossWeights(
            mel=1.0, mel_post=1.0, duration=1.0, diagonal=0.2, speaker=0.2, emotion=0.2
        ),
        validate_every=100,
        checkpoint_every=100,
        keep_last=2,
    ),
}


class _Differences(TypedDict, total=False):
    """Parts of a preset that are replaced as a whole."""

    batching: BatchingConfig
    optimiser: OptimiserConfig
    losses: LossWeights


HPM_LOSSES = LossWeights(
    mel=1.0,
    mel_post=1.0,
    duration=0.0,
    diagonal=0.0,
    speaker=0.0,
    emotion=0.05,
    mel_squared=1.0,
    prosody_distance=1.0,
    ctc=0.01,
)

# The published system learns its alignment by CTC alone, in 900,000 steps. Some hundred steps need
# the alignment loss too. CTC starts some hundred times larger than all other terms; its weight is
# small so that it does not dominate the clipped gradient.
HPM_TINY_LOSSES = replace(HPM_LOSSES, emotion=0.2, mel_squared=0.0, alignment=0.5, ctc=0.001)

OF_A_SYSTEM: dict[tuple[str, str], _Differences] = {
    ("style_dubber", "paper"): {"losses": LossWeights(emotion=0.1)},
    ("fastspeech2", "paper"): {
        "batching": BatchingConfig(lines_per_batch=16),
        "optimiser": OptimiserConfig(schedule=NoamSchedule(multiplier=0.0625)),
        "losses": LossWeights(mel=1.0, mel_post=1.0, duration=1.0),
    },
    ("dsu_avo", "paper"): {
        "batching": BatchingConfig(lines_per_batch=16),
        "optimiser": OptimiserConfig(schedule=NoamSchedule(multiplier=0.0625)),
        "losses": LossWeights(mel=1.0, mel_post=1.0, diagonal=1.0, units=1.0),
    },
    ("dsu_avo", "tiny"): {
        "losses": LossWeights(mel=1.0, mel_post=1.0, diagonal=0.0, alignment=0.5, units=0.2),
    },
    **{
        (name, "paper"): {
            "batching": BatchingConfig(lines_per_batch=8),
            "optimiser": OptimiserConfig(weight_decay=1e-6),
            "losses": HPM_LOSSES,
        }
        for name in ("hpm_dubbing", "mc_dubber", "m2ci_dubber")
    },
    **{
        (name, "tiny"): {"losses": HPM_TINY_LOSSES}
        for name in ("hpm_dubbing", "mc_dubber", "m2ci_dubber")
    },
}
"""Settings of other systems that differ from Authentic-Dubber's, by system and preset."""


def training_preset(system: str, preset: str) -> TrainingConfig:
    """The training settings of a system; ``preset`` is a key of ``TRAINING_PRESETS``."""
    own: _Differences = OF_A_SYSTEM.get((system, preset), {})
    return replace(TRAINING_PRESETS[preset], system=system, **own)


def check_replicas(config: TrainingConfig, count: int) -> None:
    """Refuse more processes than a step has batches.

    Raises:
        ConfigError: E-TRAIN-REPLICAS.
    """
    if config.accumulate < count:
        raise ConfigError(
            f"training.accumulate is {config.accumulate}, with {count} processes it must be at "
            f"least {count} (--set training.accumulate={count}): each process needs at least one "
            "batch of a step",
            code="E-TRAIN-REPLICAS",
        )
