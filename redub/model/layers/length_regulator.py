"""Length regulator: scale durations to the length of the video, and expand phoneme states.

Source: FastSpeech (arXiv:1905.09263), "Length Regulator". The total length comes from the video,
not from a recording.

Letters: B batch, P phonemes, T mel frames, D model width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fill(log_durations: Tensor, valid: Tensor, total_frames: Tensor) -> Tensor:
    """Convert predicted durations to whole frames that add up to the length of the video.

    Durations are scaled in proportion and rounded down; the missing frames go to the phonemes with
    the largest remainders (of equal ones, to the earlier phoneme). If there are at least as many
    frames as phonemes, every phoneme gets at least one frame; phonemes longer than one frame are
    shortened for that in proportion to their excess over one frame.

    Args:
        log_durations: (B, P) log(frames + 1); values at padding are ignored.
        valid: (B, P) bool, at least one True per row.
        total_frames: (B,) int64, > 0.

    Returns:
        (B, P) int64, 0 at padding; row b sums to ``total_frames[b]``.
    """
    scaled = log_durations.double().expm1().clamp(min=1e-6) * valid
    total = total_frames.unsqueeze(1)  # (B, 1)
    scaled = scaled / scaled.sum(1, keepdim=True) * total
    phonemes = valid.sum(1, keepdim=True)
    excess = (scaled - 1).clamp(min=0) * valid
    factor = (total - phonemes) / excess.sum(1, keepdim=True).clamp(min=1e-12)
    shares = torch.where(total >= phonemes, valid + excess * factor, scaled)
    whole = shares.floor()
    remainder = (shares - whole).masked_fill(~valid, -1.0)
    missing = total - whole.sum(1, keepdim=True).long()  # (B, 1)
    order = remainder.argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1)  # (B, P) place of each phoneme among the remainders
    return whole.long() + (rank < missing)


def fill_as_published(log_durations: Tensor, valid: Tensor, total_frames: Tensor) -> Tensor:
    """Like :func:`fill`, but round every duration separately, as the released code does.

    The difference to the total is added to the last phoneme; the released system instead changes
    the length of the utterance by some frames. Utterances whose last phoneme is too short for that
    use :func:`fill`.
    """
    scaled = log_durations.double().expm1().clamp(min=0) * valid
    total = total_frames.unsqueeze(1)
    rounded = (scaled / scaled.sum(1, keepdim=True).clamp(min=1e-6) * total).round().long()
    last = valid.sum(1, keepdim=True) - 1
    short = total - rounded.sum(1, keepdim=True)
    changed = rounded.scatter_add(1, last, short)
    fits = (changed >= 0).all(1, keepdim=True)
    return torch.where(fits, changed, fill(log_durations, valid, total_frames))


def stretch(states: Tensor, durations: Tensor, frames: int) -> Tensor:
    """Repeat each phoneme state once per mel frame of its duration.

    Args:
        states: (B, P, D).
        durations: (B, P) int64, 0 at padding.
        frames: T, at least the longest total.

    Returns:
        (B, T, D), 0 after the total duration of an utterance.
    """
    ends = durations.cumsum(dim=1)  # (B, P) first frame after each phoneme
    clock = torch.arange(frames, device=states.device)  # (T,)
    owner = torch.searchsorted(ends, clock.expand(len(ends), -1).contiguous(), right=True)
    inside = clock < ends[:, -1:]  # (B, T)
    owner = owner.masked_fill(~inside, 0)
    stretched = states.gather(1, owner.unsqueeze(-1).expand(-1, -1, states.size(-1)))
    return stretched * inside.unsqueeze(-1)
