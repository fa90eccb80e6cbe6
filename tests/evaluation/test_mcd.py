"""MCD: Parseval, closed-form gains, a warped cepstrum by numerical integration, WORLD itself."""

import math

import numpy as np
import pytest
import pyworld
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dct

from redub.evaluation.alignment import warp
from redub.evaluation.inputs import MetricInputError
from redub.evaluation.mcd import (
    DECIBELS,
    mcd,
    mcd_dtw,
    mcd_dtw_sl,
    mel_cepstrum,
    mel_distortion,
    published_distortion,
    warped_cepstrum,
    world_mel_cepstrum,
)


def log_mel(frames, seed, channels=80):
    return np.random.default_rng(seed).normal(-4, 1.5, size=(frames, channels))


def vowel(pitch_hz, duration_s, rate_hz=22_050, *, formant=0.1, seed=0):
    """A pulse train through a one-pole resonance, with a little breath."""
    count = int(duration_s * rate_hz)
    pulses = (np.arange(count) * pitch_hz / rate_hz) % 1.0 < pitch_hz / rate_hz
    decay = np.exp(-np.arange(400) / 60) * np.cos(np.arange(400) * formant * np.pi)
    sound = np.convolve(pulses, decay)[:count]
    return 0.2 * sound + 1e-3 * np.random.default_rng(seed).normal(size=count)


def test_the_constant_is_the_published_one():
    assert pytest.approx(6.141851463713754, rel=1e-15) == DECIBELS


def test_cepstra_are_scipys_cosine_transform():
    frames = log_mel(5, 0)
    expected = dct(frames, type=2, norm=None)[:, :14] / 80
    expected[:, 0] /= 2
    np.testing.assert_allclose(mel_cepstrum(frames), expected, atol=1e-12)


def test_with_all_coefficients_mcd_is_the_rms_difference_in_decibels():
    # Parseval: all C - 1 cosines together are the log spectra's difference without its mean.
    one, other = log_mel(6, 1, channels=20), log_mel(6, 2, channels=20)
    gap = (one - other) - (one - other).mean(axis=1, keepdims=True)
    rms_db = 20 / math.log(10) * np.sqrt((gap**2).mean(axis=1))
    assert mel_distortion(one, other, order=19).mcd == pytest.approx(rms_db.mean())


def test_one_cosine_of_ripple_is_worth_its_height():
    # log_mel differs by a·cos(3·): c_3 differs by a, so MCD = 6.1419·a.
    one = log_mel(4, 3)
    ripple = 0.5 * np.cos(np.pi * 3 * (np.arange(80) + 0.5) / 80)
    assert mcd(one, one + ripple) == pytest.approx(DECIBELS * 0.5)
    beyond = 0.5 * np.cos(np.pi * 14 * (np.arange(80) + 0.5) / 80)
    assert mcd(one, one + beyond) == pytest.approx(0, abs=1e-9)  # order 13 ends before


def test_loudness_alone_is_no_distortion():
    one = log_mel(9, 4)
    assert max(mel_distortion(one, one + 2.3)) == pytest.approx(0, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 25), st.integers(1, 25), st.integers(0, 999))
def test_the_three_scores_keep_their_order(frames, other_frames, seed):
    one, other = log_mel(frames, seed), log_mel(other_frames, seed + 1)
    plain, warped, penalised = mel_distortion(one, other)
    assert penalised >= warped > 0
    ratio = max(frames, other_frames) / min(frames, other_frames)
    assert penalised == pytest.approx(warped * ratio)
    back = mel_distortion(other, one)
    assert back.mcd == pytest.approx(plain)
    assert (mcd(one, other), mcd_dtw(one, other), mcd_dtw_sl(one, other)) == (
        plain,
        warped,
        penalised,
    )


@pytest.mark.parametrize("frames", [1, 2, 30])
def test_equal_spectrograms_score_zero(frames):
    one = log_mel(frames, 5)
    assert mel_distortion(one, one) == (0.0, 0.0, 0.0)


def test_a_slower_line_costs_plain_mcd_and_the_length_penalty_but_not_warping():
    one = log_mel(20, 6)
    slow = np.repeat(one, 2, axis=0)
    plain, warped, penalised = mel_distortion(one, slow)
    assert plain > 1
    assert warped == penalised == 0  # the ratio multiplies, so a perfect warp stays perfect
    noisy = slow + 0.1 * log_mel(40, 7)
    scores = mel_distortion(one, noisy)
    assert scores.mcd_dtw_sl == pytest.approx(2 * scores.mcd_dtw)


@pytest.mark.parametrize("bad", [np.zeros((0, 80)), np.zeros((3, 13)), np.full((3, 80), np.nan)])
def test_spectrograms_without_a_cepstrum_are_refused(bad):
    with pytest.raises(MetricInputError):
        mel_distortion(bad, bad)


# --- the published measure -------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.42, 0.65, -0.3])
def test_warped_cepstra_are_the_fourier_series_on_the_warped_scale(alpha):
    # A smooth spectrum, given in closed form so that it can be read at any frequency; its mel
    # cepstrum is c̃_m = (2/π) ∫ log|H(ω)| cos(m ω̃) dω̃ with ω̃ the phase of the all-pass filter.
    def log_amplitude(omega):
        return 1.5 + np.cos(omega) - 0.7 * np.cos(2 * omega + 0.0) + 0.2 * np.cos(5 * omega)

    bins = np.linspace(0, np.pi, 257)
    found = warped_cepstrum(np.exp(2 * log_amplitude(bins))[None], alpha=alpha, order=13)[0]
    omega = (np.arange(20_000) + 0.5) * np.pi / 20_000
    warped = omega + 2 * np.arctan(alpha * np.sin(omega) / (1 - alpha * np.cos(omega)))
    slope = (1 - alpha**2) / (1 - 2 * alpha * np.cos(omega) + alpha**2)  # d ω̃ / d ω
    for m in range(14):
        integral = (log_amplitude(omega) * np.cos(m * warped) * slope).mean() * (2 if m else 1)
        assert found[m] == pytest.approx(integral, abs=1e-6)


def test_unwarped_cepstra_add_up_to_the_log_amplitude_in_every_bin():
    # All nine of them, the first and the last included, on a spectrum without any smoothness.
    power = np.exp(np.random.default_rng(8).normal(size=(3, 9)))
    cosines = np.cos(np.outer(np.arange(9), np.arange(9)) * np.pi / 8)
    found = warped_cepstrum(power, alpha=0.0, order=8)
    np.testing.assert_allclose(found @ cosines, np.log(power) / 2, atol=1e-12)


def test_the_world_envelope_is_the_one_wav2world_gives():
    sound = vowel(140, 0.3)
    _, envelope, _ = pyworld.wav2world(sound, 22_050, fft_size=512, frame_period=5.0)
    expected = warped_cepstrum(envelope**2 + 1e-8, alpha=0.65, order=13)
    np.testing.assert_array_equal(world_mel_cepstrum(sound), expected)


def test_a_gain_moves_only_c0_of_the_published_measure_and_is_counted():
    # Power grows by g², its square by g⁴: log √ grows by 2 ln g, all of it in c_0. Loud enough
    # that the floor of 1e-8 does not matter.
    sound = 60 * vowel(140, 0.5)
    scores = published_distortion(sound, 2 * sound, sample_rate_hz=22_050)
    assert scores.mcd == pytest.approx(DECIBELS * 2 * math.log(2), rel=0.02)


def test_loudness_counts_in_the_published_distance_but_not_in_its_alignment():
    sound, other = vowel(140, 0.4), vowel(170, 0.5, formant=0.2)
    other *= np.linspace(0.1, 20, len(other))  # swells, so loudness would align otherwise
    one, two = world_mel_cepstrum(sound), world_mel_cepstrum(other)

    def mean_along(path):
        return np.mean([DECIBELS * math.dist(one[i], two[j]) for i, j in path])

    found = published_distortion(sound, other, sample_rate_hz=22_050).mcd_dtw
    assert found == pytest.approx(mean_along(warp(one[:, 1:], two[:, 1:]).path))
    assert abs(found - mean_along(warp(one, two).path)) > 0.1


def test_the_published_measure_tells_voices_apart():
    sound = vowel(140, 0.5)
    assert published_distortion(sound, sound, sample_rate_hz=22_050) == (0.0, 0.0, 0.0)
    near = published_distortion(sound, vowel(140, 0.5, seed=1), sample_rate_hz=22_050)
    far = published_distortion(sound, vowel(140, 0.5, formant=0.3), sample_rate_hz=22_050)
    assert 0 < near.mcd_dtw < far.mcd_dtw
    longer = published_distortion(sound, vowel(140, 1.0), sample_rate_hz=22_050)
    # 1 s holds 201 frames of 5 ms, 0.5 s 101 (both ends count); padding with silence costs most.
    assert longer.mcd_dtw_sl == pytest.approx(longer.mcd_dtw * 201 / 101)
    assert longer.mcd > longer.mcd_dtw_sl


def test_the_rate_of_the_files_hardly_matters():
    one = published_distortion(
        vowel(140, 0.5, 44_100, formant=0.05), vowel(150, 0.5, 44_100), sample_rate_hz=44_100
    )
    other = published_distortion(
        vowel(140, 0.5, 44_100, formant=0.05)[::2],
        vowel(150, 0.5, 44_100)[::2],
        sample_rate_hz=22_050,
    )
    assert one.mcd_dtw == pytest.approx(other.mcd_dtw, rel=0.25)


def test_less_than_a_frame_of_sound_is_refused():
    with pytest.raises(MetricInputError, match="25 ms"):
        published_distortion(np.zeros(100), np.zeros(22_050), sample_rate_hz=22_050)


def test_silence_has_a_finite_distortion():
    silence = np.zeros(11_025)
    scores = published_distortion(silence, vowel(140, 0.5), sample_rate_hz=22_050)
    assert np.isfinite(scores).all()
