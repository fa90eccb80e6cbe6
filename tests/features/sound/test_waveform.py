import numpy as np

from redub.features.sound.waveform import WaveformConfig, WaveformExtractor, from_int16, to_int16
from tests.features.voices import AUDIO, media_of


def test_every_16_bit_value_survives_the_way_there_and_back():
    every = np.arange(-32768, 32768, dtype=np.int16)
    assert np.array_equal(to_int16(from_int16(every)), every)


def test_samples_are_rounded_not_cut():
    # 0.6 and 1.4 steps both lie nearest to 1 step; so do their negatives to -1.
    steps = np.array([0.6, 1.4, -0.6, -1.4, 0.4]) / 32768
    assert to_int16(steps).tolist() == [1, 1, -1, -1, 0]


def test_full_scale_is_cut_off_and_does_not_wrap_round():
    assert to_int16(np.array([1.0, 1.5, -1.0, -1.5])).tolist() == [32767, 32767, -32768, -32768]


def test_the_extractor_keeps_the_sound_in_its_schema():
    sound = np.linspace(-0.5, 0.5, 640)
    extractor = WaveformExtractor(WaveformConfig(audio=AUDIO))
    value = extractor.extract(media_of(sound))
    assert (value.shape, value.dtype.name) == ((640, 1), extractor.schema.dtype)
    np.testing.assert_allclose(from_int16(value), sound, atol=0.5001 / 32768)
