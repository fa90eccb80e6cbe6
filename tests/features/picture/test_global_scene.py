"""The picture-only scene vector: closed forms on made pictures."""

import colorsys

import numpy as np
import pytest

from redub.core.errors import FeatureAbsent
from redub.features.picture.edge_histograms import edge_histograms
from redub.features.picture.global_scene import DIMENSIONS, GlobalSceneConfig, GlobalSceneExtractor
from redub.features.picture.small_frames import small_frames
from redub.features.registry import extractor_class
from tests.features.drawn_faces import media_of

EXTRACTOR = GlobalSceneExtractor(GlobalSceneConfig())
HUES = [f"hue_{30 * i}_mean" for i in range(12)]
MOTION = [name for name in DIMENSIONS if name.startswith("motion_")]
SPREADS = [name for name in DIMENSIONS if name.endswith("_spread")]
EDGES = [name for name in DIMENSIONS if name.startswith("edges_")]


def vector(frames):
    return EXTRACTOR.extract(media_of(frames))


def entries(values, names):
    return np.array([values[DIMENSIONS.index(name)] for name in names])


def entry(values, name):
    return float(entries(values, [name])[0])


def flat(colour, count=5, height=48, width=64):
    frames = np.empty((count, height, width, 3), dtype=np.uint8)
    frames[:] = colour
    return frames


def rgb(hue_deg, saturation=0.8, value=0.8):
    return [round(255 * c) for c in colorsys.hsv_to_rgb(hue_deg / 360, saturation, value)]


def noise(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 30, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_the_width_is_the_same_whatever_the_clip(count):
    values = vector(noise(count))
    assert values.shape == (EXTRACTOR.schema.width,) == (len(DIMENSIONS),)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert len(set(DIMENSIONS)) == len(DIMENSIONS)


def test_a_still_grey_clip_has_no_motion_no_hue_and_no_saturation():
    # sRGB 119 is L* = 50.0, the ordinary lightness: its centred entry is 0. A saturation of 0 is
    # (0 - 0.4) / 0.25 away from the ordinary one.
    values = vector(flat((119, 119, 119)))
    for names in (MOTION, SPREADS, HUES, EDGES):
        assert len(names) > 11
        assert not entries(values, names).any()
    assert entry(values, "lightness_mean") == pytest.approx(0, abs=0.02)
    assert entry(values, "saturation_mean") == pytest.approx(np.tanh(-0.4 / 0.25))
    assert entry(values, "contrast_mean") == pytest.approx(np.tanh(-0.13 / 0.08))


@pytest.mark.parametrize("turn", [1, 3, 6, 11])
def test_turning_all_hues_moves_the_hue_entries_along(turn):
    def halves(first):
        frames = flat(rgb(first))
        frames[:, :, 32:] = rgb(first + 60)
        return vector(frames)

    plain, turned = (entries(halves(first), HUES) for first in (0, 30 * turn))
    np.testing.assert_allclose(turned, np.roll(plain, turn), atol=0.02)
    assert set(np.argsort(plain)[-2:]) == {0, 2}
    assert plain.sum() == pytest.approx(0, abs=1e-5)


def test_flicker_of_known_size_is_the_motion_of_every_cell():
    # Every step is 1 grey level of 255: its mean is 1/255 and it has no spread.
    frames = flat((100, 100, 100), count=6)
    frames[1::2] = 101
    values = vector(frames)
    means = entries(values, [name for name in MOTION if name.endswith("_mean")])
    np.testing.assert_allclose(means, np.tanh(1 / 255 / 0.01), rtol=1e-5)
    spreads = entries(values, [name for name in MOTION if name.endswith("_spread")])
    np.testing.assert_allclose(spreads, 0, atol=1e-6)


def test_what_moves_in_a_corner_moves_in_that_cell_alone():
    frames = flat((90, 90, 90), count=8)
    frames[::2, :8, :8] = 200
    values = vector(frames)
    assert entry(values, "motion_0_0_mean") > 0.9
    others = [name for name in MOTION if "_0_0_" not in name]
    assert not entries(values, others).any()


def test_light_that_comes_and_goes_is_a_spread_of_lightness_and_a_fixed_one_is_not():
    frames = np.concatenate([flat((level,) * 3, 2) for level in (40, 200, 40, 200)])
    assert entry(vector(frames), "lightness_spread") > 0.7
    assert entry(vector(flat((200,) * 3)), "lightness_spread") == 0


def test_upright_and_lying_bars_have_edges_across_each_other():
    bars = np.zeros((3, 64, 64, 3), dtype=np.uint8)
    bars[:, :, ::8] = bars[:, :, 1::8] = 255
    upright, lying = vector(bars), vector(bars.transpose(0, 2, 1, 3))
    angles = {
        angle: [name for name in EDGES if name.endswith(f"_{angle}")] for angle in ("0", "90")
    }
    assert entries(upright, angles["0"]).min() > entries(upright, angles["90"]).max()
    assert entries(lying, angles["90"]).min() > entries(lying, angles["0"]).max()
    assert np.linalg.norm(entries(upright, EDGES)) == pytest.approx(1, abs=1e-5)


def test_edges_are_those_of_light_not_of_hue_alone():
    # The lightness of grey is a ramp of grey: the same histogram, whatever the scale.
    ramp = np.linspace(60, 180, 64).astype(np.uint8)
    frames = np.broadcast_to(ramp[None, None, :, None], (2, 64, 64, 3))
    found = entries(vector(frames), EDGES)
    expected = edge_histograms(np.broadcast_to(ramp.astype(np.float32), (2, 64, 64)))
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_time_runs_both_ways_alike():
    # 23 pictures: every second is measured, from either end the same ones.
    frames = noise(23, seed=3)
    np.testing.assert_allclose(vector(frames), vector(frames[::-1]), atol=1e-5)


def test_the_same_clip_gives_the_same_bytes_alone_and_after_others():
    frames = noise(9, seed=5)
    alone = vector(frames)
    other = EXTRACTOR
    for seed in range(3):
        other.extract(media_of(noise(4, seed=seed)))
    assert other.extract(media_of(frames.copy())).tobytes() == alone.tobytes()
    fresh = GlobalSceneExtractor(GlobalSceneConfig())
    media = media_of(frames)
    small = media.once(small_frames, media.frames)  # somebody made the small copies before
    assert len(small) == 9
    assert fresh.extract(media).tobytes() == alone.tobytes()


def test_words_and_faces_change_nothing():
    frames = noise(4)
    spoken = media_of(frames, scene_caption="a furious storm", face_track=np.ones((4, 5)))
    assert EXTRACTOR.extract(spoken).tobytes() == vector(frames).tobytes()
    assert extractor_class("global_scene").reads == ()
    assert extractor_class("global_scene").media == {"frames"}


@pytest.mark.parametrize("frames", [None, np.zeros((0, 4, 4, 3), np.uint8)])
def test_a_clip_without_picture_has_no_vector(frames):
    with pytest.raises(FeatureAbsent) as absent:
        vector(frames)
    assert absent.value.code == "E-FEAT-NOFRAMES"


@pytest.mark.parametrize("level", [0, 119, 255])
def test_even_pictures_still_have_a_direction(level):
    assert np.linalg.norm(vector(flat((level,) * 3, count=1))) > 0.5
