"""Table of metrics: one row per metric.

The table drives ``redub evaluate`` (what is measured, in which columns, against which baseline),
its JSON document, the report and the reference page of metrics. Nothing is imported before a
function of a row is used.
"""

from __future__ import annotations

from typing import Any

from redub.core.metric import Baseline, Metric
from redub.core.registry import load

MEAN_OF_TAKES = "redub.evaluation.takes:mean_of_takes"
MEAN_DIFFERENCE = "redub.evaluation.takes:mean_difference"
"""What a row without ``of_system`` or ``difference`` uses."""

MAJORITY = Baseline(
    name="always the commonest emotion",
    of_takes="redub.evaluation.emotion_accuracy:majority_of_takes",
)

ROWS = (
    # emotion
    Metric(
        name="emo_acc",
        title="EMO-ACC",
        unit="%",
        scale=100,
        digits=1,
        direction="higher",
        explain="share of lines whose labelled emotion is recognised, by a recogniser of prosody "
        "that was trained on the recorded training lines; Wilson interval",
        card="Emotion recognised (EMO-ACC)",
        target="redub.evaluation.emotion_recogniser:emotion_report",
        of_system="redub.evaluation.emotion_accuracy:accuracy_of_takes",
        baseline=MAJORITY,
        compared=("baseline", "run"),
    ),
    Metric(
        name="emo_acc_all",
        title="EMO-ACC, all dims",
        unit="%",
        scale=100,
        digits=1,
        direction="higher",
        explain="the same with a recogniser that also reads spectral statistics, which separate "
        "a smooth mel from a recording more than they separate emotions (docs/decisions/0005)",
        target="redub.evaluation.emotion_recogniser:emotion_report",
        of_system="redub.evaluation.emotion_accuracy:accuracy_of_takes",
        baseline=MAJORITY,
    ),
    Metric(
        name="macro_f1",
        title="macro-F1",
        unit="%",
        scale=100,
        digits=1,
        direction="higher",
        explain="mean F1 over the emotions, so that rare emotions count as much as common ones",
        target="redub.evaluation.intervals:macro_f1",
        of_system="redub.evaluation.emotion_accuracy:macro_f1_of_takes",
    ),
    # spectrum
    Metric(
        name="mcd_dtw",
        title="MCD-DTW",
        unit="dB",
        explain="mel-cepstral distortion along the best alignment, of the sound",
        target="redub.evaluation.mcd:mcd_dtw",
        of_take="redub.evaluation.mcd:mcd_dtw_of_sound",
    ),
    Metric(
        name="mcd_dtw_mel",
        title="MCD-DTW (mel)",
        unit="dB",
        explain="the same, of the mel before the vocoder",
        card="Distance of the mel (MCD-DTW)",
        target="redub.evaluation.mcd:mcd_dtw",
        of_take="redub.evaluation.mcd:mcd_dtw_of_mel",
        of_system="redub.evaluation.mcd:mean_before_vocoder",
        compared=("baseline",),
    ),
    # pitch
    Metric(
        name="gpe",
        title="GPE",
        unit="%",
        scale=100,
        digits=1,
        explain="share of frames with a pitch error above 20 %, of the frames voiced in both",
        card="Pitch off by over 20 % (GPE)",
        target="redub.evaluation.pitch_errors:gross_pitch_error",
        of_system="redub.evaluation.pitch_errors:rate_of_takes",
        difference="redub.evaluation.pitch_errors:rate_difference",
        compared=("run",),
    ),
    Metric(
        name="ffe",
        title="FFE",
        unit="%",
        scale=100,
        digits=1,
        explain="share of frames with a wrong voicing decision or a gross pitch error",
        target="redub.evaluation.pitch_errors:f0_frame_error",
        of_system="redub.evaluation.pitch_errors:rate_of_takes",
        difference="redub.evaluation.pitch_errors:rate_difference",
        compared=("run",),
    ),
    Metric(
        name="f0_correlation",
        title="F0 r",
        direction="higher",
        explain="Pearson r of F0 over frames voiced in both",
        target="redub.evaluation.f0_correlation:f0_correlation",
        of_take="redub.evaluation.f0_correlation:f0_correlation_of",
    ),
    # time
    Metric(
        name="slot_error_ms",
        title="slot",
        unit="ms",
        explain="difference between the line's length and its slot, without its sign; 0 by "
        "construction, since the length comes from the video: read the phoneme column for timing",
        target="redub.evaluation.duration_error:slot_error_ms",
        of_take="redub.evaluation.duration_error:slot_error_of",
    ),
    Metric(
        name="phoneme_error_ms",
        title="phoneme",
        unit="ms",
        explain="mean duration error per phoneme against the alignment of the recording",
        card="Phonemes too long or too short",
        target="redub.evaluation.duration_error:phoneme_error_ms",
        of_take="redub.evaluation.duration_error:phoneme_error_of",
    ),
    # words
    Metric(
        name="wer",
        title="WER",
        unit="%",
        scale=100,
        digits=1,
        explain="word error rate of a small offline recogniser with this corpus's vocabulary; use "
        "it only to compare systems",
        card="Words not understood (WER)",
        target="redub.evaluation.word_error:corpus_wer",
        of_system="redub.evaluation.word_error:wer_of_takes",
        baseline=Baseline(name="no word understood", value=1.0),
    ),
    Metric(
        name="per",
        title="PER",
        unit="%",
        scale=100,
        digits=1,
        explain="phoneme error rate of a recogniser without vocabulary (hama) against the first "
        "pronunciation of every word; recordings have one, too: compare with it",
        card="Phonemes not understood (PER)",
        target="redub.evaluation.phoneme_error:corpus_per",
        of_take="redub.evaluation.phoneme_error:per_of",
        of_system="redub.evaluation.phoneme_error:per_of_takes",
        baseline=Baseline(name="no phoneme recognised", value=1.0),
        compared=("run",),
        difference="redub.evaluation.phoneme_error:per_difference",
    ),
    # lips
    Metric(
        name="lip_offset",
        title="|lip offset|",
        unit="frames",
        explain="distance of the best lip-audio offset from zero, in video frames (not LSE)",
        target="redub.evaluation.lip_audio:LipAudioMeter",
        of_system=MEAN_OF_TAKES,
    ),
    # listeners
    Metric(
        name="dnsmos",
        title="DNSMOS",
        direction="higher",
        explain="predicted rating of speech and background together, 1 to 5, by a network that was "
        "trained on noisy telephone talk (DNSMOS P.835 OVRL; docs/extractors/dnsmos.md)",
        card="Predicted rating (DNSMOS)",
        target="redub.evaluation.dnsmos:dnsmos",
        of_take="redub.evaluation.dnsmos:overall_of",
        compared=("run",),
    ),
    Metric(
        name="dnsmos_speech",
        title="DNSMOS SIG",
        direction="higher",
        explain="the same for the speech alone",
        target="redub.evaluation.dnsmos:dnsmos",
        of_take="redub.evaluation.dnsmos:speech_of",
    ),
    Metric(
        name="dnsmos_background",
        title="DNSMOS BAK",
        direction="higher",
        explain="the same for the background alone",
        target="redub.evaluation.dnsmos:dnsmos",
        of_take="redub.evaluation.dnsmos:background_of",
    ),
    Metric(
        name="distillmos",
        title="DistillMOS",
        direction="higher",
        explain="predicted rating of speech quality, 1 to 5, by a network that also learned from "
        "speech of synthesisers (docs/extractors/distillmos.md)",
        card="Predicted rating (DistillMOS)",
        target="redub.evaluation.distillmos:distillmos",
        of_take="redub.evaluation.distillmos:distillmos_of",
        compared=("run",),
    ),
    # public functions that `redub evaluate` does not measure
    Metric(
        name="vde",
        title="VDE",
        unit="%",
        scale=100,
        digits=1,
        explain="share of frames with a wrong voicing decision",
        target="redub.evaluation.pitch_errors:voicing_decision_error",
    ),
    Metric(
        name="energy_correlation",
        title="energy r",
        direction="higher",
        explain="Pearson r of the energy contours over all frames",
        target="redub.evaluation.f0_correlation:energy_correlation",
    ),
    Metric(
        name="mcd",
        title="MCD",
        unit="dB",
        explain="mel-cepstral distortion, the longer signal cut to the shorter one",
        target="redub.evaluation.mcd:mcd",
    ),
    Metric(
        name="mcd_dtw_sl",
        title="MCD-DTW-SL",
        unit="dB",
        explain="MCD-DTW times the ratio of the longer to the shorter length",
        target="redub.evaluation.mcd:mcd_dtw_sl",
    ),
    Metric(
        name="mcd_published",
        title="MCD, published",
        unit="dB",
        explain="the three distortions of two waveforms as the dubbing papers compute them",
        target="redub.evaluation.mcd:published_distortion",
    ),
    Metric(
        name="wer_legacy",
        title="WER, published",
        unit="%",
        scale=100,
        digits=1,
        explain="word error rate as the dubbing papers' code computes it; for their tables only",
        target="redub.evaluation.word_error:legacy_wer",
    ),
)

METRIC_WEIGHTS = ("dnsmos", "distillmos", "hama")
"""Entries of the weights ledger that metrics read, where they are recorded."""

METRICS: dict[str, Metric] = {row.name: row for row in ROWS}
"""Metrics by name, in the order of the columns."""


def metric(name: str) -> Any:
    """Load the public function or class that computes a metric.

    Raises:
        ConfigError: unknown name; the message suggests the nearest known one.
    """
    return load({known: row.target for known, row in METRICS.items()}, name, kind="metric")


def function_of(target: str) -> Any:
    """Load a ``"module:function"`` of a row."""
    return load({target: target}, target, kind="function of a metric")
