"""The training losses of a dubbing system, as named terms.

Source: Authentic-Dubber's released training code (terms and weights); prosody terms after
FastSpeech 2 (arXiv:2006.04558). The emotion loss takes logits: softmax is applied once.
Letters: B batch, P phonemes, T mel frames, V video frames, C mel channels, L steps of a CTC
sequence, U units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from redub.core.errors import ConfigError, RedubError
from redub.model.batch import DubbingBatch
from redub.model.blocks.prosody import on_phonemes
from redub.model.output import DubbingOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """The weight of each term; defaults as published for V2C-Animation.

    ``diagonal_bands``: the diagonal is 2 / diagonal_bands of the lip frames wide. ``pitch``,
    ``voicing`` and ``energy`` apply only to systems that predict prosody. HPMDubbing adds the
    squared error of both mels (``mel_squared``), the absolute error of pitch and energy
    (``prosody_distance``), and a CTC term for each sequence of phoneme logits (``ctc``). DSU-AVO
    adds the cross-entropy of its units (``units``). ``alignment`` (not published) trains the
    attention of video frames towards the phonemes that the recording has at that time.
    """

    mel: float = 5.0
    mel_post: float = 5.0
    duration: float = 5.0
    diagonal: float = 1.0
    diagonal_bands: float = 10.0
    alignment: float = 0.0
    speaker: float = 25.0
    emotion: float = 5.0
    pitch: float = 1.0
    voicing: float = 1.0
    energy: float = 1.0
    mel_squared: float = 0.0
    prosody_distance: float = 0.0
    ctc: float = 0.0
    units: float = 0.0

    def __post_init__(self) -> None:
        for own in fields(self):
            if not 0 <= getattr(self, own.name) < math.inf:
                raise ConfigError(
                    f"losses.{own.name} is {getattr(self, own.name)}; wanted a number from 0",
                    code="E-CFG-VALUE",
                )
        if self.diagonal_bands == 0:
            raise ConfigError("losses.diagonal_bands must be > 0", code="E-CFG-VALUE")


class Losses(NamedTuple):
    """Unweighted terms, each a scalar; 0 where a system or a batch lacks the data for it."""

    mel: Tensor
    mel_post: Tensor
    duration: Tensor
    diagonal: Tensor
    alignment: Tensor
    speaker: Tensor
    emotion: Tensor
    pitch: Tensor
    voicing: Tensor
    energy: Tensor
    mel_squared: Tensor
    prosody_distance: Tensor
    ctc: Tensor
    units: Tensor

    def total(self, weights: LossWeights) -> Tensor:
        """The weighted sum that is minimised."""
        weighted = [getattr(weights, name) * value for name, value in self._asdict().items()]
        return torch.stack(weighted).sum()


def losses_of(output: DubbingOutput, batch: DubbingBatch, weights: LossWeights) -> Losses:
    """Compute all terms of an output, against the recording.

    Raises:
        RedubError: the batch has utterances without mel or durations.
    """
    if batch.mel is None or batch.durations is None:
        names = ", ".join(batch.clip_ids)
        raise RedubError(f"utterances without a recording cannot be trained on: {names}")
    nothing = output.mel.new_zeros(())
    pitch, voicing, energy, distance = _prosody_terms(output, batch)
    return Losses(
        mel=masked_l1(output.mel, batch.mel, batch.frames_valid),
        mel_post=masked_l1(output.mel_post, batch.mel, batch.frames_valid),
        duration=nothing
        if output.log_durations is None
        else duration_loss(output.log_durations, batch.durations, batch.phonemes_valid),
        diagonal=nothing
        if output.lip_attention is None
        else diagonal_loss(
            output.lip_attention,
            batch.phonemes_valid,
            batch.lips_valid,
            bands=weights.diagonal_bands,
        ),
        alignment=nothing
        if output.lip_attention is None or not weights.alignment
        else alignment_loss(output.lip_attention, batch.durations, batch.lips_valid),
        speaker=nothing
        if output.speaker is None
        else (1 - F.cosine_similarity(output.speaker, batch.speaker, dim=-1)).mean(),
        emotion=nothing
        if output.emotion_logits is None
        else emotion_loss(output.emotion_logits, batch.emotions),
        pitch=pitch,
        voicing=voicing,
        energy=energy,
        mel_squared=nothing
        if not weights.mel_squared
        else masked_l2(output.mel, batch.mel, batch.frames_valid)
        + masked_l2(output.mel_post, batch.mel, batch.frames_valid),
        prosody_distance=distance,
        ctc=nothing
        if not weights.ctc
        else torch.stack([nothing, *(ctc_loss(*own, batch) for own in output.ctc)]).sum(),
        units=nothing
        if output.units is None or output.units.wanted is None
        else unit_loss(output.units.logits, output.units.wanted, output.units.valid),
    )


def masked_l1(estimate: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute difference of (B, T, C) over real frames."""
    difference = (estimate - target).abs().mean(-1)  # (B, T)
    return masked_mean(difference, valid)


def masked_l2(estimate: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean squared difference of (B, T, C) over real frames."""
    return masked_mean((estimate - target).square().mean(-1), valid)


def ctc_loss(logits: Tensor, valid: Tensor, batch: DubbingBatch) -> Tensor:
    """CTC loss of the phonemes, summed over an utterance, and the mean over utterances.

    Source: HPMDubbing's released code. Class 0 is the blank; an utterance with more phonemes than
    steps counts as 0.

    Args:
        logits: (B, L, phonemes).
        valid: (B, L) bool.
    """
    per_line = F.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1),
        batch.phonemes,
        valid.sum(1),
        batch.phonemes_valid.sum(1),
        blank=0,
        reduction="none",
        zero_infinity=True,
    )
    return per_line.mean()


def unit_loss(logits: Tensor, wanted: Tensor, valid: Tensor) -> Tensor:
    """Cross-entropy of logits (B, U, units) and ids (B, U), over real units."""
    per_unit = F.cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
    return masked_mean(per_unit, valid)


def duration_loss(log_durations: Tensor, durations: Tensor, valid: Tensor) -> Tensor:
    """Mean squared error of log(frames + 1), (B, P), over real phonemes."""
    return masked_mean((log_durations - durations.float().log1p()).square(), valid)


def diagonal_loss(
    attention: Tensor, phonemes_valid: Tensor, lips_valid: Tensor, *, bands: float
) -> Tensor:
    """Minus the log of the fraction of attention near the diagonal.

    Phoneme p of P should attend to lip frames from pV/P - V/bands to pV/P + V/bands. Utterances
    without lips do not count; 0 if no utterance has lips.

    Args:
        attention: (B, P, V), rows sum to 1 for real phonemes and to 0 for padding.
    """
    present = lips_valid.any(1)  # (B,)
    if not bool(present.any()):
        return attention.new_zeros(())
    lip_frames = lips_valid.sum(1)[:, None, None]  # (B, 1, 1)
    phonemes = phonemes_valid.sum(1)[:, None, None]
    rank = torch.arange(attention.size(1), device=attention.device)[None, :, None]
    clock = torch.arange(attention.size(2), device=attention.device)[None, None, :]
    centre, half = rank * lip_frames / phonemes, lip_frames / bands
    near = (clock >= centre - half) & (clock < centre + half)  # (B, P, V)
    focus = (attention * near).sum((1, 2)) / attention.sum((1, 2)).clamp(min=1e-8)
    return -masked_mean(focus, present).clamp(min=1e-8).log()


def alignment_loss(attention: Tensor, durations: Tensor, lips_valid: Tensor) -> Tensor:
    """Cross-entropy between a video frame's attention and the phonemes spoken during that frame.

    The mean over video frames; 0 if no utterance has any.

    Args:
        attention: (B, P, V or more); a column is the attention of one video frame over phonemes. It
            sums to 1, or to less if the frame also attends to adjacent utterances.
        durations: (B, P) mel frames, 0 at padding.
        lips_valid: (B, V) bool.
    """
    ends = durations.cumsum(1).unsqueeze(-1)  # (B, P, 1)
    starts = ends - durations.unsqueeze(-1)
    step = (durations.sum(1) / lips_valid.sum(1).clamp(min=1))[
        :, None, None
    ]  # mel frames per video frame
    clock = torch.arange(lips_valid.size(1), device=attention.device)[None, None, :]
    until = torch.minimum(ends, (clock + 1) * step)
    overlap = (until - torch.maximum(starts, clock * step)).clamp(min=0) / step  # (B, P, V)
    log_attention = attention[..., : lips_valid.size(1)].clamp(min=1e-4).log()
    return masked_mean(-(overlap * log_attention).sum(1), lips_valid)


def emotion_loss(logits: Tensor, emotions: Tensor) -> Tensor:
    """Cross-entropy of logits (B, emotions) and ids (B,), -1 = unknown; 0 if all are unknown."""
    known = emotions >= 0
    per_line = F.cross_entropy(logits, emotions.clamp(min=0), reduction="none")
    return masked_mean(per_line, known)


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of the values where the mask is True; 0 if it is True nowhere."""
    # where, not a product: padding may be infinite, and 0 times infinity is NaN.
    return torch.where(valid, values, 0.0).sum() / valid.sum().clamp(min=1)


def _prosody_terms(
    output: DubbingOutput, batch: DubbingBatch
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pitch, voicing and energy terms and the prosody distance, per frame or per phoneme.

    Per phoneme if the system predicts prosody per phoneme; all 0 if it predicts none.
    """
    estimate, target, valid = output.prosody, batch.prosody, batch.frames_valid
    if output.phoneme_prosody is not None and target is not None and batch.durations is not None:
        estimate, valid = output.phoneme_prosody, batch.phonemes_valid
        target = on_phonemes(target, batch.durations)
    if estimate is None or target is None:
        nothing = torch.zeros((), device=valid.device)
        return nothing, nothing, nothing, nothing
    voicing = F.binary_cross_entropy_with_logits(
        estimate.voicing, target.voiced.float(), reduction="none"
    )
    pitch, energy = estimate.pitch - target.pitch, estimate.energy - target.energy
    voiced = valid & target.voiced
    return (
        masked_mean(pitch.square(), voiced),
        masked_mean(voicing, valid),
        masked_mean(energy.square(), valid),
        masked_mean(pitch.abs(), voiced) + masked_mean(energy.abs(), valid),
    )
