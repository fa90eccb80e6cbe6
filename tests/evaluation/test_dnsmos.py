"""DNSMOS with its real network, where it was fetched."""

import numpy as np
import pytest

from redub.core.metric import Absent
from redub.core.types import Waveform
from redub.evaluation import dnsmos as module
from redub.evaluation.dnsmos import RATE_HZ, WINDOW, background_of, dnsmos, overall_of, speech_of
from redub.evaluation.inputs import MetricInputError
from tests.evaluation.made_takes import take_of_sound
from tests.features.voices import syllables, with_noise
from tests.packaged import packaged


@pytest.fixture(scope="module")
def weights():
    return packaged("dnsmos")


def voice(seconds=3.0):
    return syllables(duration_s=seconds).astype(np.float32)


def test_noise_costs_the_background_rating_most(weights):
    clean, noisy = (
        dnsmos(voice(), RATE_HZ, weights),
        dnsmos(with_noise(voice(), 5), RATE_HZ, weights),
    )
    assert noisy.background < clean.background - 0.5
    assert noisy.overall < clean.overall
    assert all(0.5 < rating < 5.2 for rating in (*clean, *noisy))


def test_a_short_utterance_is_repeated_and_a_long_one_is_the_mean_of_its_windows(weights):
    short = voice(1.5)
    assert dnsmos(short, RATE_HZ, weights) == dnsmos(np.tile(short, 2), RATE_HZ, weights)
    long = with_noise(voice(11.5), 20)
    parts = [dnsmos(long[k * RATE_HZ : k * RATE_HZ + WINDOW], RATE_HZ, weights) for k in range(3)]
    np.testing.assert_allclose(dnsmos(long, RATE_HZ, weights), np.mean(parts, axis=0), rtol=1e-6)


def test_the_scale_is_that_of_the_published_polynomials(weights, monkeypatch):
    """An output of 3 of the network, mapped by hand with the published coefficients."""
    monkeypatch.setattr(module, "_outputs", lambda network, window: np.full(3, 3.0, np.float32))
    found = dnsmos(voice(), RATE_HZ, weights)
    assert found.speech == pytest.approx(-0.08397278 * 9 + 1.22083953 * 3 + 0.0052439)
    assert found.background == pytest.approx(-0.13166888 * 9 + 1.60915514 * 3 - 0.39604546)
    assert found.overall == pytest.approx(-0.06766283 * 9 + 1.11546468 * 3 + 0.04602535)


def test_unusable_sound_is_refused(weights):
    for samples in (np.zeros(0, np.float32), np.array([0.1, np.nan], np.float32)):
        with pytest.raises(MetricInputError):
            dnsmos(samples, RATE_HZ, weights)


def test_a_take_is_rated_once_for_its_three_columns(weights, monkeypatch):
    take = take_of_sound(Waveform(voice(2.0), RATE_HZ), dnsmos=weights)
    calls = []
    rate = module.dnsmos
    monkeypatch.setattr(module, "dnsmos", lambda *given: calls.append(1) or rate(*given))
    found = (speech_of(take), background_of(take), overall_of(take))
    assert found == pytest.approx(tuple(rate(voice(2.0), RATE_HZ, weights)))
    assert len(calls) == 1
    other = take_of_sound(Waveform(with_noise(voice(2.0), 5), RATE_HZ), dnsmos=weights)
    assert overall_of(other) < overall_of(take)


def test_without_weights_the_column_says_what_to_type():
    take = take_of_sound(Waveform(voice(1.0), RATE_HZ))
    for value in (overall_of(take), speech_of(take), background_of(take)):
        assert isinstance(value, Absent)
        assert "`redub weights get dnsmos`" in value.message
