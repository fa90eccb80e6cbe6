"""HiFi-GAN vocoder: transposed convolutions and residual blocks with several receptive fields.

Source: HiFi-GAN (arXiv:2010.05646), section 2.2 and appendix A; tensors have the names of the
public checkpoints. The default rates follow from the hop: 160 samples at 16 kHz and 220 at
22.05 kHz are the vocoders of the dubbing repositories, 256 at 22.05 kHz is UNIVERSAL_V1.

Letters: B batch, T mel frames, C mel channels, S samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redub.core.errors import ModelRefusedError
from redub.core.types import AudioSpec
from redub.model.vocoder.neural import NeuralVocoder
from redub.model.vocoder.upsampling import PaddingName, exact_paddings, rates_of

PUBLISHED_RATES = {160: (8, 5, 2, 2), 220: (11, 5, 2, 2), 256: (8, 8, 2, 2)}
STAGES = 4
SLOPE = 0.1
LAST_SLOPE = 0.01  # the public code uses PyTorch's default before the last convolution
MOST_CHANNELS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class HifiGanConfig:
    """Settings of a generator. Empty rates follow from the hop; empty kernels are twice the rates.

    ``channels``: of the first stage; halved at every stage. ``resblock``: "1" has a second
    convolution after every dilated one. ``padding``: see :mod:`redub.model.vocoder.upsampling`.

    Raises:
        ModelRefusedError: E-MODEL-LENGTH, T frames would not become T hops; E-MODEL-SIZE, see
            :func:`check_sizes`.
    """

    audio: AudioSpec
    upsample_rates: tuple[int, ...] = ()
    upsample_kernels: tuple[int, ...] = ()
    channels: int = 512
    resblock: Literal["1", "2"] = "1"
    kernels: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    padding: PaddingName = "auto"

    def __post_init__(self) -> None:
        rates = self.upsample_rates or rates_of(self.audio.hop_samples, PUBLISHED_RATES, STAGES)
        object.__setattr__(self, "upsample_rates", rates)
        kernels = self.upsample_kernels or tuple(2 * rate for rate in rates)
        object.__setattr__(self, "upsample_kernels", kernels)
        exact_paddings(rates, kernels, self.padding, self.audio.hop_samples)
        check_sizes(self.channels, len(rates), self.kernels, self.dilations)


def check_sizes(
    channels: int, stages: int, kernels: tuple[int, ...], dilations: tuple[tuple[int, ...], ...]
) -> None:
    """Check the sizes of the residual blocks.

    Raises:
        ModelRefusedError: E-MODEL-SIZE, channels that cannot be halved at every stage, even
            kernels, dilations below 1, or unequal numbers of kernels and dilations.
    """
    wrong = ""
    if not 0 < channels <= MOST_CHANNELS or channels % 2**stages:
        wrong = f"{channels} channels cannot be halved {stages} times"
    elif not kernels or len(kernels) != len(dilations):
        wrong = f"{len(kernels)} kernels with {len(dilations)} lists of dilations"
    elif any(kernel % 2 == 0 or not 0 < kernel < 1000 for kernel in kernels):
        wrong = f"kernels {list(kernels)}; wanted odd ones"
    elif any(not row or not all(0 < step < 1000 for step in row) for row in dilations):
        wrong = f"dilations {[list(row) for row in dilations]}; wanted at least 1 each"
    if wrong:
        raise ModelRefusedError(f"wrong generator sizes: {wrong}", code="E-MODEL-SIZE")


def same_length(channels: int, kernel: int, dilation: int) -> nn.Conv1d:
    """Make a convolution that keeps the length; the kernel must be odd."""
    return nn.Conv1d(
        channels, channels, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2
    )


class ResBlock1(nn.Module):
    """Dilated convolutions, each followed by a plain convolution and a residual connection."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(same_length(channels, kernel, d) for d in dilations)
        self.convs2 = nn.ModuleList(same_length(channels, kernel, 1) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (B, channels, time) to the same shape."""
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            inner = dilated(F.leaky_relu(x, SLOPE))
            x = x + plain(F.leaky_relu(inner, SLOPE))
        return x


class ResBlock2(nn.Module):
    """Dilated convolutions, each with a residual connection."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(same_length(channels, kernel, d) for d in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (B, channels, time) to the same shape."""
        for dilated in self.convs:
            x = x + dilated(F.leaky_relu(x, SLOPE))
        return x


def mean_of(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Average the outputs of one or more blocks, without keeping all of them in memory."""
    first, *others = blocks
    total: Tensor = first(x)
    for block in others:
        total = total + block(x)
    return total / (1 + len(others))


class HifiGanGenerator(nn.Module):
    """Converts (B, T, C) log-mel to (B, S) samples in [-1, 1], S = T hops."""

    def __init__(self, config: HifiGanConfig) -> None:
        super().__init__()
        rates, kernels = config.upsample_rates, config.upsample_kernels
        hop = config.audio.hop_samples
        block = ResBlock1 if config.resblock == "1" else ResBlock2
        width = config.channels
        self.conv_pre = nn.Conv1d(config.audio.mel_channels, width, 7, padding=3)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        paddings = exact_paddings(rates, kernels, config.padding, hop)
        for rate, kernel, padding in zip(rates, kernels, paddings, strict=True):
            self.ups.append(nn.ConvTranspose1d(width, width // 2, kernel, rate, *padding))
            width //= 2
            for size, dilations in zip(config.kernels, config.dilations, strict=True):
                self.resblocks.append(block(width, size, dilations))
        self.conv_post = nn.Conv1d(width, 1, 7, padding=3)
        self.blocks_per_stage = len(config.kernels)

    def forward(self, mel: Tensor) -> Tensor:
        """Convert a batch of mels of equal length."""
        x = self.conv_pre(mel.transpose(1, 2))  # (B, channels, T)
        count = self.blocks_per_stage
        for stage, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, SLOPE))
            blocks = self.resblocks[stage * count : (stage + 1) * count]
            x = mean_of(blocks, x)
        return torch.tanh(self.conv_post(F.leaky_relu(x, LAST_SLOPE))).squeeze(1)


class HifiGan(NeuralVocoder):
    """HiFi-GAN with the weights of a checkpoint; see :class:`NeuralVocoder`."""

    Config: ClassVar[type[HifiGanConfig]] = HifiGanConfig

    def __init__(self, config: HifiGanConfig) -> None:
        self.config = config
        with torch.device("meta"):
            generator = HifiGanGenerator(config)
        super().__init__(generator, config.audio, name="hifi_gan")


_AT_16_KHZ = AudioSpec()
_AT_22_KHZ = AudioSpec(sample_rate_hz=22_050, hop_samples=256, win_samples=1024)
UNIVERSAL_V1 = HifiGanConfig(audio=_AT_22_KHZ)
PUBLISHED = {
    "16 kHz, hop 160": HifiGanConfig(audio=_AT_16_KHZ),
    "22.05 kHz, hop 220": HifiGanConfig(
        audio=replace(_AT_22_KHZ, hop_samples=220, win_samples=880)
    ),
    "V1 (22.05 kHz, hop 256)": UNIVERSAL_V1,
    "V2 (22.05 kHz, hop 256)": replace(UNIVERSAL_V1, channels=128),
    "V3 (22.05 kHz, hop 256)": HifiGanConfig(
        audio=_AT_22_KHZ,
        upsample_rates=(8, 8, 4),
        upsample_kernels=(16, 16, 8),
        channels=256,
        resblock="2",
        kernels=(3, 5, 7),
        dilations=((1, 2), (2, 6), (3, 12)),
    ),
}
"""Settings of the public checkpoints; their upsampling tensors have different shapes."""


def published_like(state: Mapping[str, Tensor]) -> HifiGanConfig | None:
    """Find the published settings whose upsampling tensors have the shapes of folded weights.

    Returns None if no published settings match.
    """
    shapes = _upsampling(state)
    for config in PUBLISHED.values():
        with torch.device("meta"):
            own = HifiGanGenerator(config).state_dict()
        if shapes == _upsampling(own):
            return config
    return None


def _upsampling(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(value.shape)
        for name, value in state.items()
        if name.startswith("ups.") and name.endswith(".weight")
    }
