import math

import librosa
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from redub.core.errors import ClipError, FeatureAbsent
from redub.core.types import AudioSpec
from redub.features.sound.mel import LOG_FLOOR, MelConfig, MelExtractor, log_mel
from redub.features.sound.samples import shortest
from redub.features.sound.spectrum import mel_filters
from tests.features.voices import AUDIO, media_of, syllables, wave

CINEMA = AudioSpec(
    sample_rate_hz=22_050, n_fft=1024, hop_samples=256, win_samples=1024, fmax_hz=8000.0
)
ODD = AudioSpec(sample_rate_hz=22_050, n_fft=1024, hop_samples=221, win_samples=880)


@pytest.mark.parametrize("audio", [AUDIO, CINEMA, ODD])
def test_filters_are_librosas(audio):
    theirs = librosa.filters.mel(
        sr=audio.sample_rate_hz, n_fft=audio.n_fft, n_mels=audio.mel_channels,
        fmin=audio.fmin_hz, fmax=audio.fmax_hz, dtype=np.float64,
    )  # fmt: skip
    np.testing.assert_allclose(mel_filters(audio), theirs, atol=1e-7)


@pytest.mark.parametrize("audio", [AUDIO, CINEMA, ODD])
def test_mel_follows_a_plain_scipy_computation(audio):
    sound = np.float32(syllables(duration_s=1.0))
    edge = audio.n_fft - audio.hop_samples
    padded = np.pad(sound.astype(np.float64), (edge // 2, edge - edge // 2), mode="reflect")
    window = scipy.signal.get_window("hann", audio.win_samples, fftbins=True)
    lead = (audio.n_fft - audio.win_samples) // 2
    rows = []
    for t in range(len(sound) // audio.hop_samples):
        piece = padded[t * audio.hop_samples + lead :][: audio.win_samples] * window
        power = np.abs(np.fft.rfft(piece, audio.n_fft)) ** 2
        filters = librosa.filters.mel(
            sr=audio.sample_rate_hz, n_fft=audio.n_fft, n_mels=80, fmin=0, fmax=8000
        )
        rows.append(np.log(np.maximum(filters @ np.sqrt(power + 1e-9), 1e-5)))
    mine = log_mel(wave(sound, audio.sample_rate_hz), audio)
    np.testing.assert_allclose(mine, np.array(rows), atol=1e-4)


def test_silence_is_its_floor_in_closed_form():
    # Every bin reads sqrt(1e-9); a filter sums to about 1 / (16000 / 1024) over the bins.
    mel = log_mel(wave(np.zeros(1600)), AUDIO)
    sums = mel_filters(AUDIO).sum(axis=1)
    expected = [max(math.log(math.sqrt(1e-9) * s), LOG_FLOOR) for s in sums]
    np.testing.assert_allclose(mel, np.tile(expected, (10, 1)), rtol=1e-6)


def test_a_tone_lights_the_channel_that_covers_it():
    tone = 0.5 * np.sin(2 * np.pi * 1000.0 * np.arange(8000) / 16_000)
    centres = librosa.mel_frequencies(82, fmin=0, fmax=8000)[1:-1]
    channel = int(np.abs(centres - 1000.0).argmin())
    assert set(log_mel(wave(tone), AUDIO)[5:-5].argmax(axis=1)) == {channel}


@settings(max_examples=25, deadline=None)
@given(st.integers(shortest(AUDIO), 4000))
def test_there_is_one_frame_per_whole_hop(samples):
    sound = np.random.default_rng(samples).uniform(-0.1, 0.1, samples)
    assert log_mel(wave(sound), AUDIO).shape == (samples // 160, 80)


def test_louder_by_a_factor_is_higher_by_its_logarithm():
    sound = syllables(duration_s=0.5, level=0.4)
    loud, plain = log_mel(wave(sound), AUDIO), log_mel(wave(sound / 2), AUDIO)
    audible = plain > -3.0  # where the softening 1e-9 is nothing
    np.testing.assert_allclose((loud - plain)[audible], math.log(2.0), atol=1e-3)


@pytest.mark.parametrize("samples", [0, 1, 432])
def test_too_little_sound_has_no_mel(samples):
    with pytest.raises(FeatureAbsent) as refusal:
        log_mel(wave(np.zeros(samples)), AUDIO)
    assert refusal.value.code == "E-FEAT-SHORT"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_sample_that_is_no_number_is_refused(bad):
    sound = syllables(duration_s=0.2)
    sound[100] = bad
    with pytest.raises(ClipError, match="sample 100") as refusal:
        log_mel(wave(sound), AUDIO)
    assert refusal.value.code == "E-IN-NAN"


def test_another_rate_is_refused():
    with pytest.raises(ClipError, match="44100") as refusal:
        log_mel(wave(np.zeros(4000), 44_100), AUDIO)
    assert refusal.value.code == "E-IN-RATE"


def test_the_extractor_keeps_its_schema_and_wants_sound():
    extractor = MelExtractor(MelConfig(audio=AUDIO))
    value = extractor.extract(media_of(syllables(duration_s=0.4)))
    assert (value.shape, value.dtype.name) == ((40, extractor.schema.width), extractor.schema.dtype)
    with pytest.raises(FeatureAbsent) as refusal:
        extractor.extract(media_of(None))
    assert refusal.value.code == "E-FEAT-NOSOUND"
