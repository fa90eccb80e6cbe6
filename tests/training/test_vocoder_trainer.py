"""Training a vocoder on made sound: the loss falls, a stop changes nothing, faults are refused."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from redub.core.errors import ConfigError, IntegrityError, RedubError
from redub.core.types import AudioSpec, Waveform
from redub.features.sound.mel import LOG_FLOOR as STORED_FLOOR
from redub.features.sound.mel import log_mel
from redub.model.vocoder.discriminators import (
    DiscriminatorConfig,
    Discriminators,
    Judgement,
    discriminator_loss,
    feature_loss,
    generator_adversarial_loss,
)
from redub.model.vocoder.hifi_gan import HifiGanConfig, HifiGanGenerator
from redub.model.vocoder.mel_spectrum import LOG_FLOOR, MelSpectrum
from redub.model.vocoder.weight_norm import folded
from redub.training import checkpoint
from redub.training.data.recordings import Recording, epoch_order, pieces, whole
from redub.training.vocoder_job import VocoderCallbacks, VocoderPlan, VocoderTrainingConfig
from redub.training.vocoder_trainer import train_vocoder

AUDIO = AudioSpec(
    sample_rate_hz=8000, n_fft=128, hop_samples=32, win_samples=128, mel_channels=20, fmax_hz=4000.0
)
PLAN = VocoderPlan(
    generator=HifiGanConfig(
        audio=AUDIO, channels=32, resblock="2", kernels=(3,), dilations=((1, 3),)
    ),
    discriminators=DiscriminatorConfig(periods=(2, 3), scales=2, width=1),
    training=VocoderTrainingConfig(
        batch=3,
        segment_samples=512,
        learning_rate=2e-3,
        validate_every=4,
        checkpoint_every=5,
    ),
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in another order would differ in the last bit
    yield
    torch.set_num_threads(before)


def recording(number, seconds=0.3):
    """A gliding tone with overtones; its mel by the extractor that fills the store."""
    clock = np.arange(int(8000 * seconds) // 32 * 32) / 8000
    f0 = 150 + 30 * number + 60 * clock
    phase = 2 * np.pi * np.cumsum(f0) / 8000
    sound = 0.2 * sum(np.sin(k * phase) / k for k in range(1, 6))
    stored = np.rint(sound * 32768).astype(np.int16)
    mel = log_mel(Waveform((stored / 32768).astype(np.float32), 8000), AUDIO)
    return Recording(f"clip{number}", mel, stored)


LINES = [recording(number) for number in range(8)]


@pytest.fixture
def run(tmp_path):
    def go(name, steps, *, plan=PLAN, lines=LINES[:6], **settings):
        values = {"keys": {"mel": "m1"}, "max_steps": steps, **settings}
        return train_vocoder(lines, LINES[6:], plan, tmp_path / name, **values)

    return go


def rows(folder):
    return [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]


# -- what is measured


@pytest.mark.parametrize("audio", [AUDIO, AudioSpec()])
def test_torch_measures_the_mel_that_the_store_holds(audio):
    sound = np.random.default_rng(0).normal(0, 0.1, 40 * audio.hop_samples).astype(np.float32)
    stored = log_mel(Waveform(sound, audio.sample_rate_hz), audio)
    found = MelSpectrum(audio)(torch.tensor(sound)[None])[0].numpy()
    assert found.shape == stored.shape
    np.testing.assert_allclose(found, stored, atol=1e-3)
    assert pytest.approx(STORED_FLOOR, abs=1e-5) == LOG_FLOOR


def test_the_published_critics_have_their_number_of_parameters():
    with torch.device("meta"):
        discriminators = Discriminators(DiscriminatorConfig())

    def layers(channels, kernels, groups):
        """Weights and biases of a chain of convolutions."""
        pairs = zip(channels[:-1], channels[1:], kernels, groups, strict=True)
        return sum(after * (before // group * size + 1) for before, after, size, group in pairs)

    period = layers((1, 32, 128, 512, 1024, 1024, 1), (5, 5, 5, 5, 5, 3), (1,) * 6)
    scale = layers(
        (1, 128, 128, 256, 512, 1024, 1024, 1024, 1),
        (15, 41, 41, 41, 41, 41, 5, 3),
        (1, 4, 16, 16, 16, 16, 1, 1),
    )
    sizes = 5 * (32 + 128 + 512 + 1024 + 1024 + 1) + 2 * (128 * 2 + 256 + 512 + 3 * 1024 + 1)
    assert sum(v.numel() for v in discriminators.parameters()) == 5 * period + 3 * scale + sizes


def test_critics_see_every_sample_and_each_line_alone():
    torch.manual_seed(0)
    discriminators = Discriminators(PLAN.discriminators).eval()
    sound = torch.randn(2, 205, requires_grad=True)  # no multiple of a period
    first = discriminators(sound).scores
    assert [len(score) for score in first] == [2, 2, 2, 2]
    sum(score[0].sum() for score in first).backward()
    sizes = sound.grad[0].abs()
    assert (sizes > 1e-6 * sizes.max()).all()
    assert (sound.grad[1] == 0).all()


def test_losses_are_the_hand_worked_numbers():
    real = Judgement([torch.tensor([[1.0, 0.5]])], [[torch.tensor([2.0, 4.0]), torch.ones(1)]])
    made = Judgement([torch.tensor([[0.0, 2.0]])], [[torch.tensor([3.0, 1.0]), torch.ones(1)]])
    assert discriminator_loss(real, made).item() == pytest.approx(0.25 / 2 + 4.0 / 2)
    assert generator_adversarial_loss(made).item() == pytest.approx((1.0 + 1.0) / 2)
    assert feature_loss(real, made).item() == pytest.approx((1.0 + 3.0) / 2)


# -- what is read


def test_a_piece_is_the_mel_of_its_own_sound():
    line = LINES[0]
    marked = Recording("marked", np.repeat(np.arange(75.0)[:, None], 20, 1), line.samples)
    cut = pieces([marked, marked], [1, 0], AUDIO, frames=16, seed=3, epoch=2)
    for row in range(2):
        first = int(cut.mel[row, 0, 0])
        assert cut.mel[row, :, 0].tolist() == list(range(first, first + 16))
        wanted = line.samples[32 * first : 32 * (first + 16)] / 32768
        np.testing.assert_allclose(cut.samples[row].numpy(), wanted, atol=1e-7)
    assert cut.mel[0, 0, 0] != cut.mel[1, 0, 0]  # another place is another cut


def test_pieces_follow_from_seed_epoch_and_place_alone():
    def cut(places, **where):
        return pieces(LINES, places, AUDIO, frames=8, **{"seed": 1, "epoch": 4, **where}).samples

    assert torch.equal(cut([2, 5])[1], cut([5])[0])
    for name in ("epoch", "seed"):
        assert len({float(cut([5], **{name: value}).sum()) for value in range(9)}) > 5
    assert sorted(epoch_order(7, seed=0, epoch=1)) == list(range(7))
    assert list(epoch_order(7, seed=0, epoch=1)) != list(epoch_order(7, seed=0, epoch=2))


def test_a_short_line_ends_in_silence():
    short = Recording("short", LINES[0].mel[:5], LINES[0].samples[:170])
    cut = pieces([short], [0], AUDIO, frames=9, seed=0, epoch=0)
    assert (cut.mel[0, 5:] == np.float32(LOG_FLOOR)).all()
    assert (cut.samples[0, 160:] == 0).all()
    np.testing.assert_allclose(cut.samples[0, :160].numpy(), short.samples[:160] / 32768)
    assert whole(short, AUDIO, most_frames=3).samples.shape == (1, 96)


# -- training


def test_forty_steps_bring_the_vocoded_sound_nearer_to_lines_that_were_held_out(run, tmp_path):
    report = run("nearer", 40)
    assert report.last_mel_l1 < 0.9 * report.first_mel_l1  # 0.47 to 0.74 by the first weights
    measured = {
        row["step"]: row["validation_mel_l1"]
        for row in rows(tmp_path / "nearer")
        if "validation_mel_l1" in row
    }
    # Every fourth step by validate_every, every fifth because it is saved.
    assert list(measured) == [step for step in range(41) if step % 4 == 0 or step % 5 == 0]
    best = checkpoint.read(report.best_checkpoint)
    saved = [measured[step] for step in range(5, 41, 5)]
    assert best.validation_loss == measured[best.step] == min(saved)


def test_a_run_says_its_distance_by_another_measure_too(run):
    report = run("measured", 6)
    snapshot = checkpoint.read(report.checkpoint)
    network = HifiGanGenerator(PLAN.generator)
    network.load_state_dict(folded(snapshot.weights))
    found = []
    for line in LINES[6:]:
        with torch.no_grad():
            spoken = network(torch.tensor(line.mel)[None])[0].numpy()
        found.append(np.abs(log_mel(Waveform(spoken, 8000), AUDIO) - line.mel).mean())
    assert report.last_mel_l1 == pytest.approx(np.mean(found), abs=2e-3)


def test_14_steps_are_7_and_7_bit_for_bit(run, tmp_path):
    run("whole", 14)
    torch.rand(5)  # what happens between the two halves must not matter
    run("halves", 7)
    report = run("halves", 14)
    assert (report.first_step, report.last_step) == (7, 14)
    one, other = (
        checkpoint.newest(tmp_path / name / "checkpoints") for name in ("whole", "halves")
    )
    assert one.validation_loss == other.validation_loss
    assert one.state["first_mel_l1"] == other.state["first_mel_l1"]
    tables = [(s.weights, s.state["discriminators"]) for s in (one, other)]
    for first, second in zip(*tables, strict=True):
        assert first.keys() == second.keys()
        assert all(torch.equal(value, second[name]) for name, value in first.items())
    for name in ("generator", "discriminators"):
        moments = [s.state["optimisers"][name]["state"] for s in (one, other)]
        for number, own in moments[0].items():
            assert all(torch.equal(v, moments[1][number][key]) for key, v in own.items())
    steps = [[r for r in rows(tmp_path / name) if "mel_l1" in r] for name in ("whole", "halves")]
    assert steps[0] == steps[1]
    assert [row["step"] for row in steps[0]] == list(range(1, 15))


def test_a_stop_leaves_a_checkpoint_and_a_call_with_nothing_to_do_changes_nothing(run, tmp_path):
    asked = iter([False, False, True])
    report = run("stopped", 20, callbacks=VocoderCallbacks(stop=lambda: next(asked)))
    assert report.last_step == 3
    assert checkpoint.read(report.checkpoint).step == 3
    run("stopped", 4)
    before = (tmp_path / "stopped" / "metrics.jsonl").read_bytes()
    again = run("stopped", 4)
    assert (again.first_step, again.last_step) == (4, 4)
    assert (tmp_path / "stopped" / "metrics.jsonl").read_bytes() == before
    assert math.isfinite(again.last_mel_l1)


def test_starting_over_removes_what_was_there_and_gives_the_same(run, tmp_path):
    first = run("again", 6)
    second = run("again", 5, resume=False)
    assert (second.first_step, second.last_step) == (0, 5)
    assert [row["step"] for row in rows(tmp_path / "again") if "mel_l1" in row] == [1, 2, 3, 4, 5]
    assert second.first_mel_l1 == first.first_mel_l1


def test_the_rate_falls_once_per_epoch(run, tmp_path):
    plan = replace(PLAN, training=replace(PLAN.training, learning_rate_decay=0.5))
    run("decay", 5, plan=plan)
    found = [row["learning_rate"] for row in rows(tmp_path / "decay") if "mel_l1" in row]
    assert found == [2e-3, 2e-3, 1e-3, 1e-3, 5e-4]  # six lines are two batches of three


def test_other_settings_and_other_features_are_refused_and_nothing_is_removed(run, tmp_path):
    run("mine", 5)
    before = sorted((tmp_path / "mine" / "checkpoints").iterdir())
    wider = replace(PLAN, generator=replace(PLAN.generator, channels=64))
    for changed, hint in (
        ({"plan": wider}, r"generator\.channels 32 → 64"),
        ({"keys": {"mel": "m2"}}, r"keys\.mel m1 → m2"),
    ):
        with pytest.raises(ConfigError, match=hint) as caught:
            run("mine", 9, **changed)
        assert caught.value.code == "E-RUN-CHANGED"
    assert sorted((tmp_path / "mine" / "checkpoints").iterdir()) == before
    rarer = replace(PLAN, training=replace(PLAN.training, keep_last=9))
    assert run("mine", 6, plan=rarer).first_step == 5


def test_a_damaged_checkpoint_is_passed_over_and_all_damaged_are_an_error(run, tmp_path):
    run("hurt", 7)  # checkpoints of steps 5 and 7
    places = checkpoint.steps_in(tmp_path / "hurt" / "checkpoints")
    (places[0] / "state.pt").write_bytes(b"")
    assert run("hurt", 8).first_step == 5
    for place in checkpoint.steps_in(tmp_path / "hurt" / "checkpoints"):
        (place / "weights.safetensors").write_bytes(b"")
    with pytest.raises(IntegrityError, match="every checkpoint"):
        run("hurt", 9)


def test_a_loss_that_is_no_number_names_the_clips_and_keeps_the_checkpoint(run, tmp_path):
    run("nan", 5)
    broken = Recording("odd", np.full_like(LINES[0].mel, np.nan), LINES[0].samples)
    with pytest.raises(RedubError, match="odd") as caught:
        run("nan", 20, lines=[*LINES[:5], broken])
    assert caught.value.code == "E-TRAIN-NAN"
    assert checkpoint.newest(tmp_path / "nan" / "checkpoints").step == 5


def test_lines_without_sound_are_not_learned_from(run):
    empty = Recording("empty", LINES[0].mel, np.zeros(10, np.int16))
    assert run("some", 1, lines=[empty, *LINES[:2]]).lines == 2
    with pytest.raises(ConfigError, match="no training clip"):
        run("none", 1, lines=[empty])


def test_the_callers_random_numbers_are_left_alone(run):
    torch.manual_seed(3)
    expected = torch.rand(2).tolist()
    torch.manual_seed(3)
    run("one", 1)
    assert torch.rand(2).tolist() == expected


@pytest.mark.parametrize(
    ("bad", "hint"),
    [
        ({"batch": 0}, "batch"),
        ({"betas": (0.8,)}, "betas"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate_decay": 1.5}, "learning_rate_decay"),
    ],
)
def test_settings_that_cannot_work_are_refused(bad, hint):
    with pytest.raises(ConfigError, match=hint):
        VocoderTrainingConfig(**bad)
    with pytest.raises(ConfigError, match="longer than one analysis window"):
        replace(PLAN, training=replace(PLAN.training, segment_samples=128))
    with pytest.raises(ConfigError, match="period"):
        DiscriminatorConfig(periods=())
