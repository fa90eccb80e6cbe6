"""What a director asks of a line's voice: higher, livelier, louder, faster, on a trained model.

Source: the open question of Authentic-Dubber (arXiv:2511.14249), control of the synthesis; the way
is FastSpeech 2's (arXiv:2006.04558), section 2.3: predicted pitch, energy and durations are changed
before they are used.
Letters: B batch, P phonemes, L frames or phonemes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from redub.model.batch import Control, DubbingBatch, Prosody
from redub.model.layers.length_regulator import fill


def controlled_durations(durations: Tensor, batch: DubbingBatch) -> Tensor:
    """Durations at the rate that is asked for; a line is as long as before.

    What faster words leave free, and what slower ones need, is the pauses' at both ends of the
    line. A line without such a pause cannot change its rate, and none speaks beyond its slot.

    Args:
        durations: (B, P) int64 frames.
    """
    control = batch.control
    if control is None:
        return durations
    pauses = outer_pauses(batch.phonemes, batch.phonemes_valid, control.silence)
    words = batch.phonemes_valid & ~pauses
    free = pauses.any(1) & words.any(1) & (control.rate != 1)
    spoken = (durations * words).sum(1)
    wanted = (spoken / control.rate).round().long()
    wanted = torch.minimum(wanted, batch.mel_frames - pauses.sum(1))
    wanted = torch.maximum(wanted, torch.minimum(words.sum(1), spoken))
    logarithms = durations.double().log1p()
    within = fill(logarithms, torch.where(free[:, None], words, batch.phonemes_valid), wanted)
    around = fill(
        logarithms,
        torch.where(free[:, None], pauses, batch.phonemes_valid),
        batch.mel_frames - wanted,
    )
    return torch.where(free[:, None], within * words + around * pauses, durations)


def outer_pauses(phonemes: Tensor, valid: Tensor, silence: int) -> Tensor:
    """(B, P) bool, True for a pause that a line starts or ends with."""
    pause = (phonemes == silence) & valid
    rank = torch.arange(phonemes.size(1), device=phonemes.device)
    outer = (rank == 0) | (rank == valid.sum(1, keepdim=True) - 1)
    return pause & outer


def controlled_prosody(
    prosody: Prosody, control: Control | None, *, valid: Tensor, sounding: Tensor
) -> Prosody:
    """Pitch and energy as they are asked for.

    Args:
        prosody: (B, L) each.
        valid: (B, L) bool, real frames.
        sounding: (B, L) bool, those that are not a pause; only they get louder.
    """
    if control is None:
        return prosody
    voiced = prosody.voiced & valid
    mean = (prosody.pitch * voiced).sum(1, keepdim=True) / voiced.sum(1, keepdim=True).clamp(min=1)
    wider = (prosody.pitch - mean) * (
        control.pitch_range[:, None] - 1
    )  # exactly 0 where 1 is asked
    moved = prosody.pitch + wider + control.pitch[:, None]
    pitch = torch.where(voiced, moved, prosody.pitch)
    energy = prosody.energy + control.energy[:, None] * (sounding & valid)
    return Prosody(pitch, prosody.voiced, energy)
