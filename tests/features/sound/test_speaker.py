import numpy as np
import pytest

from redub.core.errors import FeatureAbsent
from redub.features.sound.f0 import f0_track
from redub.features.sound.mel import log_mel
from redub.features.sound.speaker import WIDTH, SpeakerConfig, SpeakerExtractor, speaker_embedding
from tests.features.voices import AUDIO, VOWELS_HZ, hiss, media_of, silence, vowel, wave


def said_by(f0_hz: float, tract: float, order=("AA", "IY", "UW")) -> np.ndarray:
    """Three vowels in one voice: a pitch, and a vocal tract that scales all formants."""
    return np.concatenate(
        [vowel(0.4, f0_hz, tuple(tract * hz for hz in VOWELS_HZ[name])) for name in order]
    )


def embedded(samples) -> np.ndarray:
    sound = wave(samples)
    return speaker_embedding(sound, AUDIO, log_mel(sound, AUDIO), f0_track(sound, AUDIO))


VOICES = {"low": (105.0, 0.95), "middle": (160.0, 1.05), "high": (230.0, 1.18)}


def test_the_nearest_voice_is_the_same_voice_saying_something_else():
    first = {name: embedded(said_by(*voice)) for name, voice in VOICES.items()}
    for name, voice in VOICES.items():
        again = embedded(said_by(voice[0] * 1.04, voice[1], order=("UW", "AA", "IY", "AA")))
        assert max(first, key=lambda other: first[other] @ again) == name


def test_loudness_and_surrounding_silence_do_not_change_the_voice():
    plain = said_by(*VOICES["middle"])
    changed = np.concatenate([silence(0.3), plain * 0.5, silence(0.2)])
    assert embedded(plain) @ embedded(changed) > 0.98


def test_an_embedding_has_length_one():
    assert np.linalg.norm(embedded(said_by(*VOICES["low"]))) == pytest.approx(1.0, abs=1e-6)


def test_the_extractor_keeps_its_schema_and_refuses_noise():
    extractor = SpeakerExtractor(SpeakerConfig(audio=AUDIO))
    samples = said_by(*VOICES["high"])
    mel, f0 = log_mel(wave(samples), AUDIO), f0_track(wave(samples), AUDIO)[:, None]
    value = extractor.extract(media_of(samples, features={"mel": mel, "f0": f0}))
    assert (value.shape, value.dtype.name) == ((WIDTH,), extractor.schema.dtype)
    noise = hiss(1.2, 3000.0)
    features = {"mel": log_mel(wave(noise), AUDIO), "f0": np.zeros((120, 1), np.float32)}
    with pytest.raises(FeatureAbsent) as refusal:
        extractor.extract(media_of(noise, features=features))
    assert refusal.value.code == "E-FEAT-UNVOICED"
