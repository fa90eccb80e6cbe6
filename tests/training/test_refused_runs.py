"""What is refused leaves a run as it was; what is damaged is passed over; NaN is never saved."""

import json
import logging
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from redub.core.errors import ConfigError, IntegrityError, ModelRefusedError, RedubError
from redub.training import checkpoint
from redub.training.losses import LossWeights
from redub.training.presets import TrainingConfig
from redub.training.pretrained import META, export_weights, read_weights
from redub.training.schedule import NoamSchedule
from redub.training.step import OptimiserConfig
from tests.training.made import QUICK, SMALL, SOUND, make_lines, train

STEADY = replace(QUICK, validate_every=100, checkpoint_every=2, keep_last=9)


def go(folder, steps, *, config=STEADY, lines=None, **more):
    lines, keys = lines or make_lines(), more.pop("keys", {"mel": "m1"})
    return train(
        lines[:8], lines[8:], config, folder, model_config=more.pop("model", SMALL), audio=SOUND,
        max_steps=steps, keys=keys, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with checkpoints 2, 4 and 6."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    go(folder, 6)
    return folder


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def steps(run):
    return sorted(int(path.name[5:]) for path in checkpoint.steps_in(run / "checkpoints"))


def place(run, step):
    return checkpoint.directory_of(run / "checkpoints", step)


@pytest.mark.parametrize("absolute", [True, False])
def test_a_run_goes_back_to_a_checkpoint_and_keeps_it(run, whole, monkeypatch, absolute):
    monkeypatch.chdir(run.parent)
    chosen = place(run, 2) if absolute else place(run, 2).relative_to(run.parent)
    report = go(run, 6, resume=chosen)
    assert (report.first_step, report.last_step) == (2, 6)
    assert steps(run) == [2, 4, 6]
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize(
    "more",
    [
        {"config": replace(STEADY, accumulate=2)},
        {"model": replace(SMALL, width=24)},
        {"keys": {"mel": "other"}},
    ],
)
def test_going_back_under_other_settings_is_refused_and_removes_nothing(run, more):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="other settings"):
        go(run, 8, resume=place(run, 2), **more)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_starting_over_is_refused_before_anything_is_removed(run, whole, tmp_path):
    export_weights(place(run, 6), tmp_path / "w.safetensors")
    weights = read_weights(tmp_path / "w.safetensors")
    with pytest.raises(ModelRefusedError, match=r"model\.width"):
        go(run, 2, resume=False, start_from=weights, model=replace(SMALL, width=24))
    assert steps(run) == [2, 4, 6]
    with pytest.raises(ConfigError, match="was trained for 6 steps already"):
        go(run, 8, start_from=weights)
    report = go(run, 2, resume=False, start_from=weights)
    assert steps(run) == [2]
    assert report.started_from == weights.name
    assert go(run, 3).started_from == weights.name  # a resumed run knows, too


def test_a_finished_run_still_knows_its_validation_loss(run):
    first = json.loads((place(run, 6) / "manifest.json").read_text())["validation_loss"]
    assert go(run, 6).validation_loss == first is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"step": None},
        {"step": "x"},
        {"step": 3},
        {"validation_loss": "abc"},
        {"validation_loss": math.nan},
    ],
)
def test_a_manifest_that_lies_is_passed_over(run, caplog, changes):
    path = place(run, 6) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with caplog.at_level(logging.WARNING):
        report = go(run, 6)
    assert report.first_step == 4
    assert any("was skipped" in row.message for row in caplog.records)
    assert checkpoint.best(run / "checkpoints").name == "step_00000006"


@pytest.mark.parametrize(
    "row", ["[]", "{}", "5", '{"step": null}', '{"step": "many"}', "\xff\xfe", '{"st']
)
def test_damaged_rows_of_the_metrics_are_dropped_and_counted(run, whole, caplog, row):
    path = run / "metrics.jsonl"
    rows = path.read_text().splitlines(keepends=True)
    path.write_bytes("".join([*rows[:2], row + "\n", *rows[2:]]).encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        go(run, 6)
    assert path.read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert any("1 damaged rows were dropped" in row.message for row in caplog.records)


def test_strange_folders_are_no_checkpoints_and_partial_ones_go(run):
    for name in ("step_00000004.bak", "step_foo", ".tmp-step_00000008"):
        (run / "checkpoints" / name).mkdir()
    go(run, 7)
    assert steps(run) == [2, 4, 6, 7]
    left = {path.name for path in (run / "checkpoints").iterdir()}
    assert {"step_00000004.bak", "step_foo"} <= left
    assert not any(name.startswith(".tmp-") for name in left)


def test_weights_that_are_not_finite_are_never_saved(run):
    wild = NoamSchedule(multiplier=1e30, warmup_steps=1)
    config = replace(STEADY, optimiser=replace(STEADY.optimiser, schedule=wild))
    folder = run.parent / "wild"
    with pytest.raises(RedubError, match=r"not finite|is nan|is inf") as raised:
        go(folder, 2, config=config)
    assert raised.value.code == "E-TRAIN-NAN"
    assert steps(folder) == []


def test_nan_losses_are_not_the_best(tmp_path):
    for step, loss in ((2, 1.0), (4, 0.5), (6, 0.7)):
        made = checkpoint.Snapshot(
            step=step,
            weights={"a": torch.zeros(1)},
            state={"b": 1},
            record={},
            validation_loss=loss,
        )
        checkpoint.write(tmp_path, made, keep=9)
    path = tmp_path / "step_00000006" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "validation_loss": math.nan}))
    assert checkpoint.best(tmp_path).name == "step_00000004"


def test_other_lines_under_the_same_keys_do_not_train_on_nothing(run):
    lines = make_lines()
    with pytest.raises(IntegrityError, match="does not exist"):
        train(
            lines[:1], [], replace(STEADY, batching=QUICK.batching), run, model_config=SMALL,
            audio=SOUND, max_steps=40, keys={"mel": "m1"}, resume=mid_epoch(run),
        )  # fmt: skip


def mid_epoch(run):
    """A checkpoint whose place is past the end of an epoch of one line."""
    found = next(
        path
        for path in checkpoint.steps_in(run / "checkpoints")
        if checkpoint.read(path).state["batch_in_epoch"] >= 2
    )
    return found


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (LossWeights, {"mel": math.nan}),
        (LossWeights, {"mel": -1.0}),
        (LossWeights, {"energy": math.inf}),
        (LossWeights, {"diagonal_bands": 0.0}),
        (NoamSchedule, {"multiplier": math.nan}),
        (NoamSchedule, {"multiplier": math.inf}),
        (NoamSchedule, {"cut": 0.0}),
        (OptimiserConfig, {"clip_norm": math.nan}),
        (OptimiserConfig, {"beta1": 2.0}),
        (OptimiserConfig, {"epsilon": -1.0}),
        (OptimiserConfig, {"weight_decay": math.nan}),
        (TrainingConfig, {"seed": -1}),
    ],
)
def test_settings_that_no_run_can_have_are_refused_at_once(kind, values):
    with pytest.raises(ConfigError):
        kind(**values)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": [1]},
        {"widths": 7},
        {"scaler": []},
        {"keys": []},
        {"keys": {}},
        {"scaler": "short"},
        {"scaler": "zero"},
        {"weights": "float16"},
        {"weights": "nan"},
        "nested",
    ],
)
def test_weights_that_no_run_writes_are_refused(run, tmp_path, changes):
    import safetensors.torch
    from safetensors import safe_open

    good, path = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    export_weights(place(run, 6), good)
    read_weights(good)
    weights = safetensors.torch.load_file(good)
    with safe_open(good, framework="pt") as file:
        text = file.metadata()[META]
    meaning = json.loads(text)
    if changes == "nested":
        text = "[" * 100_000
    else:
        if changes.get("scaler") == "short":
            scales = {n: {k: v[:1] for k, v in own.items()} for n, own in meaning["scaler"].items()}
            changes = {"scaler": scales}
        elif changes.get("scaler") == "zero":
            scales = {
                name: {**own, "deviation": [0.0] * len(own["deviation"])}
                for name, own in meaning["scaler"].items()
            }
            changes = {"scaler": scales}
        name = max(weights, key=lambda n: weights[n].numel())
        if changes.get("weights") == "float16":
            weights[name] = weights[name].half()
        if changes.get("weights") == "nan":
            weights[name] = torch.full_like(weights[name], float(np.nan))
        text = json.dumps({**meaning, **changes})
    safetensors.torch.save_file(weights, path, metadata={META: text})
    with pytest.raises(ModelRefusedError) as raised:
        read_weights(path)
    assert raised.value.code == "E-MODEL-FILE"
