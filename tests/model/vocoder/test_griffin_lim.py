"""The vocoder, judged by a mel front end written out here, not by the one it must agree with."""

import librosa
import numpy as np
import pytest

from redub.core.errors import ConfigError
from redub.core.types import AudioSpec
from redub.model.vocoder.griffin_lim import GriffinLim, GriffinLimConfig

AUDIO = AudioSpec()


@pytest.fixture(scope="module")
def vocoder():
    return GriffinLim(GriffinLimConfig(audio=AUDIO))


def log_mel(samples):
    pad = (AUDIO.n_fft - AUDIO.hop_samples) // 2
    spectrum = librosa.stft(
        np.pad(samples, pad, mode="reflect").astype(np.float32),
        n_fft=AUDIO.n_fft,
        hop_length=AUDIO.hop_samples,
        win_length=AUDIO.win_samples,
        center=False,
    )
    filters = librosa.filters.mel(sr=16_000, n_fft=1024, n_mels=80, fmin=0.0, fmax=8000.0)
    mel = filters @ np.sqrt(np.abs(spectrum) ** 2 + 1e-9)
    return np.log(np.maximum(mel, 1e-5)).T.astype(np.float32)  # (T, 80)


def pulses(f0_hz, seconds):
    """Twenty harmonics falling as 1/k."""
    clock = np.arange(int(16_000 * seconds)) / 16_000
    return 0.1 * sum(np.cos(2 * np.pi * k * f0_hz * clock) / k for k in range(1, 21))


def strongest_period_hz(samples):
    """F0 from the autocorrelation's highest peak between 70 and 400 Hz, between samples."""
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    correlation = np.correlate(middle, middle, mode="full")[len(middle) - 1 :]
    lags = np.arange(16_000 // 400, 16_000 // 70)
    best = lags[correlation[lags].argmax()]
    left, centre, right = correlation[best - 1 : best + 2]
    return 16_000 / (best + 0.5 * (left - right) / (left - 2 * centre + right))


@pytest.mark.parametrize("f0_hz", [110.0, 220.0, 313.0])
def test_a_tone_keeps_its_pitch(vocoder, f0_hz):
    spoken = vocoder.vocode(log_mel(pulses(f0_hz, 1.0)))
    assert strongest_period_hz(spoken.samples) == pytest.approx(f0_hz, rel=0.01)


def test_the_waveform_has_the_given_mel(vocoder):
    mel = log_mel(pulses(170.0, 1.0))
    found = log_mel(vocoder.vocode(mel).samples)
    # The ends are left out: there the reflect padding of the two analyses differs.
    assert np.abs(found - mel)[3:-3].mean() < 0.25


def test_the_linear_magnitude_has_the_mel_it_came_from(vocoder):
    mel = log_mel(pulses(170.0, 0.5))
    magnitude = vocoder.linear_magnitude(mel)
    assert magnitude.min() >= 0.0
    again = np.log(np.maximum(magnitude @ vocoder.filters.T, 1e-5))
    assert np.abs(again - mel).mean() < 0.05


@pytest.mark.parametrize("frames", [1, 2, 37])
def test_a_mel_of_so_many_frames_gives_exactly_that_many_hops(vocoder, frames):
    mel = np.random.default_rng(0).normal(-5, 2, (frames, 80)).astype(np.float32)
    spoken = vocoder.vocode(mel)
    assert len(spoken.samples) == frames * AUDIO.hop_samples
    assert spoken.sample_rate_hz == 16_000
    assert np.abs(spoken.samples).max() <= 1.0


def test_another_clock_keeps_the_law_of_lengths_too():
    audio = AudioSpec(sample_rate_hz=22_050, hop_samples=256, win_samples=1024)
    spoken = GriffinLim(GriffinLimConfig(audio=audio, iterations=2)).vocode(
        np.full((11, 80), -4.0, np.float32)
    )
    assert len(spoken.samples) == 11 * 256


def test_silence_stays_silent(vocoder):
    spoken = vocoder.vocode(log_mel(np.zeros(8000)))
    assert np.abs(spoken.samples).max() < 1e-4


def test_louder_by_20_db_is_ten_times_the_samples(vocoder):
    mel = log_mel(pulses(170.0, 0.5))
    quiet, loud = vocoder.vocode(mel - np.log(10.0)), vocoder.vocode(mel)
    ratio = np.sqrt(np.mean(loud.samples**2) / np.mean(quiet.samples**2))
    assert ratio == pytest.approx(10.0, rel=0.05)


def test_the_same_mel_gives_the_same_samples_and_the_seed_another_phase(vocoder):
    mel = log_mel(pulses(170.0, 0.2))
    first, second = vocoder.vocode(mel), vocoder.vocode(mel)
    assert np.array_equal(first.samples, second.samples)
    other = GriffinLim(GriffinLimConfig(audio=AUDIO, seed=1)).vocode(mel)
    assert not np.array_equal(first.samples, other.samples)


@pytest.mark.parametrize("bad", [{"iterations": 0}, {"momentum": 1.0}, {"spreading": 0}])
def test_settings_that_cannot_work_are_refused(bad):
    with pytest.raises(ConfigError, match="griffin_lim"):
        GriffinLimConfig(audio=AUDIO, **bad)
