import json
from dataclasses import replace

import numpy as np
import pytest

from redub.core.durable import file_digest
from redub.core.errors import ModelRefusedError, UsageError
from redub.core.phonemes import id_of
from redub.model.registry import system
from redub.training.synthesis import SPEECH, VoiceControl, level_of, load_dubber, synthesise
from tests.training.made import train


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
    spoken, with_recording = (
        synthesise(dubber, [unspoken(lines[0])]),
        synthesise(dubber, [lines[0]]),
    )
    assert np.array_equal(spoken[0].mel, with_recording[0].mel)


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
    sums["sha256"]["config.json"] = file_digest(path)
    manifest.write_text(json.dumps(sums))
    with pytest.raises(ModelRefusedError, match="another version of redub, whose authentic_dubber"):
        load_dubber(trained.checkpoint)


def asked(trained, lines, **changes):
    control = VoiceControl(**changes)
    return synthesise(load_dubber(trained.checkpoint), lines, [control] * len(lines))


def test_controls_are_asked_line_by_line(trained, lines):
    dubber = load_dubber(trained.checkpoint)
    plain = synthesise(dubber, lines)
    controls = [VoiceControl(pitch=0.5) if n == 2 else VoiceControl() for n in range(len(lines))]
    some = synthesise(dubber, lines, controls)
    changed = [
        n
        for n, (one, other) in enumerate(zip(plain, some, strict=True))
        if not np.allclose(one.mel, other.mel, atol=1e-4)
    ]
    assert changed == [2]
    voiced = plain[2].f0_hz > 0
    assert bool(voiced.any())
    np.testing.assert_allclose(some[2].f0_hz[voiced] / plain[2].f0_hz[voiced], 2**0.5, rtol=1e-3)


def test_decibels_are_counted_on_the_scale_of_the_training_lines(trained, lines, monkeypatch):
    dubber = load_dubber(trained.checkpoint)
    seen = []
    forward = dubber.model.forward
    monkeypatch.setattr(
        dubber.model, "forward", lambda batch: (seen.append(batch.control), forward(batch))[1]
    )
    synthesise(dubber, lines[:1], [VoiceControl(energy=20.0, rate=0.5)])
    deviation = float(dubber.scaler.scales["log_energy"].deviation[0])
    assert float(seen[0].energy) == pytest.approx(np.log(10) / deviation)  # 20 dB: ten times
    assert float(seen[0].rate) == 0.5
    assert seen[0].silence == id_of("sil")
    synthesise(dubber, lines[:1], [VoiceControl()])
    assert float(seen[1].energy) == 0.0  # how loud it was before
    assert seen[2] is None


def test_a_line_is_exactly_as_much_louder_as_asked(trained, lines):
    plain = synthesise(load_dubber(trained.checkpoint), lines[:2])
    for decibels in (-12.0, 4.0):
        louder = asked(trained, lines[:2], energy=decibels)
        for one, other in zip(plain, louder, strict=True):
            before, after = level_of(one.mel), level_of(other.mel)
            speech = before > before.max() - SPEECH
            assert (after - before)[speech].mean() == pytest.approx(
                decibels * np.log(10) / 20, abs=1e-4
            )


def test_a_system_without_prosody_cannot_be_asked_for_pitch(lines, sound, small, quick, tmp_path):
    report = train(
        lines[:8],
        [],
        quick,
        tmp_path / "run",
        model_config=replace(small, prosody=False),
        audio=sound,
        max_steps=1,
    )
    for changes in ({"pitch": 0.1}, {"pitch_range": 2.0}, {"energy": 3.0}):
        with pytest.raises(UsageError, match=r"model\.prosody=true"):
            asked(report, lines[:1], **changes)
    assert asked(report, lines[:1], rate=0.8)[0].mel.shape[0] == lines[0].mel_frames


@pytest.mark.parametrize("name", ["style_dubber", "fastspeech2"])
def test_every_system_is_trained_and_speaks(name, lines, sound, quick, tmp_path):
    kind = system(name)
    sizes = {"width": 16, "filter_width": 24, "postnet_channels": 8, "decoder_layers": 1}
    if name == "style_dubber":
        sizes |= {"voice_channels": (8, 8, 8, 8), "lip_width": 8, "face_channels": (8, 8)}
        sizes["cross_width"] = 8
    model = replace(kind.PRESETS["tiny"], **sizes)
    report = train(
        lines[:8],
        lines[8:],
        replace(quick, system=name),
        tmp_path / name,
        model_config=model,
        audio=sound,
        max_steps=4,
    )
    assert np.isfinite(report.validation_loss)
    said = synthesise(load_dubber(report.checkpoint), [unspoken(line) for line in lines])
    for line, spoken in zip(lines, said, strict=True):
        assert spoken.mel.shape == (line.mel_frames, 12)
        assert spoken.f0_hz.shape == (line.mel_frames,)
        assert spoken.graphs == ()
    assert (said[0].emotion is None) == (name == "fastspeech2")
