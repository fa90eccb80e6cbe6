"""Weights leave a run as one file and enter another strictly; drifted features are named."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from redub.core.errors import ConfigError, ModelRefusedError
from redub.training import checkpoint
from redub.training.data.lines import FeatureScaler
from redub.training.drift import drift
from redub.training.pretrained import export_weights, read_weights
from tests.training.made import QUICK, SMALL, SOUND, make_line, make_lines, train

KEYS = {"mel": "m1", "lips": "l1", "clips": "these"}


def go(folder, steps, *, lines=None, model=SMALL, keys=KEYS, **more):
    lines = lines or make_lines()
    return train(
        lines[:8], lines[8:], QUICK, folder, model_config=model, audio=SOUND, max_steps=steps,
        keys=keys, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    report = go(folder / "first", 6)
    export_weights(report.checkpoint, folder / "first.safetensors")
    return folder / "first.safetensors"


def test_a_file_holds_the_averaged_weights_and_what_they_mean(file):
    found = read_weights(file)
    snapshot = checkpoint.newest(file.parent / "first" / "checkpoints")
    assert found.system == "authentic_dubber"
    assert found.name == "first.safetensors (first step_00000006)"
    assert found.keys == KEYS
    assert found.weights.keys() == snapshot.weights.keys()
    for name, value in snapshot.weights.items():
        assert torch.equal(found.weights[name], value)


def test_another_run_starts_with_them_and_on_their_scale(file, tmp_path):
    lines = [make_line(number, video_frames=4) for number in range(20, 30)]
    other = {**KEYS, "clips": "others"}
    go(tmp_path / "fresh", 1, lines=lines, keys=other)
    go(tmp_path / "second", 1, lines=lines, keys=other, start_from=read_weights(file))
    first, fresh, second = (
        checkpoint.newest(folder / "checkpoints")
        for folder in (file.parent / "first", tmp_path / "fresh", tmp_path / "second")
    )
    assert second.record["scaler"] == first.record["scaler"]
    far = {  # one step moves weights little: they are near those of the file
        name: (
            float((second.state["raw_weights"][name] - first.weights[name]).abs().mean()),
            float((fresh.state["raw_weights"][name] - first.weights[name]).abs().mean()),
        )
        for name in ("decoder.to_mel.weight", "phoneme_embedding.weight")
        if name in first.weights
    }
    assert far
    assert all(near < 0.5 * away for near, away in far.values()), far


def test_a_resumed_run_does_not_start_again(file, tmp_path):
    go(tmp_path, 4)
    with pytest.raises(ConfigError, match="was trained for 4 steps already") as raised:
        go(tmp_path, 5, start_from=read_weights(file))
    assert raised.value.code == "E-RUN-STARTED"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": replace(SMALL, width=24)}, r"model\.width 16 → 24"),
        ({"keys": {**KEYS, "mel": "m2"}}, r"keys\.mel m1 → m2"),
        ({"keys": {**KEYS, "global_scene": "g1"}}, r"keys\.global_scene None → g1"),
        ({"keys": {"mel": "m1", "clips": "these"}}, r"keys\.lips l1 → None"),
        ({"lines": [make_line(n, lips=None) for n in range(10)]}, r"widths\.lips 5 → 1"),
    ],
)
def test_another_model_or_other_features_are_refused_by_name(file, tmp_path, changes, named):
    with pytest.raises(ModelRefusedError, match=named) as raised:
        go(tmp_path, 1, start_from=read_weights(file), **changes)
    assert raised.value.code == "E-MODEL-OTHER"
    assert not (tmp_path / "checkpoints").exists()


def test_a_missing_tensor_is_refused(file, tmp_path):
    whole = read_weights(file)
    name = min(whole.weights)
    less = {n: w for n, w in whole.weights.items() if n != name}
    with pytest.raises(ModelRefusedError, match="do not fit"):
        go(tmp_path, 1, start_from=replace(whole, weights=less))


@pytest.mark.parametrize("kind", ["absent", "text", "foreign"])
def test_what_no_run_wrote_is_refused(kind, tmp_path):
    path = tmp_path / "weights.safetensors"
    if kind == "text":
        path.write_text("no weights")
    if kind == "foreign":
        safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ModelRefusedError, match="redub runs export"):
        read_weights(path)


def test_drifted_features_are_named_and_others_are_not():
    lines = make_lines()
    trained = FeatureScaler.fit(lines)
    assert drift(trained, trained) == []
    shifted = [replace(line, lips=line.lips + 5) for line in lines]
    (said,) = drift(trained, FeatureScaler.fit(shifted))
    assert "'lips'" in said
    assert "deviations away" in said
    wide = [replace(line, speaker_vector=line.speaker_vector * 9) for line in lines]
    assert any("'speaker'" in sentence for sentence in drift(trained, FeatureScaler.fit(wide)))
    blind = [replace(line, lips=None) for line in lines]
    assert drift(trained, FeatureScaler.fit(blind)) == ["feature 'lips' is missing now"]


def test_drift_is_warned_about_when_a_run_goes_on(tmp_path, caplog):
    lines = make_lines()
    go(tmp_path, 2, lines=lines)
    with caplog.at_level(logging.WARNING):
        go(tmp_path, 3, lines=lines)
    assert not caplog.records
    shifted = [replace(line, lips=(line.lips * np.float32(5))) for line in lines]
    with caplog.at_level(logging.WARNING):
        go(tmp_path, 4, lines=shifted)
    assert any("'lips' drifted" in row.message for row in caplog.records)
