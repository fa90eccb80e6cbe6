"""HiFi-GAN's critics: waveforms folded at prime periods, and at halved rates.

Source: HiFi-GAN (arXiv:2010.05646), section 2.3 and appendix A; losses of section 2.4. Needed for
training only. Letters: B batch, S samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from redub.core.errors import ConfigError

SLOPE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscriminatorConfig:
    """How many critics, and how wide: ``width`` channels in the first layer of a period critic."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    scales: int = 3
    width: int = 32

    def __post_init__(self) -> None:
        if not self.periods or min(self.periods) < 2 or self.scales < 0 or self.width < 1:
            raise ConfigError(
                "discriminators want at least one period, periods >= 2, scales >= 0 and width >= 1",
                code="E-CFG-VALUE",
            )


class Judgement(NamedTuple):
    """What all critics say of a batch of waveforms.

    scores: per critic (B, n), 1 for real. features: per critic the output of every layer.
    """

    scores: list[Tensor]
    features: list[list[Tensor]]


class PeriodCritic(nn.Module):
    """Sees every p-th sample: the waveform folded into rows of p, convolved along the columns."""

    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        channels = (1, width, 4 * width, 16 * width, 32 * width, 32 * width)
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv2d(before, after, (5, 1), (stride, 1), padding=(2, 0)))
            for before, after, stride in zip(
                channels[:-1], channels[1:], (3, 3, 3, 3, 1), strict=True
            )
        )
        self.last = weight_norm(nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, samples: Tensor) -> list[Tensor]:
        """(B, S) to the output of every layer, the scores last."""
        short = -samples.shape[-1] % self.period
        padded = F.pad(samples[:, None], (0, short), mode="reflect")
        x = padded.reshape(len(padded), 1, -1, self.period)  # (B, 1, rows, period)
        found = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
            found.append(x)
        return [*found, self.last(x)]


class ScaleCritic(nn.Module):
    """Sees the waveform as it is, by long strided convolutions in groups."""

    def __init__(self, width: int, *, spectral: bool) -> None:
        super().__init__()
        normalised = spectral_norm if spectral else weight_norm
        channels = (1, *(width * times for times in (4, 4, 8, 16, 32, 32, 32)))
        kernels, strides = (15, 41, 41, 41, 41, 41, 5), (1, 2, 2, 4, 4, 1, 1)
        groups = (1, 4, 16, 16, 16, 16, 1)
        self.convs = nn.ModuleList(
            normalised(
                nn.Conv1d(
                    before,
                    after,
                    kernel,
                    stride,
                    padding=(kernel - 1) // 2,
                    groups=math.gcd(group, before, after),  # narrow critics have fewer groups
                )
            )
            for before, after, kernel, stride, group in zip(
                channels[:-1], channels[1:], kernels, strides, groups, strict=True
            )
        )
        self.last = normalised(nn.Conv1d(channels[-1], 1, 3, padding=1))

    def forward(self, samples: Tensor) -> list[Tensor]:
        """(B, S) to the output of every layer, the scores last."""
        x, found = samples[:, None], []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
            found.append(x)
        return [*found, self.last(x)]


class Discriminators(nn.Module):
    """All critics of a training run; the first scale is normalised by its spectrum."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        width = config.width
        self.periods = nn.ModuleList(PeriodCritic(period, width) for period in config.periods)
        self.scales = nn.ModuleList(
            ScaleCritic(width, spectral=place == 0) for place in range(config.scales)
        )

    def forward(self, samples: Tensor) -> Judgement:
        """Judge (B, S) samples."""
        layers = [critic(samples) for critic in self.periods]
        for place, critic in enumerate(self.scales):
            if place:
                samples = F.avg_pool1d(samples[:, None], 4, 2, padding=2)[:, 0]
            layers.append(critic(samples))
        return Judgement([own[-1].flatten(1) for own in layers], layers)


def critics_loss(real: Judgement, made: Judgement) -> Tensor:
    """What critics minimise: squared distance of real from 1 and of made from 0, summed."""
    pairs = zip(real.scores, made.scores, strict=True)
    return _sum([(1 - one).square().mean() + other.square().mean() for one, other in pairs])


def deception_loss(made: Judgement) -> Tensor:
    """What a generator minimises: squared distance of what it made from 1, summed over critics."""
    return _sum([(1 - score).square().mean() for score in made.scores])


def feature_loss(real: Judgement, made: Judgement) -> Tensor:
    """Mean absolute difference of every critic's every layer, summed; scores count as a layer."""
    return _sum(
        [
            (one.detach() - other).abs().mean()
            for first, second in zip(real.features, made.features, strict=True)
            for one, other in zip(first, second, strict=True)
        ]
    )


def _sum(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum()
