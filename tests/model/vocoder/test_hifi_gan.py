"""HiFi-GAN: public layouts, lengths, and the same samples as another library's network."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from redub.core.errors import ConfigError, ModelRefusedError
from redub.core.types import AudioSpec
from redub.model.vocoder.hifi_gan import (
    PUBLISHED,
    UNIVERSAL_V1,
    HifiGan,
    HifiGanConfig,
    HifiGanGenerator,
    published_like,
)
from redub.model.vocoder.public_settings import (
    AUDIO_KEYS,
    GENERATOR_KEYS,
    audio_of,
    check_audio,
    hifi_gan_settings,
)
from redub.model.vocoder.upsampling import padding_of, rates_of
from redub.model.vocoder.weight_norm import folded, with_weight_norm
from tests.model import public_vocoders as public

CHEM = AudioSpec()
V2C = AudioSpec(sample_rate_hz=22_050, hop_samples=220, win_samples=880)


def refusal(code, function, *arguments, **named):
    with pytest.raises(ModelRefusedError) as caught:
        function(*arguments, **named)
    assert caught.value.code == code
    return caught.value.message


def mel_of(frames, seed=0):
    return np.random.default_rng(seed).normal(-5, 2, (frames, 80)).astype(np.float32)


def loaded(settings, table):
    vocoder = HifiGan(settings)
    vocoder.generator.load_state_dict(folded(table), assign=True)
    return vocoder


@pytest.fixture(scope="module")
def small():
    return hifi_gan_settings(public.HIFI_GAN)


# -- weights


def parameters_of(settings):
    """Sizes, directions and biases of every convolution, counted by hand."""
    described = {
        "upsample_initial_channel": settings.channels,
        "num_mels": settings.audio.mel_channels,
        "upsample_kernel_sizes": settings.upsample_kernels,
        "resblock_kernel_sizes": settings.kernels,
        "resblock_dilation_sizes": settings.dilations,
        "resblock": settings.resblock,
    }
    return sum(
        int(np.prod(shape)) + shape[0] + bias
        for shape, bias in public.convolutions(described).values()
    )


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("16 kHz, hop 160", 13_739_522),  # g_HPM_Chem, measured
        ("22.05 kHz, hop 220", 14_525_954),  # g_HPM_V2C, measured
        ("V1 (22.05 kHz, hop 256)", None),  # 13.94 million
        ("V2 (22.05 kHz, hop 256)", None),
        ("V3 (22.05 kHz, hop 256)", None),
    ],
)
def test_published_generators_have_their_number_of_parameters(name, published):
    with torch.device("meta"):
        network = with_weight_norm(HifiGanGenerator(PUBLISHED[name]))
    count = sum(value.numel() for value in network.parameters())
    assert count == parameters_of(PUBLISHED[name])
    assert published in (None, count)
    if PUBLISHED[name] is UNIVERSAL_V1:
        assert round(count / 1e6, 2) == 13.94
        assert (UNIVERSAL_V1.upsample_rates, UNIVERSAL_V1.channels) == ((8, 8, 2, 2), 512)


def test_the_public_layout_has_234_tensors_and_fills_the_network_exactly(small):
    table = public.state(public.HIFI_GAN)
    assert len(table) == 234
    HifiGan(small).generator.load_state_dict(folded(table), assign=True, strict=True)


def test_three_spellings_of_weight_norm_give_the_same_samples(small):
    mel = mel_of(20)
    old, new, plain = (
        loaded(small, public.state(public.HIFI_GAN, spelling=spelling)).vocode(mel).samples
        for spelling in ("old", "new", "plain")
    )
    assert np.abs(old).max() > 0.01
    assert np.array_equal(old, new)
    np.testing.assert_allclose(plain, old, atol=1e-5)


def test_folding_is_what_torch_computes_under_weight_norm():
    torch.manual_seed(0)
    for network in (nn.Conv1d(6, 4, 3), nn.ConvTranspose1d(6, 4, 8, 4)):
        x = torch.randn(1, 6, 9)
        trained = with_weight_norm(nn.Sequential(network))
        with torch.no_grad():  # a trained size is no longer the direction's length
            trained[0].parametrizations.weight.original0.mul_(1.7)
            wanted = trained(x)
        plain = folded(trained.state_dict())
        operation = (
            nn.functional.conv1d(x, plain["0.weight"], plain["0.bias"])
            if isinstance(network, nn.Conv1d)
            else nn.functional.conv_transpose1d(x, plain["0.weight"], plain["0.bias"], stride=4)
        )
        torch.testing.assert_close(operation, wanted)


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        (lambda t: t.pop("ups.0.weight_g"), "E-MODEL-KEYS", "without ups.0.weight_g"),
        (lambda t: t.pop("ups.0.weight_v"), "E-MODEL-KEYS", "without ups.0.weight_v"),
        (
            lambda t: t.update({"conv_pre.weight": torch.zeros(32, 80, 7)}),
            "E-MODEL-KEYS",
            "conv_pre.weight in two spellings",
        ),
        (
            lambda t: t.update({"ups.0.weight_g": torch.ones(16, 1, 1)}),
            "E-MODEL-SHAPE",
            r"ups.0: a size of (16, 1, 1)",
        ),
        (
            lambda t: t.update({"ups.0.weight_g": torch.ones(32, 1, 1, dtype=torch.int8)}),
            "E-MODEL-DTYPE",
            "int8",
        ),
    ],
)
def test_half_a_weight_or_two_of_it_are_refused(change, code, named):
    table = public.state(public.HIFI_GAN)
    change(table)
    assert named in refusal(code, folded, table)


def test_settings_are_read_from_the_tensors_without_a_config(small):
    for name, settings in PUBLISHED.items():
        with torch.device("meta"):
            table = HifiGanGenerator(settings).state_dict()
        assert published_like(table) is settings, name
    assert (
        published_like(folded(public.state(public.HIFI_GAN))) is None
    )  # 32 channels: no published generator


# -- lengths


@pytest.mark.parametrize(("audio", "samples"), [(CHEM, 8_000), (V2C, 11_000)])
def test_50_frames_are_8000_samples_at_16_khz_and_11000_at_22_khz(audio, samples):
    settings = HifiGanConfig(audio=audio, channels=32)
    network = HifiGanGenerator(settings).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 50, 80)).shape == (1, samples)


@pytest.mark.parametrize("frames", [1, 2, 37])
def test_every_mel_gives_exactly_its_hops(small, frames):
    spoken = loaded(small, public.state(public.HIFI_GAN)).vocode(mel_of(frames))
    assert spoken.samples.shape == (160 * frames,)
    assert spoken.samples.dtype == np.float32
    assert spoken.sample_rate_hz == 16_000
    assert np.abs(spoken.samples).max() <= 1.0


def test_no_frames_are_no_samples(small):
    assert len(loaded(small, public.state(public.HIFI_GAN)).vocode(mel_of(0)).samples) == 0


@pytest.mark.parametrize("variant", ["upstream", "output_padding"])
@pytest.mark.parametrize(("rate", "kernel"), [(8, 16), (5, 10), (11, 22), (5, 11), (4, 8), (3, 9)])
def test_a_variant_is_taken_as_exact_just_where_torch_makes_that_length(variant, rate, kernel):
    padding = padding_of(rate, kernel, variant)
    length = nn.ConvTranspose1d(1, 1, kernel, rate, *padding)(torch.zeros(1, 1, 50)).shape[-1]
    audio = AudioSpec(hop_samples=rate, win_samples=640)
    settings = {"upsample_rates": (rate,), "upsample_kernels": (kernel,), "channels": 32}
    if length == 50 * rate:
        HifiGanConfig(audio=audio, padding=variant, **settings)
    else:
        assert f"makes {length} samples of 50 frames, wanted {50 * rate}" in refusal(
            "E-MODEL-LENGTH", HifiGanConfig, audio=audio, padding=variant, **settings
        )


def test_the_variant_that_fits_is_found_and_the_wrong_one_refused():
    for rates, more in (((8, 5, 2, 2), 4), ((11, 5, 2, 2), 5 * 4 + 4)):
        audio = CHEM if rates[0] == 8 else V2C
        chosen = HifiGanConfig(audio=audio, channels=32)
        assert chosen.upsample_rates == rates
        # 11 × 50 + 1 frames, 5 × 551 + 1, doubled twice: every odd stage leaves one too many.
        said = refusal("E-MODEL-LENGTH", HifiGanConfig, audio=audio, padding="upstream")
        assert f"makes {50 * audio.hop_samples + more} samples of 50 frames" in said
    short = {"upsample_rates": (4, 4), "upsample_kernels": (8, 8)}
    assert "makes 16 samples" in refusal("E-MODEL-LENGTH", HifiGanConfig, audio=CHEM, **short)
    named = {**public.HIFI_GAN, "upsample_padding": "none"}
    assert "legal: auto" in refusal("E-MODEL-CONFIG", hifi_gan_settings, named)


def test_a_network_that_speaks_another_length_is_refused_when_it_speaks(small):
    vocoder = loaded(small, public.state(public.HIFI_GAN))
    vocoder.generator.ups[1].padding, vocoder.generator.ups[1].output_padding = (2,), (0,)
    said = refusal("E-MODEL-LENGTH", vocoder.vocode, mel_of(50))
    assert "8004 samples of 50 frames, wanted 8000" in said


@pytest.mark.parametrize(
    ("hop", "rates"), [(200, (5, 5, 4, 2)), (256, (4, 4, 4, 4)), (7, (7,)), (300, (5, 5, 4, 3))]
)
def test_rates_multiply_to_the_hop_in_few_stages(hop, rates):
    assert rates_of(hop, {}, 4) == rates
    assert int(np.prod(rates_of(hop, {}, 4))) == hop


# -- what is spoken


def test_the_samples_are_those_of_another_librarys_hifi_gan(small):
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    # Even rates: that library pads as upstream does, which is not exact for odd ones.
    described = {
        **public.HIFI_GAN,
        "upsample_rates": [8, 2, 2],
        "upsample_kernel_sizes": [16, 4, 4],
        "hop_size": 32,
    }
    same_names = (
        "upsample_initial_channel", "upsample_rates", "upsample_kernel_sizes",
        "resblock_kernel_sizes", "resblock_dilation_sizes",
    )  # fmt: skip
    settings = SpeechT5HifiGanConfig(
        model_in_dim=80,
        leaky_relu_slope=0.1,
        normalize_before=False,
        **{name: described[name] for name in same_names},
    )
    oracle = SpeechT5HifiGan(settings).eval()
    table = folded(public.state(described))
    renamed = {name.replace("ups.", "upsampler."): value for name, value in table.items()}
    lacking, extra = oracle.load_state_dict(renamed, strict=False)
    assert (set(lacking) <= {"mean", "scale"}, extra) == (True, [])
    mel = mel_of(23)
    vocoder = loaded(hifi_gan_settings(described), public.state(described))
    with torch.inference_mode():
        wanted = oracle(torch.tensor(mel)).numpy()
    np.testing.assert_allclose(vocoder.vocode(mel).samples, wanted, atol=1e-5)


def test_the_same_mel_gives_the_same_samples_and_rows_of_a_batch_do_not_meet(small):
    vocoder = loaded(small, public.state(public.HIFI_GAN))
    one, other = mel_of(30, seed=1), mel_of(30, seed=2)
    first = vocoder.vocode(one).samples
    assert np.array_equal(vocoder.vocode(one).samples, first)
    with torch.inference_mode():
        both = vocoder.generator(torch.tensor(np.stack([other, one])))
    np.testing.assert_allclose(both[1].numpy(), first, atol=1e-5)


def test_the_second_kind_of_residual_block_speaks_too():
    described = {
        **public.HIFI_GAN,
        "resblock": "2",
        "resblock_kernel_sizes": [3, 5],
        "resblock_dilation_sizes": [[1, 2], [2, 6]],
    }
    vocoder = loaded(hifi_gan_settings(described), public.state(described))
    assert len(vocoder.vocode(mel_of(3)).samples) == 480


@pytest.mark.parametrize(
    ("mel", "hint"),
    [
        (np.zeros((4, 40), np.float32), "needs \\(frames, 80\\)"),
        (np.zeros(80, np.float32), "needs \\(frames, 80\\)"),
        (np.full((4, 80), np.nan, np.float32), "not finite"),
    ],
)
def test_what_is_no_mel_is_refused(small, mel, hint):
    with pytest.raises(ConfigError, match=hint):
        loaded(small, public.state(public.HIFI_GAN)).vocode(mel)


def test_a_vocoder_without_weights_says_so(small):
    assert "no weights yet" in refusal("E-MODEL-EMPTY", HifiGan(small).vocode, mel_of(2))


def test_samples_that_are_no_numbers_are_refused(small):
    table = public.state(public.HIFI_GAN)
    table["conv_post.bias"] = torch.tensor([np.nan])
    assert "not finite" in refusal("E-MODEL-FILE", loaded(small, table).vocode, mel_of(2))


# -- the public config.json


def test_settings_come_from_the_public_config(small):
    assert small.audio == CHEM
    assert (small.channels, small.kernels) == (32, (3, 7, 11))
    assert audio_of({**public.HIFI_GAN, "fmax": None}).fmax_hz == 8000.0
    other = hifi_gan_settings({**public.HIFI_GAN, "upsample_padding": "output_padding"})
    assert other.padding == "output_padding"


@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [
        ("hop_size", 161, "160 samples of a frame"),
        ("upsample_rates", [8, 5, 2], "3 upsampling rates and 4 kernels"),
        ("upsample_rates", [8, 20, 1, 1], "rates of 2 to"),
        ("upsample_rates", "8522", "wants a list"),
        ("upsample_initial_channel", 24, "cannot be halved 4 times"),
        ("upsample_initial_channel", 10**9, "halved"),
        ("resblock_kernel_sizes", [3, 7], "2 kernels with 3 lists"),
        ("resblock_kernel_sizes", [3, 4, 5], "odd"),
        ("resblock_dilation_sizes", [[1], [], [1]], "dilations"),
        ("resblock", "3", "legal: 1, 2"),
        ("sampling_rate", "16k", "sampling_rate|sample_rate_hz"),
        ("fmax", "high", "fmax"),
        ("num_mels", 0, "mel_channels is 0"),
        ("win_size", 4096, "window"),
    ],
)
def test_a_config_of_no_generator_is_refused(key, value, hint):
    with pytest.raises(ModelRefusedError, match=hint):
        hifi_gan_settings({**public.HIFI_GAN, key: value})


@pytest.mark.parametrize("key", [*AUDIO_KEYS.values(), *GENERATOR_KEYS.values()])
def test_a_config_without_a_wanted_key_names_it(key):
    described = {name: value for name, value in public.HIFI_GAN.items() if name != key}
    assert f"'{key}'" in refusal("E-MODEL-CONFIG", hifi_gan_settings, described)


@pytest.mark.parametrize(
    ("own", "change"),
    [
        ("sample_rate_hz", {"sample_rate_hz": 22_050}),
        ("n_fft", {"n_fft": 2048}),
        ("hop_samples", {"hop_samples": 200}),
        ("win_samples", {"win_samples": 800}),
        ("mel_channels", {"mel_channels": 100}),
        ("fmin_hz", {"fmin_hz": 20.0}),
        ("fmax_hz", {"fmax_hz": 7600.0}),
    ],
)
def test_other_mels_are_refused_by_the_name_of_what_differs(own, change):
    check_audio(CHEM, CHEM, "it")
    said = refusal("E-MODEL-AUDIO", check_audio, CHEM, replace(CHEM, **change), "hifi_gan 'it'")
    assert f"audio.{own} is" in said
    assert said.count("audio.") == 1
