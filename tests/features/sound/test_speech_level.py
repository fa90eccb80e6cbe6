import numpy as np
import pytest
import soxr

from redub.core.errors import ClipError, FeatureAbsent
from redub.core.types import ClipMedia, Waveform
from redub.features.sound.speech_level import (
    SpeechLevelConfig,
    SpeechLevelExtractor,
    speech_level_db,
)
from tests.features.drawn_faces import media_of

EXTRACTOR = SpeechLevelExtractor(SpeechLevelConfig())


def tone(hz, *, seconds=1.0, rate=16_000, amplitude=0.5):
    clock = np.arange(round(seconds * rate)) / rate
    return Waveform((amplitude * np.sin(2 * np.pi * hz * clock)).astype(np.float32), rate)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100])
def test_the_level_of_a_tone_is_known_in_closed_form(rate):
    # A sine of amplitude a has the root mean square a / sqrt 2; 1 kHz is 40 periods a picture.
    level = speech_level_db(tone(1000, rate=rate))
    assert len(level) == 25
    np.testing.assert_allclose(level, 20 * np.log10(0.5 / np.sqrt(2)), atol=0.01)


@pytest.mark.parametrize("hz", [50, 100, 4000, 7000])
def test_rumble_and_hiss_do_not_count(hz):
    mixed = tone(1000).samples + tone(hz).samples
    np.testing.assert_allclose(
        speech_level_db(Waveform(mixed, 16_000)), speech_level_db(tone(1000)), atol=0.05
    )
    assert speech_level_db(tone(hz)).max() < -60


def test_a_sound_that_begins_at_a_frame_is_measured_from_that_frame():
    samples = tone(1000, seconds=2).samples
    samples[: 30 * 640] = 0
    level = speech_level_db(Waveform(samples, 16_000))
    assert level[:29].max() < -25  # the band's edges ring a little
    np.testing.assert_allclose(level[31:], -9.03, atol=0.2)


@pytest.mark.parametrize("rate", [11_025, 22_050, 24_000])
def test_the_level_does_not_depend_on_the_sample_rate(rate):
    rng = np.random.default_rng(0)
    burst = rng.normal(0, 0.1, 48_000 * 2) * np.repeat(rng.uniform(0.1, 1, 50), 1920)
    levels = [
        speech_level_db(Waveform(soxr.resample(burst, 48_000, r, quality="VHQ"), r))
        for r in (48_000, rate)
    ]
    np.testing.assert_allclose(levels[0], levels[1], atol=0.2)


@pytest.mark.parametrize("count", [0, 1, 2, 33])
@pytest.mark.parametrize("rate", [16_000, 22_050, 11_111])
def test_there_is_one_row_per_picture_whatever_the_rate(count, rate):
    # As AudioSpec.sample_count gives a clip its samples.
    level = EXTRACTOR.extract(
        ClipMedia(
            clip=media_of(None).clip,
            waveform=Waveform(np.ones(count * rate // 25, np.float32), rate),
        )
    )
    assert level.shape == (count, 1)
    assert level.dtype == np.float32
    assert np.isfinite(level).all()


def test_silence_is_one_hundred_decibels_down():
    assert speech_level_db(Waveform(np.zeros(6400, np.float32), 16_000)).tolist() == [-100] * 10


def test_no_sound_and_broken_samples_are_different_reasons():
    with pytest.raises(FeatureAbsent):
        EXTRACTOR.extract(media_of(None))
    with pytest.raises(ClipError) as caught:
        speech_level_db(Waveform(np.array([0, np.nan], np.float32), 16_000))
    assert caught.value.code == "E-IN-NAN"
