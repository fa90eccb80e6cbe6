"""Gross pitch error (GPE), voicing decision error (VDE) and F0 frame error (FFE).

Definition, over pairs of frames (f of the reference, f̂ of the generated; 0 Hz means unvoiced):
    GPE = pairs voiced in both with |f̂ - f| > 0.2 f, over pairs voiced in both
    VDE = pairs voiced in one only, over all pairs
    FFE = pairs with either error, over all pairs
Source: Nakatani et al. 2008 (GPE, VDE), Chu and Alwan 2009 (FFE); the tables of M2CI-Dubber
(arXiv:2412.18748) report GPE and FFE.

Conventions: fractions in [0, 1], lower is better. The papers do not state how tracks of different
lengths were paired. Here the longer track is cut to the shorter one, unless the caller passes an
alignment path, for example from :func:`redub.evaluation.alignment.warp`. A deviation of exactly
20 % is not an error. A fraction of zero pairs is NaN, for example GPE where no pair is voiced in
both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from redub.core.metric import Absent
from redub.evaluation.alignment import frame_pairs
from redub.evaluation.inputs import Doubles, MetricInputError, checked_array
from redub.evaluation.intervals import RESAMPLES, Interval

if TYPE_CHECKING:  # takes hold error counts
    from redub.evaluation.takes import LineFigures

TOLERANCE = 0.2
Rate = Literal["gpe", "ffe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PitchErrors:
    """Error counts of one utterance, or of a corpus (:func:`pooled`), in pairs of frames."""

    pairs: int
    voiced_in_both: int
    voicing_errors: int
    gross_errors: int

    @property
    def gpe(self) -> float:
        """Gross pitch error as a fraction; NaN where no pair is voiced in both."""
        return _share(self.gross_errors, self.voiced_in_both)

    @property
    def vde(self) -> float:
        """Voicing decision error as a fraction; NaN without frames."""
        return _share(self.voicing_errors, self.pairs)

    @property
    def ffe(self) -> float:
        """F0 frame error as a fraction; NaN without frames."""
        return _share(self.voicing_errors + self.gross_errors, self.pairs)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def pitch_errors(
    reference_f0_hz: Any, generated_f0_hz: Any, *, alignment: Any | None = None
) -> PitchErrors:
    """Count the pitch errors of one utterance.

    Args:
        reference_f0_hz: (T,) Hz, 0 where unvoiced.
        generated_f0_hz: (T',) at the same frame rate.
        alignment: (L, 2) integer pairs of frames, or None to cut the longer track.

    Raises:
        MetricInputError: a negative, NaN or infinite frequency, or a path outside the tracks.
    """
    reference = _checked_f0(reference_f0_hz, "reference f0")
    generated = _checked_f0(generated_f0_hz, "generated f0")
    pairs = frame_pairs(len(reference), len(generated), alignment)
    true, found = reference[pairs[:, 0]], generated[pairs[:, 1]]
    is_voiced = (true > 0) & (found > 0)
    return PitchErrors(
        pairs=len(pairs),
        voiced_in_both=int(is_voiced.sum()),
        voicing_errors=int(((true > 0) != (found > 0)).sum()),
        gross_errors=int((is_voiced & (np.abs(found - true) > TOLERANCE * true)).sum()),
    )


def _checked_f0(f0_hz: Any, what: str) -> Doubles:
    track = checked_array(f0_hz, what=what, dimensions=1)
    if (track < 0).any():
        raise MetricInputError(f"{what}: negative frequencies; 0 means unvoiced")
    return track


def pooled(utterances: Iterable[PitchErrors]) -> PitchErrors:
    """Sum the counts of all utterances, so that every frame has the same weight."""
    errors = list(utterances)
    return PitchErrors(
        pairs=sum(e.pairs for e in errors),
        voiced_in_both=sum(e.voiced_in_both for e in errors),
        voicing_errors=sum(e.voicing_errors for e in errors),
        gross_errors=sum(e.gross_errors for e in errors),
    )


def pooled_interval(
    utterances: Sequence[PitchErrors], name: Rate, *, seed: int, resamples: int = RESAMPLES
) -> Interval:
    """Compute a pooled rate with its 95 % bootstrap interval over utterances.

    The rate is NaN where no frame could be compared; resamples with a NaN rate are left out.

    Args:
        utterances: at least one.
    """
    value: float = getattr(pooled(utterances), name)
    return Interval(value, *_middle_95(_drawn_rates(utterances, name, seed, resamples)))


def pooled_difference(
    first: Sequence[PitchErrors],
    second: Sequence[PitchErrors],
    name: Rate,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Interval:
    """Compute the pooled rate of ``second`` minus that of ``first``, with its 95 % interval.

    A positive value means that the first system has fewer errors. Both systems must have the same
    utterances in the same order; the bootstrap draws the same utterances for both.
    """
    one, other = (getattr(pooled(utterances), name) for utterances in (first, second))
    rates = [_drawn_rates(utterances, name, seed, resamples) for utterances in (first, second)]
    return Interval(other - one, *_middle_95(rates[1] - rates[0]))


def _drawn_rates(utterances: Sequence[PitchErrors], name: Rate, seed: int, draws: int) -> Doubles:
    """Compute the pooled rates of utterances drawn with replacement, (draws,)."""
    counts = np.array(
        [
            (e.gross_errors, e.voiced_in_both)
            if name == "gpe"
            else (e.gross_errors + e.voicing_errors, e.pairs)
            for e in utterances
        ],
        dtype=np.float64,
    )
    rng = np.random.default_rng(seed)
    wrong, of = counts[rng.integers(0, len(counts), (draws, len(counts)))].sum(axis=1).T
    rates = np.full(draws, np.nan)
    np.divide(wrong, of, out=rates, where=of > 0)
    return rates


def _middle_95(values: Doubles) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return (float("nan"), float("nan"))
    low, high = np.quantile(known, [0.025, 0.975])
    return (float(low), float(high))


def gross_pitch_error(
    reference_f0_hz: Any, generated_f0_hz: Any, *, alignment: Any | None = None
) -> float:
    """Compute GPE of one utterance; NaN where no pair is voiced in both.

    Arguments and errors are those of :func:`pitch_errors`.
    """
    return pitch_errors(reference_f0_hz, generated_f0_hz, alignment=alignment).gpe


def voicing_decision_error(
    reference_f0_hz: Any, generated_f0_hz: Any, *, alignment: Any | None = None
) -> float:
    """Compute VDE of one utterance; arguments and errors are those of :func:`pitch_errors`."""
    return pitch_errors(reference_f0_hz, generated_f0_hz, alignment=alignment).vde


def f0_frame_error(
    reference_f0_hz: Any, generated_f0_hz: Any, *, alignment: Any | None = None
) -> float:
    """Compute FFE of one utterance; arguments and errors are those of :func:`pitch_errors`."""
    return pitch_errors(reference_f0_hz, generated_f0_hz, alignment=alignment).ffe


def rate_of_takes(name: str, takes: Sequence[LineFigures], resamples: int) -> Interval | Absent:
    """Compute the pooled ``gpe`` or ``ffe`` of takes, with its 95 % interval."""
    counts = [take.pitch for take in takes]
    found = pooled_interval(counts, cast(Rate, name), seed=0, resamples=resamples)
    if math.isnan(found.value):
        return Absent("E-EVAL-UNVOICED", "no frame is voiced in take and recording")
    return found


def rate_difference(
    name: str, first: Sequence[LineFigures], second: Sequence[LineFigures], resamples: int
) -> Interval:
    """Compute the pooled rate of ``first`` minus that of ``second``, with its 95 % interval."""
    one, other = ([take.pitch for take in takes] for takes in (first, second))
    return pooled_difference(other, one, cast(Rate, name), seed=0, resamples=resamples)
