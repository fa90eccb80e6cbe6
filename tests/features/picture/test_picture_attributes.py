import colorsys

import numpy as np
import pytest

from redub.features.picture.attributes import colour_affect, hue_family, measure_frames


def flat(colour, count=4, height=48, width=64):
    frames = np.empty((count, height, width, 3), dtype=np.uint8)
    frames[:] = colour
    return frames


def rgb(hue_deg, saturation=0.8, value=0.8):
    return [round(255 * c) for c in colorsys.hsv_to_rgb(hue_deg / 360, saturation, value)]


def box(x, y, w, h, count=4):
    return np.tile(np.array([x, y, w, h, 1.0], dtype=np.float32), (count, 1))


@pytest.mark.parametrize("hue", [0, 30, 60, 120, 180, 220, 280, 330])
def test_a_flat_colour_has_its_hue_saturation_and_chroma(hue):
    seen = measure_frames(flat(rgb(hue, 0.7, 0.6)))
    assert np.cos(np.deg2rad(seen.hue_deg - hue)) > 0.9995
    assert seen.hue_concentration == pytest.approx(1, abs=1e-3)
    assert seen.saturation == pytest.approx(0.7, abs=0.01)
    assert seen.chroma == pytest.approx(0.42, abs=0.01)
    assert int(np.argmax(seen.hue_shares)) == round(hue / 30) % 12
    assert sum(seen.hue_shares) == pytest.approx(1)


@pytest.mark.parametrize(
    ("hue", "name"),
    [(0, "red"), (350, "red"), (30, "orange"), (55, "yellow"), (120, "green"), (180, "teal"),
     (220, "blue"), (280, "violet"), (320, "pink")],
)  # fmt: skip
def test_hues_have_their_everyday_names(hue, name):
    assert hue_family(measure_frames(flat(rgb(hue)))) == name


def test_the_mean_of_two_reds_across_zero_degrees_is_red():
    frames = flat(rgb(350))
    frames[:, :, 32:] = rgb(10)
    seen = measure_frames(frames)
    assert min(seen.hue_deg, 360 - seen.hue_deg) < 1
    assert seen.warm_share == pytest.approx(1)
    # Two unit vectors 20 degrees apart: their mean is cos(10 degrees) long.
    assert seen.hue_concentration == pytest.approx(np.cos(np.deg2rad(10)), abs=0.01)


def test_opposite_hues_cancel():
    frames = flat(rgb(0))
    frames[:, :, 32:] = rgb(180)
    seen = measure_frames(frames)
    assert seen.hue_concentration < 0.02
    assert seen.warm_share == pytest.approx(0.5, abs=0.02)
    assert seen.cool_share == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("level", "lightness"), [(0, 0.0), (119, 0.5), (255, 1.0)])
def test_lightness_is_cie_l_star(level, lightness):
    # sRGB 119 is L* = 50.0 (a standard value); 0 and 255 are the ends of the scale.
    seen = measure_frames(flat((level,) * 3))
    assert seen.lightness == pytest.approx(lightness, abs=0.005)
    assert hue_family(seen) == "grey"
    assert seen.contrast == pytest.approx(0, abs=1e-6)


def test_contrast_of_half_black_half_white_is_one_half():
    frames = flat((0, 0, 0))
    frames[:, :24] = 255
    seen = measure_frames(frames)
    assert seen.contrast == pytest.approx(0.5, abs=0.01)
    assert seen.light_from_above == pytest.approx(1, abs=0.02)


def test_identical_frames_do_not_move():
    noise = np.random.default_rng(0).integers(0, 256, (1, 48, 64, 3), dtype=np.uint8)
    seen = measure_frames(np.repeat(noise, 5, axis=0))
    assert seen.motion == 0
    assert seen.lightness_trend == 0


def test_flicker_of_known_size_is_the_motion():
    frames = flat((100, 100, 100), count=6)
    frames[1::2] = 151
    assert measure_frames(frames).motion == pytest.approx(51 / 255, abs=1e-3)


def test_reversing_time_turns_the_trend_round_and_keeps_the_rest():
    frames = np.concatenate([flat((level,) * 3, 1) for level in np.linspace(40, 200, 31)])
    forward, backward = measure_frames(frames), measure_frames(frames[::-1])
    assert forward.lightness_trend > 0.3
    assert backward.lightness_trend == pytest.approx(-forward.lightness_trend, abs=1e-6)
    assert backward.motion == pytest.approx(forward.motion)
    assert backward.lightness == pytest.approx(forward.lightness)


def test_mirroring_changes_no_attribute():
    frames = np.random.default_rng(1).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    plain, mirrored = measure_frames(frames), measure_frames(frames[:, :, ::-1])
    for name in plain._fields:
        assert getattr(mirrored, name) == pytest.approx(getattr(plain, name), abs=1e-4), name


def test_the_person_is_left_out_of_the_scenery():
    frames = flat((20, 40, 160), height=100, width=200)
    frames[:, 20:60, 90:130] = (250, 120, 90)  # a face
    frames[:, 60:, 80:140] = (250, 120, 90)  # a body
    seen = measure_frames(frames, box(90, 20, 40, 40))
    assert hue_family(seen) == "blue"
    assert seen.contrast == pytest.approx(0, abs=0.01)
    assert measure_frames(frames).contrast > 0.05


def test_a_close_up_falls_back_to_the_whole_picture():
    frames = flat((20, 40, 160))
    assert measure_frames(frames, box(-10, -10, 90, 90)) == measure_frames(frames)


def test_affect_of_white_and_of_dark_saturated_red():
    # White: B = 1, S = -1: pleasure .69 - .22, arousal -.31 - .60.
    white = colour_affect(measure_frames(flat((255, 255, 255))))
    assert white.pleasure == pytest.approx(0.47, abs=0.01)
    assert white.arousal == pytest.approx(-0.91, abs=0.01)
    red = colour_affect(measure_frames(flat((90, 0, 0))))
    assert red.arousal > 0.6
    assert red.pleasure < 0


@pytest.mark.parametrize("count", [1, 2, 3, 30])
def test_any_number_of_frames_gives_finite_numbers(count):
    frames = np.random.default_rng(2).integers(0, 256, (count, 30, 40, 3), dtype=np.uint8)
    seen = measure_frames(frames)
    assert np.isfinite([*seen[:-1], *seen.hue_shares]).all()


def test_colourfulness_of_grey_is_zero_and_grows_with_saturation():
    values = [measure_frames(flat(rgb(200, s))).colourfulness for s in (0, 0.3, 0.9)]
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert values[0] < values[1] < values[2]
