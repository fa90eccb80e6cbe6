import numpy as np
import pytest

from redub.core.errors import FeatureAbsent
from redub.features.face.local_face import LocalFaceConfig, LocalFaceExtractor
from redub.features.face.motion import DIMENSIONS, motion_rows
from redub.features.face.track import FaceTrackConfig, FaceTrackExtractor
from tests.features.drawn_faces import media_of, talking

TRACK = FaceTrackExtractor(FaceTrackConfig())
EXTRACTOR = LocalFaceExtractor(LocalFaceConfig())


def rows_of(frames):
    return EXTRACTOR.extract(media_of(frames, face_track=TRACK.extract(media_of(frames))))


def column(rows, name):
    return rows[:, DIMENSIONS.index(name)]


def still_track(count, x=0.0):
    return np.tile(np.array([x, 0, 64, 64, 1.0], dtype=np.float32), (count, 1))


@pytest.mark.parametrize("count", [1, 2, 9])
def test_there_is_one_finite_row_per_frame(count):
    rows = rows_of(talking([0.3] * count))
    assert rows.shape == (count, EXTRACTOR.schema.width) == (count, len(DIMENSIONS))
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()


def test_identical_frames_do_not_move():
    rows = rows_of(talking([0.3] * 6))
    moving = [i for i, name in enumerate(DIMENSIONS) if "motion" in name or "change" in name]
    assert np.abs(rows[:, moving]).max() < 1e-6
    assert np.abs(rows[0, 9:22]).max() > 0.01  # the look is there all the same


def test_motion_is_counted_in_the_cell_where_it_happens():
    faces = np.zeros((2, 64, 64), dtype=np.float32)
    faces[1, 50:60, 2:12] = 1.0  # lower left cell of 3 x 3: rows 43–63, columns 0–21
    cells = motion_rows(faces, still_track(2))[1, :9].reshape(3, 3)
    assert cells[2, 0] == pytest.approx(100 / (21 * 22), abs=1e-3)
    assert np.count_nonzero(cells) == 1


def test_head_motion_is_in_box_widths():
    track = still_track(3)
    track[1:, 0] += 16  # a quarter of the box's 64 pixels
    rows = motion_rows(np.zeros((3, 64, 64), dtype=np.float32), track)
    np.testing.assert_allclose(column(rows, "head_x_change"), [0, 0.25, 0], atol=1e-6)
    assert not column(rows, "head_y_change").any()


def test_the_mouths_cell_moves_when_the_mouth_speaks():
    rows = rows_of(talking([0.0, 0.8, 0.1, 0.9, 0.0, 0.7]))
    mouth, brow = column(rows, "motion_2_1")[1:], column(rows, "motion_0_1")[1:]
    assert (mouth > 3 * brow).all()


def test_dimming_the_light_changes_little():
    openings = [0.1, 0.7, 0.2, 0.9]
    np.testing.assert_allclose(
        rows_of(talking(openings, gain=0.6)), rows_of(talking(openings)), atol=0.04
    )


def test_a_clip_without_picture_has_no_rows():
    with pytest.raises(FeatureAbsent):
        EXTRACTOR.extract(media_of(None))
