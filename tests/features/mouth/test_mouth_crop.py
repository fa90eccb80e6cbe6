import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from redub.core.errors import FeatureAbsent
from redub.features.face.crops import WHOLE_FACE, Region, grey_crops
from redub.features.mouth.crop import MouthCropConfig, MouthCropExtractor
from redub.features.mouth.source import MouthSourceConfig, MouthSourceExtractor
from redub.features.mouth.warp import FACE, make_a_face, smoothed_landmarks, upright_similarity
from tests.features.drawn_faces import media_of

EXTRACTOR = MouthCropExtractor(MouthCropConfig())


def boxes(*rows):
    return np.array([[*row, 1.0] for row in rows], dtype=np.float32)


def crop(frames, track):
    return EXTRACTOR.extract(media_of(frames, face_track=track)).reshape(-1, 96, 96)


def test_the_crop_is_the_mouth_part_of_the_box():
    # Box 20,10 of 80 x 100: x 25–75 % is 40..80, y 62–95 % is 72..105; only that part is white.
    picture = np.zeros((1, 140, 120, 3), dtype=np.uint8)
    picture[:, 72:105, 40:80] = 255
    assert crop(picture, boxes((20, 10, 80, 100))).min() == 255
    assert crop(255 - picture, boxes((20, 10, 80, 100))).max() == 0


def test_grey_is_the_luma_of_the_colours():
    # ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B.
    picture = np.empty((1, 60, 60, 3), dtype=np.uint8)
    picture[:] = (200, 100, 50)
    expected = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert set(np.unique(crop(picture, boxes((0, 0, 60, 60))))) == {expected}


def test_a_ramp_keeps_its_place():
    # Grey = 2 x: the crop spans columns 40..80, so its ends are near 80 and 160, its middle 119.
    ramp = np.broadcast_to((2 * np.arange(120))[None, None, :, None], (1, 140, 120, 3))
    row = crop(ramp.astype(np.uint8), boxes((20, 10, 80, 100)))[0, 48].astype(float)
    assert row[0] == pytest.approx(80, abs=1.5)
    assert row[-1] == pytest.approx(158, abs=1.5)
    assert row.mean() == pytest.approx(119, abs=1)


def test_outside_the_picture_the_edge_is_repeated():
    picture = np.full((1, 50, 50, 3), 90, dtype=np.uint8)
    picture[:, -1] = 200
    pictures = crop(picture, boxes((0, 40, 50, 50)))  # the mouth lies wholly below the picture
    assert set(np.unique(pictures)) == {200}


def bilinear(grey, width, height, centre_x, centre_y):
    """A patch of a (H, W) picture between the pixels, its edge going on for ever."""
    rows, columns = grey.shape
    y = centre_y - (height - 1) / 2 + np.arange(height)[:, None]
    x = centre_x - (width - 1) / 2 + np.arange(width)[None]
    y0, x0 = np.floor(y), np.floor(x)

    def at(down, right):
        inside_y = np.clip(y0 + down, 0, rows - 1).astype(int)
        return grey[inside_y, np.clip(x0 + right, 0, columns - 1).astype(int)].astype(float)

    upper = at(0, 0) * (1 - (x - x0)) + at(0, 1) * (x - x0)
    lower = at(1, 0) * (1 - (x - x0)) + at(1, 1) * (x - x0)
    return upper * (1 - (y - y0)) + lower * (y - y0)


@given(
    x=st.floats(-90, 120), y=st.floats(-60, 90), side=st.integers(1, 70), seed=st.integers(0, 99)
)
@example(x=5.0, y=-0.125, side=40, seed=0)  # OpenCV alone repeats another row here
def test_a_patch_anywhere_is_the_interpolated_picture(x, y, side, seed):
    levels = np.random.default_rng(seed).integers(0, 256, (1, 40, 60, 1), dtype=np.uint8)
    frames = np.repeat(levels, 3, axis=3)
    (patch,) = grey_crops(frames, boxes((x, y, side, side)), WHOLE_FACE, side)
    x, y = float(np.float32(x)), float(np.float32(y))
    centre = (side - 1) / 2
    expected = bilinear(levels[0, :, :, 0], side, side, x + centre, y + centre)
    assert np.abs(patch - expected).max() <= 1.01


def test_each_frame_follows_its_own_box():
    frames = np.zeros((2, 100, 200, 3), dtype=np.uint8)
    frames[:, :, 100:] = 255
    pictures = crop(frames, boxes((0, 0, 90, 90), (105, 0, 90, 90)))
    assert pictures[0].max() == 0
    assert pictures[1].min() == 255


def test_rows_have_the_schemas_width_and_type():
    values = EXTRACTOR.extract(
        media_of(np.zeros((3, 40, 40, 3)), face_track=boxes(*[(1, 1, 30, 30)] * 3))
    )
    assert values.shape == (3, EXTRACTOR.schema.width) == (3, 9216)
    assert values.dtype == np.uint8


def test_mirroring_the_picture_mirrors_the_crop():
    frames = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    plain = grey_crops(frames, boxes((8, 4, 40, 40)), Region(0, 0, 1, 1), 40)
    mirrored = grey_crops(frames[:, :, ::-1], boxes((16, 4, 40, 40)), Region(0, 0, 1, 1), 40)
    np.testing.assert_array_equal(mirrored, plain[:, :, ::-1])


def test_a_clip_without_picture_has_no_crop():
    with pytest.raises(FeatureAbsent):
        EXTRACTOR.extract(media_of(None, face_track=boxes((0, 0, 4, 4))))


# -- with landmarks

MOUTH = (5.0, 68.0)  # below the nose and a little to the side, in pixels of the crop
EYES_AND_NOSE = list(FACE.values())
TURN = np.deg2rad(25)


def turned(points, *, scale=1.0, angle=0.0, shift=(0.0, 0.0)):
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.asarray(points, dtype=float) @ np.array([[c, s], [-s, c]]) + shift


def face_at(**place):
    """(136,) landmarks of the standard face at a place of the picture, its mouth a ring."""
    points = np.zeros((68, 2))
    for index, point in FACE.items():
        points[index] = point
    ring = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    points[48:68] = np.array(MOUTH) + 20 * np.stack([np.cos(ring), 0.4 * np.sin(ring)], axis=1)
    return turned(points, **place).ravel().astype(np.float32)


def warped(frames, *landmarks):
    rows = np.stack(landmarks)
    return EXTRACTOR.extract(media_of(frames, face_track=None, landmarks=rows)).reshape(-1, 96, 96)


def plane(size, across, down, level):
    """A picture whose grey rises evenly; float, so that only the crop rounds."""
    y, x = np.mgrid[0:size, 0:size] + 0.5  # the middle of the first pixel is 0.5
    return np.repeat((level + across * x + down * y)[None, :, :, None], 3, axis=3)


@pytest.mark.parametrize(
    "place",
    [
        {"shift": (100, 60)},
        {"shift": (120.3, 61.8), "scale": 0.7},
        {"shift": (150, 60), "scale": 1.4, "angle": TURN},
        {"shift": (110, 90), "scale": 1.1, "angle": -TURN},
        {"shift": (320, 140), "scale": 3.5, "angle": TURN},  # shrunk before it is warped
    ],
)
def test_the_crop_is_upright_to_scale_and_centred_on_the_mouth(place):
    # The picture is a plane over x and y, so the level of each crop pixel is known exactly: pixel
    # (u, v) lies (u - 47.5, v - 47.5) from the mouth's middle in the face's own frame.
    side = 640 if place.get("scale", 1) > 2 else 256
    across, down, level = 80 / side, -45 / side, 90.0
    (crop,) = warped(np.rint(plane(side, across, down, level)), face_at(**place))
    v, u = np.mgrid[0:96, 0:96]
    offsets = np.stack([u - 47.5 + MOUTH[0], v - 47.5 + MOUTH[1]], axis=-1)
    spots = turned(offsets.reshape(-1, 2), **place)
    expected = (level + spots @ [across, down]).reshape(96, 96)
    inside = ((spots > 2) & (spots < side - 2)).all(axis=1).reshape(96, 96)
    assert inside.mean() > 0.7
    difference = crop[inside] - expected[inside]
    assert np.abs(difference).max() < 1.3
    assert abs(difference.mean()) < 0.04  # half a pixel of the small ones would be 0.07


def test_large_faces_are_averaged_not_skipped():
    # One pixel in sixteen is white: reading single pixels would give some crop pixels 255.
    frames = np.zeros((1, 512, 512, 3), dtype=np.uint8)
    frames[:, ::4, ::4] = 255
    (crop,) = warped(frames, face_at(shift=(256, 100), scale=4.0))
    assert crop[:, 24:72].mean() == pytest.approx(255 / 16, abs=2)
    assert crop.max() < 60


def test_landmarks_are_trusted_over_the_face_box_and_the_source_says_so():
    frames = np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3), dtype=np.uint8)
    track, points = boxes(*[(30, 30, 60, 60)] * 2), np.stack([face_at(shift=(80, 40))] * 2)
    by_box = EXTRACTOR.extract(media_of(frames, face_track=track))
    by_points = EXTRACTOR.extract(media_of(frames, face_track=track, landmarks=points))
    np.testing.assert_array_equal(by_points.reshape(2, 96, 96), warped(frames, *points))
    assert (by_box != by_points).any()
    source = MouthSourceExtractor(MouthSourceConfig())
    assert source.extract(media_of(None, mouth_crop=by_box)) == "geometry"
    assert source.extract(media_of(None, mouth_crop=by_points, landmarks=points)) == "landmarks"


def test_a_similarity_is_found_exactly_and_noise_is_shared_out():
    seen = turned(EYES_AND_NOSE, scale=2.5, angle=TURN, shift=(7, -3))
    about = seen - seen.mean(axis=0)
    wanted = np.array(EYES_AND_NOSE) - np.mean(EYES_AND_NOSE, axis=0)
    np.testing.assert_allclose(about @ upright_similarity(seen).T, wanted, atol=1e-12)
    # Of all turns and scales, tried one by one, none comes nearer to the face of a noisy one.
    noisy = seen + np.random.default_rng(1).normal(0, 4, (5, 2))
    about = noisy - noisy.mean(axis=0)
    tried = [
        np.linalg.norm(turned(about, scale=scale, angle=angle) - wanted)
        for scale in np.linspace(0.3, 0.5, 81)
        for angle in np.linspace(-0.6, -0.3, 121)
    ]
    best = np.linalg.norm(about @ upright_similarity(noisy).T - wanted)
    assert best <= min(tried) + 1e-9
    assert best == pytest.approx(min(tried), rel=1e-2)


def test_the_shape_is_smoothed_over_twelve_frames_and_the_place_is_not():
    shape = np.random.default_rng(2).normal(0, 30, (68, 2))
    path = np.random.default_rng(3).normal(0, 50, (20, 1, 2))
    still = smoothed_landmarks(path + shape)
    np.testing.assert_allclose(still, path + shape)  # a face that only moves is left alone
    shaking = np.tile(shape, (30, 1, 1))
    shaking[15, 50] += (13, 0)  # one point of 68 jumps in one frame
    smooth = smoothed_landmarks(shaking)
    moved = np.flatnonzero(np.abs(smooth[:, 50, 0] - shape[50, 0]) > 0.5)
    assert moved.tolist() == list(range(9, 22))  # six frames before and after, not beyond
    # In its own frame: 1/13 of the jump, and 12/13 of the 1/68 by which all the points' mean moves.
    assert smooth[15, 50, 0] - shape[50, 0] == pytest.approx(1 + 13 / 68 * 12 / 13)


def test_two_faces_are_not_averaged_over_a_cut():
    dark, bright = np.full((8, 160, 160, 3), 20), np.full((8, 160, 160, 3), 220)
    frames = np.concatenate([dark, bright])
    frames[:, 40:120, 40:120] //= 2
    here, there = face_at(shift=(80, 40)), face_at(shift=(90, 50), scale=0.6, angle=TURN)
    together = warped(frames, *[here] * 8, *[there] * 8)
    np.testing.assert_array_equal(together[:8], warped(frames[:8], *[here] * 8))
    np.testing.assert_array_equal(together[8:], warped(frames[8:], *[there] * 8))


@pytest.mark.parametrize("count", [1, 2])
def test_short_clips_with_landmarks_have_one_row_per_frame(count):
    frames = np.zeros((count, 64, 64, 3), dtype=np.uint8)
    crops = EXTRACTOR.extract(
        media_of(frames, face_track=None, landmarks=np.stack([face_at(shift=(32, 9))] * count))
    )
    assert crops.shape == (count, 9216)
    assert crops.dtype == np.uint8


def scattered(frames, seed):
    return np.random.default_rng(seed).uniform(0, 64, (frames, 136)).astype(np.float32)


@pytest.mark.parametrize(
    "points",
    [
        np.stack([face_at(shift=(32, 32), scale=0.04)] * 3),  # the eyes 3.6 pixels apart
        np.stack([face_at(shift=(32, 32), angle=a) for a in (0, np.pi)]),  # upside down in between
        np.stack([face_at(shift=(32, 32)), np.full(136, 30, np.float32)]),
        np.full((4, 136), 30, np.float32),
        scattered(12, 0),
        scattered(12, 1),
    ],
)
def test_points_that_make_no_face_leave_the_mouth_to_the_box_and_the_source_says_so(points):
    frames = np.random.default_rng(0).integers(0, 256, (len(points), 64, 64, 3), dtype=np.uint8)
    track = boxes(*[(10, 10, 40, 40)] * len(points))
    crops = EXTRACTOR.extract(media_of(frames, face_track=track, landmarks=points))
    np.testing.assert_array_equal(crops, EXTRACTOR.extract(media_of(frames, face_track=track)))
    source = MouthSourceExtractor(MouthSourceConfig())
    assert source.extract(media_of(None, mouth_crop=crops, landmarks=points)) == "geometry"


def test_a_tilted_or_small_face_still_is_one():
    tilted = [face_at(shift=(80, 80), angle=a) for a in np.deg2rad([-50, -20, 10, 45])]
    assert make_a_face(np.stack(tilted))
    assert make_a_face(
        np.stack([face_at(shift=(20, 10), scale=0.06)] * 2)
    )  # the eyes 5.4 pixels apart
