import numpy as np
import pytest

from redub.core.errors import FeatureAbsent
from redub.features.face.global_face import DIMENSIONS, GlobalFaceConfig, GlobalFaceExtractor
from redub.features.face.track import FaceTrackConfig, FaceTrackExtractor
from tests.features.drawn_faces import media_of, talking

TRACK = FaceTrackExtractor(FaceTrackConfig())
EXTRACTOR = GlobalFaceExtractor(GlobalFaceConfig())
RISING = np.concatenate([np.full(9, 0.2), [0.2, 0.9] * 9])  # quiet first, speaking later


def vector(frames, track=None):
    track = TRACK.extract(media_of(frames)) if track is None else track
    return EXTRACTOR.extract(media_of(frames, face_track=track))


def entry(values, name):
    return values[DIMENSIONS.index(name)]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_width_type_and_names_agree(count):
    values = vector(talking([0.3] * count))
    assert values.shape == (EXTRACTOR.schema.width,) == (len(DIMENSIONS),)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert np.abs(values).max() <= 1
    assert len(set(DIMENSIONS)) == len(DIMENSIONS)


def test_a_still_face_has_looks_and_no_motion():
    values = vector(talking([0.3] * 8))
    assert np.abs(values[96:]).max() < 1e-4
    assert np.linalg.norm(values[:96]) == pytest.approx(np.sqrt(2), abs=1e-4)


def test_speech_shows_in_the_mouths_cell():
    values = vector(talking([0.1, 0.8] * 6))
    assert entry(values, "motion_2_1_mean") > 0.8
    assert entry(values, "motion_2_1_mean") > 3 * entry(values, "motion_0_1_mean")


def test_time_reversal_flips_the_trends():
    frames = talking(RISING)
    track = TRACK.extract(media_of(frames))
    forward, backward = vector(frames, track), vector(frames[::-1], track[::-1])
    assert entry(forward, "motion_2_1_trend") > 0.5
    assert entry(backward, "motion_2_1_trend") == pytest.approx(
        -entry(forward, "motion_2_1_trend"), abs=1e-4
    )
    assert entry(backward, "motion_2_1_mean") == pytest.approx(
        entry(forward, "motion_2_1_mean"), abs=1e-4
    )


def test_expressions_differ_more_than_sizes():
    plain = vector(talking([0.3] * 6, smile=1.0))
    smaller = vector(talking([0.3] * 6, smile=1.0, radius=0.24))
    worried = vector(talking([0.3] * 6, smile=-1.0, frown=-1.0))
    assert np.linalg.norm(plain - smaller) < np.linalg.norm(plain - worried)


def test_a_clip_without_picture_has_no_vector():
    with pytest.raises(FeatureAbsent):
        EXTRACTOR.extract(media_of(None))
