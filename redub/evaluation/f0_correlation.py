"""Does the generated line rise and fall where the real one does?

Definition: Pearson's r of two contours over paired frames; for F0 only pairs voiced in both.
Source: Hermes 1998, "Measuring the perceptual similarity of pitch contours".

Conventions: in [-1, 1], higher is better. r ignores a shift and a positive scale, so a voice an
octave up is no error here (that is GPE's business). Undefined, and NaN, with fewer than two pairs
or a flat contour. Frames pair as in :mod:`redub.evaluation.pitch_errors`.
"""

from __future__ import annotations

from typing import Any

from redub.evaluation.alignment import frame_pairs
from redub.evaluation.inputs import checked_array
from redub.evaluation.intervals import pearson


def f0_correlation(
    reference_f0_hz: Any, generated_f0_hz: Any, *, alignment: Any | None = None
) -> float:
    """r of two F0 tracks over the pairs voiced in both.

    Args:
        reference_f0_hz: (T,) Hz, 0 where unvoiced.
        generated_f0_hz: (T',) on the same frame clock.
        alignment: (L, 2) integer pairs of frames, or None to cut to the shorter.
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
    """r of two energy contours, (T,) and (T',), over all pairs."""
    reference = checked_array(reference_energy, what="reference energy", dimensions=1)
    generated = checked_array(generated_energy, what="generated energy", dimensions=1)
    pairs = frame_pairs(len(reference), len(generated), alignment)
    return pearson(reference[pairs[:, 0]], generated[pairs[:, 1]])
