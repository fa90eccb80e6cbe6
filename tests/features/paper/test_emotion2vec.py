import json
import logging
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from redub.core.errors import ClipError, ConfigError, FeatureAbsent, ModelRefusedError
from redub.core.types import AudioSpec
from redub.features.models.emotion2vec.checkpoint import conv_layers, read_settings
from redub.features.models.emotion2vec.extractor import (
    Emotion2vecConfig,
    Emotion2vecExtractor,
    Emotion2vecFramesConfig,
    Emotion2vecFramesExtractor,
)
from redub.features.models.emotion2vec.network import (
    FrameExtractor,
    distance_bias,
    funasr_class,
    network_on_meta,
    pieces_of,
    undisturbed,
)
from tests.features.paper.emotion2vec_files import (
    LARGE,
    SMALL,
    SPEC,
    UNUSED_LABELS,
    config_text,
    make_emotion2vec,
    tensor_shapes,
    tensors_of,
)
from tests.features.paper.ledgers import CPU, Payload, folder_of
from tests.features.voices import AUDIO, media_of, silence, vowel

ENGLISH = [
    "angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "<unk>",
]  # fmt: skip
ROOT = str(Path(__file__).parents[3])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_emotion2vec(tmp_path_factory.mktemp("emotion2vec"))


def line_vector(path, **settings):
    weights = folder_of(path, "emotion2vec")
    return Emotion2vecExtractor(Emotion2vecConfig(audio=AUDIO, **settings), {"model": weights}, CPU)


def frame_vectors(path, audio=AUDIO, **settings):
    config = Emotion2vecFramesConfig(audio=audio, **settings)
    return Emotion2vecFramesExtractor(config, {"model": folder_of(path, "emotion2vec")}, CPU)


def voice(seconds=1.0, f0_hz=120.0, **kwargs):
    return media_of(vowel(seconds, f0_hz=f0_hz, **kwargs))


def plain_funasr(path):
    """funasr's own class with everything in it (decoder, cached biases), filled by hand."""
    values = torch.load(path / "model.pt", weights_only=True)["model"]
    state = {name.removeprefix("d2v_model."): value for name, value in values.items()}
    settings = read_settings(folder_of(path, "emotion2vec"))
    with undisturbed(), funasr_class() as kind:
        network = kind(model_conf=settings.model_conf, vocab_size=9).eval()
    left = network.load_state_dict(state, strict=False)
    assert all(".decoder." in name for name in left.missing_keys)
    assert not left.unexpected_keys
    return network


@torch.inference_mode()
def plain_frames(network, speech):
    source = torch.from_numpy(speech)
    source = torch.nn.functional.layer_norm(source, source.shape)
    return network.extract_features(source[None], padding_mask=None)["x"][0].numpy()


# -- sizes and names


def test_the_public_large_model_is_185_tensors_and_162_million_numbers(tmp_path):
    shapes = tensor_shapes(LARGE)
    count = sum(torch.Size(shape).numel() for shape in shapes.values())
    # plus_large's model.pt has 1,945,790,254 bytes: the weights and two moments of its optimizer.
    assert len(shapes) == 185
    assert 0 < 1_945_790_254 - 3 * 4 * count < 200_000
    (tmp_path / "config.yaml").write_text(config_text(LARGE), encoding="utf-8")
    settings = read_settings(folder_of(tmp_path, "emotion2vec"))
    network = network_on_meta(settings.model_conf, classes=9)
    built = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert built == {name.removeprefix("d2v_model."): shape for name, shape in shapes.items()}
    assert (settings.width, settings.hop, settings.window) == (1024, 320, 400)


def test_the_width_is_known_from_the_configuration_alone(tmp_path):
    (tmp_path / "config.yaml").write_text(config_text(LARGE), encoding="utf-8")
    assert line_vector(tmp_path).schema.width == 1024
    assert frame_vectors(tmp_path).schema.width == 1024


def test_doctor_shows_dims_labels_and_rate(folder):
    says = line_vector(folder).describe()
    assert says["labels"] == ", ".join(ENGLISH)
    assert says["gives"] == "vector × 32"
    assert says["frames"] == "50 per second"


# -- the same numbers as funasr


def test_frames_are_those_of_funasrs_own_network(folder):
    speech = vowel(1.3).astype(np.float32)
    expected = plain_frames(plain_funasr(folder), speech)
    extractor = line_vector(folder)
    with torch.inference_mode():
        (frames,) = extractor.frame_extractor().frames([speech], torch.device("cpu"))
    assert len(frames) == (len(speech) - 400) // 320 + 1 == len(expected)
    np.testing.assert_allclose(frames.numpy(), expected, atol=2e-5)
    mean = extractor.extract(media_of(speech))
    np.testing.assert_allclose(mean, expected.mean(axis=0), atol=2e-5)
    assert mean.dtype == np.float32


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 7, 8, 12, 16, 20])
def test_penalties_by_distance_are_funasrs_at_any_head_count(heads):
    with undisturbed(), funasr_class():
        from funasr.models.emotion2vec.base import get_alibi
    own = distance_bias(2, 9, heads, torch.float32, torch.device("cpu"))
    assert own.shape == (2, heads, 9, 9)
    torch.testing.assert_close(own[1], get_alibi(9, heads))


@pytest.mark.slow
def test_line_frames_and_scores_are_those_of_automodel(folder, tmp_path):
    # AutoModel sets threads, seeds and handlers for its whole process, so it gets one of its own.
    speech = vowel(1.0).astype(np.float32)
    np.save(tmp_path / "speech.npy", speech)
    # Our network is loaded first: what it borrows of funasr must not spoil funasr.
    code = f"""
import sys, numpy as np, torch
sys.path.insert(0, {ROOT!r})
from pathlib import Path
from tests.features.paper.test_emotion2vec import line_vector, voice
first = line_vector(Path({str(folder)!r}))
before = first.extract(voice())
threads = torch.get_num_threads()
from funasr import AutoModel
model = AutoModel(model={str(folder)!r}, disable_update=True, disable_pbar=True, device="cpu",
                  log_level="ERROR", ncpu=1, trust_remote_code=False)
speech = np.load({str(tmp_path / "speech.npy")!r})
line = model.generate(speech, granularity="utterance", extract_embedding=True)[0]
frame = model.generate(speech, granularity="frame", extract_embedding=True)[0]
np.savez({str(tmp_path / "said.npz")!r}, line=line["feats"], frame=frame["feats"],
         scores=line["scores"], labels=line["labels"])
again = line_vector(Path({str(folder)!r}))
del first._network
torch.set_num_threads(threads)  # ncpu=1 would sum in another order
assert (again.extract(voice()) == before).all() and "funasr" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said = np.load(tmp_path / "said.npz")
    extractor = line_vector(folder)
    np.testing.assert_allclose(extractor.extract(media_of(speech)), said["line"], atol=2e-5)
    own = extractor.scores(media_of(speech))
    assert list(own) == [label.split("/")[-1] for label in said["labels"]]
    np.testing.assert_allclose(list(own.values()), said["scores"], atol=1e-5)
    rows = frame_vectors(folder).extract(media_of(speech))
    # Row t of the mel clock is row t - 1 at 10 ms; of these the even ones are the network's own.
    np.testing.assert_allclose(rows[1:98:2], said["frame"], atol=2e-5)


# -- what the numbers are


def test_a_line_is_one_vector_that_changes_with_the_voice_and_not_with_the_level(folder):
    extractor = line_vector(folder)
    low, high = extractor.extract(voice(f0_hz=110.0)), extractor.extract(voice(f0_hz=240.0))
    assert low.shape == (32,)
    assert np.abs(low - high).max() > 0.01
    # The whole line is brought to mean 0 and spread 1 before the network reads it.
    np.testing.assert_allclose(extractor.extract(voice(f0_hz=110.0, level=0.05)), low, atol=1e-3)


def test_a_line_in_a_batch_is_the_line_alone(folder):
    clips = [voice(0.5), voice(1.2, 180.0), voice(0.5, 220.0), voice(0.9, 90.0)]
    for extractor in (line_vector(folder), frame_vectors(folder)):
        alone = [extractor.extract(clip) for clip in clips]
        together = extractor.compute_all([extractor.prepare(clip) for clip in clips])
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-5)


def test_scores_are_probabilities_of_the_used_labels_only(folder, tmp_path):
    scores = line_vector(folder).scores(voice())
    assert list(scores) == ENGLISH
    assert sum(scores.values()) == pytest.approx(1.0, abs=1e-5)
    fewer = line_vector(make_emotion2vec(tmp_path, labels=UNUSED_LABELS)).scores(voice())
    assert list(fewer) == ["angry", "happy", "neutral", "sad", "<unk>"]
    assert sum(fewer.values()) == pytest.approx(1.0, abs=1e-5)
    # The unused rows get nothing and the others keep their proportions.
    used = np.array([scores[name] for name in fewer])
    np.testing.assert_allclose(list(fewer.values()), used / used.sum(), atol=1e-5)


def test_both_features_share_one_network_of_a_process(folder, tmp_path):
    line, frames = line_vector(folder), frame_vectors(folder)
    assert line.network is frames.network
    assert line_vector(make_emotion2vec(tmp_path, seed=1)).network is not line.network


# -- frames on the mel clock


class RampReader(torch.nn.Module):
    """Stands for the network: a frame is the mean of the 400 samples it is made of."""

    def __init__(self):
        super().__init__()
        self.lengths = []

    def extract_features(self, batch, padding_mask):
        self.lengths += [batch.shape[1]] * len(batch)
        return {"x": batch.unfold(1, 400, 320).mean(dim=2, keepdim=True)}


def ramp_network(longest=1500):
    return FrameExtractor(RampReader(), hop=320, window=400, longest=longest, normalise=False)


@pytest.mark.parametrize("samples", [400, 719, 720, 5_000, 16_000])
@pytest.mark.parametrize("longest", [1, 7, 1500])
def test_pieces_make_every_frame_once_and_at_its_place(samples, longest):
    extractor, ramp = ramp_network(longest), np.arange(samples, dtype=np.float32)
    (frames,) = extractor.frames([ramp], torch.device("cpu"))
    expected = 320.0 * np.arange((samples - 400) // 320 + 1) + 199.5
    np.testing.assert_allclose(frames[:, 0].numpy(), expected, rtol=1e-6)
    assert max(extractor.network.lengths) <= (longest - 1) * 320 + 400


def test_pieces_are_few_and_nearly_equal():
    for frames, longest in ((1500, 1500), (1501, 1500), (4000, 1500), (3, 2), (1, 1)):
        sizes = [piece.frames for piece in pieces_of(frames, longest)]
        assert sum(sizes) == frames
        assert len(sizes) == -(-frames // longest)
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= longest


@pytest.mark.parametrize("samples", [480, 560, 720, 1_000, 8_000, 16_159, 16_160])
@pytest.mark.parametrize("between", ["shifted", "linear"])
def test_a_ramp_comes_out_on_the_mel_clock(folder, monkeypatch, samples, between):
    extractor = frame_vectors(folder, between=between)
    monkeypatch.setattr(extractor, "frame_extractor", ramp_network)
    ramp = np.arange(samples, dtype=np.float32) / 65_536
    rows = extractor.extract(media_of(ramp))[:, 0] * 65_536
    assert len(rows) == samples // 160
    # Row r of 10 ms is centred on sample 160 r + 199.5; a frame lies at 160 t + 80.
    last = (samples - 400) // 160
    if between == "linear":
        last = 2 * ((samples - 400) // 320)  # nothing lies behind the network's own last frame
    expected = 160.0 * np.clip(np.arange(len(rows)) - 1, 0, last) + 199.5
    np.testing.assert_allclose(rows, expected, rtol=1e-4)


def test_frames_between_come_from_a_second_look_not_from_a_mean(folder):
    clip = voice(1.0)
    shifted = frame_vectors(folder).extract(clip)
    linear = frame_vectors(folder, between="linear").extract(clip)
    assert shifted.shape == linear.shape == (100, 32)
    np.testing.assert_array_equal(shifted[1:98:2], linear[1:98:2])
    assert np.abs(shifted[2:96:2] - linear[2:96:2]).max() > 0.01


def test_at_another_rate_the_rows_follow_the_runs_mel_clock(folder):
    audio = AudioSpec(sample_rate_hz=22_050, hop_samples=256, win_samples=1024)
    tone = 0.2 * np.sin(2 * np.pi * 300 * np.arange(22_050) / 22_050)
    rows = frame_vectors(folder, audio=audio).extract(media_of(tone, rate=22_050))
    assert rows.shape == (audio.frame_count(22_050), 32) == (86, 32)
    assert np.isfinite(rows).all()


def test_long_lines_are_the_mean_over_the_frames_of_their_pieces(folder):
    speech = np.concatenate([vowel(0.9, 120.0), vowel(0.6, 200.0)]).astype(np.float32)
    whole, cut = line_vector(folder), line_vector(folder, chunk_s=1.0)
    network = plain_funasr(folder)
    normal = (speech - speech.mean()) / np.sqrt(speech.var() + 1e-5)
    count = (len(speech) - 400) // 320 + 1  # 74 frames: 37 and 37, at most 49 in 1 s
    parts = [normal[: 36 * 320 + 400], normal[37 * 320 : (count - 1) * 320 + 400]]
    with torch.inference_mode():
        rows = [
            network.extract_features(torch.tensor(p)[None], padding_mask=None)["x"][0]
            for p in parts
        ]
    expected = torch.cat(rows).mean(dim=0).numpy()
    np.testing.assert_allclose(cut.extract(media_of(speech)), expected, atol=1e-4)
    assert np.abs(whole.extract(media_of(speech)) - expected).max() > 1e-3


# -- nothing to hear


@pytest.mark.parametrize("make", [line_vector, frame_vectors])
def test_unusable_sound_is_null_with_a_reason(folder, make):
    extractor = make(folder)
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


@pytest.mark.parametrize("chunk_s", [0.0, 0.5, 61.0])
def test_settings_out_of_range_stop_before_any_work(chunk_s):
    for config in (Emotion2vecConfig, Emotion2vecFramesConfig):
        with pytest.raises(ConfigError):
            config(audio=AUDIO, chunk_s=chunk_s)


# -- other layouts


def test_a_base_model_without_classifier_gives_the_same_vector_and_no_scores(folder, tmp_path):
    def pretrained(state):
        for name in [n for n in state if n.startswith("proj.")]:
            del state[name]
        state["d2v_model.modality_encoders.AUDIO.decoder.blocks.0.0.weight"] = torch.zeros(3)
        state["_ema"] = {"blocks.0.norm1.weight": torch.zeros(3)}

    make_emotion2vec(tmp_path, change=pretrained)
    (tmp_path / "tokens.txt").unlink()
    base = line_vector(tmp_path)
    np.testing.assert_array_equal(base.extract(voice()), line_vector(folder).extract(voice()))
    assert base.scores(voice()) == {}
    assert base.describe()["labels"] == "none: a model without classifier"


def test_files_of_parallel_training_and_safetensors_load(folder, tmp_path):
    from safetensors.torch import save_file

    expected = line_vector(folder).extract(voice())
    state = tensors_of(SMALL, 9, 0)
    make_emotion2vec(tmp_path / "a", model={f"module.{name}": v for name, v in state.items()})
    np.testing.assert_array_equal(line_vector(tmp_path / "a").extract(voice()), expected)
    make_emotion2vec(tmp_path / "b")
    (tmp_path / "b" / "model.pt").unlink()
    save_file(state, tmp_path / "b" / "model.safetensors")
    np.testing.assert_array_equal(line_vector(tmp_path / "b").extract(voice()), expected)


# -- refusals


def refusal(path, code):
    with pytest.raises(ModelRefusedError) as refused:
        line_vector(path).extract(voice(0.3))
    assert refused.value.code == code, refused.value
    return str(refused.value)


def without(name):
    return lambda state: state.pop(name)


def with_tensor(name, value):
    return lambda state: state.update({name: value})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (without("d2v_model.blocks.1.attn.qkv.bias"), "E-MODEL-KEYS"),
        (without("d2v_model.modality_encoders.AUDIO.alibi_scale"), "E-MODEL-KEYS"),
        (without("proj.bias"), "E-MODEL-KEYS"),
        (with_tensor("d2v_model.blocks.9.norm1.bias", torch.zeros(32)), "E-MODEL-KEYS"),
        (with_tensor("proj.weight", torch.zeros(8, 32)), "E-MODEL-SHAPE"),
        (with_tensor("d2v_model.blocks.0.norm1.bias", torch.zeros(31)), "E-MODEL-SHAPE"),
        (with_tensor("proj.weight", "a text"), "E-MODEL-FILE"),
    ],
)
def test_another_model_is_refused(tmp_path, change, code):
    refusal(make_emotion2vec(tmp_path, change=change), code)


def test_damaged_cut_and_absent_files_are_refused(folder, tmp_path):
    make_emotion2vec(tmp_path)
    checkpoint = tmp_path / "model.pt"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: len(content) // 2])
    refusal(tmp_path, "E-MODEL-FILE")
    checkpoint.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    refusal(tmp_path, "E-MODEL-LFS")
    checkpoint.unlink()
    refusal(tmp_path, "E-MODEL-FILE")
    make_emotion2vec(tmp_path)
    (tmp_path / "tokens.txt").unlink()
    assert "tokens.txt" in refusal(tmp_path, "E-MODEL-FILE")


def test_a_pickle_with_code_is_refused_and_runs_nothing(tmp_path):
    marker = tmp_path / "ran"
    path = make_emotion2vec(tmp_path / "w", extra_state=Payload(marker))
    refusal(path, "E-MODEL-CODE")
    assert not marker.exists()


@pytest.mark.parametrize(
    "line",
    [
        "trust_remote_code: true",
        "remote_code: ./model.py",
        "other: !!python/object/apply:os.system ['touch MARKER']",
        "other: ${oc.env:HOME}",
    ],
)
def test_a_configuration_that_wants_code_or_the_environment_is_refused(tmp_path, line):
    marker = tmp_path / "ran"
    config = config_text() + line.replace("MARKER", str(marker)) + "\n"
    refusal(make_emotion2vec(tmp_path / "w", config=config), "E-MODEL-CODE")
    assert not marker.exists()


@pytest.mark.parametrize(
    "spec",
    [
        '__import__("os").system("touch MARKER")',
        "[(512, 10, 5)] * 9 ** 9 ** 9",
        "[(512, 10, 5)] * 99999",
        "(512)(10)",
        "[(512, 10)]",
        "[]",
        "[(0, 10, 5)]",
        "[" * 300 + "]" * 90,
        "1 + 1",
        "",
    ],
)
def test_a_layer_text_that_is_more_than_numbers_is_refused_unread(tmp_path, spec):
    marker = tmp_path / "ran"
    text = config_text(spec=spec.replace("MARKER", str(marker)))
    refusal(make_emotion2vec(tmp_path / "w", config=text), "E-MODEL-CODE")
    assert not marker.exists()


def test_the_public_layer_text_is_read_as_python_would_read_it(tmp_path):
    weights = folder_of(tmp_path, "emotion2vec")
    assert conv_layers(SPEC.format(512), weights) == (
        [(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] + [(512, 2, 2)]
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("model: Emotion2vec", "model: Paraformer"),
        ("    modalities:", "    others:"),
        ("embed_dim: 32", "embed_dim: 100000"),
        ("embed_dim: 32", "embed_dim: 30"),
        ("depth: 2\n    start", "depth: true\n    start"),
        ("num_alibi_heads: 4", "num_alibi_heads: 4.5"),
        ("conv_pos_groups: 4", "conv_pos_groups: 5"),
        ("mlp_ratio: 4.0", "mlp_ratio: many"),
        ("model_conf:", "model_conf: ["),
    ],
)
def test_a_configuration_of_another_model_is_refused(tmp_path, old, new):
    text = config_text()
    assert old in text
    refusal(make_emotion2vec(tmp_path, config=text.replace(old, new)), "E-MODEL-FILE")


# -- the process around it


def process_state():
    return [
        torch.get_num_threads(),
        torch.get_rng_state().tolist(),
        random.getstate(),
        repr(np.random.get_state()),  # noqa: NPY002
        list(logging.getLogger().handlers),
        logging.getLogger().level,
        dict(os.environ),
        list(warnings.filters),
    ]


def test_whatever_an_import_changes_is_put_back(capsys):
    before = process_state()
    with undisturbed():
        torch.set_num_threads(before[0] + 1)
        for seed in (torch.manual_seed, random.seed, np.random.seed):
            seed(5)
        logging.getLogger().addHandler(logging.NullHandler())
        logging.getLogger().setLevel(1)
        os.environ["REDUB_MADE_UP"] = os.environ["PATH"] = "x"
        warnings.simplefilter("always")
        print("a notice")
        inside = process_state()
    assert all(one != other for one, other in zip(before, inside, strict=True))
    assert process_state() == before
    assert capsys.readouterr().out == ""


QUIET_RUN = """
import json, logging, os, random, socket, sys
from pathlib import Path
import numpy as np, torch
def refuse(*_, **__): raise OSError("no network")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
sys.path.insert(0, ROOT)
from tests.features.paper.test_emotion2vec import line_vector, frame_vectors, voice
torch.set_num_threads(2)
def state():
    return [torch.get_num_threads(), torch.get_rng_state().tolist(), repr(random.getstate()),
            repr(np.random.get_state()), repr(logging.getLogger().handlers),
            logging.getLogger().level, dict(os.environ), torch.is_grad_enabled(),
            str(torch.get_default_dtype())]
before = state()
vectors = [line_vector(FOLDER).extract(voice()), frame_vectors(FOLDER).extract(voice())]
changed = [k for k, (a, b) in enumerate(zip(before, state())) if a != b]
print(json.dumps({"changed": changed, "shapes": [v.shape for v in vectors],
                  "funasr": [m for m in sys.modules if m.split(".")[0] == "funasr"],
                  "heavy": sorted({"transformers", "modelscope"} & set(sys.modules))}))
"""


@pytest.mark.slow
def test_loading_changes_nothing_else_in_the_process_and_needs_no_network(folder):
    code = QUIET_RUN.replace("ROOT", repr(ROOT)).replace("FOLDER", f"Path({str(folder)!r})")
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)  # nothing else was printed
    assert said == {"changed": [], "shapes": [[32], [100, 32]], "funasr": [], "heavy": []}
    assert done.stderr == ""
