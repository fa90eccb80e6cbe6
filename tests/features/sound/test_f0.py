import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redub.core.errors import ConfigError, FeatureAbsent
from redub.features.sound.f0 import F0Config, F0Extractor, f0_track
from redub.features.sound.samples import SILENCE_PEAK
from tests.features.voices import AUDIO, RATE, hiss, media_of, silence, vowel, wave


@pytest.mark.parametrize("f0_hz", [90.0, 120.0, 220.0, 400.0])
def test_a_planted_pitch_is_found(f0_hz):
    track = f0_track(wave(vowel(1.0, f0_hz)), AUDIO)
    middle = track[20:80]
    assert (middle > 0).mean() > 0.95
    assert np.median(middle[middle > 0]) == pytest.approx(f0_hz, rel=0.01)


def test_a_rising_pitch_is_followed_on_the_mel_clock():
    ramp = np.linspace(120.0, 240.0, RATE)  # 120 Hz per second
    track = f0_track(wave(vowel(1.0, ramp)), AUDIO)
    centres_s = (np.arange(20, 80) + 0.5) * 0.01
    np.testing.assert_allclose(track[20:80], 120.0 + 120.0 * centres_s, rtol=0.01)


def test_noise_and_pauses_are_unvoiced():
    sound = np.concatenate([hiss(0.5, low_hz=3000), silence(0.5), vowel(0.5, 150.0)])
    track = f0_track(wave(sound), AUDIO)
    assert (track[:90] > 0).mean() < 0.05
    assert (track[110:140] > 0).mean() > 0.9


@settings(max_examples=15, deadline=None)
@given(st.integers(433, 3000))
def test_it_has_exactly_the_frames_of_the_mel(samples):
    assert f0_track(wave(vowel(0.2, 150.0).repeat(2)[:samples]), AUDIO).shape == (samples // 160,)


@pytest.mark.parametrize("peak", [0.0, SILENCE_PEAK * 0.9])
def test_silence_has_no_pitch_at_all(peak):
    dither = peak * np.random.default_rng(0).choice([-1.0, 1.0], 8000)
    with pytest.raises(FeatureAbsent) as refusal:
        f0_track(wave(dither), AUDIO)
    assert refusal.value.code == "E-FEAT-SILENT"


def test_the_range_is_a_setting():
    sound = wave(vowel(0.6, 300.0))
    assert (f0_track(sound, AUDIO, ceiling_hz=250.0)[10:50] < 260).all()
    with pytest.raises(ConfigError, match="floor 500"):
        F0Config(audio=AUDIO, floor_hz=500.0, ceiling_hz=400.0)


def test_the_extractor_keeps_its_schema_and_forgets_the_clip_before():
    extractor = F0Extractor(F0Config(audio=AUDIO))
    first, other = media_of(vowel(0.5, 110.0)), media_of(vowel(0.7, 330.0))
    alone = extractor.extract(first)
    extractor.extract(other)
    assert np.array_equal(extractor.extract(first), alone)
    assert (alone.shape, alone.dtype.name) == ((50, 1), extractor.schema.dtype)
