"""Anti-aliased periodic activation: Snake at twice the sample rate, between two low-pass filters.

The sine of a signal has frequencies above half its sample rate. At twice the rate they are
represented, and the second filter removes them.

Source: BigVGAN (arXiv:2206.04658), sections 3.2 and 3.3; Snake of Ziyin et al. (arXiv:2006.08195);
filters after Kaiser (1974): sinc with a Kaiser window. Parameters and buffers have the names of the
public checkpoints.

Letters: B batch, D channels, L time steps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from scipy.signal import firwin, kaiser_atten, kaiser_beta
from torch import Tensor, nn

RATIO, TAPS = 2, 12
TINY = 1e-9


def low_pass(cutoff: float, half_width: float, taps: int) -> Tensor:
    """Design a Kaiser-windowed sinc filter, (1, 1, taps) float32, with gain 1 at 0 Hz.

    Args:
        cutoff: in cycles per sample; the Nyquist frequency is 0.5.
        half_width: half of the transition band, in the same unit.
    """
    attenuation = kaiser_atten(taps // 2, 4 * half_width)
    window = ("kaiser", kaiser_beta(attenuation))
    return torch.tensor(firwin(taps, 2 * cutoff, window=window), dtype=torch.float32)[None, None]


def _filter() -> Tensor:
    return low_pass(0.5 / RATIO, 0.6 / RATIO, TAPS)


class UpSample(nn.Module):
    """Upsamples (B, D, L) to (B, D, 2 L): zeros between the samples, then the low-pass filter."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", _filter())

    def forward(self, x: Tensor) -> Tensor:
        """Convert (B, D, L) to (B, D, 2 L)."""
        channels, edge = x.shape[1], TAPS // RATIO - 1
        padded = F.pad(x, (edge, edge), mode="replicate")
        kernel = self.get_buffer("filter").expand(channels, -1, -1)
        # Times the ratio, because the inserted zeros reduce the mean by it.
        spread = RATIO * F.conv_transpose1d(padded, kernel, stride=RATIO, groups=channels)
        left = edge * RATIO + (TAPS - RATIO) // 2
        return spread[..., left : left + RATIO * x.shape[-1]]


class LowPass(nn.Module):
    """Low-pass filter and decimation by two."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", _filter())

    def forward(self, x: Tensor) -> Tensor:
        """Convert (B, D, 2 L) to (B, D, L)."""
        channels = x.shape[1]
        padded = F.pad(x, (TAPS // 2 - 1, TAPS // 2), mode="replicate")
        kernel = self.get_buffer("filter").expand(channels, -1, -1)
        return F.conv1d(padded, kernel, stride=RATIO, groups=channels)


class DownSample(nn.Module):
    """Downsamples (B, D, 2 L) to (B, D, L); :class:`LowPass` with the names of the checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.lowpass = LowPass()

    def forward(self, x: Tensor) -> Tensor:
        """Convert (B, D, 2 L) to (B, D, L)."""
        filtered: Tensor = self.lowpass(x)
        return filtered


class SnakeBeta(nn.Module):
    """SnakeBeta activation, x + sin²(alpha x) / beta, with alpha and beta per channel.

    ``log_scale``: the parameters are the logarithms of alpha and beta.
    """

    def __init__(self, channels: int, *, log_scale: bool = True) -> None:
        super().__init__()
        start = torch.zeros if log_scale else torch.ones  # alpha = beta = 1 in both cases
        self.alpha, self.beta = nn.Parameter(start(channels)), nn.Parameter(start(channels))
        self.log_scale = log_scale

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to (B, D, L)."""
        alpha, beta = self.alpha[:, None], self.beta[:, None]  # (D, 1)
        if self.log_scale:
            alpha, beta = alpha.exp(), beta.exp()
        return x + torch.sin(alpha * x).square() / (beta + TINY)


class AntiAliased(nn.Module):
    """Upsampling, SnakeBeta, downsampling; (B, D, L) to the same shape."""

    def __init__(self, channels: int, *, log_scale: bool = True) -> None:
        super().__init__()
        self.act = SnakeBeta(channels, log_scale=log_scale)
        self.upsample, self.downsample = UpSample(), DownSample()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the anti-aliased activation to (B, D, L)."""
        activated: Tensor = self.downsample(self.act(self.upsample(x)))
        return activated
