"""Fast convolution over time with nine taps: 20 products for six outputs instead of 54.

The nine taps are three blocks of three. The blocks are convolved by F(2, 3), and within a block
F(3, 3) is used, in the notation of Lavin and Gray (arXiv:1509.09308), section 4. Nesting of such
algorithms: Agarwal and Cooley, "New algorithms for digital convolution" (1977). Each algorithm is a
transform, a product and a transform back: y = A [(E x) * (K h)]. The interpolation points are small
(0, 1, -1, 2, infinity), so that float32 loses only about one digit.

Letters: B batch, T time, I input channels, O output channels, G groups of six outputs.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

TAPS = 9
OUTPUTS = 6
WINDOW = OUTPUTS + TAPS - 1
PRODUCTS = 20


class Bilinear(NamedTuple):
    """Matrices of a short correlation: y = outputs [(inputs x) * (taps h)]."""

    inputs: Tensor  # (products, window)
    taps: Tensor  # (products, taps)
    outputs: Tensor  # (outputs, products)


def _table(*rows: tuple[int, ...], over: int = 1) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64) / over


TWO_BY_THREE = Bilinear(  # the points 0, 1, -1 and infinity
    inputs=_table((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1)),
    taps=_table((2, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 2), over=2),
    outputs=_table((1, 1, 1, 0), (0, 1, -1, 1)),
)
THREE_BY_THREE = Bilinear(  # the points 0, 1, -1, 2 and infinity
    inputs=_table(
        (2, -1, -2, 1, 0), (0, -2, -1, 1, 0), (0, 2, -3, 1, 0), (0, -1, 0, 1, 0), (0, 2, -1, -2, 1)
    ),
    taps=_table((3, 0, 0), (-3, -3, -3), (-1, 1, -1), (1, 2, 4), (0, 0, 6), over=6),
    outputs=_table((1, 1, 1, 1, 0), (0, 1, -1, 2, 0), (0, 1, 1, 4, 1)),
)


@cache
def nested(dtype: torch.dtype) -> Bilinear:
    """Combine both algorithms to one of nine taps, six outputs and 20 products; cached."""
    outer, inner = TWO_BY_THREE, THREE_BY_THREE
    inputs = torch.zeros(len(outer.inputs), len(inner.inputs), WINDOW, dtype=torch.float64)
    for block in range(outer.inputs.size(1)):
        start = 3 * block
        part = torch.einsum("a,pq->apq", outer.inputs[:, block], inner.inputs)
        inputs[:, :, start : start + part.size(2)] += part
    taps = torch.einsum("ar,ps->aprs", outer.taps, inner.taps)
    outputs = torch.einsum("oa,ip->oiap", outer.outputs, inner.outputs)
    return Bilinear(
        inputs.reshape(PRODUCTS, WINDOW).to(dtype),
        taps.reshape(PRODUCTS, TAPS).to(dtype),
        outputs.reshape(OUTPUTS, PRODUCTS).to(dtype),
    )


class NineTaps(torch.autograd.Function):
    """``conv1d(padding=4)`` of states (B, T, I) by weight (O, I, 9) and bias (O,).

    Only states and weight are saved for the backward pass. The 20 products are the first dimension
    of every array, so that each transform is one matrix product and all products are one batched
    matrix product.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve; returns (B, T, O)."""
        ctx.save_for_backward(states, weight)
        ctx.with_bias = bias is not None
        (lines, length, _), outputs = states.shape, len(weight)
        made = torch.bmm(_seen(states), _taps(weight).transpose(1, 2))  # (20, G, O)
        summed = nested(states.dtype).outputs @ made.flatten(1)  # (6, G O)
        summed = summed.view(OUTPUTS, lines, -1, outputs).permute(1, 2, 0, 3)
        spread = summed.reshape(lines, -1, outputs)[:, :length]
        return spread + bias if bias is not None else spread.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Compute the gradients of states, weight and bias from that of the output (B, T, O)."""
        states, weight = ctx.saved_tensors
        way = nested(states.dtype)
        (lines, length, inputs), outputs = states.shape, len(weight)
        groups = _groups(length)
        padded = F.pad(gradient, (0, 0, 0, OUTPUTS * groups - length))
        padded = padded.view(-1, OUTPUTS, outputs).transpose(0, 1).reshape(OUTPUTS, -1)
        of_made = (way.outputs.T @ padded).view(PRODUCTS, -1, outputs)  # (20, G, O)
        of_taps = torch.bmm(of_made.transpose(1, 2), _seen(states)).flatten(1)  # (20, O I)
        of_weight = (way.taps.T @ of_taps).view(TAPS, outputs, inputs)
        of_seen = torch.bmm(of_made, _taps(weight)).flatten(1)  # (20, G I)
        of_windows = (way.inputs.T @ of_seen).view(WINDOW, lines, groups, inputs)
        # Windows overlap: add each of their rows to the gradient of its position.
        of_states = states.new_zeros(lines, groups + -(-WINDOW // OUTPUTS), OUTPUTS, inputs)
        for place, row in enumerate(of_windows):
            block, rank = divmod(place, OUTPUTS)
            of_states[:, block : block + groups, rank] += row
        edge = TAPS // 2
        return (
            of_states.flatten(1, 2)[:, edge : edge + length],
            of_weight.permute(1, 2, 0).contiguous(),
            gradient.sum((0, 1)) if ctx.with_bias else None,
        )


def nine_taps(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve over time with nine taps, centred, with zero padding; returns (B, T, O).

    Args:
        states: (B, T, I), float32 or float64.
        weight: (O, I, 9), in the layout of ``torch.nn.Conv1d``.
        bias: (O,).
    """
    made: Tensor = NineTaps.apply(states, weight, bias)  # type: ignore[no-untyped-call]
    return made


def _groups(length: int) -> int:
    return -(-length // OUTPUTS)


def _seen(states: Tensor) -> Tensor:
    """Transform the windows of 14 inputs, (20, G, I)."""
    lines, length, inputs = states.shape
    groups, edge = _groups(length), TAPS // 2
    padded = F.pad(states, (0, 0, edge, OUTPUTS * groups - length + edge))
    windows = padded.unfold(1, WINDOW, OUTPUTS).permute(3, 0, 1, 2)  # (14, B, groups, I)
    seen = nested(states.dtype).inputs @ windows.reshape(WINDOW, -1)
    return seen.view(PRODUCTS, lines * groups, inputs)


def _taps(weight: Tensor) -> Tensor:
    """Transform the taps, (20, O, I)."""
    outputs, inputs, taps = weight.shape
    rows = weight.permute(2, 0, 1).reshape(taps, outputs * inputs)
    return (nested(weight.dtype).taps @ rows).view(PRODUCTS, outputs, inputs)
