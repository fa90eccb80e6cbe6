"""wav2vec 2.0 on IEMOCAP: both layouts, their vectors, and what is refused."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import soxr
import torch

from redub.core.errors import ClipError, FeatureAbsent, ModelRefusedError
from redub.core.types import AudioSpec
from redub.features.models.model_page import built
from redub.features.models.wav2vec2_iemocap.checkpoint import labels_of, layout_of
from redub.features.registry import make_extractor
from redub.features.weights.offline import quiet_transformers
from tests.features.paper.ledgers import CPU, Payload, folder_of
from tests.features.paper.wav2vec2_iemocap_files import (
    PROJECTED,
    SPEECHBRAIN_LABELS,
    SUPERB_LABELS,
    make_superb,
    make_wav2vec2_iemocap,
    speechbrain_config,
)
from tests.features.voices import AUDIO, hiss, media_of, silence, vowel

KIND = "wav2vec2_iemocap"
CINEMA = AudioSpec(
    sample_rate_hz=22_050, n_fft=1024, hop_samples=256, win_samples=1024, fmax_hz=8000.0
)
LAYOUTS = pytest.mark.parametrize("make", [make_superb, make_wav2vec2_iemocap])


def extractor_of(path, audio=AUDIO):
    return make_extractor(
        "global_audio",
        audio=audio,
        video=None,
        backend="wav2vec2",
        folders={"model": folder_of(path, KIND)},
        runtime=CPU,
    )


@pytest.fixture(scope="module")
def speechbrain(tmp_path_factory):
    return make_wav2vec2_iemocap(tmp_path_factory.mktemp("speechbrain"))


@pytest.fixture(scope="module")
def superb(tmp_path_factory):
    return make_superb(tmp_path_factory.mktemp("superb"))


def superb_oracle(path, samples):
    """Logits of transformers' own class on the output of its own feature extractor."""
    transformers = quiet_transformers()
    model, report = transformers.AutoModelForAudioClassification.from_pretrained(
        path, local_files_only=True, output_loading_info=True
    )
    assert not any(report.values())
    front = transformers.AutoFeatureExtractor.from_pretrained(path, local_files_only=True)
    inputs = front(samples.astype(np.float32), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        return model, model(**inputs).logits[0].numpy()


# -- values


@pytest.mark.parametrize("tensors", ["bin", "safetensors"])
@pytest.mark.parametrize("weighted", [True, False])
def test_superbs_classifier_on_the_vector_gives_the_logits(tmp_path, tensors, weighted):
    path = make_superb(tmp_path / "w", tensors=tensors, use_weighted_layer_sum=weighted)
    extractor = extractor_of(path)
    assert extractor.schema.width == PROJECTED
    for samples in (vowel(0.7), hiss(0.4, level=0.3) + 0.05):
        model, logits = superb_oracle(path, samples)
        vector = extractor.extract(media_of(samples))
        assert (vector.shape, vector.dtype) == ((PROJECTED,), np.float32)
        ours = vector @ model.classifier.weight.detach().numpy().T
        np.testing.assert_allclose(ours + model.classifier.bias.detach().numpy(), logits, atol=2e-5)


def test_superb_does_not_standardise_where_its_file_says_so(superb, tmp_path):
    path = make_superb(tmp_path / "w")
    front = json.loads((path / "preprocessor_config.json").read_text())
    (path / "preprocessor_config.json").write_text(json.dumps({**front, "do_normalize": False}))
    samples = vowel(0.4, level=0.002)  # quiet, or the first layer's own norm hides the level
    plain = extractor_of(path).extract(media_of(samples))
    model, logits = superb_oracle(path, samples)
    ours = plain @ model.classifier.weight.detach().numpy().T
    np.testing.assert_allclose(ours + model.classifier.bias.detach().numpy(), logits, atol=2e-5)
    assert np.abs(plain - extractor_of(superb).extract(media_of(samples))).max() > 0.01


def test_speechbrains_vector_is_the_mean_of_the_normalised_last_layer(speechbrain):
    extractor = extractor_of(speechbrain)
    assert extractor.schema.width == 768
    samples = np.concatenate([vowel(0.3), hiss(0.3, 2000.0, level=0.3)]).astype(np.float32)
    vector = extractor.extract(media_of(samples))
    assert (vector.shape, vector.dtype) == ((768,), np.float32)
    # By hand, with a library model filled under its own names.
    transformers = quiet_transformers()
    stored = torch.load(speechbrain / "wav2vec2.ckpt", weights_only=True)
    assert all(name.startswith("model.") for name in stored)
    network = transformers.Wav2Vec2Model(speechbrain_config()).eval()
    own = network.state_dict()
    for name, value in stored.items():
        new = name.removeprefix("model.").replace(
            "conv.weight_g", "conv.parametrizations.weight.original0"
        ).replace("conv.weight_v", "conv.parametrizations.weight.original1")  # fmt: skip
        own[new].copy_(value)
    wave = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-5)
    with torch.no_grad():
        last = network(torch.from_numpy(wave)[None]).last_hidden_state[0].numpy()
    assert last.std(axis=0).mean() > 0.1 * last.std()  # frames differ, or any norm would do
    normal = (last - last.mean()) / np.sqrt(last.var() + 1e-5)  # over time and width together
    np.testing.assert_allclose(vector, normal.mean(axis=0), atol=2e-5)
    assert last.shape[0] == 29  # 9600 samples: (9600 − 400) // 320 + 1
    # Its classifier has no bias and takes the vector.
    classifier = torch.load(speechbrain / "model.ckpt", weights_only=True)["0.w.weight"]
    torch.testing.assert_close(extractor.network.classifier.weight.data, classifier)


def test_loudness_and_offset_do_not_matter_to_either(speechbrain, superb):
    # Both standardise the whole line first.
    for path in (speechbrain, superb):
        extractor = extractor_of(path)
        plain = extractor.extract(media_of(vowel(0.4)))
        louder = extractor.extract(media_of(3.0 * vowel(0.4) + 0.01))
        np.testing.assert_allclose(louder, plain, atol=2e-3)


@LAYOUTS
def test_other_sounds_and_other_weights_give_other_values(tmp_path, make):
    path, other = make(tmp_path / "w"), make(tmp_path / "other", seed=1)
    extractor = extractor_of(path)
    a, b = (extractor.extract(media_of(s)) for s in (vowel(0.5), hiss(0.5, 2000.0, level=0.3)))
    assert np.abs(a - b).max() > 0.01
    assert np.abs(a - extractor_of(other).extract(media_of(vowel(0.5)))).max() > 0.01
    np.testing.assert_array_equal(a, extractor.extract(media_of(vowel(0.5))))


def test_the_default_sizes_are_those_of_wav2vec2_base():
    """94.37 M parameters, and with superb's heads the 378 MB of its public file."""
    transformers = quiet_transformers()
    with torch.device("meta"):
        config = transformers.Wav2Vec2Config(
            use_weighted_layer_sum=True, classifier_proj_size=256, num_labels=4
        )
        model = built(transformers.Wav2Vec2ForSequenceClassification, config, None)
    base = sum(p.numel() for p in model.wav2vec2.parameters())
    whole = sum(p.numel() for p in model.parameters())
    assert base == 94_371_712
    assert whole == base + 13 + 768 * 256 + 256 + 256 * 4 + 4
    assert round(4 * whole / 1e6) == 378
    names = set(model.state_dict())
    position = "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original"
    assert {f"{position}0", f"{position}1", "layer_weights", "projector.bias"} <= names


# -- one at a time


@LAYOUTS
def test_a_padded_batch_would_differ_so_lines_go_one_by_one(tmp_path, make):
    extractor = extractor_of(make(tmp_path / "w"))
    assert extractor.one_by_one
    long, short = vowel(0.9), hiss(0.5, 2000.0, level=0.3)
    inputs = [extractor.prepare(media_of(s)) for s in (long, short)]
    alone = [extractor.compute([item])[0] for item in inputs]
    for together in (extractor.compute(inputs), extractor.compute_all(inputs)):
        np.testing.assert_array_equal(together, alone)
    # What a padded batch would give: the first layer's norm runs over the padding, too.
    network = extractor.network
    waves = [network.normalised(item) for item in inputs]
    padded = torch.zeros(2, len(waves[0]))
    for row, wave in enumerate(waves):
        padded[row, : len(wave)] = torch.from_numpy(wave)
    frames = (len(waves[1]) - 400) // 320 + 1
    with torch.no_grad():
        front = network.model.wav2vec2 if make is make_superb else network.wav2vec2
        batched = front.feature_extractor(padded)[1, :, :frames]
        single = front.feature_extractor(torch.from_numpy(waves[1])[None])[0]
    assert (batched - single).abs().max() > 1e-3 * single.abs().max()


# -- sound


def test_another_rate_is_brought_to_16_khz(superb):
    fine = soxr.resample(vowel(0.8), 16_000, 22_050)
    extractor = extractor_of(superb, CINEMA)
    prepared = extractor.prepare(media_of(fine, rate=22_050))
    assert len(prepared) == pytest.approx(12_800, abs=2)
    np.testing.assert_allclose(prepared[2000:10_000], vowel(0.8)[2000:10_000], atol=2e-3)
    ours = extractor.extract(media_of(fine, rate=22_050))
    direct = extractor_of(superb).extract(media_of(vowel(0.8)))
    assert np.abs(ours - direct).max() < 0.05 * np.abs(direct).max()
    with pytest.raises(ClipError, match="E-IN-RATE"):
        extractor_of(superb).extract(media_of(fine, rate=22_050))


@pytest.mark.parametrize(
    ("samples", "code"),
    [
        (None, "E-FEAT-NOSOUND"),
        (silence(1.0), "E-FEAT-SILENT"),
        (vowel(0.01), "E-FEAT-SHORT"),
        (np.zeros(0), "E-FEAT-SHORT"),
    ],
)
def test_without_speech_there_is_no_vector(superb, samples, code):
    with pytest.raises(FeatureAbsent) as caught:
        extractor_of(superb).extract(media_of(samples))
    assert caught.value.code == code


def test_the_shortest_line_that_makes_one_frame_has_a_vector(speechbrain, superb):
    for path in (speechbrain, superb):
        value = extractor_of(path).extract(media_of(vowel(0.0275)))  # 440 samples: one frame
        assert np.isfinite(value).all()


# -- the folder


def test_labels_end_at_the_rule(speechbrain, superb):
    assert labels_of(folder_of(speechbrain, KIND)) == SPEECHBRAIN_LABELS
    assert labels_of(folder_of(superb, KIND)) == SUPERB_LABELS
    assert layout_of(folder_of(speechbrain, KIND)) == "speechbrain"
    says = extractor_of(speechbrain).describe()
    assert (says["layout"], says["labels"]) == ("speechbrain", "neu, ang, hap, sad")


def test_the_recipe_is_never_evaluated(tmp_path):
    marker = tmp_path / "ran"
    path = make_wav2vec2_iemocap(tmp_path / "w", marker=str(marker))
    extractor_of(path).extract(media_of(vowel(0.3)))
    assert not marker.exists()


def test_without_the_optional_files_speechbrains_vector_is_the_same(speechbrain, tmp_path):
    path = make_wav2vec2_iemocap(tmp_path / "w")
    for name in ("label_encoder.txt", "hyperparams.yaml"):
        (path / name).unlink()
    truth = extractor_of(speechbrain).extract(media_of(vowel(0.3)))
    extractor = extractor_of(path)
    np.testing.assert_array_equal(extractor.extract(media_of(vowel(0.3))), truth)
    assert "labels" not in extractor.describe()


def test_the_embedding_of_masked_frames_may_be_missing(speechbrain, tmp_path):
    path = make_wav2vec2_iemocap(tmp_path / "w")
    change(path, "wav2vec2.ckpt", {"model.masked_spec_embed": None})
    truth = extractor_of(speechbrain).extract(media_of(vowel(0.3)))
    np.testing.assert_array_equal(extractor_of(path).extract(media_of(vowel(0.3))), truth)


def change(path, name, tensors):
    state = {**torch.load(path / name, weights_only=True), **tensors}
    torch.save({k: v for k, v in state.items() if v is not None}, path / name)


def refusal(code, path):
    with pytest.raises(ModelRefusedError) as caught:
        extractor_of(path).extract(media_of(vowel(0.3)))
    assert caught.value.code == code
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "tensors", "code"),
    [
        ("wav2vec2.ckpt", {"model.encoder.layer_norm.bias": None}, "E-MODEL-KEYS"),
        ("wav2vec2.ckpt", {"model.encoder.pos_conv_embed.conv.weight_v": None}, "E-MODEL-KEYS"),
        (
            "wav2vec2.ckpt",
            {"model.feature_extractor.conv_layers.1.layer_norm.weight": torch.ones(16)},
            "E-MODEL-KEYS",
        ),
        ("wav2vec2.ckpt", {"model.encoder.layer_norm.bias": torch.zeros(5)}, "E-MODEL-SHAPE"),
        (
            "wav2vec2.ckpt",
            {"model.encoder.layers.0.feed_forward.intermediate_dense.weight": torch.zeros(40, 64)},
            "E-MODEL-SHAPE",
        ),
        ("wav2vec2.ckpt", {"model.config": {"a": 1}}, "E-MODEL-FILE"),
        ("model.ckpt", {"0.w.weight": torch.zeros(5, 768)}, "E-MODEL-SHAPE"),
        ("model.ckpt", {"0.w.weight": torch.zeros(4, 512)}, "E-MODEL-SHAPE"),
        ("model.ckpt", {"0.w.weight": None}, "E-MODEL-KEYS"),
        ("model.ckpt", {"0.w.bias": torch.zeros(4)}, "E-MODEL-KEYS"),
    ],
)
def test_another_speechbrain_model_is_refused(tmp_path, name, tensors, code):
    path = make_wav2vec2_iemocap(tmp_path / "w")
    change(path, name, tensors)
    refusal(code, path)


@pytest.mark.parametrize(
    ("tensors", "code"),
    [
        ({"projector.weight": None}, "E-MODEL-KEYS"),
        ({"layer_weights": None}, "E-MODEL-KEYS"),
        ({"quantizer.codevectors": torch.zeros(2)}, "E-MODEL-KEYS"),
        ({"classifier.weight": torch.zeros(5, PROJECTED)}, "E-MODEL-SHAPE"),
    ],
)
def test_another_superb_model_is_refused(tmp_path, tensors, code):
    path = make_superb(tmp_path / "w")
    change(path, "pytorch_model.bin", tensors)
    refusal(code, path)


@pytest.mark.parametrize(
    ("file", "values", "code"),
    [
        ("config.json", {"model_type": "hubert"}, "E-MODEL-FILE"),
        ("config.json", {"auto_map": {"AutoModel": "x.Y"}}, "E-MODEL-CODE"),
        ("config.json", {"conv_dim": [8, 8]}, "E-MODEL-FILE"),
        ("config.json", {"id2label": {"1": "neu"}}, "E-MODEL-FILE"),
        ("config.json", {"classifier_proj_size": "wide"}, "E-MODEL-FILE"),
        ("config.json", {"add_adapter": True}, "E-MODEL-FILE"),
        ("preprocessor_config.json", {"sampling_rate": 8000}, "E-MODEL-FILE"),
    ],
)
def test_settings_of_something_else_are_refused(tmp_path, file, values, code):
    path = make_superb(tmp_path / "w")
    known = json.loads((path / file).read_text())
    (path / file).write_text(json.dumps({**known, **values}))
    refusal(code, path)


@LAYOUTS
def test_damage_pointers_and_code_are_refused(tmp_path, make):
    path, marker = make(tmp_path / "w"), tmp_path / "ran"
    file = path / ("pytorch_model.bin" if make is make_superb else "wav2vec2.ckpt")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert file.name in refusal("E-MODEL-FILE", path)
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    refusal("E-MODEL-LFS", path)
    torch.save({"model.x": Payload(marker)}, file)
    refusal("E-MODEL-CODE", path)
    assert not marker.exists()
    file.unlink()
    refusal("E-MODEL-FILE", path)


@pytest.mark.slow
def test_nothing_touches_the_network(speechbrain, superb):
    program = f"""
    import socket
    def refuse(*a, **k):
        raise SystemExit("the network was asked for")
    socket.socket.connect = socket.socket.connect_ex = refuse
    socket.getaddrinfo = socket.create_connection = refuse
    from pathlib import Path
    from tests.features.paper.test_wav2vec2_iemocap import extractor_of, media_of, vowel
    for path in ({str(speechbrain)!r}, {str(superb)!r}):
        print(*extractor_of(Path(path)).extract(media_of(vowel(0.3))).shape)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["768", str(PROJECTED)]
