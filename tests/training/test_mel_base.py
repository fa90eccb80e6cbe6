"""The closed-form start: the table against oracles, where it comes from, and where it is kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from redub.core.config import from_mapping, settings_of
from redub.core.errors import ConfigError
from redub.model.batch import Prosody
from redub.model.blocks.harmonics import HarmonicTemplate
from redub.model.blocks.mel_base import MelBase
from redub.model.systems.authentic_dubber import AuthenticDubberConfig
from redub.training.data.batching import widths_of
from redub.training.data.lines import FeatureScaler, log_energy, pitch_of
from redub.training.mel_base import RIDGE, fit_mel_base
from redub.training.synthesis import load_dubber, synthesise
from tests.training.made import train

PLAIN = FeatureScaler({})


def fitted(lines, sound, scaler=PLAIN, harmonics=None):
    base = MelBase(widths_of(lines, sound))
    fit_mel_base(base, lines, scaler, harmonics)
    return base


def guessed(base, line):
    return base(
        torch.from_numpy(np.asarray(line.phonemes))[None],
        torch.from_numpy(np.asarray(line.durations))[None],
        torch.from_numpy(line.speaker_vector)[None],
        line.mel_frames,
    )[0].numpy()


def design(base, line):
    """(T, R) dense: what each frame takes of each row, read off a table of one-hot rows."""
    probe = MelBase(base_widths(base))
    probe.voice_mean.copy_(base.voice_mean)
    probe.voice_axes.copy_(base.voice_axes)
    probe.table = torch.eye(len(base.table))
    return guessed(probe, line).astype(np.float64)


def base_widths(base):
    from redub.core.types import AudioSpec
    from redub.model.batch import FeatureWidths

    return FeatureWidths(
        sound=AudioSpec(mel_channels=base.table.shape[1]),
        lips=1,
        speaker=len(base.voice_mean),
        scene=1,
        face=1,
        text=1,
        audio=1,
    )


def test_a_phoneme_seen_alone_is_drawn_towards_its_mean_by_the_ridge(make_line, sound):
    """Five rows of amount 1 speak for each frame: the guess is 5 n / (5 n + ridge) of the mean."""
    random = np.random.default_rng(0)
    count = 6
    lines = [
        make_line(
            0,
            video_frames=1,
            phonemes=np.array([4]),
            durations=np.array([1]),
            mel_frames=1,
            mel=random.normal(-4, 1, (1, 12)).astype(np.float32),
            f0_hz=None,
            energy=None,
            speaker_vector=np.ones(3, np.float32),
        )
        for _ in range(count)
    ]
    base = fitted(lines, sound)
    mean = np.mean([line.mel[0] for line in lines], axis=0)
    wanted = 5 * count / (5 * count + RIDGE) * mean
    np.testing.assert_allclose(guessed(base, lines[0])[0], wanted, rtol=1e-4)


def test_the_table_is_the_ridge_regression_of_all_frames(lines, sound):
    base = fitted(lines, sound)
    rows = np.concatenate([design(base, line) for line in lines])
    mels = np.concatenate([line.mel for line in lines]).astype(np.float64)
    # The same minimum by least squares over frames and, below them, the ridge as rows of its own.
    below = np.sqrt(RIDGE) * np.eye(rows.shape[1])
    wanted, *_ = np.linalg.lstsq(
        np.concatenate([rows, below]),
        np.concatenate([mels, np.zeros((len(below), 12))]),
        rcond=None,
    )
    np.testing.assert_allclose(base.table.numpy(), wanted, rtol=1e-3, atol=1e-3)


def test_voices_that_differ_only_in_level_get_different_mels(make_line, sound):
    """Two voices, one 2 nepers louder: with many lines the guess of each is near its own level."""
    vectors = {0: np.array([1, 0, 0], np.float32), 1: np.array([0, 1, 0], np.float32)}
    lines = []
    for number in range(40):
        line = make_line(number, video_frames=6, speaker_vector=vectors[number % 2])
        louder = np.float32(2.0 * (number % 2))
        lines.append(replace(line, mel=line.mel + louder))
    base = fitted(lines, sound)
    for line in lines[:4]:
        assert np.abs(guessed(base, line) - line.mel).mean() < 0.25


def test_what_channels_do_with_the_signals_is_found(make_line, sound):
    """Planted: two phonemes, each channel a phoneme's own multiple of energy and template."""
    harmonic_row, random = HarmonicTemplate(sound), np.random.default_rng(5)
    planted = random.normal(0, 1, (20, 2, 12))
    lines = []
    for number in range(60):
        line = make_line(number, video_frames=10)
        octaves, voiced = (torch.from_numpy(values)[None] for values in pitch_of(line.f0_hz))
        drawn = harmonic_row(octaves, voiced)[0].numpy()
        spoken = np.repeat(line.phonemes % 2 + 1, line.durations)
        mel = planted[spoken, 0] * log_energy(line.energy)[:, None] + planted[spoken, 1] * drawn
        ids = line.phonemes % 2 + 1
        lines.append(replace(line, phonemes=ids, mel=mel.astype(np.float32)))
    scaler = FeatureScaler.fit(lines)
    base, blind = fitted(lines, sound, scaler, harmonic_row), fitted(lines, sound, scaler)
    assert not blind.by_signal.any()
    left = {"signals": 0.0, "none": 0.0}
    for line in lines:
        octaves, voiced = (torch.from_numpy(values)[None] for values in pitch_of(line.f0_hz))
        energy = scaler.apply("log_energy", log_energy(line.energy)[:, None])[:, 0]
        prosody = Prosody(octaves, voiced, torch.from_numpy(energy)[None])
        known = (
            torch.from_numpy(line.phonemes)[None],
            torch.from_numpy(line.durations)[None],
            torch.from_numpy(scaler.apply("speaker", line.speaker_vector))[None],
            line.mel_frames,
        )
        mel = torch.from_numpy(scaler.apply("mel", line.mel))
        with_signals = base(*known, prosody, harmonic_row(octaves, voiced))[0]
        left["signals"] += float((with_signals - mel).square().sum())
        left["none"] += float((blind(*known)[0] - mel).square().sum())
    assert left["signals"] < 0.1 * left["none"]


@pytest.fixture
def run(lines, sound, small, quick, tmp_path):
    def trained(name="run", validation=slice(8, None), config=small, **changes):
        return train(
            lines[:8],
            lines[validation],
            quick,
            tmp_path / name,
            model_config=config,
            audio=sound,
            **{"max_steps": 2, **changes},
        )

    return trained


def test_a_checkpoint_speaks_with_the_table_of_its_training_lines_alone(run, lines, sound):
    dubber = load_dubber(run().checkpoint)
    other = load_dubber(run("other", slice(4, 6)).checkpoint)
    wanted = fitted(lines[:8], sound, dubber.scaler, HarmonicTemplate(sound))
    for name in ("table", "by_signal"):
        assert getattr(wanted, name).any()
        assert torch.equal(getattr(dubber.model.mel_base, name), getattr(wanted, name))
        assert torch.equal(getattr(other.model.mel_base, name), getattr(wanted, name))


def test_steps_do_not_change_the_table(run):
    early, late = (load_dubber(run(f"to {n}", max_steps=n).checkpoint) for n in (1, 4))
    assert torch.equal(early.model.mel_base.table, late.model.mel_base.table)
    assert not torch.equal(early.model.decoder.to_mel.weight, late.model.decoder.to_mel.weight)


def test_the_table_changes_the_output(run, lines):
    dubber = load_dubber(run().checkpoint)
    before = synthesise(dubber, lines[:1])[0].mel
    dubber.model.mel_base.table += 1.0
    assert np.abs(synthesise(dubber, lines[:1])[0].mel - before).min() > 0.1


def test_a_run_from_before_the_setting_still_speaks_and_is_not_gone_on_with(run, small):
    """A checkpoint of such a run has neither the setting nor the table."""
    older = run(config=replace(small, mel_base=False))
    dubber = load_dubber(older.checkpoint)
    assert dubber.model.mel_base is None
    recorded = dict(settings_of(replace(small, mel_base=False))["fields"])
    del recorded["mel_base"]
    assert from_mapping(AuthenticDubberConfig, recorded).mel_base is False
    with pytest.raises(ConfigError, match=r"model\.mel_base") as caught:
        run(max_steps=4)
    assert caught.value.code == "E-RUN-CHANGED"
