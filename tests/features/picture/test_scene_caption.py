import colorsys

import numpy as np
import pytest

from redub.core.errors import FeatureAbsent
from redub.features.picture.attributes import measure_frames
from redub.features.picture.scene_caption import (
    LIGHTNESS,
    MOODS,
    SceneCaptionConfig,
    SceneCaptionExtractor,
    mood_words,
    scene_sentences,
)
from redub.features.text.emotion_lexicon import emotion_scores, read_emotion
from redub.features.text.wording import binned, listed
from tests.features.drawn_faces import media_of

EXTRACTOR = SceneCaptionExtractor(SceneCaptionConfig())


def scene(hue, saturation=0.8, value=0.7, count=4):
    colour = [round(255 * c) for c in colorsys.hsv_to_rgb(hue / 360, saturation, value)]
    frames = np.empty((count, 48, 64, 3), dtype=np.uint8)
    frames[:] = colour
    return frames


def caption(frames, **features):
    return EXTRACTOR.extract(media_of(frames, **features))


@pytest.mark.parametrize(
    ("hue", "word"), [(0, "red"), (55, "yellow"), (110, "green"), (225, "blue"), (280, "violet")]
)
def test_the_planted_hue_is_named(hue, word):
    text = caption(scene(hue))
    assert f"{word} ({hue} degrees)" in text
    assert not any(other in text for other in {"red (", "yellow (", "blue ("} - {f"{word} ("})


def test_warm_and_cold_colours_get_different_captions():
    assert " warm:" in caption(scene(20))
    assert " cold:" in caption(scene(220))


def test_dimming_the_picture_darkens_the_words():
    bright = scene(45, 0.3, 0.95)
    words = [
        binned(measure_frames((bright * gain).astype(np.uint8)).lightness, LIGHTNESS)
        for gain in (1, 0.6, 0.4, 0.1)
    ]
    order = [LIGHTNESS[1].index(word) for word in words]
    assert order == sorted(order, reverse=True)
    assert len(set(words)) == 4
    for gain, word in zip((1, 0.6, 0.4, 0.1), words, strict=True):
        assert f"The scene is {word}" in caption((bright * gain).astype(np.uint8))


def test_grey_scenes_have_no_hue():
    text = caption(scene(0, 0.0, 0.5))
    assert ": grey," in text
    assert "degrees" not in text


def test_motion_is_said_only_where_it_is():
    still = caption(scene(200))
    moving = scene(200)
    moving[1::2] = moving[1::2] // 2
    assert "it stays motionless" in still
    assert "quickly" in caption(moving)


def test_reversing_time_turns_the_brightening_round():
    frames = np.concatenate([scene(210, 0.5, value, 1) for value in np.linspace(0.3, 0.9, 21)])
    assert "grows brighter" in caption(frames)
    assert "grows darker" in caption(frames[::-1])
    assert "grows" not in caption(frames[:1])


def test_mirroring_changes_no_word():
    frames = scene(100)
    frames[:, :, :20] = (20, 30, 80)
    assert caption(frames[:, :, ::-1]) == caption(frames)


@pytest.mark.parametrize(
    ("hue", "value", "emotion"),
    [(0, 0.6, 0), (110, 0.7, 1), (275, 0.35, 2), (50, 0.95, 3), (225, 0.5, 5), (320, 0.9, 6)],
)
def test_the_lexicon_reads_the_mood_that_the_table_ties_to_a_hue(hue, value, emotion):
    assert int(np.argmax(emotion_scores(caption(scene(hue, 0.75, value))))) == emotion


def test_the_lexicon_knows_every_mood_of_the_table():
    for moods in MOODS.values():
        for mood in moods:
            assert read_emotion(mood).hits >= len(mood.split(", ")), mood


def test_arousing_colours_earn_a_second_mood():
    assert "tense" in mood_words(measure_frames(scene(0, 1.0, 0.5)))
    assert "tense" not in mood_words(measure_frames(scene(0, 0.45, 0.7)))
    assert "gentle" in mood_words(measure_frames(scene(0, 0.0, 0.95)))


def test_a_bound_belongs_to_the_bin_above():
    bins = ((1.0, 2.0), ("low", "middle", "high"))
    assert [binned(v, bins) for v in (0.9, 1.0, 1.9, 2.0)] == ["low", "middle", "middle", "high"]


def test_words_are_listed_as_english_lists_them():
    assert [listed(list("abc")[:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]


def test_the_person_does_not_colour_the_scene():
    frames = scene(220)
    frames[:, 10:40, 24:44] = (240, 140, 110)
    track = np.tile(np.array([24, 12, 20, 20, 1.0], dtype=np.float32), (4, 1))
    assert caption(frames, face_track=track) == caption(scene(220), face_track=track)
    assert caption(frames) != caption(scene(220))


def test_the_same_attributes_give_the_same_sentences():
    attributes = measure_frames(scene(30))
    assert scene_sentences(attributes) == caption(scene(30))
    assert scene_sentences(attributes).endswith(".")


def test_a_clip_without_picture_has_no_caption():
    with pytest.raises(FeatureAbsent, match="no video frame"):
        EXTRACTOR.extract(media_of(None))
