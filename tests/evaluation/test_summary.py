"""Figures of systems from figures of takes: values, reasons, baselines and comparisons."""

import pytest

from redub.core.metric import Absent, Interval
from redub.evaluation.emotion_accuracy import emotion_report_of
from redub.evaluation.registry import METRICS, ROWS, function_of
from redub.evaluation.summary import (
    baseline_values,
    comparisons,
    difference,
    measured_metrics,
    system_values,
)
from redub.evaluation.takes import RESYNTHESIS
from tests.evaluation.made_takes import EMOTIONS, take, takes_of, takes_of_runs

DRAWS = 200


def test_the_rows_of_the_table_can_all_be_used():
    assert len(METRICS) == len(ROWS)
    columns = [metric.column for metric in measured_metrics()]
    assert len(set(columns)) == len(columns) > 0
    for metric in METRICS.values():
        assert metric.explain
        assert not metric.compared or metric.direction in ("higher", "lower")
        targets = (metric.of_take, metric.of_system, metric.difference, metric.target)
        assert all(callable(function_of(target)) for target in targets if target)
        assert metric.target


def test_every_measured_metric_has_a_value_or_a_reason():
    found = system_values(takes_of("x", transcript="we go home"), DRAWS)
    assert list(found) == [metric.name for metric in measured_metrics()]
    assert found["mcd_dtw"] == Interval(4.0, 4.0, 4.0)
    assert found["gpe"] == Interval(1 / 50, 1 / 50, 1 / 50)
    assert found["ffe"] == Interval(11 / 100, 11 / 100, 11 / 100)
    assert found["phoneme_error_ms"].code == "E-EVAL-DURATIONS"


def test_a_take_without_speech_counts_as_wrong():
    silent = {"emotion_vector": None, "recognised_emotion": "", "values": {"emo_acc": 0.0}}
    takes = [take(0, "x"), take(1, "x", **silent)]
    assert system_values(takes, DRAWS)["emo_acc"].value == 0.5
    report = emotion_report_of(takes)
    assert report.accuracy == 0.5
    assert report.confusion == ((1, 1), (0, 0))  # happy; not recognised


def test_a_metric_without_a_value_names_its_reason():
    def reason(name, takes):
        found = system_values(takes, DRAWS)[name]
        assert isinstance(found, Absent)
        return found.code

    unlabelled = Absent("E-EVAL-UNLABELLED", "no label")
    without = takes_of("x", emotion="", values={"emo_acc": unlabelled})
    assert reason("emo_acc", without) == reason("macro_f1", without) == "E-EVAL-UNLABELLED"
    assert reason("emo_acc", takes_of("x", recognised_emotion="")) == "E-EVAL-SPEECH"
    assert reason("wer", takes_of("x", transcript=None)) == "E-EVAL-ASR"
    assert reason("wer", takes_of("x", text="")) == "E-EVAL-TEXT"
    assert reason("wer", takes_of("x", text="…")) == "E-EVAL-TEXT"
    assert reason("mcd_dtw_mel", takes_of(RESYNTHESIS)) == "E-EVAL-RECORDED"
    unvoiced = takes_of("x")[0].pitch.__class__(
        pairs=9, voiced_in_both=0, voicing_errors=0, gross_errors=0
    )
    assert reason("gpe", takes_of("x", pitch=unvoiced)) == "E-EVAL-UNVOICED"
    assert reason("f0_correlation", takes_of("x", values={})) == "E-EVAL-NONE"


def test_the_trivial_answers_are_the_commonest_label_and_no_word():
    found = baseline_values(takes_of_runs("a", "b"))
    assert found["emo_acc"] == EMOTIONS.count("happy") / len(EMOTIONS) == 0.5
    assert found["wer"] == 1.0
    assert "mcd_dtw_mel" not in found  # its baseline is a measured system


@pytest.mark.parametrize(
    ("name", "gain"), [("emo_acc", 1.0), ("mcd_dtw_mel", 1.5), ("gpe", 15 / 50), ("ffe", 15 / 100)]
)
def test_a_difference_is_positive_where_the_first_is_better_in_both_directions(name, gain):
    takes = takes_of_runs("a", "b")
    better = difference(METRICS[name], takes["a"], takes["b"], DRAWS)
    worse = difference(METRICS[name], takes["b"], takes["a"], DRAWS)
    assert better == pytest.approx((gain, gain, gain))
    assert worse == pytest.approx((-gain, -gain, -gain))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("majority", "baseline"),
        ("above the majority", "MCD-DTW (mel) of x below y"),
        ("x above y", "x"),
        ("no word understood", "EMO-ACC of majority above the majority"),
    ],
)
def test_a_comparison_knows_its_sides_whatever_the_runs_are_called(first, second):
    found = comparisons([first, second], takes_of_runs(first, second), DRAWS)
    sides = [(c.metric, c.run, c.against.kind, c.against.name) for c in found]
    majority, mean = "always the commonest emotion", "training-mean mel"
    assert sides == [
        ("emo_acc", first, "baseline", majority),
        ("mcd_dtw_mel", first, "baseline", mean),
        ("emo_acc", second, "baseline", majority),
        ("mcd_dtw_mel", second, "baseline", mean),
        ("emo_acc", first, "run", second),
        ("gpe", first, "run", second),
        ("ffe", first, "run", second),
    ]
    values = [c.interval.value for c in found]
    assert values == pytest.approx([0.5, 5.0, -0.5, 3.5, 1.0, 0.3, 0.15])
