import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.features.sound.local_audio import (
    BANDS,
    OTHERS,
    WIDTH,
    LocalAudioConfig,
    LocalAudioExtractor,
    mel_movement,
)
from tests.features.voices import media_of

MEL = np.random.default_rng(0).normal(-5.0, 2.0, (30, 80)).astype(np.float32)


def other(rows: np.ndarray, name: str) -> np.ndarray:
    return rows[:, 2 * BANDS + OTHERS.index(name)]


@given(st.integers(1, 12), st.sampled_from([80, 100]))
def test_there_is_one_row_per_mel_frame(frames, channels):
    mel = np.zeros((frames, channels), dtype=np.float32)
    assert mel_movement(mel).shape == (frames, WIDTH)


def test_bands_are_the_means_of_their_channels():
    # 80 channels in 12 groups: 8 groups of 7, then 4 of 6.
    borders = np.cumsum([0] + [7] * 8 + [6] * 4)
    for band in range(BANDS):
        expected = MEL[:, borders[band] : borders[band + 1]].mean(axis=1)
        np.testing.assert_allclose(mel_movement(MEL)[:, band], expected, rtol=1e-5)


def test_a_mel_that_rises_by_a_tenth_per_frame_has_that_slope():
    rising = np.arange(20)[:, None] * 0.1 + np.zeros((1, 80))
    rows = mel_movement(rising.astype(np.float32))
    np.testing.assert_allclose(rows[2:-2, BANDS : 2 * BANDS], 0.1, atol=1e-6)
    np.testing.assert_allclose(other(rows, "mean_slope")[2:-2], 0.1, atol=1e-6)
    np.testing.assert_allclose(other(rows, "mean_bend")[4:-4], 0.0, atol=1e-6)
    np.testing.assert_allclose(other(rows, "flux"), 0.0, atol=1e-6)


def test_tilt_and_loudest_band_follow_a_planted_shape():
    ramp = np.tile(np.linspace(-1.0, 1.0, 80) * 3.0, (5, 1)).astype(np.float32)
    rows = mel_movement(ramp)
    np.testing.assert_allclose(other(rows, "tilt"), 3.0, rtol=1e-5)
    assert set(other(rows, "loudest_place")) == {1.0}


def test_louder_moves_levels_and_leaves_movement():
    moved = mel_movement(MEL + 2.0) - mel_movement(MEL)
    np.testing.assert_allclose(moved[:, :BANDS], 2.0, atol=1e-5)
    np.testing.assert_allclose(other(moved, "mean"), 2.0, atol=1e-5)
    np.testing.assert_allclose(moved[:, BANDS : 2 * BANDS], 0.0, atol=1e-5)


def test_the_extractor_reads_the_mel_only():
    extractor = LocalAudioExtractor(LocalAudioConfig())
    value = extractor.extract(media_of(None, features={"mel": MEL}))
    assert (value.shape, value.dtype.name) == ((30, extractor.schema.width), "float32")
    assert value == pytest.approx(mel_movement(MEL))
