import json
import shutil
from dataclasses import replace

import pytest
import torch

from redub.core.errors import ConfigError, RedubError
from redub.training import checkpoint
from redub.training.presets import TRAINING_PRESETS, TrainingConfig
from tests.training.made import best_guess, train


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in another order would differ in the last bit
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(lines, sound, small, quick, tmp_path):
    def go(name, steps, **settings):
        config = settings.pop("config", quick)
        values = {"model_config": small, "audio": sound, "max_steps": steps, **settings}
        return train(lines[:8], lines[8:], config, tmp_path / name, **values)

    return go


def metrics(directory):
    return [json.loads(row) for row in (directory / "metrics.jsonl").read_text().splitlines()]


def assert_same_training(one, other):
    first, second = checkpoint.newest(one / "checkpoints"), checkpoint.newest(other / "checkpoints")
    assert first.step == second.step
    assert first.validation_loss == second.validation_loss
    for name, value in first.weights.items():
        assert torch.equal(value, second.weights[name]), name
    for name, value in first.state["raw_weights"].items():
        assert torch.equal(value, second.state["raw_weights"][name]), name
    for number, moments in first.state["optimizer"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, second.state["optimizer"]["state"][number][name])
    steps = [[row for row in metrics(run) if "loss" in row] for run in (one, other)]
    assert steps[0] == steps[1]


def test_24_steps_are_12_and_12_bit_for_bit(run, tmp_path):  # 100 with kills: test_killed_training
    run("whole", 24)
    torch.rand(5)  # what happens between the two halves must not matter
    assert run("halves", 12).last_step == 12
    report = run("halves", 24)
    assert (report.first_step, report.last_step) == (12, 24)
    assert_same_training(tmp_path / "whole", tmp_path / "halves")


def test_work_after_the_last_checkpoint_is_done_again_and_its_metrics_are_cut(run, tmp_path):
    run("whole", 12)
    # Killed in step 13: checkpoint 12 is lost (say it was cut), rows up to 12 and a half are there.
    killed = tmp_path / "killed"
    run("killed", 12)
    shutil.rmtree(killed / "checkpoints" / "step_00000012")
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"step": 13, "loss": 0.')
    report = run("killed", 12)
    assert report.first_step == 10
    assert_same_training(tmp_path / "whole", killed)


def test_training_does_not_disturb_the_callers_random_numbers(run):
    torch.manual_seed(3)
    expected = torch.rand(2).tolist()
    torch.manual_seed(3)
    run("one", 2)
    assert torch.rand(2).tolist() == expected


def test_the_seed_is_the_run(run, tmp_path, quick):
    run("one", 6)
    run("again", 6)
    assert_same_training(tmp_path / "one", tmp_path / "again")
    run("other", 6, config=replace(quick, seed=1))
    losses = [
        [row["loss"] for row in metrics(tmp_path / name) if "loss" in row]
        for name in ("one", "other")
    ]
    assert losses[0] != losses[1]


def test_lines_are_learnt_and_every_step_leaves_a_row(lines, sound, small, quick, tmp_path):
    # Validated on the training lines: random features have nothing that carries over to others.
    reports = []
    report = train(
        lines,
        lines,
        quick,
        tmp_path / "run",
        model_config=small,
        audio=sound,
        max_steps=120,
        progress=reports.append,
    )
    rows = metrics(tmp_path / "run")
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 121))
    assert [step.step for step in reports] == list(range(1, 121))
    validated = [row for row in rows if "validation_loss" in row]
    assert len(validated) == 30  # every fourth step
    assert report.validation_loss == validated[-1]["validation_loss"]
    mel, emotion = best_guess(lines)
    assert validated[-1]["validation_mel_post"] < 0.85 * mel
    assert validated[-1]["validation_emotion"] < 0.5 * emotion
    assert report.trained_parameters == sum(
        value.numel()
        for name, value in checkpoint.newest(tmp_path / "run" / "checkpoints").weights.items()
        if not name.endswith(("running_mean", "running_var")) and "mel_base." not in name
    )  # buffers are kept with the weights and not trained
    assert report.checkpoint.name == "step_00000120"
    assert len(checkpoint.steps_in(tmp_path / "run" / "checkpoints")) <= 3


def test_a_time_limit_ends_a_run_with_a_checkpoint(run):
    report = run("timed", None, max_seconds=0.5)
    assert report.last_step >= 1
    assert report.checkpoint.is_dir()


def test_a_finished_run_has_nothing_left_to_do(run):
    first, again = run("run", 5), run("run", 5)
    assert (again.first_step, again.last_step) == (5, 5)
    assert again.checkpoint == first.checkpoint


def test_not_resuming_starts_again(run, tmp_path):
    run("run", 5)
    report = run("run", 3, resume=False)
    assert (report.first_step, report.last_step) == (0, 3)
    assert [row["step"] for row in metrics(tmp_path / "run") if "loss" in row] == [1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"keys": {"mel": "other"}}, "keys"),
        ({"config": TrainingConfig(seed=9)}, "training"),
    ],
)
def test_a_directory_is_not_continued_under_other_settings(run, settings, named):
    run("run", 2)
    with pytest.raises(ConfigError, match=rf"other settings: {named}\."):
        run("run", 4, **settings)


def test_lines_without_a_recording_are_counted_not_trained_on(
    make_line, sound, small, quick, tmp_path
):
    unspoken = [make_line(n, mel=None, durations=None) for n in range(3)]
    settings = {"model_config": small, "audio": sound, "max_steps": 1}
    report = train([*unspoken, make_line(5)], [], quick, tmp_path, **settings)
    assert (report.lines, report.lines_without_recording) == (1, 3)
    assert report.validation_loss is None
    with pytest.raises(ConfigError, match="none of 3 training utterances"):
        train(unspoken, [], quick, tmp_path / "other", **settings)


def test_a_diverging_run_names_its_clips(lines, sound, small, quick, tmp_path):
    broken = replace(lines[0], clip_id="broken", mel=lines[0].mel * float("nan"))
    with pytest.raises(RedubError, match="broken"):
        train([broken], [], quick, tmp_path, model_config=small, audio=sound, max_steps=2)


def test_a_run_without_an_end_is_refused(lines, sound, small, quick, tmp_path):
    with pytest.raises(ConfigError, match="max_steps or max_seconds"):
        train(lines, [], quick, tmp_path, model_config=small, audio=sound)


def test_presets_and_names():
    assert TRAINING_PRESETS["paper"] == TrainingConfig()
    assert TRAINING_PRESETS["paper"].losses.speaker == 25.0
    with pytest.raises(ConfigError, match="authentic_dubber"):
        TrainingConfig(system="authentic_duber")
