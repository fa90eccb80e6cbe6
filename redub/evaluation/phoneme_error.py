"""Phoneme error rate (PER): are the phonemes of the text what a recogniser hears in the sound?

Definition: substitutions, deletions and insertions of the best alignment of two sequences of
phonemes, over the phonemes of the text. Both sequences have the 39 phones of ARPAbet without
stress, folded to 37: AO counts as AA, and ZH as SH. Pauses are left out. The phonemes of the text
are those of the feature ``phonemes``: the first pronunciation of every word. The recogniser is hama
(`redub weights get hama`): CTC without vocabulary and language model, so it hears what was said and
not what is likely.

Conventions: lower is better; a rate is a fraction and may exceed 1. Rates are at corpus level:
errors over phonemes, not a mean over utterances. Clear recordings have a rate, too, because words
have several pronunciations (*the* before a consonant, *are*): compare systems with the ground truth
on one corpus.

Source: the folding is a part of that of Lee and Hon 1989, for the phones that ARPAbet separates and
many speakers do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soxr

from redub.core.errors import ClipError
from redub.core.metric import Absent, Interval
from redub.core.phonemes import PAUSES, symbol_of
from redub.core.types import Waveform
from redub.evaluation.inputs import Doubles, MetricInputError
from redub.evaluation.takes import LineFigures, TakeSignals, reason_of, without_weights
from redub.evaluation.word_error import corpus_wer
from redub.features.models.hama.phones import heard_phones
from redub.features.models.hama.recognition import PACKAGE, recognise
from redub.features.sound.speech_input import RATE_HZ
from redub.features.text.pronunciation import plain_phone
from redub.features.weights.folder import WeightFolder

FOLDED = {"AO": "AA", "ZH": "SH"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PhonemeErrorReport:
    """Corpus-level phoneme error rate; ``per`` and its 95 % interval are fractions.

    The interval is a percentile bootstrap over utterances.
    """

    per: float
    per_low: float
    per_high: float
    substitutions: int
    deletions: int
    insertions: int
    reference_phonemes: int
    utterances: int


def corpus_per(
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = 2000,
) -> PhonemeErrorReport:
    """Compute the phoneme error rate of a corpus: all errors over all reference phonemes.

    Args:
        references, hypotheses: ARPAbet symbols with spaces between them, with or without stress, in
            the same order. An empty hypothesis counts as all phonemes deleted.
        seed, resamples: of the bootstrap interval.

    Raises:
        MetricInputError: a symbol is not ARPAbet.
        ConfigError: unequal lengths, or no phoneme in any reference.
    """
    found = corpus_wer(
        [_folded(line.split()) for line in references],
        [_folded(line.split()) for line in hypotheses],
        seed=seed,
        resamples=resamples,
    )
    return PhonemeErrorReport(
        per=found.wer,
        per_low=found.wer_low,
        per_high=found.wer_high,
        substitutions=found.substitutions,
        deletions=found.deletions,
        insertions=found.insertions,
        reference_phonemes=found.reference_words,
        utterances=found.utterances,
    )


def _folded(symbols: Sequence[str]) -> str:
    """Phones of the common set, without stress and pauses, with spaces between them."""
    phones = []
    for symbol in symbols:
        if symbol.lower() in PAUSES:
            continue
        phone = plain_phone(symbol)
        if phone is None:
            raise MetricInputError(f"'{symbol}' is no phoneme of ARPAbet")
        phones.append(FOLDED.get(phone, phone))
    return " ".join(phones)


def heard_in(sound: Waveform, weights: WeightFolder) -> str:
    """Recognise the phonemes of a sound: ARPAbet symbols without stress, with spaces between them.

    Args:
        sound: any sample rate and length, also silence.

    Raises:
        ModelRefusedError, ClipError: see :func:`recognise`.
    """
    samples = sound.samples.astype(np.float32)
    if sound.sample_rate_hz != RATE_HZ:
        samples = soxr.resample(samples, sound.sample_rate_hz, RATE_HZ, quality="HQ")
    return " ".join(heard_phones(recognise(np.asarray(samples, np.float32), weights)))


def per_of(take: TakeSignals) -> float | Absent:
    """Phoneme error rate of one take."""
    weights = take.weights.get(PACKAGE)
    if weights is None:
        return without_weights(PACKAGE)
    ids = [] if take.phonemes is None else np.asarray(take.phonemes).tolist()
    if not ids:
        return Absent("E-EVAL-TEXT", "the phonemes of the line are not known")
    try:
        heard = heard_in(take.waveform, weights)
    except ClipError as error:
        return Absent(error.code, error.message)
    return corpus_per([" ".join(symbol_of(one) for one in ids)], [heard], resamples=1).per


def per_of_takes(name: str, takes: Sequence[LineFigures], resamples: int) -> Interval | Absent:
    """Corpus-level PER of the takes that have one, with its 95 % bootstrap interval."""
    counts = _counts(name, takes)
    if not len(counts):
        return reason_of(name, takes)
    errors, phonemes = counts.sum(axis=0)
    return Interval(float(errors / phonemes), *_middle_95(_drawn_rates(counts, resamples)))


def per_difference(
    name: str, first: Sequence[LineFigures], second: Sequence[LineFigures], resamples: int
) -> Interval | Absent:
    """Corpus-level PER of first - second over takes with both, with its 95 % interval.

    Args:
        first, second: takes of the same utterances in the same order; the bootstrap draws the same
            utterances for both.
    """
    both = [
        pair
        for pair in zip(first, second, strict=True)
        if all(isinstance(take.values.get(name), float) for take in pair)
    ]
    if not both:
        return reason_of(name, [*first, *second])
    one, other = (_counts(name, takes) for takes in zip(*both, strict=True))
    value = one[:, 0].sum() / one[:, 1].sum() - other[:, 0].sum() / other[:, 1].sum()
    drawn = _drawn_rates(one, resamples) - _drawn_rates(other, resamples)
    return Interval(float(value), *_middle_95(drawn))


def _counts(name: str, takes: Sequence[LineFigures]) -> Doubles:
    """(n, 2) errors and phonemes of the takes that have a rate."""
    rows = []
    for take in takes:
        rate = take.values.get(name)
        if isinstance(rate, float) and take.phoneme_count:
            rows.append((rate * take.phoneme_count, take.phoneme_count))
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def _drawn_rates(counts: Doubles, draws: int) -> Doubles:
    """Rates of utterances drawn with replacement, (draws,)."""
    drawn = np.random.default_rng(0).integers(0, len(counts), (draws, len(counts)))
    errors, phonemes = counts[drawn].sum(axis=1).T
    rates: Doubles = errors / phonemes
    return rates


def _middle_95(rates: Doubles) -> tuple[float, float]:
    low, high = np.quantile(rates, [0.025, 0.975])
    return float(low), float(high)
