"""Director's notes: what they do to a query and a policy, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.core.errors import UsageError
from redub.index.notes import Notes, Weighted, directed
from redub.index.policy import Policy

LIBRARY = np.array([[4, 0, 0], [3, 0, 0], [0, 2, 0], [0, 5, 0], [0, 0, 1]], dtype=np.float32)
EMOTIONS = ["angry", "angry", "fear", "fear", ""]


def turned(query, notes, clips=None):
    return directed(
        np.array(query, dtype=np.float32),
        notes,
        library=LIBRARY,
        emotions=EMOTIONS,
        vector_of=(clips or {}).get,
    )


def cosine(a, b):
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_notes_are_read_as_directors_say_them():
    notes = Notes.parse(more=["anger:0.4", "sad"], less=["fear"], like=["a", "a"], unlike=["b"])
    assert notes.more == (
        Weighted(emotion="angry", weight=0.4),
        Weighted(emotion="sad", weight=0.5),
    )
    assert notes.less == (Weighted(emotion="fear", weight=0.5),)
    assert notes.like == ("a",)
    assert notes.lines() == [
        "more angry (0.4)",
        "more sad (0.5)",
        "less fear (0.5)",
        "like a",
        "not b",
    ]
    assert Notes.from_json(notes.to_json(), "take.json") == notes
    assert notes
    assert not Notes.parse()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("angr", "did you mean 'ang"),
        ("anger:x", "wanted a weight"),
        ("anger:0", "wanted a weight"),
        ("anger:-1", "wanted a weight"),
        ("anger:5", "wanted a weight"),
        ("anger:nan", "wanted a weight"),
        ("anger:", "wanted a weight"),
    ],
)
def test_notes_that_say_nothing_are_refused(words, says):
    with pytest.raises(UsageError, match=says):
        Notes.parse(more=[words])


def test_an_emotion_cannot_be_wanted_twice():
    with pytest.raises(UsageError, match="twice"):
        Notes.parse(more=["anger"], less=["angry:0.2"])


@given(weight=st.floats(0.05, 4.0))
def test_more_goes_towards_the_clips_of_an_emotion_and_less_away(weight):
    query = [1.0, 1.0, 1.0]
    angry = LIBRARY[0]
    more = turned(query, Notes(more=(Weighted(emotion="angry", weight=weight),)))
    less = turned(query, Notes(less=(Weighted(emotion="angry", weight=weight),)))
    assert cosine(more, angry) > cosine(query, angry) > cosine(less, angry)
    assert np.linalg.norm(more) == pytest.approx(np.linalg.norm(query), rel=1e-5)


def test_the_direction_is_from_the_mean_of_all_to_the_mean_of_the_labelled():
    # Unit rows: mean of all (.4, .4, .2), of the angry (1, 0, 0); the step is (.6, -.4, -.2).
    step = np.array([0.6, -0.4, -0.2]) / np.linalg.norm([0.6, -0.4, -0.2])
    query = np.array([0.0, 0.0, 2.0])
    expected = query / 2 + 0.5 * step
    found = turned(query, Notes(more=(Weighted(emotion="angry", weight=0.5),)))
    np.testing.assert_allclose(found, 2 * expected / np.linalg.norm(expected), atol=1e-6)


def test_like_is_the_mean_with_the_named_clips_and_a_clip_without_vector_says_nothing():
    found = turned([2.0, 0, 0], Notes(like=("a", "gone")), {"a": np.array([0, 9, 0], np.float32)})
    np.testing.assert_allclose(found, [np.sqrt(2), np.sqrt(2), 0], atol=1e-6)


def test_without_notes_the_query_stays():
    np.testing.assert_array_equal(turned([0.5, 0, 0.25], Notes()), np.float32([0.5, 0, 0.25]))


def test_an_emotion_that_no_clip_has_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match="labels there: angry, fear"):
        turned([1, 0, 0], Notes.parse(more=["happy"]))


def test_notes_never_loosen_a_policy():
    policy = Policy(films=("A", "B"), exclude=("x",))
    noted = Notes(unlike=("y",), films=("B", "C")).applied_to(policy)
    assert noted.films == ("B",)
    assert noted.exclude == ("x", "y")
    assert Notes(films=("C",)).applied_to(policy).films == ("",)  # no clip, rather than all
    assert Notes(films=("C",)).applied_to(Policy()).films == ("C",)
    assert Notes().applied_to(policy) == policy
