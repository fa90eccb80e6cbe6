"""Correlation of F0 and energy contours of generated and recorded speech.

Definition: Pearson's r of two contours over paired frames; for F0 only pairs voiced in both.
Source: Hermes 1998, "Measuring the perceptual similarity of pitch contours".

Conventions: in [-1, 1], higher is better. r ignores a shift and a positive scale, so speech an
octave too high is not an error here (GPE measures it). NaN with fewer than two pairs or a constant
contour. Frames are paired as in :mod:`redub.evaluation.pitch_errors`.
"""

from __future__ import annotations

import math
from typing import Any

from redub.core.metric import Absent
from redub.evaluation.alignment import frame_pairs
from redub.evaluation.inputs import checked_array
from redub.evaluation.intervals import pearson
from redub.evaluation.takes import TakeSignals


def f0_correlation(
    reference_f0_hz: Any, generated_f0_hz: Any, *, alignment: Any | None = None
) -> float:
    """Compute Pearson's r of two F0 tracks over the pairs voiced in both.

    Args:
        reference_f0_hz: (T,) Hz, 0 where unvoiced.
        generated_f0_hz: (T',) at the same frame rate.
        alignment: (L, 2) integer pairs of frames, or None to cut the longer track.

    Raises:
        MetricInputError: a value that is not finite, or a path outside the tracks.
    """
    reference = checked_array(reference_f0_hz, what="reference f0", dimensions=1)
    generated = checked_array(generated_f0_hz, what="generated f0", dimensions=1)
    pairs = frame_pairs(len(reference), len(generated), alignment)
    true, found = reference[pairs[:, 0]], generated[pairs[:, 1]]
    is_voiced = (true > 0) & (found > 0)
    return pearson(true[is_voiced], found[is_voiced])


def energy_correlation(
    reference_energy: Any, generated_energy: Any, *, alignment: Any | None = None
) -> float:
    """Compute Pearson's r of two energy contours, (T,) and (T',), over all pairs.

    Raises:
        MetricInputError: a value that is not finite, or a path outside the contours.
    """
    reference = checked_array(reference_energy, what="reference energy", dimensions=1)
    generated = checked_array(generated_energy, what="generated energy", dimensions=1)
    pairs = frame_pairs(len(reference), len(generated), alignment)
    return pearson(reference[pairs[:, 0]], generated[pairs[:, 1]])


def f0_correlation_of(take: TakeSignals) -> float | Absent:
    """Pearson's r of a take's F0 and that of the recording."""
    found = f0_correlation(take.recorded_f0_hz, take.f0_hz)
    if math.isnan(found):
        return Absent("E-EVAL-UNVOICED", "F0 is constant or has fewer than two common frames")
    return found
