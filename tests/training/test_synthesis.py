import json
from dataclasses import replace

import numpy as np
import pytest

from redub.core.errors import ModelRefusedError
from redub.training import checkpoint
from redub.training.synthesis import load_dubber, synthesise
from redub.training.trainer import train


@pytest.fixture
def trained(lines, sound, small, quick, tmp_path):
    return train(
        lines[:8],
        lines[8:],
        quick,
        tmp_path / "run",
        model_config=small,
        audio=sound,
        max_steps=6,
        keys={"mel": "abc"},
    )


def unspoken(line):
    return replace(line, mel=None, durations=None, f0_hz=None, energy=None)


def test_every_line_is_as_long_as_its_picture_and_in_its_place(trained, lines):
    dubber = load_dubber(trained.checkpoint)
    spoken = synthesise(dubber, [unspoken(line) for line in lines])
    assert [line.clip_id for line in spoken] == [line.clip_id for line in lines]
    for line, said in zip(lines, spoken, strict=True):
        assert said.mel.shape == (line.mel_frames, 12)
        assert said.mel.dtype == np.float32
        assert int(said.durations.sum()) == line.mel_frames
        assert said.f0_hz.shape == (line.mel_frames,)
        assert said.lip_attention.shape == (len(line.phonemes), len(line.lips))
        assert said.emotion.sum() == pytest.approx(1.0, abs=1e-5)
        assert [len(graph.valid) for graph in said.graphs] == [3, 9, 15]
        assert said.graphs[2].from_frames.shape == (line.mel_frames, 15)
        assert bool(np.isfinite(said.mel).all())


def test_the_recording_of_a_line_is_not_looked_at(trained, lines):
    dubber = load_dubber(trained.checkpoint)
    spoken, heard = synthesise(dubber, [unspoken(lines[0])]), synthesise(dubber, [lines[0]])
    assert np.array_equal(spoken[0].mel, heard[0].mel)


def test_a_line_sounds_the_same_alone_and_in_company(trained, lines):
    dubber = load_dubber(trained.checkpoint)
    together = synthesise(dubber, lines)
    for number in (0, 3):
        alone = synthesise(dubber, [lines[number]])[0]
        np.testing.assert_allclose(alone.mel, together[number].mel, rtol=1e-4, atol=1e-4)


def test_mels_come_back_on_the_natural_scale(trained, lines):
    # The training mels lie around -5 with a deviation below 1; standardised ones around 0.
    spoken = synthesise(load_dubber(trained.checkpoint), lines)
    assert np.concatenate([line.mel for line in spoken]).mean() == pytest.approx(-5, abs=1)


def test_a_loaded_dubber_knows_what_it_was_trained_on(trained):
    dubber = load_dubber(trained.checkpoint)
    assert (dubber.system, dubber.step, dubber.keys) == ("authentic_dubber", 6, {"mel": "abc"})
    assert dubber.widths.modalities == (4, 5, 6)
    assert not dubber.model.training


def test_weights_that_do_not_fit_their_record_are_refused(trained):
    path = trained.checkpoint / "config.json"
    record = json.loads(path.read_text())
    record["model"]["width"] = 24
    path.write_text(json.dumps(record))
    manifest = trained.checkpoint / "manifest.json"
    sums = json.loads(manifest.read_text())
    sums["sha256"]["config.json"] = checkpoint._sha256(path)
    manifest.write_text(json.dumps(sums))
    with pytest.raises(ModelRefusedError, match="written by redub"):
        load_dubber(trained.checkpoint)
