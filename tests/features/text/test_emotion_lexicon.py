import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.core.types import EMOTIONS
from redub.features.text.emotion_lexicon import (
    NEUTRAL_PRIOR,
    base_forms,
    emotion_scores,
    lexicon,
    read_emotion,
    weights_of,
    words_of,
)


def share(text: str, emotion: str) -> float:
    return float(emotion_scores(text)[EMOTIONS.index(emotion)])


@pytest.mark.parametrize(
    ("text", "emotion"),
    [
        ("I am furious, you liar!", "angry"),
        ("That smell is disgusting.", "disgust"),
        ("I'm terrified. Something is hiding out there.", "fear"),
        ("What a wonderful birthday, I love it!", "happy"),
        ("The report is on the table.", "neutral"),
        ("She was crying at the funeral.", "sad"),
        ("Wow, I am astonished!", "surprise"),
        ("I am bored and a little jealous.", "others"),
    ],
)
def test_plain_sentences_are_read_as_people_read_them(text, emotion):
    assert EMOTIONS[int(emotion_scores(text).argmax())] == emotion


@given(st.text(max_size=80))
def test_scores_of_any_text_are_a_distribution(text):
    scores = emotion_scores(text)
    assert (scores.shape, scores.dtype) == ((8,), np.float32)
    assert (scores >= 0).all()
    assert scores.sum() == pytest.approx(1.0, abs=1e-5)


def test_one_word_against_the_prior_in_closed_form():
    # "angry" weighs 1.0 and the neutral prior 0.5: 1 / 1.5 and 0.5 / 1.5.
    assert share("angry", "angry") == pytest.approx(1.0 / (1.0 + NEUTRAL_PRIOR))
    assert share("angry", "neutral") == pytest.approx(NEUTRAL_PRIOR / (1.0 + NEUTRAL_PRIOR))


def test_words_around_strengthen_and_weaken():
    plain, more, less = (share(t, "angry") for t in ("angry", "very angry", "slightly angry"))
    assert more > plain > less


def test_negation_turns_the_next_words_round_and_no_more():
    assert share("I am not happy", "sad") > share("I am not happy", "happy") == 0
    assert share("I am not afraid", "fear") == 0
    assert share("no, the man by the gate is happy", "happy") > 0.3
    assert read_emotion("not happy").negated == 1


def test_inflected_words_are_found_and_lookalikes_are_not():
    for inflected, base in (("hating", "hate"), ("sobbing", "sob"), ("happier", "happy")):
        assert np.array_equal(weights_of(inflected), lexicon()[base]), inflected
    assert weights_of("hat") is None
    assert "hat" in base_forms("hats")


def test_punctuation_speaks_when_no_word_does():
    assert share("The door!", "surprise") > share("The door.", "surprise") == 0
    assert share("Him...", "sad") > 0
    assert EMOTIONS[int(emotion_scores("").argmax())] == "neutral"


def test_case_quotes_and_hyphens_do_not_matter():
    assert words_of("DON’T well-known “Café”") == ["don't", "well", "known", "caf"]
    assert np.array_equal(emotion_scores("ANGRY"), emotion_scores("“angry”"))


def test_the_word_list_is_sound():
    assert len(lexicon()) > 800
    for word, weights in lexicon().items():
        assert words_of(word) == [word], word
        assert 0 < weights.max() <= 1, word
    assert all((np.stack(list(lexicon().values()))[:, k] > 0.9).any() for k in range(8))
