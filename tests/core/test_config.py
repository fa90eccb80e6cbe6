"""Config: unknown keys name the nearest, types are checked, digests move when settings move."""

from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.core.config import canonical, digest_of, from_mapping, nearest
from redub.core.errors import ClipError, ConfigError, StorageError
from redub.core.types import AudioSpec, VideoSpec


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int = 1
    name: str = "a"


@dataclass(frozen=True, kw_only=True)
class Outer:
    ratio: float = 0.5
    mode: Literal["fast", "slow"] = "fast"
    on: bool = True
    words: tuple[str, ...] = ()
    limit: int | None = None
    inner: Inner = field(default_factory=Inner)


def test_values_arrive_and_the_rest_keeps_its_default():
    built = from_mapping(Outer, {"ratio": 2, "inner": {"depth": 7}, "words": ["x", "y"]})
    assert built == Outer(ratio=2.0, inner=Inner(depth=7), words=("x", "y"))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"ratoi": 1.0}, "unknown key 'ratoi'; did you mean 'ratio'?"),
        ({"inner": {"deptt": 1}}, "unknown key 'inner.deptt'; did you mean 'depth'?"),
        ({"mode": "medium"}, "'mode' is 'medium'; legal: fast, slow"),
        ({"on": 1}, "'on' wants bool, found 1"),
        ({"inner": {"depth": True}}, "'inner.depth' wants int, found True"),
        ({"inner": 3}, "'inner' wants a table, found 3"),
        ({"words": "x"}, "'words' wants a list, found 'x'"),
        ({"limit": "many"}, "'limit' wants int, found 'many'"),
    ],
)
def test_what_is_wrong_is_named(values, sentence):
    with pytest.raises(ConfigError) as caught:
        from_mapping(Outer, values)
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 4


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), json_values, max_size=5))
def test_a_digest_does_not_depend_on_the_order_of_keys(value):
    turned = dict(reversed(list(value.items())))
    assert digest_of(turned) == digest_of(value)


@given(json_values, json_values)
def test_different_values_have_different_digests(a, b):
    assert (digest_of(a) == digest_of(b)) == (canonical(a) == canonical(b))


def test_nearest_lists_all_words_when_none_is_close():
    assert nearest("zzz", ["alpha", "beta"]) == "known: alpha, beta"


def test_errors_survive_a_trip_between_processes():
    import pickle

    clip = pickle.loads(pickle.dumps(ClipError("m", code="E-X", signal="SIGABRT", attempts=2)))
    assert (clip.message, clip.code, clip.signal, clip.attempts) == ("m", "E-X", "SIGABRT", 2)
    assert pickle.loads(pickle.dumps(StorageError("full"))).exit_code == 5


@given(st.integers(1, 10_000))
def test_one_picture_lasts_four_mel_frames(frames):
    audio, video = AudioSpec(), VideoSpec()
    samples = audio.sample_count(frames, video)
    assert samples == frames * 640
    assert audio.frame_count(samples) == 4 * frames


def test_an_impossible_audio_spec_is_refused():
    with pytest.raises(ConfigError, match="hop 2048"):
        AudioSpec(hop_samples=2048)
