"""What the training of a vocoder is given and what it reports."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from redub.core.errors import ConfigError
from redub.model.vocoder.discriminators import (
    DiscriminatorConfig,
)
from redub.model.vocoder.hifi_gan import HifiGanConfig

VOCODER_READS = ("mel", "waveform")
"""The features that a vocoder is trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VocoderTrainingConfig:
    """How a vocoder is trained; defaults as published.

    ``segment_samples`` is rounded down to whole frames. ``learning_rate_decay`` is per epoch.
    ``loss_fmax_hz``: upper frequency of the mel in the loss; 0 for half the sample rate, as
    published. ``validate_every`` and ``checkpoint_every`` count steps; before each checkpoint the
    run is validated too.
    """

    batch: int = 16
    segment_samples: int = 8192
    learning_rate: float = 2e-4
    betas: tuple[float, ...] = (0.8, 0.99)
    weight_decay: float = 0.01
    learning_rate_decay: float = 0.999
    mel_weight: float = 45.0
    feature_weight: float = 2.0
    loss_fmax_hz: float = 0.0
    validate_every: int = 1000
    checkpoint_every: int = 5000
    keep_last: int = 2
    keep_best: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch", "validate_every", "checkpoint_every", "keep_last", "keep_best"):
            if getattr(self, name) < 1:
                raise ConfigError(f"training.{name} must be at least 1", code="E-CFG-VALUE")
        for name in ("seed", "weight_decay", "mel_weight", "feature_weight", "loss_fmax_hz"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"training.{name} must be a finite number >= 0", code="E-CFG-VALUE"
                )
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError("training.betas needs two numbers in [0, 1)", code="E-CFG-VALUE")
        if not (self.learning_rate > 0 and 0 < self.learning_rate_decay <= 1):
            raise ConfigError(
                "training needs learning_rate > 0 and learning_rate_decay in (0, 1]",
                code="E-CFG-VALUE",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class VocoderPlan:
    """All settings of a vocoder run; the audio settings are part of the generator's."""

    generator: HifiGanConfig
    discriminators: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    training: VocoderTrainingConfig = field(default_factory=VocoderTrainingConfig)

    @property
    def frames(self) -> int:
        """Mel frames of one training segment."""
        return self.training.segment_samples // self.generator.audio.hop_samples

    def __post_init__(self) -> None:
        audio = self.generator.audio
        if self.training.loss_fmax_hz > audio.sample_rate_hz / 2:
            raise ConfigError(
                f"training.loss_fmax_hz is {self.training.loss_fmax_hz:g}; half of the sample rate "
                f"is {audio.sample_rate_hz / 2:g}",
                code="E-CFG-VALUE",
            )
        if max(self.discriminators.periods) > self.training.segment_samples // 2:
            raise ConfigError(
                f"discriminators.periods reach {max(self.discriminators.periods)}; a segment has "
                f"{self.training.segment_samples} samples",
                code="E-CFG-VALUE",
            )
        if self.frames * audio.hop_samples <= audio.n_fft:
            raise ConfigError(
                f"training.segment_samples is {self.training.segment_samples}; a segment must be "
                f"longer than one analysis window of {audio.n_fft}",
                code="E-CFG-VALUE",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class VocoderReport:
    """The result of one call of :func:`train_vocoder`.

    ``first_mel_l1`` and ``last_mel_l1``: mean absolute log-mel difference between vocoded and
    recorded held-out utterances, before the run's first step and at the last validation.
    ``stopped``: ``stop`` ended the call before its last step.
    """

    first_step: int
    last_step: int
    seconds: float
    lines: int
    held_out: int
    parameters: int
    first_mel_l1: float
    last_mel_l1: float
    checkpoint: Path
    best_checkpoint: Path
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class VocoderStep:
    """Unweighted losses of one step; ``mel_l1`` is in nepers.

    ``features``: feature matching. ``adversarial``: adversarial loss of the generator.
    ``discriminators``: loss of the discriminators.
    """

    step: int
    mel_l1: float
    features: float
    adversarial: float
    discriminators: float
    learning_rate: float


Progress = Callable[[VocoderStep], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class VocoderCallbacks:
    """Functions that a vocoder run calls.

    ``progress``: after every step. ``stop``: after every step; True ends the call with a
    checkpoint. ``began``: once, with the step that the run goes on from, when nothing can be
    refused any more.
    """

    progress: Progress = lambda step: None
    stop: Callable[[], bool] = lambda: False
    began: Callable[[int], None] = lambda step: None
