import numpy as np
import pytest

from redub.core.errors import FeatureAbsent
from redub.features.sound.f0 import f0_track
from redub.features.sound.global_audio import (
    DIMENSIONS,
    GlobalAudioConfig,
    GlobalAudioExtractor,
    sentence_prosody,
)
from redub.features.sound.mel import log_mel
from tests.features.voices import AUDIO, RATE, hiss, media_of, silence, vowel, wave


def described(samples) -> dict[str, float]:
    sound = wave(samples)
    vector = sentence_prosody(sound, AUDIO, log_mel(sound, AUDIO), f0_track(sound, AUDIO))
    return dict(zip(DIMENSIONS, vector.tolist(), strict=True))


def test_an_octave_of_rise_shows_from_third_to_third():
    # 120 Hz to 240 Hz exponentially: the thirds' means lie a third of an octave apart.
    found = described(vowel(1.8, 120.0 * 2 ** (np.arange(round(1.8 * RATE)) / (1.8 * RATE))))
    steps = np.diff([found[f"{part}_f0_st_mean"] for part in ("begin", "middle", "end")])
    np.testing.assert_allclose(steps, 1 / 3, atol=0.04)  # counted in octaves


def test_a_louder_ending_shows_at_the_end_only():
    sound = vowel(1.5, 160.0)
    louder = sound.copy()
    louder[RATE:] *= 10 ** (10 / 20)
    plain, found = described(sound), described(louder)
    assert found["end_level_db_mean"] - plain["end_level_db_mean"] == pytest.approx(0.5, abs=0.02)
    assert found["begin_level_db_mean"] == pytest.approx(plain["begin_level_db_mean"], abs=0.01)


def test_a_third_without_voice_borrows_the_voice_of_the_clip():
    found = described(np.concatenate([vowel(1.0, 160.0), hiss(0.6, 2000.0, level=0.3)]))
    assert found["end_voiced_share"] == 0.0
    assert found["end_f0_st_mean"] == pytest.approx(found["begin_f0_st_mean"], abs=0.05)


def test_silence_around_the_line_changes_nothing_much():
    plain = described(vowel(1.2, 160.0))
    padded = described(np.concatenate([silence(0.4), vowel(1.2, 160.0), silence(0.4)]))
    for name in ("begin_f0_st_mean", "middle_level_db_mean", "middle_cepstrum_1", "spoken_log_s"):
        assert padded[name] == pytest.approx(plain[name], abs=0.06), name


def test_the_extractor_keeps_its_schema_and_refuses_silence():
    extractor = GlobalAudioExtractor(GlobalAudioConfig(audio=AUDIO))
    sound = wave(vowel(0.6))
    features = {"mel": log_mel(sound, AUDIO), "f0": f0_track(sound, AUDIO)[:, None]}
    value = extractor.extract(media_of(vowel(0.6), features=features))
    assert (value.shape, value.dtype.name) == ((extractor.schema.width,), extractor.schema.dtype)
    with pytest.raises(FeatureAbsent) as refusal:
        extractor.extract(media_of(silence(0.6), features=features))
    assert refusal.value.code == "E-FEAT-SILENT"
