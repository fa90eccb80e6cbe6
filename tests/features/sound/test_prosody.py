import numpy as np
import pytest

from redub.core.errors import FeatureAbsent
from redub.features.sound.f0 import f0_track
from redub.features.sound.mel import log_mel
from redub.features.sound.prosody import VoiceTracks, runs_of, slope_at, slope_of, spoken_tracks
from tests.features.voices import AUDIO, hiss, silence, syllables, vowel, wave


def tracks_of(samples) -> VoiceTracks:
    sound = wave(samples)
    return spoken_tracks(sound, AUDIO, log_mel(sound, AUDIO), f0_track(sound, AUDIO))


def test_tracks_are_cut_to_what_is_spoken():
    tracks = tracks_of(np.concatenate([silence(0.5), vowel(1.0), silence(0.7)]))
    assert len(tracks.level_db) == pytest.approx(100, abs=6)
    assert tracks.active[0]
    assert tracks.active[-1]


def test_level_of_a_full_scale_sine_is_minus_3_db():
    # Mean square of a sine of amplitude 1 is 1/2: −3.01 dB of full scale.
    sine = np.sin(2 * np.pi * 200.0 * np.arange(16_000) / 16_000)
    assert np.median(tracks_of(sine).level_db) == pytest.approx(-3.01, abs=0.1)


def test_pitch_is_counted_in_semitones_above_55_hz():
    tracks = tracks_of(vowel(1.0, 110.0))  # one octave
    assert np.median(tracks.f0_st[tracks.voiced]) == pytest.approx(12.0, abs=0.2)


def test_tilt_and_brightness_tell_a_dull_voice_from_a_bright_one():
    bright = vowel(1.0)
    dull = np.convolve(bright, np.ones(12) / 12, mode="same")
    a, b = tracks_of(bright), tracks_of(dull)
    for name in ("tilt", "alpha_db", "centroid_oct"):
        assert getattr(a, name)[a.voiced].mean() > getattr(b, name)[b.voiced].mean(), name
    assert a.hammarberg_db[a.voiced].mean() < b.hammarberg_db[b.voiced].mean()


def test_a_breathy_voice_is_less_harmonic_than_a_clear_one():
    clear = vowel(1.0)
    breath = hiss(1.0, low_hz=100.0, level=0.1)
    a, b = tracks_of(clear), tracks_of(clear + breath)
    for name in ("harmonicity_db", "prominence_db"):
        assert getattr(a, name)[a.voiced].mean() > getattr(b, name)[b.voiced].mean() + 1.0, name


def test_formant_tracks_tell_vowels_apart():
    # F1 of AA is 730 Hz against 270 for IY; F2 is 1090 against 2290.
    aa, iy = tracks_of(vowel(0.5)), tracks_of(vowel(0.5, formants_hz=(270, 2290, 3010)))
    assert aa.first_oct[aa.voiced].mean() > iy.first_oct[iy.voiced].mean() + 0.5
    assert aa.second_oct[aa.voiced].mean() < iy.second_oct[iy.voiced].mean() - 0.2


@pytest.mark.parametrize(
    ("sound", "code"),
    [(silence(0.5), "E-FEAT-SILENT"), (hiss(0.8, low_hz=3000.0), "E-FEAT-UNVOICED")],
)
def test_without_a_voice_there_are_no_tracks(sound, code):
    mel = log_mel(wave(sound), AUDIO)
    with pytest.raises(FeatureAbsent) as refusal:
        spoken_tracks(wave(sound), AUDIO, mel, np.zeros(len(mel), dtype=np.float32))
    assert refusal.value.code == code


def test_runs_and_slopes_in_closed_form():
    assert runs_of(np.array([1, 1, 0, 0, 1], dtype=bool)) == [(0, 2), (4, 5)]
    assert runs_of(np.zeros(3, dtype=bool)) == []
    assert slope_of(np.array([1.0, 3.0, 5.0]), per_s=10.0) == pytest.approx(20.0)
    assert slope_of(np.array([1.0]), per_s=10.0) == 0.0
    assert slope_at(np.array([0.0, 0.5, 2.0]), np.array([1.0, 2.0, 5.0])) == pytest.approx(2.0)
    assert slope_at(np.array([1.0, 1.0]), np.array([0.0, 4.0])) == 0.0


def test_syllable_sound_is_voiced_and_has_gaps_in_loudness():
    tracks = tracks_of(syllables(rate_per_s=3.0))
    assert tracks.voiced.mean() > 0.7
