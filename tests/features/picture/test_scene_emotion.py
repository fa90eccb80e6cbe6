import colorsys

import numpy as np
import pytest

from redub.core.types import EMOTIONS
from redub.features.picture.scene_caption import SceneCaptionConfig, SceneCaptionExtractor
from redub.features.picture.scene_emotion import (
    DIMENSIONS,
    SceneEmotionConfig,
    SceneEmotionExtractor,
)
from redub.features.text.emotion_lexicon import emotion_scores
from tests.features.drawn_faces import media_of

CAPTIONS = SceneCaptionExtractor(SceneCaptionConfig())
EXTRACTOR = SceneEmotionExtractor(SceneEmotionConfig())


def scene(hue, saturation, value, seed):
    """A gradient of one hue with two darker blocks at a seeded place, and grain."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(1.0, 0.8, 48)[:, None, None]
    colour = 255 * np.array(colorsys.hsv_to_rgb((hue + rng.normal(0, 6)) / 360, saturation, value))
    picture = np.broadcast_to(ramp * colour, (48, 64, 3)).copy()
    for _ in range(2):
        x, y = rng.integers(0, 44), rng.integers(0, 30)
        picture[y : y + 18, x : x + 20] *= 0.75
    noise = rng.normal(0, 3, (4, 48, 64, 3))
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def vector(frames, caption=None):
    text = CAPTIONS.extract(media_of(frames)) if caption is None else caption
    return EXTRACTOR.extract(media_of(frames, scene_caption=text))


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_width_type_and_names_agree():
    values = vector(scene(200, 0.6, 0.6, 0))
    assert values.shape == (EXTRACTOR.schema.width,) == (len(DIMENSIONS),)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert len(set(DIMENSIONS)) == len(DIMENSIONS)


@pytest.mark.parametrize("level", [0, 60, 128, 255])
def test_even_grey_pictures_still_have_a_direction(level):
    values = vector(np.full((2, 20, 30, 3), level, dtype=np.uint8))
    assert np.isfinite(values).all()
    assert np.linalg.norm(values) > 0.5


def test_the_words_entries_are_the_captions_scores_centred():
    values = vector(scene(0, 0.8, 0.6, 0), caption="a furious storm of rage")
    expected = emotion_scores("a furious storm of rage") - 1 / 8
    np.testing.assert_allclose(values[: len(EMOTIONS)], expected, atol=1e-6)
    assert values[: len(EMOTIONS)].sum() == pytest.approx(0, abs=1e-6)


def test_word_weight_scales_the_words_alone():
    media = media_of(scene(0, 0.8, 0.6, 0), scene_caption="happy")
    plain = EXTRACTOR.extract(media)
    double = SceneEmotionExtractor(SceneEmotionConfig(word_weight=2.0)).extract(media)
    np.testing.assert_allclose(double[:8], 2 * plain[:8])
    np.testing.assert_array_equal(double[8:], plain[8:])


def test_scenes_of_one_mood_are_nearest_to_each_other():
    moods = [(0, 0.8, 0.6), (85, 0.7, 0.65), (270, 0.5, 0.25), (48, 0.8, 0.95), (217, 0.5, 0.5)]
    vectors = [[vector(scene(*mood, seed)) for seed in range(3)] for mood in moods]
    for i, own in enumerate(vectors):
        closest_other = max(
            cosine(own[0], v) for j, others in enumerate(vectors) if j != i for v in others
        )
        assert cosine(own[0], own[1]) > closest_other + 0.1
        assert cosine(own[0], own[2]) > closest_other + 0.1


def test_opposite_scenes_point_apart():
    sunny, gloomy = vector(scene(48, 0.8, 0.95, 0)), vector(scene(225, 0.5, 0.2, 0))
    assert cosine(sunny, gloomy) < 0


def test_reversing_time_flips_the_trend_entry_alone():
    ramp = np.linspace(0.5, 1, 20)[:, None, None, None]
    frames = (ramp * scene(30, 0.5, 0.9, 0)[:1]).astype(np.uint8)
    forward, backward = vector(frames, caption=""), vector(frames[::-1], caption="")
    place = DIMENSIONS.index("lightness_trend")
    assert forward[place] > 0.5
    assert backward[place] == pytest.approx(-forward[place], abs=1e-5)
    np.testing.assert_allclose(np.delete(forward, place), np.delete(backward, place), atol=1e-5)
