"""References of an utterance: of the other clips of its voice, the same for packs and synthesis."""

import hashlib
import math

import numpy as np
import pytest

from redub.core.types import Clip
from redub.pipeline.store.packs.voices import Voice, library_voices

RNG = np.random.default_rng(3)
VECTORS = {f"line{n}": RNG.normal(size=5).astype(np.float32) for n in range(9)}


def clip(clip_id, speaker, split="train", source="a.mp4"):
    return Clip(
        clip_id=clip_id,
        source=source,
        source_digest="d",
        start_frame=0,
        end_frame=25,
        film="f",
        scene="s",
        position=1,
        speaker=speaker,
        text="words",
        split=split,
    )


def mean_of(clip_ids):
    """The exact mean, rounded once; an oracle without NumPy's order of summation."""
    columns = zip(*(VECTORS[i].astype(float) for i in clip_ids), strict=True)
    return np.array([math.fsum(column) / len(clip_ids) for column in columns], np.float32)


@pytest.mark.parametrize("clip_id", ["line0", "line8", "a test clip"])
def test_references_are_of_the_other_clips_of_the_voice(clip_id):
    found = Voice("Ada", VECTORS).references(clip_id, 4)
    others = [other for other in VECTORS if other != clip_id]
    hashes = {o: hashlib.sha256(f"{clip_id}\0{o}".encode()).hexdigest() for o in others}
    assert found.voice == "Ada"
    assert list(found.clip_ids) == sorted(others, key=hashes.__getitem__)[:4]
    np.testing.assert_array_equal(found.speaker_vector, mean_of(others))


def test_a_voice_of_one_clip_has_references_for_other_clips_alone():
    voice = Voice("Ada", {"line0": VECTORS["line0"]})
    assert voice.references("line0", 4) is None
    assert voice.references("another", 4).clip_ids == ("line0",)


def test_one_clip_of_a_voice_is_a_voice_of_its_own():
    found = Voice("Ada", VECTORS).of_clip("line3").references("another", 4)
    assert (found.voice, found.clip_ids) == ("line3", ("line3",))
    np.testing.assert_array_equal(found.speaker_vector, VECTORS["line3"])


def test_the_library_has_voices_of_training_clips_with_a_mel_and_a_vector():
    clips = [
        clip("line0", "Ada"),
        clip("line1", "Ada", split="test"),
        clip("line2", "Bob"),
        clip("line3", "Ada"),  # without a mel
        clip("line4", ""),
        clip("none", "Ada"),  # without a vector
        clip("line5", "Ada"),
    ]
    voices = library_voices(clips, {"line0", "line1", "line2", "line4", "none", "line5"}, VECTORS)
    assert {name: voice.clip_ids for name, voice in voices.items()} == {
        "Ada": ("line0", "line5"),
        "Bob": ("line2",),
        "source a.mp4": ("line4",),
    }
