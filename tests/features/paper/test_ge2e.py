import os
import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

from redub.core.errors import ClipError, ConfigError, FeatureAbsent, ModelRefusedError
from redub.core.types import AudioSpec
from redub.features.models.ge2e.extractor import Ge2eConfig, Ge2eExtractor
from redub.features.models.ge2e.network import (
    SpeakerEncoder,
    mel_energies,
    mel_windows,
    raised,
    window_starts,
)
from tests.features.paper.ge2e_files import make_ge2e, tensor_shapes, tensors_of
from tests.features.paper.ledgers import CPU, Payload, folder_of
from tests.features.voices import AUDIO, hiss, media_of, silence, vowel

ROOT = str(Path(__file__).parents[3])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_ge2e(tmp_path_factory.mktemp("ge2e"))


def ge2e(path, audio=AUDIO, **settings):
    config = Ge2eConfig(audio=audio, **settings)
    return Ge2eExtractor(config, {"model": folder_of(path, "ge2e")}, CPU)


def voice(seconds=1.0, f0_hz=120.0, **kwargs):
    return media_of(vowel(seconds, f0_hz=f0_hz, **kwargs))


# -- input


def test_mel_energies_are_librosas():
    speech = (vowel(0.7) + hiss(0.7)).astype(np.float32)
    expected = librosa.feature.melspectrogram(
        y=speech, sr=16_000, n_fft=400, hop_length=160, n_mels=40
    ).T
    own = mel_energies(speech)
    assert own.shape == expected.shape == (1 + len(speech) // 160, 40)
    np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("samples", "starts"),
    [
        # Windows of 160 rows begin 77 rows apart: 16000 / 1.3 / 160 = 76.9.
        (400, [0]),
        (25_600, [0]),  # 1.6 s; the second would hold (25600 - 12320) / 25600 = 52 %
        (31_519, [0]),  # 74.998 %
        (31_520, [0, 77]),  # (31520 - 12320) / 25600 = 75 % exactly
        (32_000, [0, 77]),
        (48_000, [0, 77, 154]),  # (48000 - 24640) / 25600 = 91 %
    ],
)
def test_windows_begin_at_hand_worked_rows(samples, starts):
    assert window_starts(samples, 1.3, 0.75) == starts


def test_windows_of_five_lengths_are_those_of_a_plain_restatement():
    def plain(samples):
        rows = int(np.ceil((samples + 1) / 160))
        starts = [i for i in range(0, 10_000, 77) if i < max(1, rows - 160 + 77 + 1)]
        if len(starts) > 1 and (samples - 160 * starts[-1]) / 25_600 < 0.75:
            starts.pop()
        return starts

    for samples in (8_000, 40_001, 64_000, 160_000, 479_999):
        assert window_starts(samples, 1.3, 0.75) == plain(samples)


def test_the_last_window_is_filled_up_with_silence():
    speech = vowel(2.0).astype(np.float32)
    windows = mel_windows(speech, 1.3, 0.75)
    assert windows.shape == (2, 160, 40)
    # Row 77 + r of the whole; sound ends at row 200, and a row reaches 200 samples ahead of it.
    np.testing.assert_array_equal(windows[0, 77:], windows[1, :83])
    assert windows[1, 122].max() > 0
    assert (windows[1, 125:] == 0).all()


def test_quiet_sound_is_raised_to_minus_30_db_and_loud_sound_left_alone():
    square = np.where(np.arange(16_000) // 50 % 2, 0.001, -0.001).astype(np.float32)  # -60 dB
    np.testing.assert_allclose(np.abs(raised(square)), 10 ** (-30 / 20), rtol=1e-5)
    loud = vowel(0.5, level=0.5).astype(np.float32)
    np.testing.assert_array_equal(raised(loud), loud)


# -- the network


def plain_lstm(state, layer, rows):
    """(R, n) to (R, 256), one step after the other; gates in the order in, forget, new, out."""
    weight_x, weight_h = state[f"lstm.weight_ih_l{layer}"], state[f"lstm.weight_hh_l{layer}"]
    bias = state[f"lstm.bias_ih_l{layer}"] + state[f"lstm.bias_hh_l{layer}"]
    hidden, cell, out = np.zeros(256), np.zeros(256), []
    for row in rows:
        gates = weight_x @ row + weight_h @ hidden + bias
        open_in, forget, new, open_out = np.split(gates, 4)
        cell = cell / (1 + np.exp(-forget)) + np.tanh(new) / (1 + np.exp(-open_in))
        hidden = np.tanh(cell) / (1 + np.exp(-open_out))
        out.append(hidden)
    return np.stack(out)


def plain_embedding(state, windows):
    parts = []
    for window in windows:
        rows = window.astype(np.float64)
        for layer in range(3):
            rows = plain_lstm(state, layer, rows)
        part = np.maximum(state["linear.weight"] @ rows[-1] + state["linear.bias"], 0.0)
        parts.append(part / np.linalg.norm(part))
    mean = np.mean(parts, axis=0)
    return mean / np.linalg.norm(mean)


def test_an_embedding_is_that_of_a_plain_computation(folder):
    state = {name: value.double().numpy() for name, value in tensors_of().items()}
    speech = vowel(2.0, level=0.3).astype(np.float32)
    expected = plain_embedding(state, mel_windows(speech, 1.3, 0.75))
    np.testing.assert_allclose(ge2e(folder).extract(media_of(speech)), expected, atol=1e-5)


def test_the_encoder_has_the_tensors_of_the_public_file_but_the_loss_scalars():
    with torch.device("meta"):
        encoder = SpeakerEncoder()
    built = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    public = {n: s for n, s in tensor_shapes().items() if not n.startswith("similarity_")}
    assert built == public
    # 4·256·(40 + 256 + 2) + 2·4·256·(256 + 256 + 2) for the LSTM, 256² + 256 for the layer.
    assert sum(p.numel() for p in encoder.parameters()) == 1_423_616


def test_an_embedding_has_length_one_and_nothing_below_zero(folder):
    vector = ge2e(folder).extract(voice(2.0))
    assert vector.shape == (256,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)
    assert vector.min() >= 0


def test_different_voices_give_different_vectors_and_a_quiet_copy_the_same(folder):
    extractor = ge2e(folder)
    low, high = extractor.extract(voice(f0_hz=110.0)), extractor.extract(voice(f0_hz=230.0))
    assert np.abs(low - high).max() > 1e-3
    quiet = [extractor.extract(voice(f0_hz=110.0, level=level)) for level in (0.002, 0.02)]
    np.testing.assert_allclose(*quiet, atol=1e-5)


def test_a_clip_in_a_batch_is_the_clip_alone(folder):
    extractor = ge2e(folder)
    clips = [voice(0.4), voice(3.1, 180.0), media_of(hiss(1.7)), voice(5.0, 90.0)]
    alone = [extractor.extract(clip) for clip in clips]
    together = extractor.compute_all([extractor.prepare(clip) for clip in clips])
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_settings_move_the_windows(folder):
    clip = voice(4.0, f0_hz=np.linspace(90, 250, 64_000))
    plain, dense = ge2e(folder), ge2e(folder, windows_per_s=5.0)
    assert len(plain.prepare(clip)) == 4
    assert len(dense.prepare(clip)) > 10
    assert np.abs(plain.extract(clip) - dense.extract(clip)).max() > 1e-5
    assert len(ge2e(folder, coverage=1.0).prepare(voice(2.0))) == 1


def test_sound_at_another_rate_is_read_at_16_khz(folder):
    audio = AudioSpec(sample_rate_hz=22_050, hop_samples=256, win_samples=1024)

    def tone(rate):
        clock = np.arange(rate) / rate
        return 0.2 * sum(np.sin(2 * np.pi * 150 * k * clock) / k for k in range(1, 12))

    other = ge2e(folder, audio=audio).extract(media_of(tone(22_050), rate=22_050))
    assert other @ ge2e(folder).extract(media_of(tone(16_000))) > 0.9999


# -- nothing to hear


def test_unusable_sound_is_null_with_a_reason(folder):
    extractor = ge2e(folder)
    for samples, code in (
        (silence(1.0), "E-FEAT-SILENT"),
        (vowel(1.0)[:399], "E-FEAT-SHORT"),
        (None, "E-FEAT-NOSOUND"),
    ):
        with pytest.raises(FeatureAbsent) as absent:
            extractor.prepare(media_of(samples))
        assert absent.value.code == code
    broken = vowel(1.0)
    broken[7] = np.nan
    with pytest.raises(ClipError) as wrong:
        extractor.prepare(media_of(broken))
    assert wrong.value.code == "E-IN-NAN"


def test_an_encoder_that_answers_only_zeros_gives_no_vector(tmp_path):
    def deaf(state):
        state["linear.weight"].zero_()
        state["linear.bias"].fill_(-1.0)

    with pytest.raises(FeatureAbsent) as absent:
        ge2e(make_ge2e(tmp_path, change=deaf)).extract(voice())
    assert absent.value.code == "E-FEAT-VOICELESS"


@pytest.mark.parametrize(
    "settings",
    [{"windows_per_s": 0.5}, {"windows_per_s": 200.0}, {"coverage": 0.0}, {"coverage": 1.1}],
)
def test_settings_out_of_range_stop_before_any_work(settings):
    with pytest.raises(ConfigError):
        Ge2eConfig(audio=AUDIO, **settings)


def test_doctor_shows_dims_and_parameters(folder):
    assert ge2e(folder).describe() == {"gives": "vector × 256", "parameters": "1.42 M"}


# -- refusals


def refusal(path, code):
    with pytest.raises(ModelRefusedError) as refused:
        ge2e(path).extract(voice(0.3))
    assert refused.value.code == code, refused.value


def without(name):
    return lambda state: state.pop(name)


def with_tensor(name, value):
    return lambda state: state.update({name: value})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (without("lstm.weight_hh_l2"), "E-MODEL-KEYS"),
        (with_tensor("similarity_weights", torch.zeros(1)), "E-MODEL-KEYS"),
        (with_tensor("lstm.weight_ih_l3", torch.zeros(1)), "E-MODEL-KEYS"),
        (with_tensor("linear.weight", torch.zeros(512, 256)), "E-MODEL-SHAPE"),
        (with_tensor("linear.weight", [1.0]), "E-MODEL-FILE"),
    ],
)
def test_another_model_is_refused(tmp_path, change, code):
    refusal(make_ge2e(tmp_path, change=change), code)


def test_an_encoder_without_the_loss_scalars_and_in_safetensors_loads(folder, tmp_path):
    from safetensors.torch import save_file

    state = tensors_of()
    save_file({n: v for n, v in state.items() if "similarity" not in n}, tmp_path / "a.safetensors")
    expected = ge2e(folder).extract(voice())
    np.testing.assert_array_equal(ge2e(tmp_path).extract(voice()), expected)


def test_damaged_and_cut_files_are_refused(tmp_path):
    make_ge2e(tmp_path)
    checkpoint = tmp_path / "pretrained.pt"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: len(content) // 2])
    refusal(tmp_path, "E-MODEL-FILE")
    checkpoint.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    refusal(tmp_path, "E-MODEL-LFS")
    torch.save({"step": 3, "model_state": None}, checkpoint)
    refusal(tmp_path, "E-MODEL-FILE")


def test_a_pickle_with_code_is_refused_and_runs_nothing(tmp_path):
    marker = tmp_path / "ran"
    refusal(make_ge2e(tmp_path / "w", scheduler=Payload(marker)), "E-MODEL-CODE")
    assert not marker.exists()


def test_loading_needs_no_network(folder):
    code = f"""
import socket, sys
from pathlib import Path
def refuse(*_, **__): raise OSError("no network")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
sys.path.insert(0, {ROOT!r})
from tests.features.paper.test_ge2e import ge2e, voice
print(ge2e(Path({str(folder)!r})).extract(voice()).shape)
"""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(256,)\n", "")
