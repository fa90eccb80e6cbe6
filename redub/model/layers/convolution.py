"""Convolution and batch norm over time for (B, T, C) sequences with padding.

Letters: B batch, T time, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from redub.model.layers.short_convolution import TAPS, nine_taps


class TimeConv(nn.Conv1d):
    """A 1-D convolution that keeps the length; input and output are (B, T, C).

    On a CPU in full precision, where PyTorch has no fast algorithm, kernels of nine taps (the
    published size) use :func:`redub.model.layers.short_convolution.nine_taps`.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, bias=bias)

    def forward(self, states: Tensor) -> Tensor:
        """Convolve (B, T, inputs) to (B, T, outputs) with zero padding; the kernel is odd."""
        on_processor = states.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        if self.kernel_size[0] == TAPS and on_processor and not torch.compiler.is_compiling():
            return nine_taps(states, self.weight, self.bias)
        return super().forward(states.transpose(1, 2)).transpose(1, 2)


class MaskedBatchNorm(nn.Module):
    """Batch norm with statistics over valid frames only.

    ``nn.BatchNorm1d`` includes padding, so that the result for an utterance would depend on the
    lengths of the other utterances in the batch. ``gain``: initial value of the learned gain.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, channels: int, *, gain: float = 1.0, momentum: float = 0.1, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.full((channels,), gain))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """Normalise (B, T, C) per channel; padded frames (``valid`` False) are 0 in the output.

        The output is float32, under autocast, too.
        """
        real = valid.unsqueeze(-1)  # (B, T, 1)
        states = states.float()  # sums over a batch are too long for half precision
        if self.training:
            count = real.sum().clamp(min=1)
            mean = (states * real).sum((0, 1)) / count  # (C,)
            variance = ((states - mean).square() * real).sum((0, 1)) / count
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                unbiased = variance * (count / (count - 1).clamp(min=1))
                self.running_var.lerp_(unbiased, self.momentum)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = self.weight * (variance + self.eps).rsqrt()
        return ((states - mean) * scale + self.bias) * real
