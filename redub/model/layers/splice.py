"""Concatenate padded sequences in time without the padding between them, and cut parts out.

Letters: B batch, L length of a part, M total length, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def spliced(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Concatenate parts in time, for each row of the batch.

    Args:
        parts: pairs of values (B, L, ...) and mask (B, L), valid positions first; L may differ.

    Returns:
        Values (B, M, ...), 0 after the last part, and their mask (B, M).
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
    """Cut one part out of each row.

    Args:
        whole: (B, M, ...).
        starts: (B,) first position of the part.
        valid: (B, L) bool, valid positions of the part.

    Returns:
        (B, L, ...), 0 where ``valid`` is False.
    """
    place = starts.unsqueeze(1) + torch.arange(valid.size(1), device=valid.device)
    place = place.clamp(max=whole.size(1) - 1)
    line = torch.arange(len(whole), device=whole.device).unsqueeze(1)
    found = whole[line, place]
    shape = (*valid.shape, *[1] * (found.dim() - 2))
    return torch.where(valid.view(shape), found, torch.zeros((), dtype=found.dtype).to(found))
