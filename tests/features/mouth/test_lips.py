import numpy as np
import pytest

from redub.features.face.track import FaceTrackConfig, FaceTrackExtractor
from redub.features.mouth.crop import MouthCropConfig, MouthCropExtractor
from redub.features.mouth.lips import DIMENSIONS, LipConfig, LipExtractor, changes, low_frequencies
from redub.features.mouth.shape import darkness, mouth_shape
from tests.features.drawn_faces import media_of, talking

TRACK = FaceTrackExtractor(FaceTrackConfig())
MOUTHS = MouthCropExtractor(MouthCropConfig())
LIPS = LipExtractor(LipConfig())
OPENINGS = np.clip(
    0.4 + 0.35 * np.sin(np.arange(40) * 0.7) + np.random.default_rng(0).normal(0, 0.1, 40), 0, 1
)


def mouths_of(frames):
    return MOUTHS.extract(media_of(frames, face_track=TRACK.extract(media_of(frames))))


def lips_of(mouths):
    return LIPS.extract(media_of(None, mouth_crop=mouths))


def column(rows, name):
    return rows[:, DIMENSIONS.index(name)]


def drawn_mouth(*, height, width, row=48, bend=0):
    """A dark bar of known size in a (96, 96) crop of skin; bend lifts its ends by so many rows."""
    picture = np.full((96, 96), 180, dtype=np.uint8)
    for x in range(48 - width // 2, 48 + width // 2):
        top = row - height // 2 - round(bend * ((x - 48) / (width / 2)) ** 2)
        picture[top : top + height, x] = 40
    return picture.reshape(-1)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"smile": 1.0},
        {"smile": -1.0},
        {"gain": 0.5},
        {"skin": (140, 95, 70)},
        {"radius": 0.22},
        {"centre": [(0.5 + 0.03 * np.sin(k / 5), 0.5) for k in range(40)]},
    ],
    ids=["plain", "smiling", "drooping", "dim", "dark skin", "small", "swaying"],
)
def test_opening_follows_the_drawn_opening(settings):
    rows = lips_of(mouths_of(talking(OPENINGS, **settings)))
    assert np.corrcoef(column(rows, "opening"), OPENINGS)[0, 1] > 0.8
    assert np.corrcoef(column(rows, "opening_change")[1:], np.diff(OPENINGS))[0, 1] > 0.8


def test_opening_and_width_are_the_bars_shares_of_the_crop():
    # Bars 12 and 36 rows high, 48 columns wide, in a crop of 96.
    rows = lips_of(np.stack([drawn_mouth(height=h, width=48) for h in (12, 36)]))
    np.testing.assert_allclose(column(rows, "opening"), [12 / 96, 36 / 96], atol=0.02)
    np.testing.assert_allclose(column(rows, "width"), [0.5, 0.5], atol=0.03)


def test_width_tells_bars_of_different_width_apart():
    rows = lips_of(np.stack([drawn_mouth(height=12, width=w) for w in (24, 48, 72)]))
    np.testing.assert_allclose(column(rows, "width"), [0.25, 0.5, 0.75], atol=0.03)


def test_a_shadow_beside_the_mouth_adds_no_width():
    picture = drawn_mouth(height=12, width=40).reshape(96, 96)
    shadowed = picture.copy()
    shadowed[:, :10] = 40
    rows = lips_of(np.stack([picture.reshape(-1), shadowed.reshape(-1)]))
    np.testing.assert_allclose(column(rows, "width"), 40 / 96, atol=0.03)


def test_corners_above_the_middle_are_lifted_and_below_lowered():
    bends = (-12, 0, 12)
    rows = lips_of(np.stack([drawn_mouth(height=10, width=64, bend=b) for b in bends]))
    lift = column(rows, "corner_lift")
    assert lift[0] < -0.02
    assert lift[1] == pytest.approx(0, abs=0.005)
    assert lift[2] > 0.02


def test_lower_edge_sinks_with_the_bar():
    rows = lips_of(np.stack([drawn_mouth(height=12, width=48, row=r) for r in (40, 60)]))
    assert np.diff(column(rows, "lower_edge"))[0] == pytest.approx(20 / 96, abs=0.03)


@pytest.mark.parametrize("gain", [0.4, 0.7])
def test_dimming_the_light_changes_nothing_much(gain):
    mouths = np.stack([drawn_mouth(height=h, width=48) for h in (8, 20, 32, 20)])
    dimmed = np.round(mouths * gain).astype(np.uint8)
    np.testing.assert_allclose(lips_of(dimmed), lips_of(mouths), atol=0.03)


def test_a_still_mouth_has_no_change():
    rows = lips_of(np.stack([drawn_mouth(height=20, width=48)] * 5))
    moving = [i for i, name in enumerate(DIMENSIONS) if name.endswith("change")]
    assert np.all(rows[:, [*moving, DIMENSIONS.index("motion")]] == 0)
    assert np.all(column(rows, "opening") > 0.15)


def test_reversing_time_turns_changes_round():
    mouths = np.stack([drawn_mouth(height=h, width=48) for h in (8, 30, 12, 20)])
    forward, backward = lips_of(mouths), lips_of(mouths[::-1])
    np.testing.assert_allclose(
        column(backward, "opening_change")[1:], -column(forward, "opening_change")[:0:-1], atol=1e-6
    )
    np.testing.assert_allclose(
        column(backward, "opening"), column(forward, "opening")[::-1], atol=1e-6
    )


def test_mirroring_keeps_sizes_and_flips_the_sideways_place():
    picture = drawn_mouth(height=16, width=40).reshape(96, 96)
    aside = np.roll(picture, 8, axis=1)
    pair = lips_of(np.stack([aside.reshape(-1), aside[:, ::-1].reshape(-1)]))
    for name in ("opening", "width", "area", "corner_lift", "lower_edge"):
        assert column(pair, name)[0] == pytest.approx(column(pair, name)[1], abs=1e-3)
    assert column(pair, "centre_x")[0] > 0.05
    assert column(pair, "centre_x")[1] == pytest.approx(-column(pair, "centre_x")[0], abs=1e-3)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_even_picture_gives_finite_rows_and_no_mouth(count, level):
    rows = lips_of(np.full((count, 9216), level, dtype=np.uint8))
    assert rows.shape == (count, LIPS.schema.width)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    assert np.all(column(rows, "area") == 0)


def test_darkness_is_zero_on_skin_and_one_in_the_hole():
    dark = darkness(drawn_mouth(height=40, width=60)[None])
    assert dark[0, 2, 2] == 0
    assert dark[0, 24, 24] == pytest.approx(1)


def test_bright_teeth_are_counted():
    crop = np.full((96, 96), 120, dtype=np.uint8)
    crop[40:56, 24:72] = 20
    crop[44:50, 32:64] = 250
    teeth = mouth_shape(darkness(crop.reshape(1, -1))).bright[0]
    assert teeth == pytest.approx(6 * 32 / 96**2, abs=0.01)


def test_a_cosine_pattern_lands_in_its_own_coefficient():
    # Two half-waves down: cos(pi (2 i + 1) 2 / 32) on 16 rows, the DCT basis vector u = 2, v = 0.
    wave = np.cos(np.pi * (2 * np.arange(16) + 1) * 2 / 32)
    picture = np.repeat(wave[:, None], 16, axis=1).astype(np.float32)
    row = low_frequencies(picture[None])[0]
    place = DIMENSIONS.index("appearance_2_0") - DIMENSIONS.index("appearance_0_0")
    # Orthonormal: sum of wave² over rows is 8, so sqrt(8) * sqrt(16), divided by 16.
    assert row[place] == pytest.approx(np.sqrt(8 * 16) / 16, abs=1e-5)
    assert np.abs(np.delete(row, place)).max() < 1e-5


def test_changes_keep_the_length_and_start_at_zero():
    np.testing.assert_array_equal(changes(np.array([[3.0], [5.0], [4.0]])), [[0], [2], [-1]])
