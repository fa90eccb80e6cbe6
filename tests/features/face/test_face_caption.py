import numpy as np
import pytest

from redub.core.errors import FeatureAbsent
from redub.core.types import EMOTIONS, VideoSpec
from redub.features.face.attributes import FaceAttributes
from redub.features.face.caption import (
    FaceCaptionConfig,
    FaceCaptionExtractor,
    face_sentences,
    mood_words,
)
from redub.features.face.track import FaceTrackConfig, FaceTrackExtractor
from redub.features.mouth.crop import MouthCropConfig, MouthCropExtractor
from redub.features.text.emotion_lexicon import emotion_scores
from tests.features.drawn_faces import media_of, talking

TRACK = FaceTrackExtractor(FaceTrackConfig())
MOUTHS = MouthCropExtractor(MouthCropConfig())
EXTRACTOR = FaceCaptionExtractor(FaceCaptionConfig(video=VideoSpec()))
COUNT = 25
WAVE = 0.4 + 0.3 * np.sin(2 * np.pi * np.arange(COUNT) / 8)

PLAIN = FaceAttributes(
    opening_mean=0.27, opening_range=0.08, opening_rate_hz=1.8, hole_mean=0.09, width_mean=0.57,
    width_range=0.09, bright_mean=0.05, corner_lift=0.0, corner_trend=0.0, skew=0.01,
    brow_height=0.085, brow_slant=0.0, brow_trend=0.0, eye_contrast=0.4, upper_motion=0.02,
    lower_motion=0.03, liveliness_trend=0.0, head_speed=0.002, head_range=0.02, approach=0.0,
)  # fmt: skip


def caption(frames):
    track = TRACK.extract(media_of(frames))
    mouths = MOUTHS.extract(media_of(frames, face_track=track))
    return EXTRACTOR.extract(media_of(frames, face_track=track, mouth_crop=mouths))


@pytest.mark.parametrize(
    ("smile", "words"), [(1.0, "corners are raised"), (-1.0, "corners are drooped")]
)
def test_the_drawn_corners_are_said(smile, words):
    assert words in caption(talking(WAVE, smile=smile))


def test_a_drawn_smile_looks_happy():
    text = caption(talking(WAVE, smile=1.0))
    assert "It looks happy" in text
    assert EMOTIONS[int(np.argmax(emotion_scores(text)))] == "happy"


def test_drooped_corners_with_inner_brows_up_look_sad():
    assert "It looks sad" in caption(talking(WAVE, smile=-1.0, frown=-1.0))


def test_drooped_corners_with_inner_brows_down_look_angry():
    text = caption(talking(WAVE, smile=-0.9, frown=1.0))
    assert "inner ends drawn down" in text
    assert "It looks angry" in text


def test_a_closed_and_a_wide_mouth_get_different_captions():
    assert "mouth stays nearly closed" in caption(talking(np.full(COUNT, 0.0)))
    assert "mouth opens wide" in caption(talking(np.full(COUNT, 1.0)))


def test_the_rate_is_said_in_numbers_and_words():
    # WAVE opens every 8 frames: three times in one second.
    assert "moves at a fast pace (3.0 times per second)" in caption(talking(WAVE))
    assert "moves seldom (0.0 times per second)" in caption(talking(np.full(COUNT, 0.4)))


def test_a_growing_smile_rises_and_reversed_it_sinks():
    frames = talking(WAVE, smile=list(np.linspace(-1, 1, COUNT)))
    assert "rise towards the end" in caption(frames)
    assert "sink towards the end" in caption(frames[::-1])


def test_a_face_that_starts_to_speak_grows_livelier():
    openings = np.concatenate([np.full(12, 0.2), 0.5 + 0.5 * (-1.0) ** np.arange(12)])
    assert "grows livelier" in caption(talking(openings))
    assert "grows quieter" in caption(talking(openings[::-1]))


@pytest.mark.parametrize(
    ("changes", "emotion"),
    [
        ({"corner_lift": 0.1}, "happy"),
        ({"corner_lift": -0.08, "brow_slant": -0.35}, "sad"),
        ({"corner_lift": -0.06, "brow_slant": 0.25, "brow_height": 0.06}, "angry"),
        ({"brow_slant": -0.3, "brow_height": 0.12}, "fear"),
        ({"brow_height": 0.12}, "surprise"),
        ({"skew": 0.09, "corner_lift": -0.03}, "disgust"),
        ({"skew": 0.13, "corner_lift": 0.02}, "others"),
        ({}, "neutral"),
    ],
)
def test_each_emotion_has_attributes_that_the_lexicon_reads_back(changes, emotion):
    text = face_sentences(PLAIN._replace(**changes))
    assert EMOTIONS[int(np.argmax(emotion_scores(text)))] == emotion, text


def test_mood_words_depend_on_nothing_but_the_attributes():
    assert mood_words(PLAIN) == mood_words(PLAIN._replace(opening_rate_hz=9.0)) == ["calm"]


def test_a_lopsided_mouth_is_said():
    assert "one above the other" in face_sentences(PLAIN._replace(skew=0.1))
    assert "one above the other" not in face_sentences(PLAIN)


def test_a_clip_without_picture_has_no_caption():
    with pytest.raises(FeatureAbsent):
        EXTRACTOR.extract(media_of(None))
