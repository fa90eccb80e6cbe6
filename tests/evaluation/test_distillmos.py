"""DistillMOS with its real network, where it was fetched; its windows and its spectrum."""

import librosa
import numpy as np
import pytest
import torch

from redub.core.errors import ModelRefusedError
from redub.core.metric import Absent
from redub.core.types import Waveform
from redub.evaluation.distillmos import RATE_HZ, distillmos, distillmos_of
from redub.evaluation.inputs import MetricInputError
from redub.features.models.distillmos.network import compressed_spectrum, load_speech_quality
from redub.features.models.distillmos.windows import WINDOW, window_starts, windows_of
from redub.features.weights.folder import WeightFolder
from tests.evaluation.made_takes import take_of_sound
from tests.features.voices import syllables, with_noise
from tests.packaged import packaged

CHECKPOINT = "distill_mos_v7.pt"


@pytest.fixture(scope="module")
def weights():
    return packaged("distillmos")


def voice(samples=WINDOW):
    return syllables(duration_s=samples / RATE_HZ).astype(np.float32)


def rate(samples, weights):
    return distillmos(samples, RATE_HZ, weights)


def test_more_noise_gives_lower_ratings(weights):
    ratings = [rate(with_noise(voice(), snr_db), weights) for snr_db in (40, 20, 0)]
    assert ratings[0] - 0.1 > ratings[1] > ratings[2] + 0.1
    assert all(1.0 < rating < 5.0 for rating in ratings)


def test_the_ratings_are_those_of_the_package(weights):
    """The expected values were computed by the code of distillmos 0.9.1 and xls-r-sqa 0.1.0."""
    tone = 0.3 * np.sin(0.1 * np.arange(64_000))
    noise = 0.1 * np.random.default_rng(0).standard_normal(64_000)
    found = [rate(sound, weights) for sound in (np.zeros(16_000), tone, noise, voice(48_000))]
    np.testing.assert_allclose(found, [1.96904, 1.20321, 1.71167, 2.28729], atol=1e-3)


def test_a_repeat_is_equal_to_the_bit_whatever_the_number_of_threads(weights):
    sound = with_noise(voice(48_000), 20)
    first, before = rate(sound, weights), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert rate(sound, weights) == first
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_level_is_not_rated(weights):
    sound = with_noise(voice(48_000), 20)
    assert rate(sound / 8, weights) == pytest.approx(rate(sound, weights), abs=1e-3)


def test_a_long_sound_has_the_mean_rating_of_its_windows(weights):
    sound = with_noise(voice(WINDOW + 20_000), 20)
    sound[-WINDOW // 2 :] = with_noise(sound[-WINDOW // 2 :], -10)
    parts = [rate(sound[start : start + WINDOW], weights) for start in (0, 10_000, 20_000)]
    assert rate(sound, weights) == pytest.approx(np.mean(parts), abs=1e-4)
    assert np.ptp(parts) > 0.01


@pytest.mark.parametrize(
    ("samples", "starts"),
    [
        (1, [0]),
        (WINDOW, [0]),
        (WINDOW + 1, [0, 1]),
        (WINDOW + 16_000, [0, 16_000]),
        (WINDOW + 16_001, [0, 8_000, 16_001]),  # of two equal hops of 8,000.5 samples
        (WINDOW + 40_000, [0, 13_333, 26_666, 40_000]),
    ],
)
def test_windows_are_evenly_spread_and_the_last_one_ends_with_the_sound(samples, starts):
    assert window_starts(samples) == starts


def test_windows_have_a_peak_of_one_each_and_a_short_sound_ends_in_zeros():
    short = np.array([0.1, -0.4, 0.2], np.float32)
    expected = np.zeros((1, WINDOW))
    expected[0, :3] = 0.25, -1.0, 0.5
    np.testing.assert_allclose(windows_of(short), expected, atol=1e-6)
    growing = np.linspace(0.0, 0.9, WINDOW + 16_000, dtype=np.float32)
    np.testing.assert_allclose(windows_of(growing)[:, -1], [1.0, 1.0], atol=1e-6)
    assert not windows_of(np.zeros(5, np.float32)).any()


def test_the_spectrum_is_that_of_librosa_with_compressed_magnitudes():
    sound = np.random.default_rng(0).uniform(-1, 1, 1600).astype(np.float32)
    real, imaginary = compressed_spectrum(torch.from_numpy(sound)[None])[0].numpy()
    padded = np.pad(sound.astype(np.float64), 80, mode="reflect")
    plain = librosa.stft(padded, n_fft=320, hop_length=160, window="hann", center=False)
    assert real.shape == imaginary.shape == (161, 10)
    np.testing.assert_allclose(np.hypot(real, imaginary), np.abs(plain) ** 0.3, rtol=1e-3)
    np.testing.assert_allclose(
        real + 1j * imaginary, np.exp(1j * np.angle(plain)) * np.abs(plain) ** 0.3, atol=1e-3
    )


def test_silence_has_a_spectrum_of_zeros():
    assert not compressed_spectrum(torch.zeros(1, 1600)).any()


def test_unusable_sound_is_refused(weights):
    for samples in (np.zeros(0, np.float32), np.array([0.1, np.nan], np.float32)):
        with pytest.raises(MetricInputError):
            rate(samples, weights)


@pytest.mark.parametrize("change", ["missing", "unknown", "flat"])
def test_another_checkpoint_is_refused(weights, tmp_path, change):
    table = torch.load(weights.file(CHECKPOINT), weights_only=True)
    if change == "missing":
        del table["model"]["transformer_pool_attn.pool.linear3.bias"]
    elif change == "unknown":
        table["model"]["transformer_pool_attn.pool.linear4.bias"] = torch.zeros(1)
    else:
        table = table["model"]
    torch.save(table, tmp_path / CHECKPOINT)
    folder = WeightFolder("distillmos", tmp_path, weights.files)
    with pytest.raises(ModelRefusedError) as refused:
        load_speech_quality(folder)
    assert refused.value.code == ("E-MODEL-FILE" if change == "flat" else "E-MODEL-KEYS")


def test_a_take_is_rated_at_its_own_sample_rate(weights):
    sound = np.repeat(voice(24_000), 2)
    found = distillmos_of(take_of_sound(Waveform(sound, 2 * RATE_HZ), distillmos=weights))
    assert found == distillmos(sound, 2 * RATE_HZ, weights) != rate(sound, weights)


def test_without_weights_the_column_says_what_to_type():
    value = distillmos_of(take_of_sound(Waveform(voice(16_000), RATE_HZ)))
    assert isinstance(value, Absent)
    assert "`redub weights get distillmos`" in value.message
