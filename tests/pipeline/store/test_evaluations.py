"""Evaluation records: one reader and one writer; other versions and damaged files are refused."""

import json
import math
import re

import pytest

from redub.core.errors import ConfigError, IntegrityError
from redub.core.metric import Absent
from redub.evaluation.emotion_accuracy import emotion_report_of
from redub.evaluation.registry import METRICS
from redub.evaluation.summary import (
    baseline_values,
    comparisons,
    measured_metrics,
    system_values,
)
from redub.pipeline.reports.evaluation_cards import cards_of
from redub.pipeline.store.project import open_project
from redub.pipeline.store.runs.evaluations import (
    Evaluation,
    SystemScores,
    commit_evaluation,
    inputs_of,
    is_evaluated,
    last_evaluation,
)
from tests.evaluation.made_takes import takes_of_runs
from tests.pipeline.films import make_project


def evaluation_of(better="authentic", worse="baseline"):
    takes = takes_of_runs(better, worse)
    return Evaluation(
        split="test",
        runs=[better, worse],
        metrics=measured_metrics(),
        systems=[
            SystemScores(
                system=name,
                lines=len(own),
                values=system_values(own, 50),
                emotion=emotion_report_of(own),
            )
            for name, own in takes.items()
        ],
        lines=[take for own in takes.values() for take in own],
        baselines=baseline_values(takes),
        comparisons=comparisons([better, worse], takes, 50),
        recogniser=Absent("E-EVAL-LABELS", "too few labelled training lines"),
        unknown_words=["zorp"],
        left_out={"film/scene/9": Absent("E-EVAL-FEATURE", "no mel (not extracted yet)")},
    )


@pytest.fixture
def project(tmp_path):
    return open_project(make_project(tmp_path / "p", sources=1))


def newest(project):
    return sorted((project.root / "evaluations").iterdir())[-1]


def written(project, change):
    """A project whose newest record is changed by hand."""
    commit_evaluation(project, evaluation_of())
    record = json.loads(newest(project).read_text())
    change(record)
    newest(project).write_text(json.dumps(record))
    return project


def test_an_evaluation_is_read_as_it_was_written(project):
    first, second = evaluation_of(), evaluation_of("a", "b")
    commit_evaluation(project, first)
    commit_evaluation(project, second)
    read = last_evaluation(project)
    assert math.isnan(read.scores("a").values["macro_f1"].low)
    assert read.to_json() == second.to_json()
    assert read.comparisons == second.comparisons
    assert read.metrics == second.metrics
    assert Evaluation.read(project.root / "evaluations" / "00000001.json").runs == first.runs


def test_an_evaluation_of_redub_0_1_is_refused_with_the_command_to_type(project):
    def as_before(record):
        del record["format"], record["metrics"], record["baselines"]
        record["majority"] = 0.5
        for line in record["lines"]:
            line["heard_emotion"] = line.pop("recognised_emotion")
            line["heard_by_all"] = line.pop("recognised_by_all")

    written(project, as_before)
    with pytest.raises(ConfigError, match=r"redub 0\.1 .*run `redub evaluate`") as refused:
        last_evaluation(project)
    assert refused.value.code == "E-STAGE-EVALUATE"


def test_an_evaluation_of_the_same_inputs_is_up_to_date_in_this_format_only(project):
    inputs = inputs_of(project, [], "test")
    written(project, lambda record: record.update(made_from=inputs))
    assert is_evaluated(project, [])
    written(project, lambda record: record.update(made_from="another"))
    assert not is_evaluated(project, [])
    for number in (1, 99):
        written(project, lambda record, n=number: record.update(made_from=inputs, format=n))
        assert not is_evaluated(project, [])


def test_a_new_row_of_the_table_makes_an_evaluation_stale(project, monkeypatch):
    inputs = inputs_of(project, [], "test")
    written(project, lambda record: record.update(made_from=inputs))
    monkeypatch.delitem(METRICS, "wer")
    assert not is_evaluated(project, [])


def test_an_evaluation_of_a_newer_redub_is_refused(project):
    written(project, lambda record: record.update(format=99))
    with pytest.raises(ConfigError, match=r"newer redub \(format 99.*`redub evaluate`"):
        last_evaluation(project)


RECORD = evaluation_of().to_json()


@pytest.mark.parametrize("key", [*RECORD, *(f"line {k}" for k in RECORD["lines"][0])])
def test_a_record_that_lost_a_key_is_damaged_and_not_half_read(project, key):
    def without(record):
        (record["lines"][0] if key.startswith("line ") else record).pop(key.removeprefix("line "))

    written(project, without)
    # without its format a record is one of the version before
    kind = ConfigError if key == "format" else IntegrityError
    with pytest.raises(kind, match="redub evaluate"):
        last_evaluation(project)


@pytest.mark.parametrize("text", ["", "[]", "{}", "3", '{"format": "2"}', '{"format": true}'])
def test_what_is_no_record_is_damaged(project, text):
    commit_evaluation(project, evaluation_of())
    newest(project).write_text(text)
    with pytest.raises(IntegrityError, match="damaged"):
        last_evaluation(project)


def test_a_project_without_an_evaluation_says_what_to_type(project):
    with pytest.raises(ConfigError, match="run `redub evaluate`"):
        last_evaluation(project)
    assert not is_evaluated(project, [])


# -- as text


def test_the_table_has_a_figure_or_a_dash_in_every_cell_and_says_why(project):
    evaluation = evaluation_of()
    columns, rows = evaluation.columns(), evaluation.text_rows()
    assert all(len(row) == len(columns) for row in rows)
    said = "\n".join(evaluation.headlines())
    for row in rows:
        for column, cell in zip(columns, row, strict=True):
            assert cell != "–" or re.search(rf"no '{re.escape(column)}' of .*{row[0]}", said)
    assert "EMO-ACC of always the commonest emotion: 50.0 %" in said
    assert "lines of split 'test' not measured: 1 (1 × no mel (not extracted yet))" in said


def test_a_card_compares_with_the_trivial_answer_or_else_with_the_mean_mel():
    beside = {card.title: dict(card.beside) for card in cards_of(evaluation_of("a", "b"))}
    assert beside["Emotion recognised (EMO-ACC)"] == {
        "ground truth": "100.0 %",
        "vocoder resynthesis": "100.0 %",
        "b": "0.0 %",
        "always the commonest emotion": "50.0 %",
    }
    assert beside["Distance of the mel (MCD-DTW)"] == {
        "ground truth": "0.0 dB",
        "b": "5.5 dB",
        "training-mean mel": "9.0 dB",
    }


HOSTILE = ("majority", "above the majority", "x above y", "GPE of x below y", "ground-truth")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_runs_change_no_figure(name):
    """The same takes under another name give the same sentences, with the other name in them."""

    def said(first, second):
        evaluation = evaluation_of(first, second)
        lines = [line.replace(f"'{first}'", "A").replace(f"'{second}'", "B")
                 for line in evaluation.headlines() if "compared with" in line]  # fmt: skip
        cards = [
            (card.value, card.standing, card.detail, [v for _, v in card.beside])
            for card in cards_of(evaluation)
        ]
        return lines, cards

    assert said(name, "other") == said("first", "second")
    assert said("other", name) == said("first", "second")
