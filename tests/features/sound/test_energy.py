import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redub.core.errors import FeatureAbsent
from redub.core.types import AudioSpec
from redub.features.sound.energy import EnergyConfig, EnergyExtractor, frame_energy
from tests.features.voices import AUDIO, media_of, syllables, wave

SMALL = AudioSpec(n_fft=8, hop_samples=2, win_samples=8, mel_channels=4)


def test_energy_of_a_click_is_known_in_closed_form():
    # Frame t is centred on sample 2 t + 1: the click on sample 5 sits under the peak of frame 2,
    # where the window is 1 and a unit impulse has |X[k]| = 1 in all 8 // 2 + 1 bins.
    click = np.zeros(12)
    click[5] = 1.0
    assert frame_energy(wave(click), SMALL)[2] == pytest.approx(math.sqrt(5))


def test_energy_of_a_full_frame_follows_parseval():
    # The window turns white noise of power p into about p · sum(w²) per bin: 513 bins of it.
    noise = np.random.default_rng(0).standard_normal(160_000) * 0.1
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(640) / 640)
    expected = math.sqrt(513 * 0.01 * float(window @ window))
    measured = math.sqrt(float((frame_energy(wave(noise), AUDIO) ** 2).mean()))
    assert measured == pytest.approx(expected, rel=0.01)


@settings(max_examples=25, deadline=None)
@given(st.integers(433, 3000), st.sampled_from([-4.0, 0.0, 0.5]))
def test_energy_scales_with_the_waveform(samples, gain):
    sound = np.random.default_rng(samples).uniform(-0.2, 0.2, samples)
    plain, scaled = frame_energy(wave(sound), AUDIO), frame_energy(wave(gain * sound), AUDIO)
    assert len(plain) == samples // 160
    np.testing.assert_allclose(scaled, abs(gain) * plain, rtol=1e-4, atol=1e-6)


def test_the_extractor_keeps_its_schema_and_refuses_scraps():
    extractor = EnergyExtractor(EnergyConfig(audio=AUDIO))
    value = extractor.extract(media_of(syllables(duration_s=0.3)))
    assert (value.shape, value.dtype.name) == ((30, 1), extractor.schema.dtype)
    with pytest.raises(FeatureAbsent) as refusal:
        extractor.extract(media_of(np.zeros(300)))
    assert refusal.value.code == "E-FEAT-SHORT"
