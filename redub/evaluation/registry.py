"""Every number a table can show: ``name → Metric(what computes it, which way is better, unit)``.

Adding a metric is one file, one line here, and its test.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from redub.core.registry import load

Direction = Literal["higher", "lower", "zero"]


class Metric(NamedTuple):
    """One line of the table.

    ``target`` is ``"module:name"`` of the function (or class) that computes it. ``better`` is
    ``zero`` for a signed error. ``unit`` is what its values count: ``share`` is a fraction that a
    table shows in percent; empty for a number without unit.
    """

    target: str
    better: Direction
    unit: str


METRICS: dict[str, Metric] = {
    # melody and loudness
    "gpe": Metric("redub.evaluation.pitch_errors:gross_pitch_error", "lower", "share"),
    "vde": Metric("redub.evaluation.pitch_errors:voicing_decision_error", "lower", "share"),
    "ffe": Metric("redub.evaluation.pitch_errors:f0_frame_error", "lower", "share"),
    "f0_correlation": Metric("redub.evaluation.f0_correlation:f0_correlation", "higher", ""),
    "energy_correlation": Metric(
        "redub.evaluation.f0_correlation:energy_correlation", "higher", ""
    ),
    # spectrum
    "mcd": Metric("redub.evaluation.mcd:mcd", "lower", "dB"),
    "mcd_dtw": Metric("redub.evaluation.mcd:mcd_dtw", "lower", "dB"),
    "mcd_dtw_sl": Metric("redub.evaluation.mcd:mcd_dtw_sl", "lower", "dB"),
    "mcd_published": Metric("redub.evaluation.mcd:published_distortion", "lower", "dB"),
    # time
    "slot_error": Metric("redub.evaluation.duration_error:slot_error_ms", "zero", "ms"),
    "phoneme_error": Metric("redub.evaluation.duration_error:phoneme_error_ms", "lower", "ms"),
    "lip_audio": Metric("redub.evaluation.lip_audio:LipAudioMeter", "lower", ""),
    # words and emotion
    "wer": Metric("redub.evaluation.word_error:corpus_wer", "lower", "share"),
    "wer_legacy": Metric("redub.evaluation.word_error:legacy_wer", "lower", "share"),
    "emotion_accuracy": Metric(
        "redub.evaluation.emotion_recogniser:emotion_report", "higher", "share"
    ),
    "macro_f1": Metric("redub.evaluation.intervals:macro_f1", "higher", "share"),
}


def metric(name: str) -> Any:
    """What computes a metric; an unknown name answers with the nearest known one."""
    return load({known: line.target for known, line in METRICS.items()}, name, kind="metric")
