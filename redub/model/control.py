"""Control of pitch, pitch range, energy and speaking rate at synthesis.

Source: FastSpeech 2 (arXiv:2006.04558), section 2.3: predicted pitch, energy and durations are
changed before they are used. Authentic-Dubber (arXiv:2511.14249) leaves control of the synthesis
open.

Letters: B batch, P phonemes, L frames or phonemes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from redub.model.batch import Control, DubbingBatch, Prosody
from redub.model.layers.length_regulator import fill


def controlled_durations(durations: Tensor, batch: DubbingBatch) -> Tensor:
    """Change durations to the requested speaking rate; the length of an utterance does not change.

    The pauses at the start and the end of the utterance become longer or shorter instead. The rate
    of an utterance without such a pause does not change, and the rate is limited so that the words
    fit into the utterance with at least one frame per pause.

    Args:
        durations: (B, P) int64 frames.

    Returns:
        (B, P) int64 frames.
    """
    control = batch.control
    if control is None:
        return durations
    pauses = outer_pauses(batch.phonemes, batch.phonemes_valid, control.silence)
    words = batch.phonemes_valid & ~pauses
    free = pauses.any(1) & words.any(1) & (control.rate != 1)
    spoken = (durations * words).sum(1)
    target = (spoken / control.rate).round().long()
    target = torch.minimum(target, batch.mel_frames - pauses.sum(1))
    target = torch.maximum(target, torch.minimum(words.sum(1), spoken))
    logarithms = durations.double().log1p()
    within = fill(logarithms, torch.where(free[:, None], words, batch.phonemes_valid), target)
    around = fill(
        logarithms,
        torch.where(free[:, None], pauses, batch.phonemes_valid),
        batch.mel_frames - target,
    )
    return torch.where(free[:, None], within * words + around * pauses, durations)


def outer_pauses(phonemes: Tensor, valid: Tensor, silence: int) -> Tensor:
    """Return (B, P) bool, True for a pause at the start or the end of an utterance."""
    pause = (phonemes == silence) & valid
    rank = torch.arange(phonemes.size(1), device=phonemes.device)
    outer = (rank == 0) | (rank == valid.sum(1, keepdim=True) - 1)
    return pause & outer


def controlled_prosody(
    prosody: Prosody, control: Control | None, *, valid: Tensor, sounding: Tensor
) -> Prosody:
    """Change pitch and energy as requested.

    Args:
        prosody: (B, L) each.
        control: requested changes; None returns ``prosody`` unchanged.
        valid: (B, L) bool, True where not padded.
        sounding: (B, L) bool, False in pauses; the energy of pauses does not change.
    """
    if control is None:
        return prosody
    voiced = prosody.voiced & valid
    mean = (prosody.pitch * voiced).sum(1, keepdim=True) / voiced.sum(1, keepdim=True).clamp(min=1)
    wider = (prosody.pitch - mean) * (
        control.pitch_range[:, None] - 1
    )  # exactly 0 for a factor of 1
    moved = prosody.pitch + wider + control.pitch[:, None]
    pitch = torch.where(voiced, moved, prosody.pitch)
    energy = prosody.energy + control.energy[:, None] * (sounding & valid)
    return Prosody(pitch, prosody.voiced, energy)
