"""YuNet through OpenCV's own FaceDetectorYN, on a network whose answers are known."""

import numpy as np
import pytest

from redub.core.errors import FeatureAbsent, ModelRefusedError
from redub.features.face.detector import Box, detector_of
from redub.features.face.following import LinkedFollower
from redub.features.face.track import FaceTrackConfig, FaceTrackExtractor
from redub.features.face.yunet import SIDE, YuNetDetector
from redub.pipeline.reports.weights_doctor import examine_weights
from redub.pipeline.store.project import open_project
from redub.pipeline.store.weights import add_weights
from tests.features.drawn_faces import media_of, talking
from tests.features.paper.ledgers import CPU, folder_of
from tests.features.paper.yunet_files import box_of, make_other_network, make_yunet


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return folder_of(make_yunet(tmp_path_factory.mktemp("yunet")), "yunet")


@pytest.fixture(scope="module")
def detector(weights):
    return YuNetDetector(weights, min_face=0.1, threshold=0.9)


def extractor_of(folder, **settings):
    config = FaceTrackConfig(yunet="yunet", **settings)
    return FaceTrackExtractor(config, {"yunet": folder}, CPU)


def cells(*places, shape=(192, 256), level=255):
    picture = np.zeros((*shape, 3), dtype=np.uint8)
    for column, row in places:
        picture[32 * row : 32 * row + 32, 32 * column : 32 * column + 32] = level
    return picture


def test_a_face_is_where_the_networks_output_puts_it(detector):
    # Box and score come from OpenCV's arithmetic on outputs we know, not from this adapter.
    (box,) = detector.faces(cells((5, 2)))
    assert box[:4] == pytest.approx(box_of(5, 2), abs=1e-3)
    assert box.score == pytest.approx(1.0)
    assert box.by == "yunet"


@pytest.mark.parametrize("shape", [(192, 256), (64, 64), (96, 320), (75, 113)])
def test_every_picture_size_has_its_own_grid(detector, shape):
    (box,) = detector.faces(cells((1, 1), shape=shape))
    assert box[:4] == pytest.approx(box_of(1, 1), abs=1e-3)


def test_large_pictures_are_searched_on_a_copy_but_boxes_are_in_their_pixels(detector):
    picture = np.repeat(np.repeat(cells((5, 2), shape=(192, SIDE)), 3, axis=0), 3, axis=1)
    (box,) = detector.faces(picture)
    assert box[:4] == pytest.approx([3 * value for value in box_of(5, 2)], abs=0.01)


def test_colours_reach_the_network_in_its_order(detector):
    # The network weighs all colours alike, so the order shows only in a spy's hand.
    seen = []

    class Spy:
        def setInputSize(self, size):
            seen.append(size)

        def detect(self, picture):
            seen.append(picture[0, 0].tolist())
            return 0, None

    spied = YuNetDetector.__new__(YuNetDetector)
    spied.network, spied.min_face = Spy(), 0.1
    picture = np.zeros((40, 60, 3), dtype=np.uint8)
    picture[:] = (1, 2, 3)
    assert spied.faces(picture) == []
    assert seen == [(60, 40), [3, 2, 1]]  # width first; blue first


def test_the_threshold_and_the_smallest_face_are_kept(weights):
    faint = cells((5, 2), level=200)  # a class of 0.78; OpenCV's score is its root, 0.886
    assert YuNetDetector(weights, min_face=0.1, threshold=0.9).faces(faint) == []
    (box,) = YuNetDetector(weights, min_face=0.1, threshold=0.8).faces(faint)
    assert box.score == pytest.approx((200 / 255) ** 0.5, abs=0.01)
    assert YuNetDetector(weights, min_face=0.4, threshold=0.8).faces(faint) == []


def test_the_track_is_yunets_and_says_so(weights):
    frames = np.stack([cells((4, 2))] * 11)
    rows = extractor_of(weights).extract(media_of(frames))
    assert rows[:, :4] == pytest.approx(np.tile(box_of(4, 2), (11, 1)), abs=0.01)
    assert np.flatnonzero(rows[:, 4]).tolist() == [0, 5, 10]
    assert {detector_of(score) for score in rows[[0, 5, 10], 4]} == {"yunet"}


def test_a_face_that_moves_stays_one_track_and_two_faces_stay_two(detector):
    # One jumps by a cell: boxes of neighbouring cells overlap by (67.7 - 32) / (67.7 + 32) = 0.36.
    frames = np.stack([cells((1 + (k >= 5), 1), (6, 4)) for k in range(10)])
    moving, still = LinkedFollower(detector.faces).follow(frames, [0, 4, 5, 9], 0)
    assert [box.x for box in moving.boxes.values()] == pytest.approx(
        [box_of(column, 1)[0] for column in (1, 1, 2, 2)], abs=1e-3
    )
    assert list(still.boxes) == [0, 4, 5, 9]
    assert {round(box.x) for box in still.boxes.values()} == {round(box_of(6, 4)[0])}


def test_two_faces_that_overlap_are_not_one_track():
    # Boxes moved by a half share a third; the nearer one of the next picture continues each.
    pairs = [[Box(x, 0, 20, 20, 0.9), Box(x + 10, 0, 20, 20, 0.9)] for x in (50, 51, 52)]
    order = iter([pairs[0], pairs[1][::-1], pairs[2]])
    blank = np.zeros((3, 64, 64, 3), dtype=np.uint8)
    tracks = LinkedFollower(lambda picture: next(order)).follow(blank, [0, 1, 2], 0)
    assert [[box.x for box in track.boxes.values()] for track in tracks] == [
        [50, 51, 52],
        [60, 61, 62],
    ]
    assert list(tracks[0].boxes) == [0, 1, 2]


def test_the_search_ends_when_too_few_faces_can_still_be_found(detector):
    calls = []

    def count(picture):
        calls.append(1)
        return detector.faces(picture)

    blank = np.zeros((10, 64, 64, 3), dtype=np.uint8)
    assert LinkedFollower(count).follow(blank, list(range(10)), needed=6) == []
    assert len(calls) == 5  # after five misses only five hits are left


def test_where_yunet_finds_nothing_the_cascades_are_asked(weights):
    frames = talking([0.2] * 6) // 2  # nothing white in it
    plain = FaceTrackExtractor(FaceTrackConfig()).extract(media_of(frames))
    rows = extractor_of(weights).extract(media_of(frames))
    np.testing.assert_array_equal(rows, plain)
    assert {detector_of(score) for score in rows[:, 4] if score} == {"frontal"}
    with pytest.raises(FeatureAbsent):
        extractor_of(weights).extract(media_of(np.zeros((6, 96, 96, 3))))


def test_a_track_does_not_depend_on_earlier_clips(weights):
    one = extractor_of(weights)
    frames = np.stack([cells((4, 2))] * 6)
    first = one.extract(media_of(frames))
    one.extract(media_of(np.stack([cells((1, 1), shape=(75, 113))] * 6)))
    np.testing.assert_array_equal(one.extract(media_of(frames)), first)


@pytest.mark.parametrize("content", [b"not a network " * 90, b"", b"\x08\x07\x12\x04"])
def test_a_file_that_is_no_network_is_refused(tmp_path, content):
    (tmp_path / "face.onnx").write_bytes(content)
    with pytest.raises(ModelRefusedError, match=r"face\.onnx") as caught:
        extractor_of(folder_of(tmp_path, "yunet")).extract(media_of(talking([0.2])))
    assert caught.value.code == "E-MODEL-FILE"


def test_a_truncated_file_is_refused(weights, tmp_path):
    whole = weights.file(weights.one_of("face_detection_yunet_2023mar.onnx")).read_bytes()
    (tmp_path / "face.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelRefusedError, match="is not YuNet, or damaged"):
        YuNetDetector(folder_of(tmp_path, "yunet"), min_face=0.1, threshold=0.9)


def test_another_network_is_refused_before_any_clip_is_read(tmp_path):
    other = folder_of(make_other_network(tmp_path), "yunet")
    with pytest.raises(ModelRefusedError, match="is not YuNet"):
        YuNetDetector(other, min_face=0.1, threshold=0.9)


def test_a_git_lfs_pointer_is_refused_by_name(tmp_path):
    # The public repository keeps the file in git-lfs; a plain clone brings these 131 bytes.
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:8f2383\nsize 232589\n"
    (tmp_path / "face_detection_yunet_2023mar.onnx").write_text(pointer)
    with pytest.raises(ModelRefusedError) as caught:
        YuNetDetector(folder_of(tmp_path, "yunet"), min_face=0.1, threshold=0.9)
    assert caught.value.code == "E-MODEL-LFS"


def test_only_listed_files_are_opened(weights):
    unlisted = type(weights)(name="yunet", path=weights.path, files={})
    with pytest.raises(ModelRefusedError) as caught:
        YuNetDetector(unlisted, min_face=0.1, threshold=0.9)
    assert caught.value.code == "E-MODEL-FILE"


def test_the_doctor_runs_it_and_names_another_network(weights, tmp_path):
    (tmp_path / "redub.toml").write_text('name = "faces"\n')
    add_weights(tmp_path, "yunet", weights.path)
    add_weights(tmp_path, "yunet", make_other_network(tmp_path / "other"), name="other")
    lines = {line.entry: line for line in examine_weights(open_project(tmp_path))}
    assert lines["yunet"].feature == "face_track"
    assert lines["yunet"].value == "2 faces in a synthetic frame"  # bright cells
    assert lines["yunet"].problem == ""
    assert "not YuNet" in lines["other"].problem
