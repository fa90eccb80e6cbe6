"""Silero VAD with its real weights, where they were fetched, and the cutting out of pauses."""

import numpy as np
import pytest
import torch

from redub.core.errors import ConfigError
from redub.core.types import Waveform
from redub.features.models.ge2e.extractor import VAD, Ge2eConfig, Ge2eExtractor
from redub.features.models.silero_vad.extractor import SileroSpeechLevel, SileroSpeechLevelConfig
from redub.features.models.silero_vad.network import (
    CHUNK,
    VoiceActivity,
    load_voice_activity,
    speech_alone,
    voiced_samples,
)
from redub.features.sound.speech_level import SILENT_DB, speech_level_db
from redub.features.weights.packages import PACKAGES
from tests.features.paper.ledgers import CPU
from tests.features.voices import AUDIO, hiss, media_of, vowel
from tests.packaged import packaged

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def vad():
    return load_voice_activity(packaged(VAD))


def syllables(seconds):
    """A voice that opens and closes three times a second, as speech does."""
    count = round(seconds * RATE_HZ)
    opened = 0.5 - 0.5 * np.cos(2 * np.pi * 3 * np.arange(count) / RATE_HZ)
    glide = 120 + 20 * np.sin(2 * np.pi * 0.7 * np.arange(count) / RATE_HZ)
    return (vowel(seconds, f0_hz=float(glide.mean()))[:count] * opened).astype(np.float32)


def probabilities(vad, samples):
    with torch.inference_mode():
        return vad(torch.from_numpy(samples.astype(np.float32))).numpy()


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def plain_network(state, samples):
    """The network in numpy, from the description of its layers."""

    def conv(rows, name, stride):  # (C, T) with one zero on both sides
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        padded = np.pad(rows, ((0, 0), (1, 1)))
        steps = range(0, padded.shape[1] - 2, stride)
        out = [np.einsum("oik,ik->o", weight, padded[:, t : t + 3]) + bias for t in steps]
        return np.maximum(np.array(out).T, 0)

    hidden = cell = np.zeros(128)
    samples = np.concatenate([np.zeros(64), samples])
    found = []
    for start in range(0, len(samples) - 64, CHUNK):
        chunk = samples[start : start + 64 + CHUNK]
        chunk = np.pad(chunk, (0, 64 + CHUNK - len(chunk)))
        chunk = np.concatenate([chunk, chunk[-2:-66:-1]])  # mirrored, without the last sample
        basis = state["stft_conv.weight"][:, 0]
        spectrum = np.array([basis @ chunk[t : t + 256] for t in range(0, len(chunk) - 255, 128)]).T
        rows = np.sqrt(spectrum[:129] ** 2 + spectrum[129:] ** 2)
        for name, stride in (("conv1", 1), ("conv2", 2), ("conv3", 2), ("conv4", 1)):
            rows = conv(rows, name, stride)
        gates = (
            state["lstm_cell.weight_ih"] @ rows[:, 0]
            + state["lstm_cell.bias_ih"]
            + state["lstm_cell.weight_hh"] @ hidden
            + state["lstm_cell.bias_hh"]
        )
        into, forget, value, out = np.split(gates, 4)
        cell = sigmoid(forget) * cell + sigmoid(into) * np.tanh(value)
        hidden = sigmoid(out) * np.tanh(cell)
        weight, bias = state["final_conv.weight"][0, :, 0], state["final_conv.bias"][0]
        found.append(sigmoid(weight @ np.maximum(hidden, 0) + bias))
    return np.array(found)


def test_the_network_is_that_of_a_plain_restatement(vad):
    state = {name: value.numpy().astype(np.float64) for name, value in vad.state_dict().items()}
    rng = np.random.default_rng(3)
    samples = syllables(1.0) + 0.05 * rng.standard_normal(RATE_HZ)
    np.testing.assert_allclose(
        probabilities(vad, samples[:-100]), plain_network(state, samples[:-100]), atol=2e-4
    )


def test_the_port_has_the_tensors_of_the_published_file(vad):
    weights = packaged(VAD)
    published = weights.tensors(next(iter(weights.files)))
    assert {name: tuple(value.shape) for name, value in published.items()} == {
        name: tuple(value.shape) for name, value in VoiceActivity().state_dict().items()
    }
    assert PACKAGES[VAD].licence == "MIT"


def test_silence_and_noise_are_no_voice_and_a_later_sound_changes_nothing(vad):
    assert probabilities(vad, np.zeros(RATE_HZ)).max() < 0.1
    assert probabilities(vad, 0.1 * np.random.default_rng(0).standard_normal(RATE_HZ)).max() < 0.5
    voice = np.concatenate([np.zeros(RATE_HZ), syllables(1.5)])
    whole = probabilities(vad, voice)
    chunks = 40
    np.testing.assert_allclose(
        probabilities(vad, voice[: chunks * CHUNK]), whole[:chunks], atol=1e-6
    )
    assert len(whole) == -(-len(voice) // CHUNK)


def test_voiced_samples_are_chunks_with_a_margin():
    found = np.zeros(10, np.float32)
    found[4] = 0.5
    kept = voiced_samples(found, 10 * CHUNK - 7, margin_s=100 / RATE_HZ)
    assert np.flatnonzero(kept).tolist() == list(range(4 * CHUNK - 100, 5 * CHUNK + 100))
    assert not voiced_samples(found - 0.01, 10 * CHUNK).any()
    assert voiced_samples(np.ones(10, np.float32), 9 * CHUNK + 1).all()


class Marked(torch.nn.Module):
    """Finds a voice where the sound is louder than 0.05."""

    def forward(self, samples):
        filled = torch.nn.functional.pad(samples, (0, -len(samples) % CHUNK))
        return (filled.reshape(-1, CHUNK).abs().amax(dim=1) > 0.05).float()


def test_pauses_are_cut_out_before_the_speaker_is_encoded():
    """With pauses of faint hiss between the words, the vector is that of the words alone."""
    folders = {"model": packaged("ge2e"), VAD: packaged(VAD)}
    plain = Ge2eExtractor(Ge2eConfig(audio=AUDIO), {"model": folders["model"]}, CPU)
    cut = Ge2eExtractor(Ge2eConfig(audio=AUDIO), folders, CPU)
    cut._detector = Marked()
    words = [vowel(1.0, f0_hz=hz).astype(np.float32) for hz in (115, 125)]
    pause = (0.002 * hiss(2.0)).astype(np.float32)
    together = np.concatenate([words[0], pause, words[1]])

    def vector(extractor, samples):
        return extractor.compute([extractor.prepare(media_of(samples))])[0]

    alone = vector(plain, np.concatenate(words))
    assert vector(cut, together) @ alone > vector(plain, together) @ alone
    assert len(speech_alone(Marked(), together)) < len(together) - RATE_HZ


def test_an_utterance_in_which_no_voice_is_found_is_not_lost():
    """All of its sound is encoded, as without the detector."""
    folders = {"model": packaged("ge2e"), VAD: packaged(VAD)}
    noise = media_of(0.1 * np.random.default_rng(1).standard_normal(2 * RATE_HZ))
    plain = Ge2eExtractor(Ge2eConfig(audio=AUDIO), {"model": folders["model"]}, CPU)
    cut = Ge2eExtractor(Ge2eConfig(audio=AUDIO), folders, CPU)
    np.testing.assert_array_equal(cut.prepare(noise), plain.prepare(noise))


def test_the_detector_is_optional_and_can_be_left_out():
    assert Ge2eExtractor.weights_optional(Ge2eConfig(audio=AUDIO)) == {VAD: (VAD, VAD)}
    assert Ge2eExtractor.weights_optional(Ge2eConfig(audio=AUDIO, vad="")) == {}


# -- the feature speech_level


def level(samples, rate=RATE_HZ, **settings):
    extractor = SileroSpeechLevel(
        SileroSpeechLevelConfig(**settings), {"model": packaged(VAD)}, CPU
    )
    value = extractor.extract(media_of(samples, rate=rate))
    assert value.dtype == extractor.schema.dtype
    assert value.shape[1] == extractor.schema.width
    return value[:, 0]


def test_the_level_is_that_of_the_band_where_a_voice_is_heard_and_silence_elsewhere():
    music = 0.1 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE_HZ) / RATE_HZ)
    samples = music.copy()
    samples[RATE_HZ : 2 * RATE_HZ] += syllables(1.0)
    plain = speech_level_db(Waveform(samples.astype(np.float32), RATE_HZ))
    found = level(samples)
    assert len(found) == len(plain) == 75
    assert (plain > -30).all()  # the builtin level hears the tone all the time
    voiced = found > SILENT_DB
    np.testing.assert_array_equal(found[voiced], plain[voiced])
    assert voiced[30:45].all()
    assert not voiced[:20].any()
    assert not voiced[57:].any()


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("count", [0, 1, 300, 9_999])
def test_every_length_and_rate_has_the_frames_of_the_builtin_level(rate, count):
    samples = np.random.default_rng(0).standard_normal(count) * 0.1
    plain = speech_level_db(Waveform(samples.astype(np.float32), rate))
    assert level(samples, rate).shape == plain.shape


def test_a_higher_threshold_never_finds_more():
    samples = np.concatenate([np.zeros(RATE_HZ), syllables(1.5)])
    counts = [(level(samples, threshold=t) > SILENT_DB).sum() for t in (0.1, 0.5, 0.9)]
    assert counts == sorted(counts, reverse=True)
    wide, narrow = (level(samples, margin_s=m) > SILENT_DB for m in (0.3, 0.0))
    assert (wide >= narrow).all()


@pytest.mark.parametrize("settings", [{"threshold": 0.0}, {"threshold": 1.0}, {"margin_s": -1.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        SileroSpeechLevelConfig(**settings)
