"""Padded sequences one after another, without the padding between them; and cut apart again.

Letters: B batch, L length of a part, M length of the whole, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def spliced(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Parts in time, line by line.

    Args:
        parts: (B, L, ...) values and (B, L) bool, whose real places come first.

    Returns:
        (B, M, ...) values, 0 behind the last part, and (B, M) bool.
    """
    first, real = parts[0]
    lengths = torch.stack([valid.sum(1) for _, valid in parts])  # (parts, B)
    total = lengths.sum(0)
    longest = max(1, int(total.max()))
    whole = first.new_zeros(len(real), longest, *first.shape[2:])
    starts = lengths.cumsum(0) - lengths
    line = torch.arange(len(real), device=real.device).unsqueeze(1)
    for (values, valid), start in zip(parts, starts, strict=True):
        place = start.unsqueeze(1) + torch.arange(valid.size(1), device=valid.device)
        whole = whole.index_put((line.expand_as(place)[valid], place[valid]), values[valid])
    clock = torch.arange(longest, device=real.device)
    return whole, clock < total.unsqueeze(1)


def cut_out(whole: Tensor, starts: Tensor, valid: Tensor) -> Tensor:
    """One part of each line of (B, M, ...): (B, L, ...), 0 where ``valid`` (B, L) is False.

    Args:
        starts: (B,) where the part begins.
    """
    place = starts.unsqueeze(1) + torch.arange(valid.size(1), device=valid.device)
    place = place.clamp(max=whole.size(1) - 1)
    line = torch.arange(len(whole), device=whole.device).unsqueeze(1)
    found = whole[line, place]
    shape = (*valid.shape, *[1] * (found.dim() - 2))
    return torch.where(valid.view(shape), found, torch.zeros((), dtype=found.dtype).to(found))
