import numpy as np
import pytest

from redub.core.errors import FeatureAbsent
from redub.features.sound.audio_emotion import (
    DIMENSIONS,
    AudioEmotionConfig,
    AudioEmotionExtractor,
    emotion_statistics,
    prosody_vector,
    syllable_nuclei,
)
from redub.features.sound.f0 import f0_track
from redub.features.sound.mel import log_mel
from redub.features.sound.prosody import spoken_tracks
from tests.features.voices import AUDIO, RATE, media_of, silence, syllables, vowel, wave


def measured(samples) -> dict[str, float]:
    sound = wave(samples)
    vector = prosody_vector(sound, AUDIO, log_mel(sound, AUDIO), f0_track(sound, AUDIO))
    return dict(zip(DIMENSIONS, vector.tolist(), strict=True))


def clip(samples):
    sound = wave(samples)
    features = {"mel": log_mel(sound, AUDIO), "f0": f0_track(sound, AUDIO)[:, None]}
    return media_of(samples, features=features)


def test_names_and_numbers_stand_in_the_same_order():
    sound = wave(syllables())
    tracks = spoken_tracks(sound, AUDIO, log_mel(sound, AUDIO), f0_track(sound, AUDIO))
    assert tuple(emotion_statistics(tracks)) == DIMENSIONS


def test_an_octave_higher_moves_pitch_by_12_semitones_and_leaves_loudness():
    low, high = measured(syllables(f0_hz=110.0)), measured(syllables(f0_hz=220.0))
    assert high["f0_st_median"] - low["f0_st_median"] == pytest.approx(12.0, abs=0.3)
    assert high["syllables_per_s"] == pytest.approx(low["syllables_per_s"], abs=0.6)


def test_ten_times_louder_moves_the_level_by_20_db_and_not_the_voice():
    soft, loud = measured(syllables(level=0.05)), measured(syllables(level=0.5))
    assert loud["level_db_mean"] - soft["level_db_mean"] == pytest.approx(20.0, abs=0.2)
    for name in ("f0_st_mean", "hammarberg_db_mean", "centroid_oct_mean", "spoken_log_s"):
        assert loud[name] == pytest.approx(soft[name], abs=0.05), name


def test_a_rising_line_rises_and_a_falling_line_falls():
    ramp = np.linspace(120.0, 240.0, 2 * RATE)  # an octave in two seconds
    rising, falling = measured(vowel(2.0, ramp)), measured(vowel(2.0, ramp[::-1]))
    assert rising["f0_slope"] == pytest.approx(6.0, abs=0.7)  # semitones per second
    assert falling["f0_slope"] == pytest.approx(-6.0, abs=0.7)
    assert rising["f0_cadence"] > 3 > -3 > falling["f0_cadence"]
    assert rising["f0_rising_share"] > 0.9 > 0.1 > falling["f0_rising_share"]


@pytest.mark.parametrize("rate_per_s", [3.0, 5.0])
def test_planted_syllables_are_counted(rate_per_s):
    sound = wave(syllables(rate_per_s=rate_per_s, duration_s=2.0))
    tracks = spoken_tracks(sound, AUDIO, log_mel(sound, AUDIO), f0_track(sound, AUDIO))
    assert len(syllable_nuclei(tracks)) == pytest.approx(2.0 * rate_per_s, abs=1)


def test_faster_syllables_move_the_modulation_upwards():
    slow, fast = measured(syllables(rate_per_s=1.5)), measured(syllables(rate_per_s=6.0))
    assert slow["level_modulation_1_2_hz"] > fast["level_modulation_1_2_hz"]
    assert slow["level_modulation_4_8_hz"] < fast["level_modulation_4_8_hz"]


def test_a_pause_is_counted_inside_the_line_and_not_around_it():
    gap = np.concatenate([vowel(0.6), silence(0.4), vowel(0.6)])
    plain = measured(gap)
    around = measured(np.concatenate([silence(0.5), gap, silence(0.5)]))
    assert plain["pause_share"] == pytest.approx(0.4 / 1.6, abs=0.06)
    assert around["pause_share"] == pytest.approx(plain["pause_share"], abs=0.03)
    assert around["spoken_log_s"] == pytest.approx(np.log(1.6), abs=0.05)


def test_a_trembling_pitch_shakes_more_than_a_steady_one():
    clock = np.arange(2 * RATE) / RATE  # 160 Hz is 100 samples, so its pulses do not jitter
    steady, trembling = (
        measured(vowel(2.0, 160.0)),
        measured(vowel(2.0, 160.0 * 2 ** (0.5 / 12 * np.sin(2 * np.pi * 6.0 * clock)))),
    )
    assert trembling["f0_shake"] > 2 * steady["f0_shake"]
    assert trembling["pitch_modulation_4_8_hz"] > steady["pitch_modulation_4_8_hz"] + 1


def test_the_extractor_keeps_its_schema_and_forgets_the_clip_before():
    extractor = AudioEmotionExtractor(AudioEmotionConfig(audio=AUDIO))
    first = clip(syllables(f0_hz=140.0))
    alone = extractor.extract(first)
    extractor.extract(clip(syllables(rate_per_s=6.0, f0_hz=260.0)))
    assert np.array_equal(extractor.extract(first), alone)
    assert (alone.shape, alone.dtype.name) == ((extractor.schema.width,), extractor.schema.dtype)
    assert np.isfinite(alone).all()


def test_silence_has_no_emotion():
    features = {"mel": np.zeros((50, 80), np.float32), "f0": np.zeros((50, 1), np.float32)}
    with pytest.raises(FeatureAbsent) as refusal:
        AudioEmotionExtractor(AudioEmotionConfig(audio=AUDIO)).extract(
            media_of(silence(0.5), features=features)
        )
    assert refusal.value.code == "E-FEAT-SILENT"
