import numpy as np
import pytest

from redub.core.errors import FeatureAbsent
from redub.features.face_crops import Region, grey_crops
from redub.features.mouth_crop import MouthCropConfig, MouthCropExtractor
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
