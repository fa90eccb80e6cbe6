"""BigVGAN v2: the public layout, lengths, and activations that do not alias."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from redub.core.errors import ModelRefusedError
from redub.core.types import AudioSpec
from redub.model.vocoder.anti_alias import AntiAliased, SnakeBeta, low_pass
from redub.model.vocoder.bigvgan import BigVgan, BigVganConfig, BigVganGenerator
from redub.model.vocoder.public_settings import bigvgan_settings
from redub.model.vocoder.weight_norm import folded, with_weight_norm
from tests.model import public_vocoders as public

AT_22_KHZ = AudioSpec(sample_rate_hz=22_050, hop_samples=256, win_samples=1024)


def mel_of(frames, seed=0):
    return np.random.default_rng(seed).normal(-5, 2, (frames, 80)).astype(np.float32)


def loaded(described, spelling="old"):
    vocoder = BigVgan(bigvgan_settings(described))
    table = folded(public.state(described, spelling=spelling, bigvgan=True))
    vocoder.generator.load_state_dict(table, assign=True, strict=True)
    return vocoder


@pytest.fixture(scope="module")
def small():
    return loaded(public.BIGVGAN)


# -- the network


def test_the_published_network_has_112_million_parameters_in_783_tensors():
    with torch.device("meta"):
        network = with_weight_norm(BigVganGenerator(BigVganConfig(audio=AT_22_KHZ)))
    assert sum(value.numel() for value in network.parameters()) == 112_231_249
    assert len(network.state_dict()) == 783
    described = {**public.BIGVGAN, "upsample_initial_channel": 1536}
    assert bigvgan_settings(described) == replace(
        BigVganConfig(audio=AT_22_KHZ),
        upsample_rates=(4, 4, 2, 2, 2, 2),
        upsample_kernels=(8, 8, 4, 4, 4, 4),
    )


def test_three_spellings_of_weight_norm_give_the_same_samples(small):
    mel = mel_of(9)
    old = small.vocode(mel).samples
    assert np.abs(old).max() > 0.01
    assert np.array_equal(loaded(public.BIGVGAN, "new").vocode(mel).samples, old)
    np.testing.assert_allclose(loaded(public.BIGVGAN, "plain").vocode(mel).samples, old, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 21])
def test_every_mel_gives_256_samples_a_frame(small, frames):
    spoken = small.vocode(mel_of(frames))
    assert (len(spoken.samples), spoken.sample_rate_hz) == (256 * frames, 22_050)
    assert np.abs(spoken.samples).max() <= 1.0


def test_the_end_is_cut_or_squashed_as_the_config_says():
    mel = mel_of(6)
    cut = loaded(public.BIGVGAN).vocode(mel).samples
    described = {**public.BIGVGAN, "use_tanh_at_final": True}
    squashed = loaded(described).vocode(mel).samples
    inside = np.abs(cut) < 1
    assert inside.mean() > 0.1
    np.testing.assert_allclose(squashed[inside], np.tanh(cut[inside]), atol=1e-6)
    with_bias = bigvgan_settings({**public.BIGVGAN, "use_bias_at_final": True})
    assert "conv_post.bias" in BigVgan(with_bias).generator.state_dict()
    assert "conv_post.bias" not in BigVgan(bigvgan_settings(public.BIGVGAN)).generator.state_dict()


def test_a_config_without_the_switches_of_version_2_is_version_1():
    described = {k: v for k, v in public.BIGVGAN.items() if not k.startswith("use_")}
    settings = bigvgan_settings(described)
    assert (settings.tanh_at_end, settings.bias_at_end) == (True, True)


@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [
        ("activation", "snake", "supports 'snakebeta' only"),
        ("resblock", "2", "supports '1' only"),
        ("use_tanh_at_final", "no", "wants bool"),
        ("hop_size", 512, "256 samples of a frame"),
    ],
)
def test_what_is_not_spoken_here_is_refused(key, value, hint):
    with pytest.raises(ModelRefusedError, match=hint):
        bigvgan_settings({**public.BIGVGAN, key: value})


def test_the_samples_are_those_of_another_librarys_bigvgan(small):
    from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniBigVGANConfig
    from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import (
        Qwen2_5OmniToken2WavBigVGANModel,
    )

    same_names = (
        "upsample_initial_channel", "upsample_rates", "upsample_kernel_sizes",
        "resblock_kernel_sizes", "resblock_dilation_sizes",
    )  # fmt: skip
    described = {name: public.BIGVGAN[name] for name in same_names}
    oracle = Qwen2_5OmniToken2WavBigVGANModel(
        Qwen2_5OmniBigVGANConfig(mel_dim=80, **described)
    ).eval()
    missing, extra = oracle.load_state_dict(small.generator.state_dict(), strict=False)
    assert missing == []
    assert all(name.endswith("filter") for name in extra)  # that library computes its filters
    oracle.process_mel_spectrogram = lambda mel: mel  # it takes mels on another scale
    mel = mel_of(11)
    with torch.inference_mode():
        wanted = oracle(torch.tensor(mel.T)[None]).numpy()
    np.testing.assert_allclose(small.vocode(mel).samples, wanted, atol=1e-4)


# -- the activation


def test_the_filter_is_the_written_out_kaiser_sinc():
    taps = low_pass(0.25, 0.3, 12)
    np.testing.assert_allclose(taps.numpy(), public.kaiser_filter(), atol=1e-7)
    assert taps.sum().item() == pytest.approx(1.0, abs=1e-6)
    assert torch.equal(taps, taps.flip(-1))


def test_a_snake_is_x_and_a_squared_sine():
    x = torch.linspace(-3, 3, 7)[None, None]
    for log_scale in (True, False):
        snake = SnakeBeta(1, log_scale=log_scale)
        assert torch.allclose(snake(x), x + torch.sin(x) ** 2)  # alpha = beta = 1 to begin with
        with torch.no_grad():
            snake.alpha.fill_(0.5)
            snake.beta.fill_(2.0)
        alpha, beta = (np.exp(0.5), np.exp(2.0)) if log_scale else (0.5, 2.0)
        wanted = x.numpy() + np.sin(alpha * x.numpy()) ** 2 / beta
        np.testing.assert_allclose(snake(x).detach().numpy(), wanted, rtol=1e-5)


def without_snake():
    """Both filters and nothing between them: an amplitude of e^-60 is none."""
    activation = AntiAliased(1)
    with torch.no_grad():
        activation.act.beta.fill_(60.0)
    return activation


def gain_at(frequency):
    """What the filter leaves of a tone, in cycles per sample of the doubled rate."""
    taps = public.kaiser_filter()[0, 0].astype(np.float64)
    return float((taps * np.cos(2 * np.pi * frequency * (np.arange(12) - 5.5))).sum())


def test_a_constant_passes_both_filters_unchanged():
    constant = torch.full((1, 1, 40), 0.7)
    torch.testing.assert_close(without_snake()(constant), constant, atol=2e-3, rtol=0)


@pytest.mark.parametrize("frequency", [0.02, 0.1, 0.2])
def test_a_tone_in_the_band_passes_without_delay_at_the_gain_of_two_filters(frequency):
    tone = np.cos(2 * np.pi * frequency * np.arange(200) + 0.3).astype(np.float32)
    passed = without_snake()(torch.tensor(tone)[None, None])[0, 0].detach().numpy()
    wanted = gain_at(frequency / 2) ** 2 * tone
    np.testing.assert_allclose(passed[20:-20], wanted[20:-20], atol=5e-3)
    assert gain_at(frequency / 2) > 0.8


def test_a_squared_sine_above_the_band_does_not_come_back_as_a_lower_tone():
    # sin² of a tone at 0.3 is a tone at 0.6 of the rate, which sampling folds down to 0.4.
    tone = np.cos(2 * np.pi * 0.3 * np.arange(400)).astype(np.float32)
    snake = AntiAliased(1)
    with torch.no_grad():
        snake.act.alpha.fill_(np.log(0.5))
    given = torch.tensor(tone)[None, None]
    folded_down = np.exp(-2j * np.pi * 0.4 * np.arange(360))

    def alias_energy(x):
        return abs((x[0, 0].detach().numpy()[20:-20] * folded_down).sum()) / 360

    assert alias_energy(snake.act(given)) > 0.05
    assert alias_energy(snake(given)) < alias_energy(snake.act(given)) / 3
