"""Monotonic alignment search: assign every frame to one phoneme, in order.

Source: Viterbi search of a left-to-right model (Rabiner, "A tutorial on hidden Markov models",
1989), as used in Glow-TTS (arXiv:2005.11129), Algorithm 1.

Letters: B batch, T frames, P phonemes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from redub.model.batch import DubbingBatch
from redub.model.layers.upsample import on_mel_clock


def monotonic_durations(scores: Tensor, frames_valid: Tensor, phonemes_valid: Tensor) -> Tensor:
    """Find the durations on the monotonic path with the highest sum of scores.

    Every phoneme gets at least one frame. If an utterance has fewer frames than phonemes, no such
    path exists; its frames are then given to evenly spaced phonemes.

    Args:
        scores: (B, T, P), score of frame t for phoneme p; values at padding are ignored.
        frames_valid: (B, T) bool.
        phonemes_valid: (B, P) bool.

    Returns:
        (B, P) int64, 0 at padding; row b sums to the number of frames of utterance b.
    """
    utterances, longest, phonemes = scores.shape
    frames, count = frames_valid.sum(1), phonemes_valid.sum(1)  # (B,)
    worst = torch.finfo(torch.float64).min / 4
    scores = scores.double().masked_fill(~phonemes_valid.unsqueeze(1), worst)
    best = torch.full((utterances, phonemes), worst, dtype=torch.float64, device=scores.device)
    best[:, 0] = scores[:, 0, 0]
    moved = torch.zeros(utterances, longest, phonemes, dtype=torch.bool, device=scores.device)
    for frame in range(1, longest):
        before = torch.cat((torch.full_like(best[:, :1], worst), best[:, :-1]), dim=1)
        moved[:, frame] = before > best
        best = torch.maximum(best, before).add(scores[:, frame]).clamp(min=worst)
    durations = torch.zeros(utterances, phonemes, dtype=torch.int64, device=scores.device)
    at, row = count - 1, torch.arange(utterances, device=scores.device)
    for frame in reversed(range(longest)):
        real = frame < frames
        durations[row, at] += real
        # If only one frame per earlier phoneme is left, the path must move to the phoneme before.
        must = frame <= at
        step = real & (at > 0) & (moved[row, frame, at] | must)
        at = at - step.long()
    evenly = _evenly(frames, count, phonemes)
    return torch.where((frames >= count).unsqueeze(1), durations, evenly)


def attended_durations(weights: Tensor, video_frames: Tensor, batch: DubbingBatch) -> Tensor:
    """Derive phoneme durations (B, P) in mel frames from the attention of video frames to phonemes.

    Args:
        weights: (B, V, P) attention weights.
        video_frames: (B,) number of valid video frames.
    """
    scores = weights.clamp(min=1e-8).log()
    scores = on_mel_clock(scores, video_frames, batch.mel_frames, batch.frames_valid)
    return monotonic_durations(scores, batch.frames_valid, batch.phonemes_valid)


def _evenly(frames: Tensor, count: Tensor, phonemes: int) -> Tensor:
    """Spread fewer frames than phonemes evenly over the phonemes: (B, P) ones and zeros."""
    rank = torch.arange(phonemes, device=frames.device)
    share = frames.unsqueeze(1)
    given = (rank + 1) * share // count.unsqueeze(1) - rank * share // count.unsqueeze(1)
    return given * (rank < count.unsqueeze(1))
