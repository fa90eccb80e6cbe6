"""Work shared between the extractors of one clip: done once, and no value depends on it."""

from dataclasses import replace

import numpy as np
import pytest

from redub.core.errors import ClipError, FeatureAbsent
from redub.core.types import AudioSpec, ClipMedia, VideoSpec
from redub.features.registry import EXTRACTORS, make_extractor
from tests.features.drawn_faces import media_of, talking
from tests.features.voices import syllables, wave

AUDIO = AudioSpec()


def values(media, *, shared):
    """Every feature of a clip in registry order, each upstream value handed on."""
    known = {}
    for name in EXTRACTORS:
        extractor = make_extractor(name, audio=AUDIO, video=VideoSpec())
        reads = {read: known[read] for read in extractor.reads if read in known}
        given = replace(media, features=reads)
        if not shared:
            given = ClipMedia(
                clip=media.clip, frames=media.frames, waveform=media.waveform, features=reads
            )
        try:
            known[name] = extractor.extract(given)
        except (ClipError, FeatureAbsent, KeyError):
            continue  # invented vowels cannot be aligned; the same in both ways
    return known


def test_sharing_changes_no_byte_of_any_feature():
    media = media_of(talking(0.4 + 0.3 * np.sin(np.arange(40))))
    clip = replace(media.clip, text="oh no")
    media = replace(media, clip=clip, waveform=wave(syllables(duration_s=1.6)))
    together, alone = values(media, shared=True), values(media, shared=False)
    assert set(together) == set(alone)
    assert {"face_emotion", "local_face", "scene_emotion", "speaker", "lips"} <= set(alone)
    for name, value in alone.items():
        if isinstance(value, str):
            assert together[name] == value
        else:
            assert together[name].tobytes() == value.tobytes(), name


def counting():
    calls = []

    def work(values, *, scale=1):
        calls.append(scale)
        return values * scale

    return work, calls


def test_the_same_work_is_done_once_and_clips_do_not_share():
    work, calls = counting()
    media, other, array = media_of(None), media_of(None), np.ones(3)
    first = media.once(work, array, scale=2)
    assert replace(media, features={"mel": array}).once(work, array, scale=2) is first
    assert calls == [2]
    other.once(work, array, scale=2)
    assert calls == [2, 2]


def test_other_arguments_are_other_work():
    work, calls = counting()
    media, array = media_of(None), np.ones(3)
    media.once(work, array, scale=2)
    media.once(work, array, scale=3)
    media.once(work, array.copy(), scale=2)  # equal values are not known to be equal
    assert calls == [2, 3, 2]


def test_an_array_freed_by_its_maker_is_not_taken_for_another():
    work, calls = counting()
    media = media_of(None)
    for value in range(50):  # without a hold on them, numpy would give all the same address
        assert media.once(work, np.full(1000, value))[0] == value
    assert len(calls) == 50


def test_work_that_failed_is_tried_again():
    attempts = []

    def work():
        attempts.append(1)
        raise FeatureAbsent("nothing there", code="E-FEAT-NOFACE")

    media = media_of(None)
    for _ in range(2):
        with pytest.raises(FeatureAbsent):
            media.once(work)
    assert len(attempts) == 2
