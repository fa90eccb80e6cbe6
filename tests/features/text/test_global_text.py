import numpy as np
import pytest

from redub.core.errors import FeatureAbsent
from redub.features.text.emotion_lexicon import emotion_scores
from redub.features.text.global_text import (
    BAG_WIDTH,
    SHAPES,
    WIDTH,
    WORD_CLASSES,
    GlobalTextConfig,
    GlobalTextExtractor,
    text_statistics,
)
from tests.features.voices import media_of

CLASSES_AT = 8 + 3 + len(SHAPES)


def shape(text: str, name: str) -> float:
    return float(text_statistics(text)[11 + SHAPES.index(name)])


def word_class(text: str, name: str) -> float:
    return float(text_statistics(text)[CLASSES_AT + list(WORD_CLASSES).index(name)])


def bag(text: str) -> np.ndarray:
    return text_statistics(text)[-BAG_WIDTH:]


def test_it_opens_with_the_emotions_of_the_line():
    line = "I hate this gloomy place!"
    np.testing.assert_array_equal(text_statistics(line)[:8], emotion_scores(line))


def test_shapes_and_classes_of_a_counted_line():
    # Four words, 14 letters, one of them a capital; "I" and "me" are the first person, 2 of 4.
    line = "I, alone, trust me!"
    assert shape(line, "letters_per_word") == pytest.approx(13 / 4 / 10)
    assert shape(line, "capitals") == pytest.approx(1 / 13)
    assert shape(line, "commas") == pytest.approx(2 / 4)
    assert shape(line, "exclaims") == pytest.approx(1 / 4)
    assert shape(line, "different_words") == 1.0
    assert word_class(line, "first_person") == pytest.approx(2 / 4)
    assert word_class(line, "articles") == 0.0


def test_the_bag_sees_content_words_whatever_their_order_or_ending():
    np.testing.assert_array_equal(bag("the dog chased a cat"), bag("a cat chased the dog"))
    np.testing.assert_array_equal(bag("dogs"), bag("dog"))
    assert np.linalg.norm(bag("dog house")) == pytest.approx(1.0)
    assert not bag("the and of").any()


def test_shared_words_bring_lines_together():
    assert bag("red dog barks") @ bag("red dog sleeps") > bag("red dog barks") @ bag("my quiet sea")


def test_a_line_without_words_has_no_statistics():
    with pytest.raises(FeatureAbsent) as refusal:
        text_statistics("...")
    assert refusal.value.code == "E-TEXT-NONE"


def test_the_extractor_keeps_its_schema():
    extractor = GlobalTextExtractor(GlobalTextConfig())
    value = extractor.extract(media_of(text="By the door?"))
    assert (value.shape, value.dtype.name) == ((WIDTH,), extractor.schema.dtype)
    assert extractor.schema.width == WIDTH
