"""The metrics of ``redub evaluate`` as functions of arrays and sentences.

Arrays are anything that ``numpy.asarray`` takes: (T,) pitch in Hz, 0 where unvoiced, and (T, C)
natural log of mel amplitudes, at the same frame rate. Two signals of different length are cut to
the shorter one, or compared along ``alignment``, (L, 2) pairs of frames. A rate is a fraction (0.1
is 10 %). Wrong input raises :class:`redub.RedubError`.

Examples:
    >>> from redub import metrics
    >>> recorded = [0, 100, 100, 200, 0]
    >>> spoken = [0, 100, 150, 200, 200]
    >>> round(metrics.gpe(recorded, spoken), 3)  # of 3 frames voiced in both, 1 is 50 % too high
    0.333
    >>> metrics.vde(recorded, spoken)  # 1 of 5 frames is voiced in one signal only
    0.2
    >>> metrics.ffe(recorded, spoken)  # both kinds of errors, in 5 frames
    0.4
    >>> metrics.wer(["we go home now"], ["we go on now"]).wer
    0.25
    >>> metrics.per(["G OW1 HH OW1 M"], ["G OW OW N"]).per
    0.4
    >>> metrics.slot_error_ms(16_160, 16_000, sample_rate_hz=16_000)
    10.0
    >>> import numpy as np
    >>> mel = np.random.default_rng(0).normal(size=(50, 80))
    >>> metrics.mcd(mel, mel), metrics.mcd(mel, mel + 1.0) < 1e-9  # a gain is not a distortion
    (0.0, True)
    >>> metrics.macro_f1(["sad", "sad", "happy"], ["sad", "happy", "happy"])
    0.6666666666666666
"""

from redub.evaluation.distillmos import distillmos
from redub.evaluation.dnsmos import Ratings, dnsmos
from redub.evaluation.duration_error import phoneme_error_ms, slot_error_ms
from redub.evaluation.emotion_recogniser import EmotionReport, emotion_report
from redub.evaluation.f0_correlation import energy_correlation, f0_correlation
from redub.evaluation.intervals import (
    Interval,
    bootstrap_difference,
    bootstrap_mean,
    macro_f1,
    permutation_p,
    wilson,
)
from redub.evaluation.lip_audio import LipAudioMeter
from redub.evaluation.mcd import mcd, mcd_dtw, mcd_dtw_sl
from redub.evaluation.mcd import published_distortion as mcd_published
from redub.evaluation.phoneme_error import PhonemeErrorReport
from redub.evaluation.phoneme_error import corpus_per as per
from redub.evaluation.pitch_errors import f0_frame_error as ffe
from redub.evaluation.pitch_errors import gross_pitch_error as gpe
from redub.evaluation.pitch_errors import voicing_decision_error as vde
from redub.evaluation.word_error import WordErrorReport, normalise
from redub.evaluation.word_error import corpus_wer as wer
from redub.evaluation.word_error import legacy_wer as wer_legacy

__all__ = [
    "EmotionReport",
    "Interval",
    "LipAudioMeter",
    "PhonemeErrorReport",
    "Ratings",
    "WordErrorReport",
    "bootstrap_difference",
    "bootstrap_mean",
    "distillmos",
    "dnsmos",
    "emotion_report",
    "energy_correlation",
    "f0_correlation",
    "ffe",
    "gpe",
    "macro_f1",
    "mcd",
    "mcd_dtw",
    "mcd_dtw_sl",
    "mcd_published",
    "normalise",
    "per",
    "permutation_p",
    "phoneme_error_ms",
    "slot_error_ms",
    "vde",
    "wer",
    "wer_legacy",
    "wilson",
]
