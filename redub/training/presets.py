"""Training settings, and the presets `paper` and `tiny` of each system."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from redub.core.config import from_mapping, merged
from redub.core.errors import ConfigError
from redub.model.registry import SYSTEMS, system_spec
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
        spec = system_spec(self.system)
        counts = ("accumulate", "validate_every", "checkpoint_every", "keep_last", "keep_best")
        if min(getattr(self, name) for name in counts) < 1:
            raise ConfigError(f"{', '.join(counts)} must be >= 1")
        if self.losses.alignment and not spec.lips_read_text:
            these = ", ".join(name for name, own in SYSTEMS.items() if own.lips_read_text)
            raise ConfigError(
                "losses.alignment is for systems in which video frames attend to phonemes "
                f"({these}); set it to 0 for {self.system}",
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


def training_preset(system: str, preset: str) -> TrainingConfig:
    """The training settings of a system; ``preset`` is a key of ``TRAINING_PRESETS``.

    Raises:
        ConfigError: unknown system, or its row has a setting that does not exist.
    """
    own = system_spec(system).training.get(preset, {})
    values = merged(asdict(TRAINING_PRESETS[preset]), {**own, "system": system})
    return from_mapping(TrainingConfig, values, where=f"{system}.training.{preset}")


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
