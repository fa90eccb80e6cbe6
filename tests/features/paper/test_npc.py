import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from redub.core.errors import ClipError, ConfigError, FeatureAbsent, ModelRefusedError
from redub.core.types import AudioSpec
from redub.features.models.npc.extractor import NpcConfig, NpcExtractor, read_config
from redub.features.models.npc.fbank import FbankSpec, fbank, normalised
from redub.features.models.npc.network import Npc, NpcSizes
from redub.features.weights.offline import quiet_transformers
from tests.features.paper.ledgers import CPU, Payload, folder_of
from tests.features.paper.npc_files import AUDIO as FRONT
from tests.features.paper.npc_files import PUBLIC, SMALL, tensor_shapes, tensors_of
from tests.features.paper.npc_files import make_npc as make_any_npc
from tests.features.voices import AUDIO, hiss, media_of, silence, vowel

ROOT = str(Path(__file__).parents[3])


make_npc = functools.partial(make_any_npc, paras=SMALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_npc(tmp_path_factory.mktemp("npc"))


def npc(path, audio=AUDIO, width=16, **settings):
    config = NpcConfig(audio=audio, width=width, **settings)
    return NpcExtractor(config, {"model": folder_of(path, "npc")}, CPU)


def voice(seconds=1.0, f0_hz=120.0, **kwargs):
    return media_of(vowel(seconds, f0_hz=f0_hz, **kwargs))


# -- the front end


def test_two_seconds_are_198_rows_of_80_bands():
    rows = fbank(vowel(2.0).astype(np.float32), FbankSpec())
    assert rows.shape == (198, 80)
    assert rows.dtype == np.float32


def test_bands_are_those_of_transformers_kaldi_filterbank():
    # transformers re-states Kaldi's filterbank in numpy for machines without torchaudio.
    quiet_transformers()
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    speech = (vowel(0.6) + hiss(0.6)).astype(np.float32)
    filters = mel_filter_bank(
        num_frequency_bins=257,
        num_mel_filters=80,
        min_frequency=20,
        max_frequency=8000,
        sampling_rate=16_000,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )
    expected = spectrogram(
        speech,
        window_function(400, "hamming", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=filters,
        log_mel="log",
        mel_floor=1.192092955078125e-07,
        remove_dc_offset=True,
    ).T
    rows = fbank(speech, FbankSpec(normalised=False))
    assert rows.shape == expected.shape
    np.testing.assert_allclose(rows, expected, atol=2e-3)


def test_every_channel_gets_mean_0_and_spread_1_and_a_still_one_gets_0():
    rows = np.random.default_rng(0).normal(3.0, 2.0, (50, 4)).astype(np.float32)
    rows[:, 2] = -15.9424  # what the floor of the logarithm reads
    scaled = normalised(rows)
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-6)
    moving = [0, 1, 3]
    np.testing.assert_allclose(scaled[:, moving].std(axis=0, ddof=1), 1.0, atol=1e-5)
    assert (scaled[:, 2] == 0).all()


# -- the network


def test_the_public_size_has_19_3_million_numbers_without_its_heads():
    with torch.device("meta"):
        network = Npc(NpcSizes(), FbankSpec())
    count = sum(p.numel() for p in network.parameters())
    # 4 blocks: 3·C·512 + 512, 512² + 512, 4·512; 4 masked convolutions: 15·512² + 512.
    blocks = [3 * channels * 512 + 512 + 512**2 + 512 + 4 * 512 for channels in (80, 512, 512, 512)]
    assert count == sum(blocks) + 4 * (15 * 512**2 + 512) == 19_273_728
    built = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    heads = ("vq_layers.", "postnet.")
    public = {n: s for n, s in tensor_shapes(PUBLIC).items() if not n.startswith(heads)}
    assert built == public


def test_one_block_of_one_channel_in_closed_form():
    sizes = NpcSizes(
        channels=1, kernel_size=5, mask_size=1, n_blocks=1, hidden_size=1, batch_norm=False
    )
    network = Npc(sizes, FbankSpec(channels=1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.blocks[0].conv.weight[0, 0, 1] = 1.0  # the middle tap: the frame itself
        network.blocks[0].linear.weight.fill_(2.0)
        network.masked_convs["0"].conv.weight.fill_(1.0)
    network.shut().eval()
    x = [1.0, -3.0, 0.5, 2.0, 4.0]
    valid = torch.ones(1, 5, dtype=torch.bool)
    with torch.inference_mode():
        rows = network(torch.tensor(x).view(1, 5, 1), valid)
    block = [2.0 * max(0.0, value) for value in x]  # ReLU, times 2, ReLU
    assert rows.unmasked.flatten().tolist() == block
    # A hole of 1 + 2 taps in a kernel of 5 leaves the frames two before and two after.
    padded = [0.0, 0.0, *block, 0.0, 0.0]
    expected = np.tanh([padded[t] + padded[t + 4] for t in range(5)])
    np.testing.assert_allclose(rows.masked.flatten().numpy(), expected, rtol=1e-6)


def reach(rows, mel):
    """Frames that the middle row depends on, relative to it."""
    middle = rows.shape[1] // 2
    (slope,) = torch.autograd.grad(rows[0, middle].sum(), mel, retain_graph=True)
    seen = slope[0].abs().sum(dim=1).nonzero().flatten() - middle
    return set(seen.tolist())


def test_a_masked_row_never_sees_its_own_five_frames_and_reaches_eleven():
    # kernel 15, mask 5, 4 blocks: the hole widens by what each block has already seen.
    torch.manual_seed(0)
    network = Npc(NpcSizes(channels=3, hidden_size=8, activate="tanh"), FbankSpec(channels=3))
    network.shut().eval()
    mel = torch.randn(1, 41, 3, requires_grad=True)
    rows = network(mel, torch.ones(1, 41, dtype=torch.bool))
    assert reach(rows.masked, mel) == {d for d in range(-11, 12) if abs(d) > 2}
    assert reach(rows.unmasked, mel) == set(range(-4, 5))


def plain_conv(x, weight, bias):
    """(C, R) to (D, R), zeros beyond the ends, one product after the other."""
    taps = weight.shape[2]
    padded = np.pad(x, ((0, 0), (taps // 2, taps // 2)))
    return np.stack(
        [np.einsum("dck,ck->d", weight, padded[:, r : r + taps]) + bias for r in range(x.shape[1])],
        axis=1,
    )


def plain_norm(x, state, name):
    columns = {part: state[f"{name}.{part}"][:, None] for part in ("weight", "bias")}
    mean, var = state[f"{name}.running_mean"][:, None], state[f"{name}.running_var"][:, None]
    return (x - mean) / np.sqrt(var + 1e-5) * columns["weight"] + columns["bias"]


def plain_npc(state, mel, blocks=4):
    """Masked and unmasked rows of (R, C), written from the paper in plain numpy."""
    x, masked = mel.T.astype(np.float64), 0.0
    for n in range(blocks):
        b = f"blocks.{n}"
        y = plain_conv(x, state[f"{b}.conv.weight"], state[f"{b}.conv.bias"])
        y = np.maximum(plain_norm(y, state, f"{b}.bn1"), 0.0)
        y = plain_conv(y, state[f"{b}.linear.weight"], state[f"{b}.linear.bias"])
        y = plain_norm(y, state, f"{b}.bn2")
        x = np.maximum(y + x if n else y, 0.0)
        m = f"masked_convs.{n}"
        weight = state[f"{m}.conv.weight"] * state[f"{m}.conv_mask"]
        masked = masked + np.tanh(plain_conv(x, weight, state[f"{m}.conv.bias"]))
    return masked.T, x.T


@pytest.mark.parametrize("output", ["masked", "unmasked"])
def test_rows_are_those_of_a_plain_computation_on_the_mel_clock(folder, output):
    state = {n: v.double().numpy() for n, v in tensors_of(SMALL).items()}
    speech = vowel(0.5).astype(np.float32)
    masked, unmasked = plain_npc(state, fbank(speech, FbankSpec()))
    expected = masked if output == "masked" else unmasked
    rows = npc(folder, output=output).extract(media_of(speech))
    assert rows.shape == (50, 16)
    np.testing.assert_allclose(rows[1:49], expected, atol=1e-4)
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[49], rows[48])


def test_the_mask_of_the_file_is_the_mask_that_is_used(folder, tmp_path):
    def opened(state):
        state["masked_convs.0.conv_mask"] = torch.ones_like(state["masked_convs.0.conv_mask"])

    clip = voice(0.5)
    same, other = npc(folder).extract(clip), npc(make_npc(tmp_path, change=opened)).extract(clip)
    assert np.abs(same - other).max() > 0.01


def test_a_clip_in_a_batch_is_the_clip_alone(folder):
    clips = [voice(0.4), voice(1.1, 180.0), media_of(hiss(0.7)), voice(0.3, 90.0)]
    for output in ("masked", "unmasked"):
        extractor = npc(folder, output=output)
        alone = [extractor.extract(clip) for clip in clips]
        together = extractor.compute_all([extractor.prepare(clip) for clip in clips])
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_nothing_flows_from_padding():
    torch.manual_seed(0)
    network = Npc(NpcSizes(channels=3, hidden_size=8, activate="tanh"), FbankSpec(channels=3))
    mel = torch.randn(2, 30, 3, requires_grad=True)
    valid = torch.arange(30) < torch.tensor([[12], [30]])
    rows = network.shut().eval()(mel, valid)
    (rows.masked[0, :12].sum() + rows.unmasked[0, :12].sum()).backward()
    assert (mel.grad[0, 12:] == 0).all()
    assert (mel.grad[0, :12] != 0).any()


def test_different_sounds_give_different_rows_and_loudness_does_not_matter(folder):
    extractor = npc(folder)
    first, second = extractor.extract(voice(f0_hz=110.0)), extractor.extract(voice(f0_hz=220.0))
    assert np.abs(first - second).max() > 0.1
    # A gain adds one number to every log band, which normalisation takes away again.
    quieter = extractor.extract(voice(f0_hz=110.0, level=0.1))
    np.testing.assert_allclose(quieter, first, atol=0.02)


def test_at_another_rate_there_is_one_row_per_mel_frame(folder):
    audio = AudioSpec(sample_rate_hz=22_050, hop_samples=256, win_samples=1024)
    tone = 0.2 * np.sin(2 * np.pi * 300 * np.arange(22_050) / 22_050)
    rows = npc(folder, audio=audio).extract(media_of(tone, rate=22_050))
    assert rows.shape == (86, 16)
    assert np.isfinite(rows).all()


def test_doctor_shows_the_input_and_that_emotion_is_not_confirmed(folder):
    says = npc(folder).describe()
    assert says["gives"] == "frames × 16"
    assert says["input"] == "80 bands, 25 ms every 10 ms"
    assert "npc_360hr is not" in says["emotion-aware"]


# -- nothing to hear


def test_unusable_sound_is_null_with_a_reason(folder):
    extractor = npc(folder)
    for samples, code in (
        (silence(1.0), "E-FEAT-SILENT"),
        (vowel(1.0)[:559], "E-FEAT-SHORT"),
        (None, "E-FEAT-NOSOUND"),
    ):
        with pytest.raises(FeatureAbsent) as absent:
            extractor.prepare(media_of(samples))
        assert absent.value.code == code
    assert extractor.extract(media_of(vowel(1.0)[:560])).shape == (3, 16)
    broken = vowel(1.0)
    broken[7] = np.inf
    with pytest.raises(ClipError) as wrong:
        extractor.prepare(media_of(broken))
    assert wrong.value.code == "E-IN-NAN"


def test_a_clip_too_short_for_a_slower_front_end_is_null(tmp_path):
    path = make_npc(tmp_path, audio={**FRONT, "frame_length": 50, "frame_shift": 20})
    with pytest.raises(FeatureAbsent) as absent:
        npc(path).extract(media_of(vowel(1.0)[:800]))
    assert absent.value.code == "E-FEAT-SHORT"
    assert npc(path).extract(voice(1.0)).shape == (100, 16)


# -- layouts


def test_files_of_s3prls_own_training_and_of_several_gpus_load(folder, tmp_path):
    expected = npc(folder).extract(voice())
    own = make_npc(tmp_path / "own", config_key="Upstream_Config", name="states-100.ckpt")
    np.testing.assert_array_equal(npc(own).extract(voice()), expected)
    state = {f"module.{name}": value for name, value in tensors_of(SMALL).items()}
    many = make_npc(tmp_path / "many", model=state)
    np.testing.assert_array_equal(npc(many).extract(voice()), expected)


def test_safetensors_with_the_configuration_beside_them_load(folder, tmp_path):
    import json

    from safetensors.torch import save_file

    save_file(tensors_of(SMALL), tmp_path / "npc.safetensors")
    config = {"data": {"audio": FRONT}, "model": {"paras": SMALL}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    expected = npc(folder).extract(voice())
    np.testing.assert_array_equal(npc(tmp_path).extract(voice()), expected)


def test_layers_without_normalisation_or_cross_layers_load(tmp_path):
    paras = {**SMALL, "batch_norm": False, "disable_cross_layer": True, "activate": "tanh"}
    extractor = npc(make_npc(tmp_path, paras=paras))
    assert list(extractor.network.masked_convs) == ["3"]
    assert extractor.extract(voice(0.3)).shape == (30, 16)


def test_a_mask_wider_than_the_kernel_is_taken_as_the_file_has_it(tmp_path):
    # The published emotion-aware recipe: mask 7, kernel 15, so the last masks close all taps.
    paras = {**SMALL, "mask_size": 7}
    state = tensors_of(paras)
    assert state["masked_convs.3.conv_mask"].sum() == 0
    rows = npc(make_npc(tmp_path, paras=paras)).extract(voice(0.3))
    assert np.isfinite(rows).all()
    assert rows.std(axis=0).max() > 0.01


# -- refusals


def refusal(path, code, **settings):
    with pytest.raises(ModelRefusedError) as refused:
        npc(path, **settings).extract(voice(0.3))
    assert refused.value.code == code, refused.value
    return str(refused.value)


def without(name):
    return lambda state: state.pop(name)


def with_tensor(name, value):
    return lambda state: state.update({name: value})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (without("blocks.2.linear.bias"), "E-MODEL-KEYS"),
        (without("masked_convs.1.conv_mask"), "E-MODEL-KEYS"),
        (with_tensor("blocks.7.conv.bias", torch.zeros(16)), "E-MODEL-KEYS"),
        (with_tensor("blocks.0.conv.weight", torch.zeros(16, 40, 3)), "E-MODEL-SHAPE"),
        (with_tensor("postnet.weight", "text"), "E-MODEL-FILE"),
    ],
)
def test_another_model_is_refused(tmp_path, change, code):
    refusal(make_npc(tmp_path, change=change), code)


def test_counters_of_old_files_may_be_missing(folder, tmp_path):
    path = make_npc(tmp_path, change=without("blocks.0.bn1.num_batches_tracked"))
    np.testing.assert_array_equal(npc(path).extract(voice()), npc(folder).extract(voice()))


def test_the_makers_own_file_fits_the_settings_as_they_are(tmp_path):
    extractor = npc(make_any_npc(tmp_path), width=NpcConfig(audio=AUDIO).width)
    assert extractor.extract(voice(0.3)).shape == (30, 512)


def test_another_width_than_the_settings_say_is_refused_with_what_to_set(folder):
    assert "width" in refusal(folder, "E-MODEL-SHAPE", width=512)


@pytest.mark.parametrize(
    ("paras", "audio"),
    [
        ({"hidden_size": "many"}, {}),
        ({"hidden_size": 10**9}, {}),
        ({"kernel_size": 14}, {}),
        ({"mask_size": 4}, {}),
        ({"activate": "gelu"}, {}),
        ({"layers": 3}, {}),
        ({}, {"feat_type": "mfcc"}),
        ({}, {"feat_dim": 0}),
        ({}, {"vtln": 2}),
        ({}, {"frame_shift": "slow"}),
        ({}, {"frame_shift": 0}),
        ({}, {"frame_length": float("nan")}),
        ({"residual": "yes"}, {}),
        ({"channels": 40}, {}),
    ],
)
def test_a_configuration_that_is_not_known_is_refused(tmp_path, paras, audio):
    config = {"data": {"audio": {**FRONT, **audio}}, "model": {"paras": {**SMALL, **paras}}}
    refusal(make_npc(tmp_path, config=config), "E-MODEL-FILE")
    with pytest.raises(ModelRefusedError):
        read_config(config, folder_of(tmp_path, "npc"))


@pytest.mark.parametrize("config", [{"data": {}}, [], "text", {"data": {"audio": 3}, "model": 4}])
def test_a_checkpoint_of_something_else_is_refused(tmp_path, config):
    refusal(make_npc(tmp_path, config=config), "E-MODEL-FILE")


def test_damaged_cut_and_foreign_files_are_refused(tmp_path):
    make_npc(tmp_path)
    checkpoint = tmp_path / "npc_default.ckpt"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: len(content) // 2])
    refusal(tmp_path, "E-MODEL-FILE")
    checkpoint.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    refusal(tmp_path, "E-MODEL-LFS")
    torch.save(tensors_of(SMALL), checkpoint)  # tensors alone, and no config.json beside them
    refusal(tmp_path, "E-MODEL-FILE")
    make_npc(tmp_path, name="second.ckpt")
    refusal(tmp_path, "E-MODEL-FILE")


def test_a_pickle_with_code_is_refused_and_runs_nothing(tmp_path):
    marker = tmp_path / "ran"
    refusal(make_npc(tmp_path / "w", Runner=Payload(marker)), "E-MODEL-CODE")
    assert not marker.exists()


def test_a_configuration_that_asks_for_code_is_refused(tmp_path):
    config = {
        "data": {"audio": FRONT},
        "model": {"paras": SMALL},
        "trust_remote_code": True,
    }
    refusal(make_npc(tmp_path, config=config), "E-MODEL-CODE")


@pytest.mark.parametrize("width", [0, 5000])
def test_a_width_out_of_range_stops_before_any_work(width):
    with pytest.raises(ConfigError):
        NpcConfig(audio=AUDIO, width=width)


def test_loading_needs_no_network(folder):
    code = f"""
import socket, sys
from pathlib import Path
def refuse(*_, **__): raise OSError("no network")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
sys.path.insert(0, {ROOT!r})
from tests.features.paper.test_npc import npc, voice
print(npc(Path({str(folder)!r})).extract(voice()).shape)
"""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(100, 16)\n", "")
