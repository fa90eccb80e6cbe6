"""EMO-ACC, macro-F1 and the majority baseline of measured takes.

The emotions are those that an :class:`redub.evaluation.emotion_recogniser.EmotionRecogniser` found
in the takes. A take in which it found none, because it has no speech, counts as wrong. Utterances
without a label are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from redub.core.metric import Absent, Interval
from redub.evaluation.emotion_recogniser import EmotionReport, emotion_report
from redub.evaluation.intervals import majority_baseline, wilson
from redub.evaluation.takes import LineFigures, reason_of, values_of

UNLABELLED = Absent("E-EVAL-UNLABELLED", "no measured line has an emotion label")
SILENT = Absent("E-EVAL-SPEECH", "no take has speech in which an emotion could be recognised")


def emotion_hit(label: str, recognised: str) -> float | Absent:
    """1.0 where the recognised emotion is the label, 0.0 where it is not."""
    return float(recognised == label) if label else UNLABELLED


def accuracy_of_takes(name: str, takes: Sequence[LineFigures], resamples: int) -> Interval | Absent:
    """Share of labelled takes whose emotion was recognised, with its Wilson interval."""
    hits = values_of(name, takes)
    if not hits:
        return reason_of(name, takes)
    if not any(take.recognised_emotion for take in takes):
        return SILENT
    return wilson(int(sum(hits)), len(hits))


def macro_f1_of_takes(name: str, takes: Sequence[LineFigures], resamples: int) -> Interval | Absent:
    """Macro-F1 of the recognised emotions; it has no interval."""
    report = emotion_report_of(takes)
    if isinstance(report, Absent):
        return report
    return Interval(report.macro_f1, math.nan, math.nan)


def emotion_report_of(takes: Sequence[LineFigures]) -> EmotionReport | Absent:
    """Labels of takes against the emotions that the recogniser of prosody found."""
    labelled = [take for take in takes if take.emotion]
    accuracy = accuracy_of_takes("emo_acc", labelled or takes, 0)
    if isinstance(accuracy, Absent):
        return accuracy
    return emotion_report(
        [take.emotion for take in labelled],
        [take.recognised_emotion or "not recognised" for take in labelled],
    )


def majority_of_takes(takes: Sequence[LineFigures]) -> float | Absent:
    """Accuracy of always answering the commonest emotion label."""
    labels = [take.emotion for take in takes if take.emotion]
    return majority_baseline(labels) if labels else UNLABELLED
