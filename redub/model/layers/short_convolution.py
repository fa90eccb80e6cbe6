"""Convolution over time with nine taps, in 20 products where the plain sum takes 54.

Six outputs are six sums of nine products. Nine taps are three blocks of three: the blocks are
convolved by F(2, 3), and inside them F(3, 3), in the notation of Lavin and Gray (arXiv:1509.09308),
section 4; that such algorithms nest is Agarwal and Cooley, "New algorithms for digital
convolution" (1977). Each is transform, product, transform back: y = A [(E x) * (K h)]. The points
are small (0, 1, -1, 2, infinity), so float32 loses about a digit, no more.
Letters: B batch, T time, I channels in, O channels out, G groups of six outputs.
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
    """y = outputs [(inputs x) * (taps h)] for a short correlation."""

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
THREE_BY_THREE = Bilinear(  # 2 as well
    inputs=_table(
        (2, -1, -2, 1, 0), (0, -2, -1, 1, 0), (0, 2, -3, 1, 0), (0, -1, 0, 1, 0), (0, 2, -1, -2, 1)
    ),
    taps=_table((3, 0, 0), (-3, -3, -3), (-1, 1, -1), (1, 2, 4), (0, 0, 6), over=6),
    outputs=_table((1, 1, 1, 1, 0), (0, 1, -1, 2, 0), (0, 1, 1, 4, 1)),
)


@cache
def nested(dtype: torch.dtype) -> Bilinear:
    """Nine taps as three blocks of three."""
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
    """``conv1d(padding=4)`` of (B, T, I) by (O, I, 9) and (O,); only the first two are kept.

    Products come first in every array, so that each transform is one matrix product and all
    products are one batched one.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
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
        # Windows overlap: each of their rows is added where it came from.
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
    """(B, T, O): each output sees nine inputs, the middle one its own; outside there are zeros.

    Args:
        states: (B, T, I), float32 or float64.
        weight: (O, I, 9), as ``torch.nn.Conv1d`` keeps it.
        bias: (O,).
    """
    made: Tensor = NineTaps.apply(states, weight, bias)  # type: ignore[no-untyped-call]
    return made


def _groups(length: int) -> int:
    return -(-length // OUTPUTS)


def _seen(states: Tensor) -> Tensor:
    """(20, G, I): windows of 14 inputs, transformed."""
    lines, length, inputs = states.shape
    groups, edge = _groups(length), TAPS // 2
    padded = F.pad(states, (0, 0, edge, OUTPUTS * groups - length + edge))
    windows = padded.unfold(1, WINDOW, OUTPUTS).permute(3, 0, 1, 2)  # (14, B, groups, I)
    seen = nested(states.dtype).inputs @ windows.reshape(WINDOW, -1)
    return seen.view(PRODUCTS, lines * groups, inputs)


def _taps(weight: Tensor) -> Tensor:
    """(20, O, I): the taps, transformed."""
    outputs, inputs, taps = weight.shape
    rows = weight.permute(2, 0, 1).reshape(taps, outputs * inputs)
    return (nested(weight.dtype).taps @ rows).view(PRODUCTS, outputs, inputs)
