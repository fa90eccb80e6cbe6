"""Durations that fill the picture exactly, and phoneme states stretched by them.

Source: FastSpeech (arXiv:1905.09263), "Length Regulator". The total comes from the video, never
from a recording of the line.
Letters: B batch, P phonemes, T mel frames, D model width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fill(log_durations: Tensor, valid: Tensor, total_frames: Tensor) -> Tensor:
    """Turn predicted durations into whole frames that add up to the length of the picture.

    Durations keep their proportions; what a phoneme loses to rounding goes to the largest
    remainders (the earlier phoneme wins a tie). Every phoneme lasts at least one frame where there
    are enough frames; the ones that ask for more give up in proportion to what they have above it.

    Args:
        log_durations: (B, P) log(frames + 1); padding may hold anything.
        valid: (B, P) bool, at least one True per row.
        total_frames: (B,) int64, > 0.

    Returns:
        (B, P) int64, 0 at padding; row b sums to ``total_frames[b]``.
    """
    wanted = log_durations.double().expm1().clamp(min=1e-6) * valid
    total = total_frames.unsqueeze(1)  # (B, 1)
    wanted = wanted / wanted.sum(1, keepdim=True) * total
    phonemes = valid.sum(1, keepdim=True)
    spare = (wanted - 1).clamp(min=0) * valid
    lent = (total - phonemes) / spare.sum(1, keepdim=True).clamp(min=1e-12)
    shares = torch.where(total >= phonemes, valid + spare * lent, wanted)
    whole = shares.floor()
    remainder = (shares - whole).masked_fill(~valid, -1.0)
    missing = total - whole.sum(1, keepdim=True).long()  # (B, 1)
    order = remainder.argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1)  # (B, P) place of each phoneme among the remainders
    return whole.long() + (rank < missing)


def fill_as_published(log_durations: Tensor, valid: Tensor, total_frames: Tensor) -> Tensor:
    """Like :func:`fill`, but every duration is rounded by itself, as the released code does.

    What the sum then lacks or has too much is the last phoneme's; the released system lets the line
    be some frames shorter or longer than asked for.
    """
    wanted = log_durations.double().expm1().clamp(min=0) * valid
    total = total_frames.unsqueeze(1)
    rounded = (wanted / wanted.sum(1, keepdim=True).clamp(min=1e-6) * total).round().long()
    last = valid.sum(1, keepdim=True) - 1
    short = total - rounded.sum(1, keepdim=True)
    changed = rounded.scatter_add(1, last, short)
    # A last phoneme with less than it must give back leaves that to the filling above.
    fits = (changed >= 0).all(1, keepdim=True)
    return torch.where(fits, changed, fill(log_durations, valid, total_frames))


def stretch(states: Tensor, durations: Tensor, frames: int) -> Tensor:
    """Repeat each phoneme's state once per frame it lasts.

    Args:
        states: (B, P, D).
        durations: (B, P) int64, 0 at padding.
        frames: T, at least the longest total.

    Returns:
        (B, T, D), 0 past a line's total.
    """
    ends = durations.cumsum(dim=1)  # (B, P) first frame after each phoneme
    clock = torch.arange(frames, device=states.device)  # (T,)
    owner = torch.searchsorted(ends, clock.expand(len(ends), -1).contiguous(), right=True)
    inside = clock < ends[:, -1:]  # (B, T)
    owner = owner.masked_fill(~inside, 0)
    stretched = states.gather(1, owner.unsqueeze(-1).expand(-1, -1, states.size(-1)))
    return stretched * inside.unsqueeze(-1)
