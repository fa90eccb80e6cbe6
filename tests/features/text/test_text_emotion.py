import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.core.errors import FeatureAbsent
from redub.core.types import EMOTIONS
from redub.features.text.emotion_lexicon import read_emotion
from redub.features.text.text_emotion import (
    ACT_REACTIONS,
    HALF_WIDTH,
    REACTIONS,
    TextEmotionConfig,
    TextEmotionExtractor,
    reaction_scores,
    speech_acts,
    text_emotion,
)
from tests.features.voices import media_of


def acts(text: str) -> set[str]:
    return set(speech_acts(text, read_emotion(text)))


def halves(text: str) -> tuple[np.ndarray, np.ndarray]:
    vector = text_emotion(text)
    return vector[:HALF_WIDTH], vector[HALF_WIDTH:]


def likeness(a: str, b: str) -> float:
    """The index's mean of two cosines."""
    pairs = zip(halves(a), halves(b), strict=True)
    return float(np.mean([x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in pairs]))


def test_every_rule_is_a_distribution_over_known_emotions():
    assert tuple(REACTIONS) == EMOTIONS
    for shares in [*REACTIONS.values(), *ACT_REACTIONS.values()]:
        assert set(shares) <= set(EMOTIONS)
        assert sum(shares.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Where are you going?", {"asks"}),
        ("Get out of here.", {"commands"}),
        ("Thanks, that is kind.", {"thanks"}),
        ("I am sorry.", {"apologises"}),
        ("Hello, old friend.", {"greets"}),
        ("I hate you.", {"blames"}),
        ("The door is red.", set()),
    ],
)
def test_speech_acts_of_plain_lines(text, expected):
    assert acts(text) == expected


def test_reaction_follows_the_table_in_closed_form():
    angry = np.eye(8, dtype=np.float32)[EMOTIONS.index("angry")]
    by_rule = [REACTIONS["angry"].get(e, 0.0) for e in EMOTIONS]
    np.testing.assert_allclose(reaction_scores(angry, frozenset()), by_rule, atol=1e-6)
    # With an act, 0.4 of the reaction is the act's.
    mixed = [0.6 * REACTIONS["angry"].get(e, 0.0) + 0.4 * ACT_REACTIONS["asks"].get(e, 0.0)
             for e in EMOTIONS]  # fmt: skip
    np.testing.assert_allclose(reaction_scores(angry, frozenset({"asks"})), mixed, atol=1e-6)


def test_a_shout_frightens_where_it_does_not_fear():
    speaker, hearer = halves("I am furious with you!")
    fear = EMOTIONS.index("fear")
    assert hearer[fear] > 0.15 > speaker[fear]


def test_lines_that_feel_alike_are_alike():
    joy, more_joy, grief = "What a wonderful day!", "I am so happy!", "He died and I am lonely."
    assert likeness(joy, more_joy) > likeness(joy, grief) + 0.2


@given(st.from_regex(r"[a-zA-Z]+[ .!?a-zA-Z]{0,60}", fullmatch=True))
def test_both_halves_can_be_normalised(text):
    vector = text_emotion(text)
    assert np.isfinite(vector).all()
    assert np.abs(vector).max() <= 1.0
    for half in (vector[:HALF_WIDTH], vector[HALF_WIDTH:]):
        assert half[:8].sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("text", ["", "?!", "…"])
def test_a_line_without_words_feels_nothing(text):
    with pytest.raises(FeatureAbsent) as refusal:
        text_emotion(text)
    assert refusal.value.code == "E-TEXT-NONE"


def test_the_extractor_keeps_its_schema():
    extractor = TextEmotionExtractor(TextEmotionConfig())
    value = extractor.extract(media_of(text="I love it."))
    assert (value.shape, value.dtype.name) == ((extractor.schema.width,), extractor.schema.dtype)
