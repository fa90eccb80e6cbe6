"""MediaPipe's real networks on drawn faces, whose eyes and mouth are where the drawing puts them.

The networks accept the drawings, so no recording is needed: the planted geometry, and what moving,
scaling, turning and mirroring a picture must do to the answers, are the oracles.
"""

import math

import cv2
import numpy as np
import pytest

from redub.core.errors import ConfigError, FeatureAbsent, ModelRefusedError
from redub.features.face.detector import Box, detector_of, recorded_score
from redub.features.face.landmarks import MESH_POINTS, as_68
from redub.features.face.source import FaceSourceConfig, FaceSourceExtractor
from redub.features.face.track import FaceTrackConfig, FaceTrackExtractor
from redub.features.models.mediapipe_face.detector import (
    FULL_RANGE,
    SHORT_RANGE,
    Found,
    MediaPipeDetector,
    anchors_of,
    letterboxed,
    merged_overlaps,
    overlaps,
)
from redub.features.models.mediapipe_face.landmarks import (
    MediaPipeLandmarkConfig,
    MediaPipeLandmarks,
)
from redub.features.models.mediapipe_face.mesh import (
    MediaPipeMesh,
    Square,
    filled,
    square_around,
    square_of_box,
    turned_crop,
)
from redub.features.models.mediapipe_face.network import KIND
from redub.features.models.mediapipe_face.track import MediaPipeTrack, MediaPipeTrackConfig
from redub.features.mouth.crop import MouthCropConfig, MouthCropExtractor, placed_by
from tests.features.drawn_faces import draw_face, media_of, talking
from tests.features.paper.ledgers import CPU, folder_of
from tests.packaged import packaged

SIDE = 384
RIGHT_EYE, LEFT_EYE, RIGHT_LIP, LEFT_LIP = 33, 263, 61, 291  # outer corners, of the person
INNER_LIPS = (13, 14)  # middle of the upper and of the lower lip
PAIRS = ((33, 263), (133, 362), (61, 291), (234, 454), (70, 300), (97, 326))  # mirror images


@pytest.fixture(scope="module")
def weights():
    return packaged(KIND)


@pytest.fixture(scope="module")
def detector(weights):
    return MediaPipeDetector(weights, min_face=0.1, threshold=0.6)


@pytest.fixture(scope="module")
def mesh(weights):
    return MediaPipeMesh(weights)


def tracker(weights, **settings):
    return MediaPipeTrack(MediaPipeTrackConfig(**settings), {"mediapipe": weights}, CPU)


def landmarker(weights, **settings):
    return MediaPipeLandmarks(MediaPipeLandmarkConfig(**settings), {"model": weights}, CPU)


def drawing(**settings):
    return draw_face(**{"size": SIDE, **settings})


def on_canvas(picture, height, width, top, left):
    """A picture of the drawings' background colour with a drawing in it."""
    canvas = np.empty((height, width, 3), dtype=np.uint8)
    canvas[:] = (70, 110, 140)
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def turned(picture, degrees):
    """A picture turned clockwise about its middle, and the 2 x 3 map of its points."""
    middle = (picture.shape[1] / 2 - 0.5, picture.shape[0] / 2 - 0.5)
    way = cv2.getRotationMatrix2D(middle, -degrees, 1.0)
    size = picture.shape[1::-1]
    return cv2.warpAffine(picture, way, size, borderValue=(70, 110, 140)), way


def points_of(mesh, detector, picture):
    """The points of one picture, found as the feature finds them."""
    (box,) = detector.faces(picture)
    found = mesh.follow(picture[None], np.array([[*box[:4], 1.0]], np.float32), [0])
    assert found.found.all()
    return found.points[0].astype(np.float64)


# -- the detectors


@pytest.mark.parametrize("radius", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("centre", [(0.5, 0.5), (0.4, 0.55)])
def test_a_box_has_the_form_of_the_cascades_boxes(detector, radius, centre):
    # Other features rely on it: eyes at 0.4 and the mouth at 0.78 of its height, in its middle.
    (box,) = detector.faces(drawing(radius=radius, centre=centre))
    r, (x, y) = radius * SIDE, (part * SIDE for part in centre)
    assert box.by == "mediapipe"
    assert box.w == box.h
    assert box.x + box.w / 2 == pytest.approx(x, abs=0.05 * box.w)
    assert (y - 0.1 * r - box.y) / box.h == pytest.approx(0.4, abs=0.09)  # eyes of the drawing
    assert (y + 0.6 * r - box.y) / box.h == pytest.approx(0.78, abs=0.09)  # its mouth


def test_the_box_moves_with_the_face_and_grows_with_the_picture(detector):
    face = drawing(size=240)
    (here,) = detector.faces(on_canvas(face, 480, 480, 20, 40))
    (there,) = detector.faces(on_canvas(face, 480, 480, 170, 150))
    assert (there.x - here.x, there.y - here.y) == pytest.approx((110, 150), abs=0.05 * here.w)
    assert there.w == pytest.approx(here.w, rel=0.05)
    large = cv2.resize(on_canvas(face, 480, 480, 20, 40), (1440, 1440))
    (tripled,) = detector.faces(large)
    assert tripled[:4] == pytest.approx([3 * value for value in here[:4]], abs=0.06 * tripled.w)


def test_a_mirrored_picture_has_the_mirrored_box(detector):
    picture = drawing(centre=(0.35, 0.5), radius=0.2)
    (box,), (other,) = detector.faces(picture), detector.faces(picture[:, ::-1])
    assert other.x + other.w == pytest.approx(SIDE - box.x, abs=0.05 * box.w)
    assert other.y == pytest.approx(box.y, abs=0.05 * box.h)


@pytest.mark.parametrize("shape", [(240, 640), (640, 240), (240, 241), (1080, 300)])
def test_pictures_that_are_not_square_are_padded_not_stretched(detector, shape):
    height, width = shape
    picture = on_canvas(drawing(size=240), height, width, height - 240, width - 240)
    (box,) = detector.faces(picture)
    assert (box.x + box.w / 2, box.y + box.h / 2) == pytest.approx(
        (width - 120, height - 120 + 0.1 * 72), abs=0.12 * box.w
    )
    assert box.w == pytest.approx(1.87 * 72, rel=0.12)  # 72: radius of the drawing


def test_two_faces_are_two_boxes_the_larger_one_first(detector):
    picture = on_canvas(drawing(size=300), 320, 640, 10, 10)
    picture[60:260, 420:620] = drawing(size=200)
    large, small = detector.faces(picture)
    assert large.x + large.w / 2 == pytest.approx(160, abs=10)
    assert small.x + small.w / 2 == pytest.approx(520, abs=10)
    assert large.w > small.w


@pytest.mark.parametrize("shape", [(180, 320), (64, 64), (9, 7), (1, 1)])
def test_a_blank_or_random_picture_has_no_face(detector, shape):
    noise = np.random.default_rng(5).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for picture in (np.zeros((*shape, 3), np.uint8), np.full((*shape, 3), 200, np.uint8), noise):
        assert detector.faces(picture) == []


def test_faces_below_the_smallest_size_or_the_score_are_left_out(weights):
    picture = drawing(radius=0.1)  # a box of a fifth of the picture
    assert MediaPipeDetector(weights, min_face=0.15, threshold=0.6).faces(picture)
    assert not MediaPipeDetector(weights, min_face=0.25, threshold=0.6).faces(picture)
    assert not MediaPipeDetector(weights, min_face=0.1, threshold=0.999).faces(picture)


def test_anchors_are_the_middles_of_the_cells():
    short, full = anchors_of(SHORT_RANGE.grids), anchors_of(FULL_RANGE.grids)
    assert (len(short), len(full)) == (16 * 16 * 2 + 8 * 8 * 6, 48 * 48)
    assert short[:3].tolist() == [[1 / 32, 1 / 32], [1 / 32, 1 / 32], [3 / 32, 1 / 32]]
    assert short[512].tolist() == [1 / 16, 1 / 16]
    assert full[-1].tolist() == [95 / 96, 95 / 96]


def test_overlapping_boxes_are_averaged_by_their_scores():
    # Overlaps by hand: 6 x 10 of 140 (0.43) are one face; a box far off is another.
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [50, 50, 60, 60]], dtype=np.float64)
    assert overlaps(boxes[0], boxes) == pytest.approx([1, 60 / 140, 0])
    points = np.zeros((3, 6, 2)) + np.array([0, 8, 5])[:, None, None]
    merged = merged_overlaps(Found(boxes, points, np.array([0.9, 0.3, 0.7])))
    assert merged.boxes == pytest.approx(np.array([[1, 0, 11, 10], [50, 50, 60, 60]]))
    assert merged.points[:, 0, 0] == pytest.approx([2, 5])
    assert merged.scores == pytest.approx([0.9, 0.7])
    assert len(merged_overlaps(Found(boxes[:0], points[:0], np.zeros(0))).boxes) == 0


def test_the_square_of_a_wide_picture_is_black_above_and_below():
    square, scale, shift = letterboxed(np.full((100, 200, 3), 9, np.uint8), 128)
    assert (scale, shift.tolist()) == (0.64, [0, 32])
    assert (square[32:96] == 9).all()
    assert not square[:32].any()
    assert not square[96:].any()


# -- the track


def test_the_track_is_mediapipes_and_face_source_says_so(weights):
    frames = talking([0.2] * 11, size=192)
    rows = tracker(weights).extract(media_of(frames))
    assert rows.shape == (11, 5)
    assert rows.dtype == np.float32
    assert np.flatnonzero(rows[:, 4]).tolist() == [0, 5, 10]
    said = FaceSourceExtractor(FaceSourceConfig()).extract(media_of(frames, face_track=rows))
    assert said == "mediapipe 3 of 11 frames, longest gap 4"


@pytest.mark.parametrize("by", ["profile", "frontal", "yunet", "mediapipe", "user boxes"])
@pytest.mark.parametrize("score", [0.17, 0.6, 0.9999, 1.0])
def test_the_score_of_a_row_names_its_detector(by, score):
    if by == "user boxes":
        score = 1.0  # no other score is ever given
    assert detector_of(np.float32(recorded_score(Box(0, 0, 9, 9, score, by)))) == by


def test_where_it_finds_nothing_the_builtin_detectors_are_asked(weights):
    media = media_of(talking([0.2] * 6))
    rows = tracker(weights, score=1.0).extract(media)  # no face has a score of 1
    np.testing.assert_array_equal(rows, FaceTrackExtractor(FaceTrackConfig()).extract(media))
    with pytest.raises(FeatureAbsent) as caught:
        tracker(weights, score=1.0, fallback="none").extract(media)
    assert caught.value.code == "E-FEAT-NOFACE"


def test_a_clip_does_not_depend_on_the_clips_before(weights):
    one, two = tracker(weights), landmarker(weights)
    frames = talking([0.1, 0.4, 0.2], size=192)
    track = one.extract(media_of(frames))
    points = two.extract(media_of(frames, face_track=track))
    other = media_of(talking([0.9] * 2, size=240, radius=0.15, centre=(0.3, 0.4)))
    two.extract(media_of(other.frames, face_track=one.extract(other)))
    np.testing.assert_array_equal(one.extract(media_of(frames)), track)
    np.testing.assert_array_equal(two.extract(media_of(frames, face_track=track)), points)


def test_a_small_face_beside_a_larger_one_is_tracked_in_every_search(detector):
    # 0.20 and 0.13 of the width: the smaller one is too small for the short-range network.
    picture = on_canvas(drawing(size=205), 360, 640, 20, 30)
    picture[180:310, 450:580] = drawing(size=130)
    frames = np.stack([picture] * 8)
    tracks = detector.follow(frames, list(range(8)), 0)
    assert [list(track.boxes) for track in tracks] == [list(range(8))] * 2
    assert tracks[0].last.w > tracks[1].last.w


def test_one_face_has_one_networks_box_in_every_search(detector):
    picture = on_canvas(drawing(size=205), 360, 640, 20, 30)
    (track,) = detector.follow(np.stack([picture] * 7), list(range(7)), 0)
    assert len(set(track.boxes.values())) == 1


def test_a_face_that_enters_later_is_found_by_the_next_thorough_search(detector):
    alone = on_canvas(drawing(size=205), 360, 640, 20, 30)
    both = alone.copy()
    both[180:310, 450:580] = drawing(size=130)
    first, second = detector.follow(np.stack([alone] * 4 + [both] * 6), list(range(10)), 0)
    assert list(first.boxes) == list(range(10))
    assert list(second.boxes) == [6, 7, 8, 9]


# -- the points


@pytest.mark.parametrize(("radius", "centre"), [(0.3, (0.5, 0.5)), (0.15, (0.3, 0.6))])
def test_the_points_lie_on_the_drawn_eyes_and_lips(mesh, detector, radius, centre):
    points = points_of(mesh, detector, drawing(radius=radius, centre=centre))
    r, (x, y) = radius * SIDE, (part * SIDE for part in centre)
    drawn = {
        RIGHT_EYE: (x - 0.53 * r, y - 0.1 * r),
        LEFT_EYE: (x + 0.53 * r, y - 0.1 * r),
        RIGHT_LIP: (x - 0.36 * r, y + 0.6 * r),
        LEFT_LIP: (x + 0.36 * r, y + 0.6 * r),
    }
    assert points[list(drawn)] == pytest.approx(np.array(list(drawn.values())), abs=0.06 * r)


def test_the_points_move_and_grow_with_the_picture(mesh, detector):
    small = drawing(size=240)
    points = points_of(mesh, detector, small)
    moved = points_of(mesh, detector, on_canvas(small, 400, 500, 120, 200))
    assert moved == pytest.approx(points + np.array([200, 120]), abs=3.0)
    doubled = points_of(mesh, detector, cv2.resize(small, (480, 480)))
    assert doubled / 2 == pytest.approx(points, abs=3.0)


def test_a_mirrored_face_has_mirrored_points(mesh, detector):
    picture = drawing(centre=(0.4, 0.5), radius=0.25)
    points, other = (points_of(mesh, detector, p) for p in (picture, picture[:, ::-1]))
    for right, left in PAIRS:
        assert other[left] == pytest.approx((SIDE - points[right][0], points[right][1]), abs=5.0)


@pytest.mark.parametrize("degrees", [-30, -15, 15, 30])
def test_the_points_turn_with_the_head(mesh, detector, degrees):
    upright = drawing(radius=0.25)
    tilted, way = turned(upright, degrees)
    points = points_of(mesh, detector, upright)
    expected = (points - 0.5) @ way[:, :2].T + way[:, 2] + 0.5
    found = points_of(mesh, detector, tilted)
    named = [point for pair in PAIRS for point in pair]
    assert np.median(np.hypot(*(found - expected).T)) < 4.0
    assert found[named] == pytest.approx(expected[named], abs=10.0)


def test_an_opening_mouth_parts_the_lips_and_moves_no_eye(mesh, detector):
    faces = [points_of(mesh, detector, drawing(opening=opening)) for opening in (0.0, 0.5, 1.0)]
    gaps = [face[INNER_LIPS[1], 1] - face[INNER_LIPS[0], 1] for face in faces]
    assert gaps[0] < gaps[1] < gaps[2]
    for corner in (RIGHT_EYE, LEFT_EYE):
        assert faces[2][corner] == pytest.approx(faces[0][corner], abs=3.0)


def test_the_68_points_of_an_even_face_are_even(mesh, detector):
    # Mirror images of the 68-point scheme: jaw, brows, base of the nose, eyes, lips.
    even = [*zip(range(8), range(16, 8, -1), strict=True), (17, 26), (19, 24), (21, 22), (31, 35)]
    even += [(36, 45), (37, 44), (39, 42), (41, 46), (48, 54), (49, 53), (58, 56), (60, 64)]
    mesh_points = points_of(mesh, detector, drawing()).reshape(1, -1)
    points = as_68(mesh_points).reshape(68, 2)
    for right, left in even:
        assert points[left] == pytest.approx((SIDE - points[right][0], points[right][1]), abs=6.0)
    assert points[[8, 27, 30, 33, 51, 57, 62, 66], 0] == pytest.approx(SIDE / 2, abs=5.0)
    down = points[[27, 28, 29, 30, 33, 51, 62, 66, 57, 8], 1]
    assert (np.diff(down) >= 0).all()  # bridge, base of the nose, upper and lower lip, chin
    assert (np.diff(points[:17, 0]) > 0).all()  # the jaw runs from right to left
    np.testing.assert_array_equal(as_68(as_68(mesh_points)), as_68(mesh_points))


@pytest.mark.parametrize("count", [68, 468])
def test_rows_have_the_schemas_shape_and_type(weights, count):
    frames = talking([0.2, 0.6], size=192)
    extractor = landmarker(weights, points=count)
    media = media_of(frames, face_track=tracker(weights).extract(media_of(frames)))
    rows = extractor.extract(media)
    assert rows.shape == (2, extractor.schema.width) == (2, 2 * count)
    assert rows.dtype == extractor.schema.dtype
    assert np.isfinite(rows).all()
    whole = landmarker(weights).extract(media)
    np.testing.assert_array_equal(rows, whole if count == MESH_POINTS else as_68(whole))


def test_frames_without_a_face_are_filled_and_do_not_stop_the_search(weights, mesh):
    faces = talking([0.2] * 5, size=192)
    track = tracker(weights).extract(media_of(faces))
    whole = mesh.follow(faces, track, [0])
    faces[2] = 90
    holed = mesh.follow(faces, track, [0])
    assert holed.found.tolist() == [True, True, False, True, True]
    assert holed.points[2] == pytest.approx((holed.points[1] + holed.points[3]) / 2, abs=1e-3)
    assert holed.points[4] == pytest.approx(whole.points[4], abs=2.0)


def test_a_clip_that_shows_the_network_no_face_has_no_points(weights):
    frames = np.full((4, 120, 160, 3), 90, dtype=np.uint8)
    track = np.tile(np.array([40, 20, 60, 60, 3], np.float32), (4, 1))  # as a user's box
    with pytest.raises(FeatureAbsent, match="in 0 of 4 frames") as caught:
        landmarker(weights).extract(media_of(frames, face_track=track))
    assert caught.value.code == "E-FEAT-NOLANDMARKS"
    with pytest.raises(FeatureAbsent):
        landmarker(weights).extract(media_of(None, face_track=track))


def test_of_two_faces_the_one_in_the_box_is_followed(mesh):
    picture = np.concatenate([drawing(size=240), drawing(size=240)], axis=1)
    for middle in (120, 360):
        track = np.array([[middle - 70, 55, 140, 140, 3]] * 2, np.float32)
        found = mesh.follow(np.stack([picture] * 2), track, [0])
        assert found.points[:, :, 0].mean() == pytest.approx(middle, abs=10)


def test_boxes_far_outside_the_picture_give_no_face_and_no_error(mesh):
    frames = np.full((1, 30, 40, 3), 90, dtype=np.uint8)
    for box in ((-900, -900, 50, 50), (5000, 5000, 300, 300), (0, 0, 1e6, 1e6), (3, 3, 0.01, 0.01)):
        assert not mesh.follow(frames, np.array([[*box, 3]], np.float32), [0]).found.any()


def test_missing_points_are_interpolated_inside_their_shot_only():
    found = np.array([True, False, False, True, False, False])
    points = np.arange(6.0)[:, None, None] ** 2 * np.ones((6, 1, 2))
    one = filled(points, found, [0])[:, 0, 0]
    assert one == pytest.approx([0, 3, 6, 9, 9, 9])
    cut = filled(points, found, [0, 2, 4])[:, 0, 0]
    assert cut == pytest.approx([0, 0, 9, 9, 9, 9])
    np.testing.assert_array_equal(filled(points, np.zeros(6, bool), [0]), points)


# -- the square that the network sees


def test_a_square_without_a_turn_is_the_picture_itself():
    picture = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(turned_crop(picture, Square(32, 32, 64, 0), 64), picture)
    part = turned_crop(picture, Square(20, 30, 16, 0), 16)
    np.testing.assert_array_equal(part, picture[22:38, 12:28])


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_square_is_the_picture_turned_back(quarters):
    picture = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    crop = turned_crop(picture, Square(32, 32, 64, quarters * math.pi / 2), 64)
    np.testing.assert_array_equal(crop, np.rot90(picture, quarters))


def test_large_squares_are_averaged_not_sampled():
    fine = np.indices((400, 400)).sum(axis=0) % 2 * 255  # a chessboard: grey from afar
    picture = np.repeat(fine[:, :, None], 3, axis=2).astype(np.uint8)
    crop = turned_crop(picture, Square(200, 200, 300, 0.3), 48)
    assert crop.min() > 90
    assert crop.max() < 165


def test_the_square_around_points_is_level_with_the_eyes():
    points = np.full((MESH_POINTS, 2), (100.0, 50.0))
    points[RIGHT_EYE], points[LEFT_EYE] = (90, 40), (110, 60)  # 45 degrees, 28.3 apart
    square = square_around(points)
    assert square[:2] == pytest.approx((100, 50))
    assert square.side == pytest.approx(1.5 * math.hypot(20, 20))
    assert square.angle == pytest.approx(math.pi / 4)


def test_the_square_of_a_box_lies_lower_along_the_face():
    box = np.array([0, 0, 100, 100, 1], np.float32)
    level, fallen = square_of_box(box, 0.0), square_of_box(box, math.pi / 2)
    assert level.x == pytest.approx(50)
    assert level.y > 50
    assert (fallen.x, fallen.y) == pytest.approx((100 - level.y, 50))  # "down" points left


# -- the mouth


def test_the_mouth_is_cut_by_the_points_and_stays_upright(weights):
    upright = drawing(radius=0.25, opening=0.6)
    crops = []
    for picture in (upright, turned(upright, 20)[0]):
        frames = np.stack([picture] * 2)
        track = tracker(weights).extract(media_of(frames))
        rows = landmarker(weights).extract(media_of(frames, face_track=track))
        features = {"face_track": track, "landmarks": rows}
        assert placed_by(features) == "landmarks"
        crop = MouthCropExtractor(MouthCropConfig()).extract(media_of(frames, **features))
        crops.append(crop[0].reshape(96, 96).astype(np.float64))
    assert np.corrcoef(crops[0].ravel(), crops[1].ravel())[0, 1] > 0.8
    for crop in crops:
        rows, columns = np.nonzero(crop < 90)  # the drawn hole of the mouth
        assert (rows.mean(), columns.mean()) == pytest.approx((48, 48), abs=6)


# -- files and settings


def copied(weights, tmp_path, name, content):
    """The package's folder with one file replaced, recorded as it is."""
    for file in weights.files:
        (tmp_path / file).write_bytes(weights.file(file).read_bytes())
    (tmp_path / name).write_bytes(content)
    return folder_of(tmp_path, KIND)


NETWORKS = (SHORT_RANGE.file, FULL_RANGE.file, "face_landmark.tflite")


def load(folder):
    MediaPipeDetector(folder, min_face=0.1, threshold=0.6)
    MediaPipeMesh(folder)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("content", [b"", b"no network " * 99, b"\x1c\0\0\0TFL3", b"<html>" * 50])
def test_a_file_that_is_no_network_is_refused(weights, tmp_path, name, content):
    with pytest.raises(ModelRefusedError, match=name.replace(".", r"\.")) as caught:
        load(copied(weights, tmp_path, name, content))
    assert caught.value.code == "E-MODEL-FILE"


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_half_a_file_is_refused(weights, tmp_path, name, share):
    whole = weights.file(name).read_bytes()
    with pytest.raises(ModelRefusedError, match="damaged") as caught:
        load(copied(weights, tmp_path, name, whole[: int(share * len(whole))]))
    assert caught.value.code == "E-MODEL-FILE"
    assert "weights get mediapipe_face" in str(caught.value)


@pytest.mark.parametrize("name", NETWORKS)
def test_another_network_is_refused(weights, tmp_path, name):
    other = weights.file("iris_landmark.tflite").read_bytes()
    with pytest.raises(ModelRefusedError, match="is another network"):
        load(copied(weights, tmp_path, name, other))


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (MediaPipeTrackConfig, {"score": 0.0}),
        (MediaPipeTrackConfig, {"score": 1.1}),
        (MediaPipeTrackConfig, {"min_share": 0.0}),
        (MediaPipeLandmarkConfig, {"points": 69}),
        (MediaPipeLandmarkConfig, {"min_share": 0.0}),
    ],
)
def test_settings_out_of_range_are_refused(config, settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        config(**settings)
