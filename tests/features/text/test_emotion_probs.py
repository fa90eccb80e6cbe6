import numpy as np
import pytest

from redub.core.errors import FeatureAbsent
from redub.core.types import EMOTIONS
from redub.features.registry import extractor_class
from tests.features.voices import media_of

TEXTS = {
    "scene_emotion_probs": "scene_caption",
    "face_emotion_probs": "face_caption",
    "text_emotion_probs": "",
}


def shares(name, text):
    kind = extractor_class(name)
    read = TEXTS[name]
    assert kind.reads == ((read,) if read else ())
    return kind(kind.Config()).extract(
        media_of(text="" if read else text, features={read: text} if read else {})
    )


@pytest.mark.parametrize("name", TEXTS)
def test_the_named_emotion_has_the_largest_share(name):
    for word, emotion in (("furious", "angry"), ("happy", "happy"), ("terrified", "fear")):
        value = shares(name, f"The face looks {word}.")
        assert (value.shape, value.dtype) == ((8,), np.float32)
        assert value.sum() == pytest.approx(1.0, abs=1e-5)
        assert EMOTIONS[int(value.argmax())] == emotion
    assert extractor_class(name).labels == EMOTIONS


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_without_words_has_no_shares(name):
    with pytest.raises(FeatureAbsent) as caught:
        shares(name, "?!")
    assert caught.value.code == "E-TEXT-NONE"
