"""A system is added by one file and one row: here a made-up one, in the ordinary commands."""

import shutil

import numpy as np
import pytest

from redub.core.errors import ConfigError, UsageError
from redub.model.registry import SYSTEMS
from redub.pipeline.stages.train import RunRequest, estimate_run, train_run
from redub.pipeline.store.packs.build import open_pack
from redub.pipeline.store.project import open_project, with_training
from redub.training import checkpoint
from redub.training.presets import training_preset
from redub.training.synthesis import VoiceControl, load_dubber, synthesise
from tests.model.systems.mean_mel import ROW, MeanMelConfig
from tests.test_docs import DOCS, loaded

NAME = "mean_mel"


@pytest.fixture
def project(walked, tmp_path, monkeypatch):
    """The walked project without its runs, in a redub that has one system more."""
    monkeypatch.setitem(SYSTEMS, NAME, ROW)
    ignored = shutil.ignore_patterns("runs")
    return open_project(shutil.copytree(walked[0], tmp_path / "demo", ignore=ignored))


def test_one_row_is_enough_to_train_and_to_speak(project):
    report = train_run(project, RunRequest(run="added", model=NAME, max_steps=2)).report
    assert (report.first_step, report.last_step) == (0, 2)
    record = checkpoint.read(report.checkpoint).record
    assert (record["system"], record["model"]) == (NAME, {"speaker_scale": 0.5})
    assert record["training"]["batching"]["lines_per_batch"] == 3  # from the row
    assert record["training"]["batching"]["frames_per_batch"] == 2400  # from the preset
    dubber = load_dubber(report.checkpoint)
    assert dubber.model.config == MeanMelConfig(speaker_scale=0.5)
    # What its function prepared: standardised mels have the mean 0, up to clipped values.
    np.testing.assert_allclose(dubber.model.mean.numpy(), 0.0, atol=0.05)
    lines = open_pack(project).lines("validation")
    spoken = synthesise(dubber, lines)
    assert len(spoken) == len(lines)
    for line, said in zip(lines, spoken, strict=True):
        assert said.mel.shape == (line.mel_frames, 80)
        assert np.isfinite(said.mel).all()  # NaN where its function was not called
    with pytest.raises(UsageError, match=f"this {NAME} predicts no pitch"):
        synthesise(dubber, lines[:1], [VoiceControl(pitch=0.5)])
    again = train_run(project, RunRequest(run="added", model=NAME, max_steps=3)).report
    assert (again.first_step, again.last_step) == (2, 3)


def test_one_row_is_enough_for_settings_estimate_and_documents(project):
    chosen = with_training(project, settings=[f"model.name={NAME}", "model.speaker_scale=0.25"])
    assert chosen.config.train.model == NAME
    assert estimate_run(chosen, max_steps=10).parameters > 0
    assert training_preset(NAME, "tiny").losses.mel == 2.0
    page = loaded(DOCS / "generate.py").systems()
    assert (
        f"| [`{NAME}`](#{NAME}) | The mean mel of the training set, moved by the speaker." in page
    )
    assert "| `speaker_scale` | `0.5` | `1.0` |" in page


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"losses": {"mell": 1.0}}, "did you mean 'mel'"),
        ({"batching": {"lines_per_batch": "3"}}, "wants int"),
        ({"losses": {"alignment": 1.0}}, "set it to 0 for mean_mel"),
    ],
)
def test_a_wrong_training_setting_in_a_row_is_named(changes, hint, monkeypatch):
    row = type(ROW)(target=ROW.target, reads=ROW.reads, training={"tiny": changes})
    monkeypatch.setitem(SYSTEMS, NAME, row)
    with pytest.raises(ConfigError, match=hint):
        training_preset(NAME, "tiny")
