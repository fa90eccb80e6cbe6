"""Discriminators of HiFi-GAN: multi-period and multi-scale, with their losses.

Source: HiFi-GAN (arXiv:2010.05646), section 2.3 and appendix A; losses of section 2.4. Used for
training only.

Letters: B batch, S samples, n scores per discriminator.
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
    """Settings of the discriminators.

    periods: one period discriminator each. scales: number of scale discriminators. width: channels
    of the first layer of a period discriminator.
    """

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    scales: int = 3
    width: int = 32

    def __post_init__(self) -> None:
        if not self.periods or min(self.periods) < 2 or self.scales < 0 or self.width < 1:
            raise ConfigError(
                "discriminators need at least one period, periods >= 2, scales >= 0 and width >= 1",
                code="E-CFG-VALUE",
            )


class Judgement(NamedTuple):
    """Output of all discriminators for a batch of waveforms.

    scores: per discriminator (B, n); the target is 1 for recordings, 0 for generated waveforms.
    features: per discriminator the output of every layer.
    """

    scores: list[Tensor]
    features: list[list[Tensor]]


class PeriodDiscriminator(nn.Module):
    """Period discriminator: the waveform is reshaped to rows of p samples and convolved in time."""

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
        """Return the outputs of all layers for (B, S) samples, the scores last."""
        short = -samples.shape[-1] % self.period
        padded = F.pad(samples[:, None], (0, short), mode="reflect")
        x = padded.reshape(len(padded), 1, -1, self.period)  # (B, 1, rows, period)
        found = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
            found.append(x)
        return [*found, self.last(x)]


class ScaleDiscriminator(nn.Module):
    """Scale discriminator: long, strided, grouped convolutions of the waveform."""

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
                    groups=math.gcd(group, before, after),  # fewer groups at small widths
                )
            )
            for before, after, kernel, stride, group in zip(
                channels[:-1], channels[1:], kernels, strides, groups, strict=True
            )
        )
        self.last = normalised(nn.Conv1d(channels[-1], 1, 3, padding=1))

    def forward(self, samples: Tensor) -> list[Tensor]:
        """Return the outputs of all layers for (B, S) samples, the scores last."""
        x, found = samples[:, None], []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
            found.append(x)
        return [*found, self.last(x)]


class Discriminators(nn.Module):
    """All period and scale discriminators; the first scale uses spectral normalisation."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        width = config.width
        self.periods = nn.ModuleList(
            PeriodDiscriminator(period, width) for period in config.periods
        )
        self.scales = nn.ModuleList(
            ScaleDiscriminator(width, spectral=place == 0) for place in range(config.scales)
        )

    def forward(self, samples: Tensor) -> Judgement:
        """Compute scores and features of (B, S) samples; the rate is halved after each scale."""
        layers = [discriminator(samples) for discriminator in self.periods]
        for place, discriminator in enumerate(self.scales):
            if place:
                samples = F.avg_pool1d(samples[:, None], 4, 2, padding=2)[:, 0]
            layers.append(discriminator(samples))
        return Judgement([own[-1].flatten(1) for own in layers], layers)


def discriminator_loss(real: Judgement, made: Judgement) -> Tensor:
    """Compute the least-squares loss of the discriminators, summed over discriminators.

    Mean of (1 - score)² for recordings plus mean of score² for generated waveforms.
    """
    pairs = zip(real.scores, made.scores, strict=True)
    return _sum([(1 - one).square().mean() + other.square().mean() for one, other in pairs])


def generator_adversarial_loss(made: Judgement) -> Tensor:
    """Compute the adversarial loss of the generator: mean of (1 - score)², summed."""
    return _sum([(1 - score).square().mean() for score in made.scores])


def feature_loss(real: Judgement, made: Judgement) -> Tensor:
    """Compute the feature matching loss: mean absolute difference per layer, summed.

    The sum is over all layers of all discriminators, including the scores.
    """
    return _sum(
        [
            (one.detach() - other).abs().mean()
            for first, second in zip(real.features, made.features, strict=True)
            for one, other in zip(first, second, strict=True)
        ]
    )


def _sum(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum()
