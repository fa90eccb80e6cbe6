from dataclasses import replace

import numpy as np
import pytest
import torch

from redub.core.errors import ConfigError, RedubError
from redub.model.registry import system
from redub.training.data.batching import collate, widths_of
from redub.training.data.lines import FeatureScaler
from redub.training.losses import LossWeights
from redub.training.schedule import NoamSchedule
from redub.training.step import Learner, OptimiserConfig, train_step
from tests.training.made import best_guess


@pytest.fixture
def learning(lines, sound, small, quick):
    torch.manual_seed(0)
    widths = widths_of(lines, sound)
    learner = Learner(system("authentic_dubber")(small, widths).train(), quick.optimiser)
    batch = collate(lines[:3], FeatureScaler.fit(lines), widths, reference_frames=16)
    return learner, batch


def weights_of(learner):
    return {name: value.clone() for name, value in learner.model.state_dict().items()}


def test_what_is_optimised_is_what_is_clipped_and_saved(learning):
    learner, _ = learning
    optimised = [p for group in learner.optimizer.param_groups for p in group["params"]]
    assert [id(p) for p in optimised] == [id(p) for p in learner.trained.values()]
    assert set(learner.trained) == {name for name, _ in learner.model.named_parameters()}
    assert set(learner.average) == set(learner.trained)


def test_a_frozen_parameter_is_in_none_of_them(lines, sound, small, quick):
    model = system("authentic_dubber")(small, widths_of(lines, sound))
    model.decoder.to_mel.weight.requires_grad_(False)
    learner = Learner(model, quick.optimiser)
    assert "decoder.to_mel.weight" not in learner.trained
    assert "decoder.to_mel.weight" not in learner.average


def test_steps_learn_the_lines_and_report_what_they_did(learning, lines, quick):
    learner, batch = learning
    reports = [train_step(learner, [batch], LossWeights()) for _ in range(40)]
    mel, emotion = best_guess(lines[:3])
    assert reports[-1].terms["mel"] < 0.85 * mel
    assert reports[-1].terms["emotion"] < 0.5 * emotion
    assert [report.step for report in reports] == list(range(1, 41))
    assert reports[4].learning_rate == quick.optimiser.schedule.learning_rate(5)
    assert reports[0].frames == int(batch.mel_frames.sum())
    weights = LossWeights()
    summed = sum(getattr(weights, name) * value for name, value in reports[0].terms.items())
    assert reports[0].loss == pytest.approx(summed, rel=1e-5)


def test_a_clipped_step_does_not_depend_on_the_size_of_the_loss(lines, sound, small):
    # A thousandfold loss has a thousandfold gradient, but the same clipped one.
    norms = []
    for factor in (1.0, 1000.0):
        torch.manual_seed(0)
        widths = widths_of(lines, sound)
        config = OptimiserConfig(clip_norm=1e-3)
        learner = Learner(system("authentic_dubber")(small, widths).eval(), config)
        batch = collate(lines[:3], FeatureScaler.fit(lines), widths, reference_frames=16)
        zero = dict.fromkeys(("mel", "duration", "diagonal", "speaker", "emotion"), 0.0)
        weights = LossWeights(**zero, mel_post=factor, pitch=0, voicing=0, energy=0)
        train_step(learner, [batch], weights)
        gradients = [p.grad for p in learner.trained.values() if p.grad is not None]
        norms.append(torch.cat([gradient.flatten() for gradient in gradients]).norm().item())
    assert norms == pytest.approx([1e-3, 1e-3], rel=1e-3)


@pytest.mark.parametrize("poison", ["mel", "speaker"])
def test_a_loss_that_is_not_a_number_names_the_clips_and_changes_nothing(learning, poison):
    learner, batch = learning
    before = {name: p.detach().clone() for name, p in learner.trained.items()}
    bad = getattr(batch, poison).clone()
    bad.view(-1)[0] = np.nan
    with pytest.raises(RedubError, match=r"clip0, clip1, clip2") as raised:
        train_step(learner, [batch._replace(**{poison: bad})], LossWeights())
    assert raised.value.code == "E-TRAIN-NAN"
    assert learner.step == 0
    for name, parameter in learner.trained.items():
        assert torch.equal(parameter, before[name])


def test_the_average_lies_between_the_weights_it_averages(learning):
    learner, batch = learning
    start = weights_of(learner)
    train_step(learner, [batch], LossWeights())
    name = "decoder.to_mel.bias"
    # First step: decay min(0.9, 2 / 11).
    expected = start[name] * (2 / 11) + learner.model.state_dict()[name] * (9 / 11)
    torch.testing.assert_close(learner.average[name], expected)


def test_looking_with_the_average_leaves_no_trace(learning):
    learner, batch = learning
    for _ in range(3):
        train_step(learner, [batch], LossWeights())
    before = weights_of(learner)
    with learner.averaged() as model:
        assert not model.training
        assert torch.equal(
            model.state_dict()["decoder.to_mel.bias"], learner.average["decoder.to_mel.bias"]
        )
    assert learner.model.training
    for name, value in weights_of(learner).items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("bad", [{"ema_decay": 1.0}, {"clip_norm": 0.0}])
def test_settings_that_cannot_learn_are_refused(bad):
    with pytest.raises(ConfigError):
        OptimiserConfig(schedule=NoamSchedule(), **bad)


def test_accumulated_batches_are_one_step_with_their_mean_gradient(lines, sound, small, quick):
    widths, scaler = widths_of(lines, sound), FeatureScaler.fit(lines)
    pair = [collate(lines[k : k + 3], scaler, widths, reference_frames=16) for k in (0, 3)]
    gradients = []
    for batches in ([pair[0]], [pair[1]], pair, pair[::-1]):
        torch.manual_seed(0)
        learner = Learner(system("authentic_dubber")(small, widths).train(), quick.optimiser)
        clipped = replace(learner.config, clip_norm=1e9)
        learner.config = clipped
        seeds = [pair.index(batch) for batch in batches]
        report = train_step(learner, batches, LossWeights(), seeds=seeds)
        found = {n: p.grad.clone() for n, p in learner.trained.items() if p.grad is not None}
        gradients.append((report, found, weights_of(learner)))
    (one, a, _), (two, b, _), (both, mean, after), (turned, _, same) = gradients
    assert both.loss == pytest.approx((one.loss + two.loss) / 2, rel=1e-6)
    assert both.frames == one.frames + two.frames
    assert both.lines == 6
    assert both.step == 1
    for name, value in mean.items():
        torch.testing.assert_close(value, (a[name] + b[name]) / 2, rtol=1e-4, atol=1e-5)
    assert turned.loss == pytest.approx(both.loss, rel=1e-6)
    for name, value in after.items():  # running statistics do not know the order, either
        if value.is_floating_point() and "running" in name:
            torch.testing.assert_close(value, same[name], rtol=1e-6, atol=1e-7)


def test_bfloat16_learns_like_float32_and_keeps_float32_parameters(lines, sound, small, quick):
    widths, scaler = widths_of(lines, sound), FeatureScaler.fit(lines)
    batch = collate(lines[:3], scaler, widths, reference_frames=16)
    losses = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        learner = Learner(system("authentic_dubber")(small, widths).train(), quick.optimiser)
        losses[precision] = [
            train_step(learner, [batch], LossWeights(), precision=precision, seeds=[k])
            for k in range(40)
        ]
        assert all(p.dtype == torch.float32 for p in learner.trained.values())
        assert all(
            p.grad.dtype == torch.float32 for p in learner.trained.values() if p.grad is not None
        )
    half, full = losses["bfloat16"], losses["float32"]
    assert half[0].loss != full[0].loss
    assert half[0].loss == pytest.approx(full[0].loss, rel=0.03)
    mel, emotion = best_guess(lines[:3])
    assert half[-1].terms["mel"] < 0.85 * mel
    assert half[-1].terms["emotion"] < 0.5 * emotion


def test_a_compiled_learner_runs_what_torch_compiled(lines, sound, small, quick, monkeypatch):
    widths, scaler = widths_of(lines, sound), FeatureScaler.fit(lines)
    asked = []

    def compiled(model, **options):
        asked.append(options)
        return lambda batch: asked.append(batch.clip_ids) or model(batch)

    monkeypatch.setattr(torch, "compile", compiled)
    model = system("authentic_dubber")(small, widths).train()
    learner = Learner(model, quick.optimiser, compiled=True)
    batch = collate(lines[:2], scaler, widths, reference_frames=16)
    train_step(learner, [batch], LossWeights())
    assert asked == [{"dynamic": True}, batch.clip_ids]
