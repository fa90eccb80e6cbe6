"""A made-up system, as somebody would add it: one file (this one) and one row (``ROW``).

It speaks the mean mel of the training set plus what a linear layer learns from the speaker vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from redub.model.batch import DubbingBatch, FeatureWidths
from redub.model.layers.length_regulator import fill
from redub.model.output import DubbingOutput
from redub.model.registry import LINE, SystemSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanMelConfig:
    speaker_scale: float = 1.0


class MeanMel(nn.Module):
    """The mean mel of the training set, moved by the speaker."""

    Config: ClassVar[type[MeanMelConfig]] = MeanMelConfig
    PRESETS: ClassVar[dict[str, MeanMelConfig]] = {
        "tiny": MeanMelConfig(speaker_scale=0.5),
        "paper": MeanMelConfig(),
    }
    PREDICTS_PROSODY: ClassVar[bool] = False

    mean: Tensor

    def __init__(self, config: MeanMelConfig, widths: FeatureWidths) -> None:
        super().__init__()
        self.config, self.widths = config, widths
        self.by_speaker = nn.Linear(widths.speaker, widths.mel)
        self.register_buffer("mean", torch.full((widths.mel,), torch.nan))

    def forward(self, batch: DubbingBatch) -> DubbingOutput:
        """Synthesise a batch; every phoneme is equally long."""
        real = batch.frames_valid.unsqueeze(-1)
        moved = self.config.speaker_scale * self.by_speaker(batch.speaker).unsqueeze(1)
        mel = (self.mean + moved) * real
        equal = torch.zeros(batch.phonemes.shape, device=mel.device)
        durations = batch.durations
        if durations is None:
            durations = fill(equal, batch.phonemes_valid, batch.mel_frames)
        return DubbingOutput(
            mel=mel, mel_post=mel, frames_valid=batch.frames_valid, durations=durations
        )


def prepare_mean(model, recorded, scaler, seed):
    """Set the mean before the first step."""
    mels = [scaler.apply("mel", np.asarray(line.mel)) for line in recorded.spread(1000)]
    model.mean.copy_(torch.from_numpy(np.concatenate(mels).mean(0)))


ROW = SystemSpec(
    target="tests.model.systems.mean_mel:MeanMel",
    reads=LINE,
    prepare="tests.model.systems.mean_mel:prepare_mean",
    training={"tiny": {"batching": {"lines_per_batch": 3}, "losses": {"mel": 2.0}}},
)
