import numpy as np
import pytest

from redub.features.face.attributes import attributes_of, face_crops, trend
from redub.features.face.track import FaceTrackConfig, FaceTrackExtractor
from redub.features.mouth.crop import MouthCropConfig, MouthCropExtractor
from redub.features.mouth.shape import darkness, mouth_shape
from tests.features.drawn_faces import media_of, talking

TRACK = FaceTrackExtractor(FaceTrackConfig())
MOUTHS = MouthCropExtractor(MouthCropConfig())
COUNT = 24
WAVE = 0.4 + 0.3 * np.sin(2 * np.pi * np.arange(COUNT) / 8)  # 25 / 8 openings per second


def measured(frames, *, time=slice(None)):
    track = TRACK.extract(media_of(frames))
    mouths = MOUTHS.extract(media_of(frames, face_track=track))
    faces = face_crops(frames[time], track[time])
    mouth = mouth_shape(darkness(mouths[time]))
    return attributes_of(faces, mouth, track[time], fps=25)


def face(**settings):
    return measured(talking(WAVE, **settings))


def test_a_wider_mouth_opening_is_measured_wider():
    means = [measured(talking(np.full(6, o))).opening_mean for o in (0.0, 0.4, 0.8)]
    assert means[0] + 0.05 < means[1] < means[2] - 0.05


def test_the_rate_is_the_drawn_rate():
    assert face().opening_rate_hz == pytest.approx(25 / 8, abs=0.01)
    assert measured(talking(np.full(COUNT, 0.4))).opening_rate_hz == 0


def test_range_follows_the_drawn_range():
    calm = measured(talking(0.4 + 0.3 * (WAVE - 0.4)))
    assert calm.opening_range < 0.5 * face().opening_range


def test_smiling_lifts_the_corners():
    lifts = [face(smile=smile).corner_lift for smile in (-1.0, 0.0, 1.0)]
    assert lifts[0] < -0.03 < lifts[1] < 0.03 < lifts[2]


def test_frowning_and_worry_tilt_the_brows_apart():
    slants = [face(frown=frown).brow_slant for frown in (-1.0, 0.0, 1.0)]
    assert slants[0] + 0.1 < slants[1] < slants[2] - 0.1


def test_raised_brows_stand_higher():
    heights = [face(brow_lift=lift).brow_height for lift in (-0.6, 0.0, 1.0)]
    assert heights[0] < heights[1] < heights[2]


def test_a_growing_smile_and_rising_brows_are_trends_that_time_reversal_flips():
    frames = talking(
        WAVE, smile=list(np.linspace(-1, 1, COUNT)), brow_lift=list(np.linspace(0, 1, COUNT))
    )
    forward, backward = measured(frames), measured(frames, time=slice(None, None, -1))
    assert forward.corner_trend > 0.05
    assert forward.brow_trend > 0.01
    assert backward.corner_trend == pytest.approx(-forward.corner_trend, abs=1e-5)
    assert backward.brow_trend == pytest.approx(-forward.brow_trend, abs=1e-5)


def test_identical_frames_do_not_move():
    still = measured(talking(np.full(8, 0.4)))
    for name in ("upper_motion", "lower_motion", "head_speed", "liveliness_trend", "opening_range"):
        assert getattr(still, name) == pytest.approx(0, abs=1e-6), name


def test_speech_moves_the_mouth_more_than_the_brows():
    seen = face()
    assert seen.lower_motion > 3 * seen.upper_motion


def test_a_swaying_head_is_faster_and_reaches_further():
    swaying = face(radius=0.22, centre=[(0.5 + 0.1 * np.sin(k / 4), 0.5) for k in range(COUNT)])
    still = face(radius=0.22)
    assert swaying.head_speed > 3 * still.head_speed
    assert swaying.head_range > 3 * still.head_range


def test_dimming_the_light_changes_little():
    plain, dim = face(smile=0.7, frown=-0.6), face(smile=0.7, frown=-0.6, gain=0.5)
    for name in ("opening_mean", "corner_lift", "brow_height", "brow_slant"):
        assert getattr(dim, name) == pytest.approx(getattr(plain, name), abs=0.03), name


def test_mirroring_keeps_what_has_no_side():
    frames = talking(WAVE, smile=0.8, frown=0.5)
    plain, mirrored = measured(frames), measured(np.ascontiguousarray(frames[:, :, ::-1]))
    for name in ("opening_mean", "corner_lift", "skew", "brow_height", "brow_slant"):
        assert getattr(mirrored, name) == pytest.approx(getattr(plain, name), abs=0.04), name


def test_face_pictures_put_skin_at_zero():
    frames = talking([0.3] * 3)
    faces = face_crops(frames, TRACK.extract(media_of(frames)))
    assert faces.shape == (3, 64, 64)
    assert np.median(faces[:, 35:40, 12:20]) == pytest.approx(0, abs=0.05)  # a cheek
    assert faces.max() > 0.95


def test_trend_compares_the_outer_thirds():
    assert trend(np.array([1.0, 2.0, 9.0, 9.0, 4.0, 6.0])) == pytest.approx(5.0 - 1.5)
    assert trend(np.array([1.0, 5.0])) == 0
