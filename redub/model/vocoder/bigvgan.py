"""BigVGAN v2 vocoder: the structure of HiFi-GAN with anti-aliased periodic activations.

Source: BigVGAN (arXiv:2206.04658), section 3 and appendix A; tensor names and the two switches of
version 2 (no bias and no tanh at the end) as in the public checkpoints. The defaults are those of
``bigvgan_v2_22khz_80band_fmax8k_256x``.

Letters: B batch, T mel frames, C mel channels, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from redub.core.types import AudioSpec
from redub.model.vocoder.anti_alias import AntiAliased
from redub.model.vocoder.hifi_gan import check_sizes, mean_of, same_length
from redub.model.vocoder.neural import NeuralVocoder
from redub.model.vocoder.upsampling import PaddingName, exact_paddings, rates_of

PUBLISHED_RATES = {256: (4, 4, 2, 2, 2, 2)}
STAGES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class BigVganConfig:
    """Settings of a generator. Empty rates follow from the hop; empty kernels are twice the rates.

    ``channels``: of the first stage; halved at every stage. ``tanh_at_end``: apply tanh to the
    samples instead of clipping at ±1. ``bias_at_end``: the last convolution has a bias.
    ``log_scale``: the parameters of the activations are logarithms.

    Raises:
        ModelRefusedError: E-MODEL-LENGTH, T frames would not become T hops; E-MODEL-SIZE, see
            :func:`redub.model.vocoder.hifi_gan.check_sizes`.
    """

    audio: AudioSpec
    upsample_rates: tuple[int, ...] = ()
    upsample_kernels: tuple[int, ...] = ()
    channels: int = 1536
    kernels: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    tanh_at_end: bool = False
    bias_at_end: bool = False
    log_scale: bool = True
    padding: PaddingName = "auto"

    def __post_init__(self) -> None:
        rates = self.upsample_rates or rates_of(self.audio.hop_samples, PUBLISHED_RATES, STAGES)
        object.__setattr__(self, "upsample_rates", rates)
        kernels = self.upsample_kernels or tuple(2 * rate for rate in rates)
        object.__setattr__(self, "upsample_kernels", kernels)
        exact_paddings(rates, kernels, self.padding, self.audio.hop_samples)
        check_sizes(self.channels, len(rates), self.kernels, self.dilations)


class PeriodicBlock(nn.Module):
    """Pairs of a dilated and a plain convolution, each after an activation, with residuals."""

    def __init__(
        self, channels: int, kernel: int, dilations: tuple[int, ...], *, log_scale: bool
    ) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(same_length(channels, kernel, d) for d in dilations)
        self.convs2 = nn.ModuleList(same_length(channels, kernel, 1) for _ in dilations)
        self.activations = nn.ModuleList(
            AntiAliased(channels, log_scale=log_scale) for _ in range(2 * len(dilations))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Transform (B, channels, time) to the same shape."""
        first, second = self.activations[::2], self.activations[1::2]
        for dilated, plain, one, two in zip(self.convs1, self.convs2, first, second, strict=True):
            x = x + plain(two(dilated(one(x))))
        return x


class BigVganGenerator(nn.Module):
    """Converts (B, T, C) log-mel to (B, S) samples in [-1, 1], S = T hops."""

    def __init__(self, config: BigVganConfig) -> None:
        super().__init__()
        rates, kernels = config.upsample_rates, config.upsample_kernels
        width, log_scale = config.channels, config.log_scale
        self.conv_pre = nn.Conv1d(config.audio.mel_channels, width, 7, padding=3)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        paddings = exact_paddings(rates, kernels, config.padding, config.audio.hop_samples)
        for rate, kernel, padding in zip(rates, kernels, paddings, strict=True):
            # In a separate list, so that the tensor names are ``ups.0.0.weight``, as published.
            up = nn.ConvTranspose1d(width, width // 2, kernel, rate, *padding)
            self.ups.append(nn.ModuleList([up]))
            width //= 2
            for size, dilations in zip(config.kernels, config.dilations, strict=True):
                self.resblocks.append(PeriodicBlock(width, size, dilations, log_scale=log_scale))
        self.activation_post = AntiAliased(width, log_scale=log_scale)
        self.conv_post = nn.Conv1d(width, 1, 7, padding=3, bias=config.bias_at_end)
        self.tanh_at_end, self.blocks_per_stage = config.tanh_at_end, len(config.kernels)

    def forward(self, mel: Tensor) -> Tensor:
        """Convert a batch of mels of equal length."""
        x = self.conv_pre(mel.transpose(1, 2))  # (B, channels, T)
        count = self.blocks_per_stage
        for stage, ups in enumerate(self.ups):
            for up in ups:  # type: ignore[attr-defined]  # a ModuleList of one
                x = up(x)
            blocks = self.resblocks[stage * count : (stage + 1) * count]
            x = mean_of(blocks, x)
        x = self.conv_post(self.activation_post(x)).squeeze(1)  # (B, S)
        return torch.tanh(x) if self.tanh_at_end else x.clamp(-1.0, 1.0)


class BigVgan(NeuralVocoder):
    """BigVGAN with the weights of a checkpoint; see :class:`NeuralVocoder`."""

    Config: ClassVar[type[BigVganConfig]] = BigVganConfig

    def __init__(self, config: BigVganConfig) -> None:
        self.config = config
        with torch.device("meta"):
            generator = BigVganGenerator(config)
        super().__init__(generator, config.audio, name="bigvgan")
