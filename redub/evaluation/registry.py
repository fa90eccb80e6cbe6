"""Table of metrics: ``name → Metric(function, direction, unit)``."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from redub.core.registry import load

Direction = Literal["higher", "lower", "zero"]


class Metric(NamedTuple):
    """One entry of the table.

    ``target``: ``"module:name"`` of the function or class that computes the metric. ``better``:
    which values are better; ``zero`` is for signed errors. ``unit``: ``share`` is a fraction that
    reports show in percent; empty for a number without a unit.
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
    """Load the function or class that computes a metric.

    Raises:
        ConfigError: unknown name; the message suggests the nearest known one.
    """
    return load({known: line.target for known, line in METRICS.items()}, name, kind="metric")
