import cv2
import numpy as np
import pytest

from redub.core.errors import ConfigError, FeatureAbsent
from redub.core.types import AudioSpec, VideoSpec
from redub.features.face.active_speaker import mouth_motion
from redub.features.face.detector import Box, HaarFaceDetector, detector_of, overlap, recorded_score
from redub.features.face.following import Track
from redub.features.face.source import FaceSourceConfig, FaceSourceExtractor, longest_gap
from redub.features.face.track import FaceTrackConfig, FaceTrackExtractor, median_smoothed
from redub.features.picture.shots import shot_starts
from redub.features.picture.small_frames import small_frames
from redub.features.registry import make_extractor
from tests.features.drawn_faces import draw_face, media_of, talking

EXTRACTOR = FaceTrackExtractor(FaceTrackConfig())
SIZE = 192


def track(frames):
    return EXTRACTOR.extract(media_of(frames))


def centres(rows):
    return rows[:, :2] + rows[:, 2:4] / 2


def test_the_box_holds_the_drawn_eyes_and_mouth():
    rows = track(talking([0.3] * 6, centre=(0.4, 0.55), radius=0.25))
    radius, x, y = 0.25 * SIZE, 0.4 * SIZE, 0.55 * SIZE
    for left, top, w, h, _ in rows:
        assert left < x - 0.55 * radius
        assert left + w > x + 0.55 * radius
        assert top < y - 0.25 * radius
        assert top + h > y + 0.75 * radius
        assert w < 3 * radius


def test_a_moving_head_is_followed_between_the_searched_frames():
    path = np.linspace(0.35, 0.6, 41)
    rows = track(talking([0.2] * 41, radius=0.22, centre=[(x, 0.5) for x in path]))
    found = centres(rows)[:, 0] / SIZE
    offset = np.median(found - path)  # where in the box the head's middle is does not matter
    assert np.abs(found - path - offset).max() < 0.025


def test_scores_mark_the_searched_frames_and_zero_the_others():
    rows = track(talking([0.2] * 12))
    assert np.flatnonzero(rows[:, 4]).tolist() == [0, 5, 10]
    assert rows[:, 4].max() <= 1


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_every_frame_has_exactly_one_finite_row(count):
    rows = track(talking([0.2] * count))
    assert rows.shape == (count, 5)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    assert (rows[:, 2:4] > 0).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_noise_without_a_face_has_no_track(seed):
    noise = np.random.default_rng(seed).integers(0, 256, (8, 24, 24, 3), dtype=np.uint8)
    frames = np.stack([cv2.resize(frame, (SIZE, SIZE)) for frame in noise])
    with pytest.raises(FeatureAbsent) as caught:
        track(frames)
    assert caught.value.code == "E-FEAT-NOFACE"


def test_a_clip_without_picture_has_no_track():
    with pytest.raises(FeatureAbsent, match="no video frame"):
        EXTRACTOR.extract(media_of(None))


def test_a_face_in_less_than_half_of_the_searched_frames_is_no_track():
    face, wall = draw_face(), np.full((SIZE, SIZE, 3), (70, 110, 140), dtype=np.uint8)
    mostly_wall = np.stack([face] * 20 + [wall] * 30)
    with pytest.raises(FeatureAbsent):
        track(mostly_wall)
    mostly_face = np.stack([face] * 30 + [wall] * 20)
    assert track(mostly_face).shape == (50, 5)


def test_a_shot_without_a_face_holds_the_nearest_box():
    face, wall = draw_face(), np.full((SIZE, SIZE, 3), 255, dtype=np.uint8)
    rows = track(np.stack([face] * 20 + [wall] * 8))
    np.testing.assert_array_equal(rows[20:, :4], np.repeat(rows[19:20, :4], 8, axis=0))
    assert (rows[20:, 4] == 0).all()


def test_a_cut_moves_the_box_at_once():
    before = talking([0.2] * 13, centre=(0.35, 0.5), radius=0.22)
    after = talking([0.2] * 13, centre=(0.65, 0.5), radius=0.22, background=(220, 210, 190))
    rows = track(np.concatenate([before, after]))
    x = centres(rows)[:, 0] / SIZE
    assert np.abs(x[:13] - x[0]).max() < 0.02
    assert np.abs(x[13:] - x[13]).max() < 0.02
    assert x[13] - x[12] == pytest.approx(0.3, abs=0.03)
    assert rows[13, 4] > 0  # the first frame of a shot is always searched


def test_the_larger_face_is_followed():
    small = talking([0.2] * 11, radius=0.17)
    large = talking([0.2] * 11, radius=0.3)
    rows = track(np.concatenate([small, large], axis=2))
    assert (centres(rows)[:, 0] > SIZE).all()


@pytest.mark.parametrize("speaker_is_left", [True, False])
def test_of_two_equal_faces_the_one_whose_mouth_moves_is_followed(speaker_is_left):
    silent = talking([0.2] * 16)
    speaking = talking([0.8 * (k % 2) for k in range(16)])
    pair = (speaking, silent) if speaker_is_left else (silent, speaking)
    rows = track(np.concatenate(pair, axis=2))
    assert ((centres(rows)[:, 0] < SIZE) == speaker_is_left).all()


def test_a_mirrored_clip_gives_the_mirrored_track():
    frames = talking([0.2] * 11, centre=(0.4, 0.5), radius=0.25)
    plain, mirrored = track(frames), track(frames[:, :, ::-1])
    np.testing.assert_allclose(centres(mirrored)[:, 0], SIZE - centres(plain)[:, 0], atol=4)
    np.testing.assert_allclose(mirrored[:, 1:4], plain[:, 1:4], atol=6)


def test_a_track_does_not_depend_on_earlier_clips():
    frames = talking([0.2] * 8)
    first = track(frames)
    track(talking([0.2] * 8, centre=(0.3, 0.4), radius=0.2))
    np.testing.assert_array_equal(track(frames), first)


def test_overlap_of_half_shifted_squares_is_a_third():
    # Two 2x2 squares, one moved by 1: they share 2 of 6 cells.
    assert overlap(Box(0, 0, 2, 2, 1), Box(1, 0, 2, 2, 1)) == pytest.approx(1 / 3)
    assert overlap(Box(0, 0, 2, 2, 1), Box(5, 5, 2, 2, 1)) == 0


def test_a_search_nearby_finds_what_a_full_search_finds():
    detector = HaarFaceDetector(min_face=0.1, min_neighbours=3)
    grey = cv2.cvtColor(draw_face(size=256), cv2.COLOR_RGB2GRAY)
    full = detector.frontal_faces(grey)[0]
    near = detector.near(grey, full)
    assert near is not None
    assert overlap(near, full) > 0.75
    assert detector.near(grey, full._replace(x=-0.9 * full.w, y=-0.9 * full.h)) is None


def test_large_pictures_are_searched_on_a_copy_but_boxes_are_in_their_pixels():
    detector = HaarFaceDetector(min_face=0.1, min_neighbours=3)
    small = detector.frontal_faces(cv2.cvtColor(draw_face(size=192), cv2.COLOR_RGB2GRAY))[0]
    large = detector.frontal_faces(cv2.cvtColor(draw_face(size=768), cv2.COLOR_RGB2GRAY))[0]
    np.testing.assert_allclose(np.array(large[:4]) / 4, small[:4], atol=6)


def test_mouth_motion_ignores_motion_that_the_whole_face_shares():
    still = talking([0.3] * 4)
    flicker = np.stack([draw_face(gain=g) for g in (1, 0.8, 1, 0.8)])
    speaking = talking([0, 1, 0, 1])
    box = track(still)[0]
    face = Track(boxes={k: Box(*box[:4], 1) for k in range(3)})
    assert mouth_motion(still, face) == 0
    assert mouth_motion(speaking, face) > 5
    assert mouth_motion(flicker, face) < mouth_motion(speaking, face) / 2


def test_running_median_removes_a_spike_and_keeps_a_line():
    line = np.arange(7.0)[:, None]
    np.testing.assert_array_equal(median_smoothed(line, 3), line)
    spiked = line.copy()
    spiked[3] = 99
    assert median_smoothed(spiked, 3)[3, 0] == 4  # the median of 2, 99, 4


def shots(frames):
    return shot_starts(small_frames(frames))


def test_shots_start_at_cuts_and_not_at_fades():
    dark, bright = np.full((5, 40, 60, 3), 20), np.full((5, 40, 60, 3), 220)
    assert shots(np.concatenate([dark, bright, dark]).astype(np.uint8)) == [0, 5, 10]
    fade = np.linspace(20, 220, 15).astype(np.uint8)[:, None, None, None]
    assert shots(np.broadcast_to(fade, (15, 40, 60, 3)).copy()) == [0]


def test_flicker_is_not_a_row_of_cuts():
    levels = np.where(np.arange(20) % 2, 200, 40).astype(np.uint8)[:, None, None, None]
    assert shots(np.broadcast_to(levels, (20, 40, 60, 3)).copy()) == [0]


def test_faces_that_look_the_other_way_are_put_back_where_they_stand():
    # With the frontal cascade in the profile's place, both searches see the same drawn face.
    detector = HaarFaceDetector(min_face=0.1, min_neighbours=3)
    grey = cv2.cvtColor(draw_face(centre=(0.3, 0.5), radius=0.2), cv2.COLOR_RGB2GRAY)
    frontal = detector.frontal_faces(grey)[0]
    detector.profile = detector.frontal
    sides = detector.profile_faces(grey)
    assert len(sides) == 2
    assert all(overlap(side, frontal) > 0.7 for side in sides)


def test_a_profile_hit_is_recorded_as_one_and_ranks_below_every_frontal_hit():
    # As above: the cascades are swapped, so every face of the clip is "seen from the side".
    extractor = FaceTrackExtractor(FaceTrackConfig())
    detector = extractor.followers[0].__self__.detector
    detector.profile, detector.frontal = detector.frontal, detector.profile
    rows = extractor.extract(media_of(talking([0.2] * 6)))
    frontal = track(talking([0.2] * 6))
    scores = rows[rows[:, 4] > 0, 4]
    assert {detector_of(score) for score in scores} == {"profile"}
    assert scores.max() < frontal[frontal[:, 4] > 0, 4].min()
    np.testing.assert_allclose(rows[:, :4], frontal[:, :4], atol=12)


@pytest.mark.parametrize("hits", [1, 3, 1000])
def test_the_recorded_score_tells_the_detector_and_keeps_the_order_of_trust(hits):
    evidence = hits / (hits + 5)
    boxes = [Box(0, 0, 1, 1, evidence, by) for by in ("profile", "frontal", "yunet")]
    boxes.append(Box(0, 0, 1, 1, 1.0, "user boxes"))
    scores = [np.float32(recorded_score(box)) for box in boxes]
    assert [detector_of(float(score)) for score in scores] == [box.by for box in boxes]
    assert scores == sorted(scores)
    assert scores[1] == np.float32(evidence)  # as in every clip computed before there was a chain
    assert detector_of(0.0) is None


def source(*scores):
    rows = np.zeros((len(scores), 5), dtype=np.float32)
    rows[:, 4] = scores
    return FaceSourceExtractor(FaceSourceConfig()).extract(media_of(None, face_track=rows))


def test_the_source_names_the_detectors_their_counts_and_the_longest_gap():
    assert source(0.5, 0, 0, 0.05, 0.5, 0, 0, 0) == (
        "frontal 2, profile 1 of 8 frames, longest gap 3"
    )
    assert source(1.9) == "yunet 1 of 1 frames, longest gap 0"
    assert source(0, 0, 3) == "user boxes 1 of 3 frames, longest gap 2"


def test_a_face_that_is_always_found_has_gaps_of_the_search_step():
    rows = track(talking([0.2] * 11))
    assert longest_gap(rows) == FaceTrackConfig().probe_every - 1


def test_without_settings_nothing_from_outside_is_wanted():
    assert FaceTrackExtractor.weights_wanted(FaceTrackConfig()) == {}
    wanted = FaceTrackExtractor.weights_wanted(FaceTrackConfig(boxes="drawn", yunet="net"))
    assert wanted == {"boxes": ("drawn", "face_boxes"), "yunet": ("net", "yunet")}
    made = make_extractor("face_track", audio=AudioSpec(), video=VideoSpec())
    frames = talking([0.2] * 6)
    np.testing.assert_array_equal(made.extract(media_of(frames)), track(frames))


@pytest.mark.parametrize(
    "bad", [{"probe_every": 0}, {"min_face": 0.0}, {"min_share": 1.5}, {"yunet_score": 0.0}]
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(ConfigError, match="face_track"):
        FaceTrackConfig(**bad)
