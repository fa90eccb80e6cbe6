"""A row in the table of metrics is all that a metric needs to be measured, shown and documented."""

import contextlib
import io
import json
import re
import shutil

import pytest
import typer

from redub.commands.console import put
from redub.core.metric import Absent, Baseline, Interval, Metric
from redub.evaluation.registry import METRICS
from redub.evaluation.takes import MEAN_MEL
from redub.pipeline.reports.evaluation import write_report
from redub.pipeline.store.project import open_project
from redub.pipeline.store.runs.evaluations import last_evaluation
from tests.json_schema import checked
from tests.test_docs import DOCS, loaded

HERE = "tests.pipeline.test_a_new_metric"


def seconds_of(take):
    """Seconds of a take; absent for the mean mel."""
    if take.system == MEAN_MEL:
        return Absent("E-MADE-UP", "the mean mel has no length of its own")
    return len(take.waveform.samples) / take.waveform.sample_rate_hz


def share_of_lines(name, takes, resamples):
    """One half for one run, more for everything else."""
    return Interval(0.5, 0.25, 0.75) if takes[0].system == "authentic" else Interval(0.8, 0.8, 0.8)


MADE_UP = (
    Metric(
        name="made_up_length",
        title="Made-up length",
        unit="centiseconds",
        scale=100,
        digits=3,
        direction="higher",
        explain="how long the take lasts",
        card="A made-up card",
        target="builtins:len",
        of_take=f"{HERE}:seconds_of",
        compared=("run",),
    ),
    Metric(
        name="made_up_share",
        title="Made-up share",
        unit="%",
        scale=100,
        digits=1,
        direction="lower",
        explain="one half",
        card="A made-up share card",
        target="builtins:sum",
        of_system=f"{HERE}:share_of_lines",
        baseline=Baseline(name="a made-up answer", value=0.875),
    ),
)


@pytest.fixture(scope="module")
def table():
    with pytest.MonkeyPatch.context() as patch:
        for metric in MADE_UP:
            patch.setitem(METRICS, metric.name, metric)
        yield


@pytest.fixture(scope="module")
def evaluated(table, walked, tmp_path_factory):
    """A project that `redub evaluate` measured with the longer table, and what was printed.

    The command runs in this process, because a new process has the table of the package.
    """
    from redub.commands.stages import evaluate

    root = shutil.copytree(walked[0], tmp_path_factory.mktemp("metric") / "demo")
    with (root / "redub.toml").open("a") as settings:
        settings.write("\n[evaluate]\nasr = false\nbootstrap = 100\n")
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed), pytest.raises(typer.Exit) as done:
        evaluate(["authentic", "baseline"], root, 1, "sync", False)
    assert done.value.exit_code == 0
    return open_project(root), printed.getvalue()


def test_a_metric_of_the_table_is_a_column_of_the_printed_table(evaluated):
    project, printed = evaluated
    rows = {line.split("  ")[0]: line for line in printed.splitlines()}
    assert rows["system"].split("  ")[-2:] == ["Made-up length centiseconds", "Made-up share %"]
    assert rows["authentic"].endswith("  50.0 [25.0, 75.0]")
    length = last_evaluation(project).scores("authentic").values["made_up_length"]
    assert 1 < length.value < 10
    # every take fills the slot of its video, so that runs and recordings are equally long
    for system in ("authentic", "ground truth"):
        assert f"  {100 * length.value:.3f} [" in rows[system]
    assert "Made-up length of 'authentic' compared with run 'baseline': +0.000 [" in printed
    assert "no 'Made-up length centiseconds' of training-mean mel: the mean mel has" in printed
    assert re.search(r"no 'WER %' of .*: the speech recogniser did not run", printed)


def test_a_metric_of_the_table_is_on_the_report_with_unit_direction_and_card(evaluated):
    project, _ = evaluated
    page = write_report(project, project.root / "page.html").read_text()
    length = last_evaluation(project).scores("authentic").values["made_up_length"].value
    for said in ("how long the take lasts", f"{length * 100:.1f} centiseconds", "A made-up card",
                 "the mean mel has no length of its own", "centiseconds, higher is better",
                 "%, lower is better"):  # fmt: skip
        assert said in page, said
    card = page[page.index("A made-up share card") :]
    card = card[: card.index("</li>")]
    assert "better than baseline and a made-up answer" in card
    assert "50.0 %" in card
    assert "87.5 %" in card


def test_a_metric_of_the_table_is_in_the_json_with_unit_scale_and_direction(evaluated, capsys):
    project, _ = evaluated
    put(last_evaluation(project), schema="evaluate")
    answer = checked(capsys.readouterr().out)
    described = {metric["name"]: metric for metric in answer["metrics"]}
    assert [described[m.name]["unit"] for m in MADE_UP] == ["centiseconds", "%"]
    assert [described[m.name]["scale"] for m in MADE_UP] == [100, 100]
    assert [described[m.name]["direction"] for m in MADE_UP] == ["higher", "lower"]
    assert answer["baselines"]["made_up_share"] == 0.875
    values = {system["system"]: system["values"] for system in answer["systems"]}
    assert values["authentic"]["made_up_share"] == [0.5, 0.25, 0.75]
    assert values[MEAN_MEL]["made_up_length"] == {
        "code": "E-MADE-UP",
        "message": "the mean mel has no length of its own",
    }
    record = json.loads(sorted((project.root / "evaluations").iterdir())[-1].read_text())
    assert {k: v for k, v in answer.items() if k != "schema"} == record


def test_a_metric_of_the_table_is_on_the_reference_page(table):
    page = loaded(DOCS / "generate.py").pages()["reference/metrics.md"]
    row = next(line for line in page.splitlines() if line.startswith("| `made_up_length` |"))
    assert row == (
        "| `made_up_length` | Made-up length | how long the take lasts | centiseconds | 100 | "
        "higher is better | training-mean mel |"
    )
    row = next(line for line in page.splitlines() if line.startswith("| `made_up_share` |"))
    assert row.endswith("| % | 100 | lower is better | a made-up answer |")
