"""Systems with context and units are trained, go on, grow from another, and speak."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from redub.core.errors import ConfigError, ModelRefusedError
from redub.model.batch import FeatureWidths
from redub.training import checkpoint
from redub.training.data.batching import collate, widths_of
from redub.training.data.lines import FeatureScaler
from redub.training.pretrained import export_weights, read_weights
from redub.training.synthesis import load_dubber, synthesise
from redub.training.units import NOWHERE, fit_units
from tests.model.systems.test_context_systems import SMALL
from tests.training.made import QUICK, SOUND, in_context, make_lines, train

KEYS = {"mel": "m1", "lips": "l1"}
NAMES = {
    "hpm_dubbing": "HPMDubbing", "mc_dubber": "MCDubber", "m2ci_dubber": "M2CIDubber",
    "redub_dubber": "RedubDubber", "dsu_avo": "DSUAVO",
}  # fmt: skip
SIZES = {name: config for kind, config in SMALL.items() for name in NAMES
         if NAMES[name] == kind.__name__}  # fmt: skip


def go(folder, name, steps, **more):
    lines = in_context(make_lines())
    config = replace(QUICK, system=name)
    return train(
        lines[:8], lines[8:], config, folder, model_config=more.pop("model", SIZES[name]),
        audio=SOUND, max_steps=steps, keys=more.pop("keys", KEYS), **more,
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_run_goes_on_from_where_it_was_and_speaks(name, tmp_path):
    go(tmp_path / "whole", name, 5)
    go(tmp_path / "half", name, 3)
    report = go(tmp_path / "half", name, 5)
    assert (report.first_step, report.last_step) == (3, 5)
    whole, half = (checkpoint.newest(tmp_path / n / "checkpoints") for n in ("whole", "half"))
    assert all(torch.equal(value, half.weights[key]) for key, value in whole.weights.items())
    dubber = load_dubber(report.checkpoint)
    lines = [
        replace(line, mel=None, durations=None, f0_hz=None, energy=None, sound=None)
        for line in in_context(make_lines())
    ]
    spoken = synthesise(dubber, lines)
    for line, said in zip(lines, spoken, strict=True):
        assert said.mel.shape == (line.mel_frames, 12)
        assert int(said.durations.sum()) == line.mel_frames
        assert np.isfinite(said.mel).all()
    # In the same company, so that every sum is the same where the adjacent lines are not read.
    apart = [replace(line, context={}) if line is lines[3] else line for line in lines]
    moved = float(np.abs(synthesise(dubber, apart)[3].mel - spoken[3].mel).max())
    if name in ("mc_dubber", "m2ci_dubber", "redub_dubber"):
        assert moved > 1e-4
    else:
        assert moved == 0.0


@pytest.mark.parametrize("name", ["m2ci_dubber", "mc_dubber"])
def test_a_system_starts_from_the_one_it_was_grown_from(name, tmp_path):
    report = go(tmp_path / "hpm", "hpm_dubbing", 4)
    export_weights(report.checkpoint, tmp_path / "hpm.safetensors")
    file = read_weights(tmp_path / "hpm.safetensors")
    grown = go(tmp_path / "grown", name, 1, start_from=file, keys={**KEYS, "global_audio": "g1"})
    snapshot = checkpoint.read(grown.checkpoint)
    assert snapshot.record["started_from"].startswith("hpm.safetensors")
    assert set(file.weights) < set(snapshot.weights)
    scaler = FeatureScaler.from_json(snapshot.record["scaler"])
    assert np.array_equal(scaler.scales["mel"].mean, file.scaler.scales["mel"].mean)
    if name == "m2ci_dubber":
        assert "global_audio" in scaler.scales
    near = {  # one step moves weights little
        key: float((snapshot.state["raw_weights"][key] - value).abs().max())
        for key, value in file.weights.items()
        if "running" not in key
    }
    assert max(near.values()) < 0.05


def test_weights_that_read_plain_values_go_on_reading_them(tmp_path):
    report = go(tmp_path / "hpm", "hpm_dubbing", 1)
    export_weights(report.checkpoint, tmp_path / "hpm.safetensors")
    file = replace(read_weights(tmp_path / "hpm.safetensors"), scaler=FeatureScaler({}))  # imported
    grown = go(tmp_path / "grown", "m2ci_dubber", 1, start_from=file)
    scaler = FeatureScaler.from_json(checkpoint.read(grown.checkpoint).record["scaler"])
    assert set(scaler.scales) == {"local_audio", "global_face", "global_text", "global_audio"}
    fitted = FeatureScaler.fit(in_context(make_lines()))
    fresh = FeatureScaler({}).with_new(fitted, "authentic_dubber")
    assert set(fresh.scales) == {*scaler.scales, "local_face"}  # it does not read the face's frames


def test_a_line_without_sound_does_not_take_it_from_the_others():
    lines = in_context(make_lines())[:3]
    lines[1] = replace(lines[1], sound=None)
    widths = widths_of(lines, SOUND)
    batch = collate(lines, FeatureScaler({}), widths, reference_frames=16)
    assert batch.sound_valid.any(1).tolist() == [True, False, True]
    silent = [replace(line, sound=None) for line in lines]
    assert collate(silent, FeatureScaler({}), widths, reference_frames=16).sound is None


def test_other_systems_and_settings_do_not_grow(tmp_path):
    report = go(tmp_path / "hpm", "hpm_dubbing", 1)
    export_weights(report.checkpoint, tmp_path / "hpm.safetensors")
    file = read_weights(tmp_path / "hpm.safetensors")
    with pytest.raises(ModelRefusedError, match="system hpm_dubbing → redub_dubber"):
        go(tmp_path / "a", "redub_dubber", 1, start_from=file)
    wider = replace(SIZES["m2ci_dubber"], filter_width=32)
    with pytest.raises(ModelRefusedError, match=r"model\.filter_width 24 → 32"):
        go(tmp_path / "b", "m2ci_dubber", 1, start_from=file, model=wider)
    with pytest.raises(ModelRefusedError, match=r"keys\.mel m1 → m2"):
        go(tmp_path / "c", "m2ci_dubber", 1, start_from=file, keys={**KEYS, "mel": "m2"})


def test_weights_that_lack_a_part_do_not_grow_quietly(tmp_path):
    report = go(tmp_path / "hpm", "hpm_dubbing", 1)
    export_weights(report.checkpoint, tmp_path / "hpm.safetensors")
    file = read_weights(tmp_path / "hpm.safetensors")
    less = {name: value for name, value in file.weights.items() if name != "fuse.weight"}
    some = {name: value for name, value in file.weights.items() if name != "aligner.mix.weight"}
    with pytest.raises(ModelRefusedError, match=r"aligner\.mix\.weight"):
        go(tmp_path / "b", "m2ci_dubber", 1, start_from=replace(file, weights=some))
    with pytest.raises(ModelRefusedError, match=r"fuse\.weight"):
        go(tmp_path / "a", "m2ci_dubber", 1, start_from=replace(file, weights=less))


# -- units


def test_units_are_clusters_of_the_training_lines():
    lines = in_context(make_lines())
    places = np.array([[0.0] * 6, [5.0] * 6, [-5.0] * 6], np.float32)
    noisy = [
        replace(line, sound=places[np.arange(line.mel_frames) % 3] + 0.01 * line.sound)
        for line in lines
    ]
    found = fit_units(noisy, FeatureScaler({}), 3, seed=0).numpy()
    order = found[found[:, 0].argsort()]
    assert np.abs(order - places[[2, 0, 1]]).max() < 0.2
    again = fit_units(noisy, FeatureScaler({}), 3, seed=0).numpy()
    assert np.array_equal(found, again)


def test_with_fewer_sounds_than_units_the_rest_are_never_said():
    lines = [replace(line, sound=np.zeros((line.mel_frames, 6), np.float32))
             for line in in_context(make_lines())]  # fmt: skip
    found = fit_units(lines, FeatureScaler({}), 4, seed=0)
    assert found[0].tolist() == [0.0] * 6
    assert set(found[1:].flatten().tolist()) == {NOWHERE}


def test_lines_without_the_feature_are_refused(tmp_path):
    lines = make_lines()
    with pytest.raises(ConfigError, match="local_audio"):
        fit_units(lines, FeatureScaler({}), 4, seed=0)


def test_units_stay_what_they_were_fitted_to(tmp_path):
    report = go(tmp_path, "dsu_avo", 3)
    snapshot = checkpoint.read(report.checkpoint)
    lines = in_context(make_lines())[:8]
    scaler = FeatureScaler.from_json(snapshot.record["scaler"])
    wanted = fit_units(lines, scaler, SIZES["dsu_avo"].units, seed=QUICK.seed)
    torch.testing.assert_close(snapshot.weights["centroids"], wanted)


# -- batches


def test_adjacent_lines_are_padded_standardised_and_marked():
    lines = in_context(make_lines())
    widths, scaler = widths_of(lines, SOUND), FeatureScaler.fit(lines)
    assert widths == FeatureWidths(
        sound=SOUND, lips=5, speaker=3, scene=4, face=5, text=6, audio=7, local_face=4,
        global_face=3, global_text=5, global_audio=4, local_audio=6,
    )  # fmt: skip
    batch = collate(lines[:3], scaler, widths, reference_frames=16, context=True)
    assert batch.previous.phonemes_valid.any(1).tolist() == [False, True, True]
    assert batch.following.phonemes_valid.any(1).tolist() == [True, True, True]
    before = lines[1].context["previous"]
    count = len(before.sound)
    wanted = scaler.apply("local_audio", before.sound)
    torch.testing.assert_close(batch.previous.sound[1, :count], torch.from_numpy(wanted))
    assert batch.previous.sound_valid.sum(1).tolist()[:2] == [0, count]
    assert float(batch.previous.global_features[2][0].abs().sum()) == 0.0
    assert batch.previous.global_valid[:, 1].tolist() == [False, True, True]
    real = batch.previous.mel_valid[1]
    voiced = torch.from_numpy(before.f0_hz[:, 0] > 0)
    assert torch.equal(batch.previous.prosody.voiced[1][real], voiced)
    assert not batch.previous.prosody.voiced[0].any()
    assert collate(lines[:3], scaler, widths, reference_frames=16).previous is None
