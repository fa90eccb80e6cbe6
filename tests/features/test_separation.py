"""Speech out of noise by DeepFilterNet: what it gains, and what must not change its answer."""

import numpy as np
import pytest

from redub.core.types import Waveform
from redub.features.models.deepfilternet.separation import speech_of_clip, speech_of_sound
from tests.packaged import packaged
from tests.pipeline.films import RATE
from tests.pipeline.films import voice as made_voice


@pytest.fixture(scope="module")
def weights():
    return packaged("deepfilternet")


def separated(samples, weights, rate=RATE):
    return speech_of_sound(Waveform(np.asarray(samples, np.float32), rate), weights).samples


def sdr_db(wanted, found):
    """Signal-to-distortion ratio: power of the wanted over power of the difference."""
    return 10 * np.log10(np.square(wanted).sum() / np.square(wanted - found).sum())


@pytest.fixture(scope="module")
def voice():
    return made_voice(3.0, f0_hz=140, seed=1).samples


@pytest.fixture(scope="module")
def noise(voice):
    made = np.random.default_rng(0).standard_normal(len(voice))
    return made * np.sqrt(np.square(voice).sum() / np.square(made).sum()) * 10 ** (-6 / 20)


def test_noise_at_6_db_is_suppressed(weights, voice, noise):
    found = separated(voice + noise, weights)
    assert sdr_db(voice, voice + noise) == pytest.approx(6.0, abs=0.01)
    assert sdr_db(voice, found) > 9.0


def test_noise_alone_is_no_speech(weights, noise):
    assert np.square(separated(noise, weights)).sum() < 0.02 * np.square(noise).sum()


def test_the_level_of_the_sound_changes_nothing_else(weights, voice, noise):
    """Quiet recordings exist: at -48 dBFS the network alone hears only noise."""
    sound = voice + noise
    loud = separated(sound, weights)
    for factor in (0.25, 0.004):
        quiet = separated(factor * sound, weights)
        assert np.abs(quiet / factor - loud).max() < 1e-3 * np.abs(loud).max()


def test_equal_sound_gives_equal_bytes(weights, voice, noise):
    first = separated(voice + noise, weights)
    separated(noise, weights)
    assert separated(voice + noise, weights).tobytes() == first.tobytes()


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("length", [1, 7, 1_000, 30_001])
def test_the_length_is_kept_at_every_rate(weights, rate, length):
    sound = np.random.default_rng(length).standard_normal(length) * 0.1
    found = separated(sound, weights, rate)
    assert found.shape == (length,)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


@pytest.mark.parametrize("length", [0, 500])
def test_silence_stays_silence(weights, length):
    assert not separated(np.zeros(length), weights).any()


def test_a_clip_whose_speech_is_erased_keeps_its_sound_with_a_note(weights, voice, noise):
    sound = Waveform((voice + noise).astype(np.float32), RATE)
    speech, note = speech_of_clip(sound, weights)
    assert (speech is sound, note) == (False, "")
    only_noise = Waveform(noise.astype(np.float32), RATE)
    kept, note = speech_of_clip(only_noise, weights)
    assert kept is only_noise
    assert "used as it is" in note


def test_silence_is_not_erased(weights):
    silence = Waveform(np.zeros(500, np.float32), RATE)
    assert speech_of_clip(silence, weights) == (silence, "")
