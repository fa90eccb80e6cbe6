"""Duration errors: length of an utterance against its slot, and durations of phonemes.

Definition: slot error = generated length - slot length, in ms, positive if the utterance is too
long. Phoneme error = mean absolute difference of the durations of the same phonemes, in ms.

Conventions: lower (in absolute value) is better. The slot is the length of the video,
``AudioSpec.sample_count(V)`` samples. Both phoneme sequences must be equal, without pauses: pauses
are left out by id, because an aligner may insert them in one of the two only.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from redub.core.errors import ClipError
from redub.core.metric import Absent
from redub.core.phonemes import id_of
from redub.evaluation.inputs import Ints, MetricInputError
from redub.evaluation.takes import TakeSignals


def slot_error_ms(generated_samples: int, slot_samples: int, *, sample_rate_hz: int) -> float:
    """Compute how much longer the generated utterance is than its slot, in ms; negative if shorter.

    Raises:
        MetricInputError: a negative length, an empty slot, or a sample rate of 0 or less.
    """
    if generated_samples < 0 or slot_samples <= 0 or sample_rate_hz <= 0:
        raise MetricInputError(
            f"{generated_samples} samples for a slot of {slot_samples} at {sample_rate_hz} Hz"
        )
    return 1000.0 * (generated_samples - slot_samples) / sample_rate_hz


def phoneme_error_ms(
    reference_durations: Any,
    generated_durations: Any,
    *,
    frame_ms: float,
    pauses: Collection[int] = (),
) -> float:
    """Compute the mean absolute duration error per phoneme, in ms; NaN if there are only pauses.

    Args:
        reference_durations: (P, 2) integer rows (phoneme id, frames), frames >= 0.
        generated_durations: (P', 2) rows with the same phonemes in the same order.
        frame_ms: duration of a frame.
        pauses: phoneme ids to leave out (silences).

    Raises:
        MetricInputError: bad arrays, or different phonemes; the message names the first difference.
    """
    reference = _spoken(reference_durations, pauses, "reference durations")
    generated = _spoken(generated_durations, pauses, "generated durations")
    common = min(len(reference), len(generated))
    is_other = reference[:common, 0] != generated[:common, 0]
    if is_other.any() or len(reference) != len(generated):
        place = int(np.argmax(is_other)) if is_other.any() else common
        raise MetricInputError(
            f"durations: {len(reference)} and {len(generated)} phonemes that differ from place "
            f"{place} on; wanted the same phonemes"
        )
    if not len(reference):
        return float("nan")
    return float(np.abs(reference[:, 1] - generated[:, 1]).mean() * frame_ms)


def _spoken(durations: Any, pauses: Collection[int], what: str) -> Ints:
    rows = np.asarray(durations)
    if rows.ndim != 2 or rows.shape[1] != 2 or not np.issubdtype(rows.dtype, np.integer):
        raise MetricInputError(f"{what}: {rows.dtype} {rows.shape}, wanted integers (P, 2)")
    if (rows[:, 1] < 0).any():
        raise MetricInputError(f"{what}: a negative number of frames")
    spoken: Ints = rows[~np.isin(rows[:, 0], list(pauses))].astype(np.int64)
    return spoken


def slot_error_of(take: TakeSignals) -> float:
    """Absolute slot error of a take, in ms."""
    rate = take.waveform.sample_rate_hz
    return abs(slot_error_ms(len(take.waveform.samples), take.slot_samples, sample_rate_hz=rate))


def phoneme_error_of(take: TakeSignals) -> float | Absent:
    """Duration error per phoneme of a take, in ms, without pauses."""
    if take.recorded_durations is None:
        return Absent("E-EVAL-DURATIONS", "the recording has no phoneme durations")
    if take.durations is None:
        return Absent("E-EVAL-DURATIONS", "the take has no phoneme durations")
    pauses = {id_of("sil"), id_of("sp"), id_of("spn")}
    try:
        return phoneme_error_ms(
            take.recorded_durations, take.durations, frame_ms=take.hop_ms, pauses=pauses
        )
    except ClipError as error:
        # the aligner chose another pronunciation than the first of the dictionary
        return Absent("E-EVAL-PHONEMES", error.message)
