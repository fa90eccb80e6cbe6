"""RoBERTa text emotion: values, batches, one network for all, and what is refused."""

import json
import logging
import pickle
import subprocess
import sys
import textwrap
from itertools import pairwise
from weakref import WeakValueDictionary

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from redub.core.errors import ConfigError, FeatureAbsent, ModelRefusedError
from redub.features.models import shared_networks
from redub.features.models.model_page import built, configured
from redub.features.models.roberta_emotion import network as network_module
from redub.features.models.roberta_emotion.checkpoint import labels_of
from redub.features.models.roberta_emotion.extractor import batches_of_like_length
from redub.features.registry import extractor_class, make_extractor
from redub.features.runtime import Runtime
from redub.features.weights.offline import quiet_transformers
from tests.features.paper.ledgers import CPU, Payload, folder_of
from tests.features.paper.roberta_emotion_files import (
    CORPUS,
    LABELS,
    PUBLIC,
    WIDTH,
    make_roberta_emotion,
    public_tokenizer,
)
from tests.features.voices import AUDIO, media_of

VIDEO = None
KIND = "roberta_emotion"
VECTORS = ("scene_emotion", "face_emotion", "text_emotion", "global_text")
PROBABILITIES = ("scene_emotion_probs", "face_emotion_probs", "text_emotion_probs")
LINE, REACTION = "Where are you going?", "I am lonely now."
READ = {"scene_caption": CORPUS[0], "face_caption": CORPUS[1], "reaction": REACTION}


@pytest.fixture(autouse=True)
def nothing_shared(monkeypatch):
    monkeypatch.setattr(shared_networks, "_LIVE", WeakValueDictionary())


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    return make_roberta_emotion(tmp_path_factory.mktemp("roberta"))


def extractor_of(path, feature="global_text", runtime=CPU, **settings):
    return make_extractor(
        feature,
        audio=AUDIO,
        video=VIDEO,
        overrides=settings,
        backend="roberta",
        folders={"model": folder_of(path, KIND)},
        runtime=runtime,
    )


def values_of(path, texts, **settings):
    extractor = extractor_of(path, **settings)
    return extractor.compute_all([extractor.prepare(media_of(text=text)) for text in texts])


def oracle(path, text):
    """The same text through transformers' own loader, tokenizer and classifier."""
    transformers = quiet_transformers()
    model, report = transformers.AutoModelForSequenceClassification.from_pretrained(
        path, local_files_only=True, output_loading_info=True
    )
    assert not any(report.values())
    tokenizer = public_tokenizer(path)
    most = model.config.max_position_embeddings - 2
    inputs = tokenizer(text, truncation=True, max_length=most, return_tensors="pt")
    with torch.no_grad():
        out = model(**inputs, output_hidden_states=True)
        states = out.hidden_states[-1][0]
        head = torch.tanh(model.classifier.dense(states[0]))
    return {
        "ids": tuple(inputs["input_ids"][0].tolist()),
        "cls": states[0].numpy(),
        "mean": states.mean(0).numpy(),
        "head": head.numpy(),
        "probabilities": out.logits[0].softmax(-1).numpy(),
    }


# -- values


@pytest.mark.parametrize("tensors", ["bin", "safetensors", "shards"])
@pytest.mark.parametrize("fast", [True, False])
def test_every_pooling_is_what_transformers_computes(tmp_path, tensors, fast):
    path = make_roberta_emotion(tmp_path / "w", tensors=tensors, fast=fast)
    for text in (LINE, CORPUS[2], "caf\u00e9 \u2013 \U0001f600 <mask> ok</s>"):
        truth = oracle(path, text)
        for pooling in ("cls", "mean", "head"):
            [value] = values_of(path, [text], pooling=pooling)
            np.testing.assert_allclose(value, truth[pooling], atol=2e-6)
        [shares] = values_of(path, [text], feature="text_emotion_probs")
        np.testing.assert_allclose(shares, truth["probabilities"], atol=1e-6)


def test_every_feature_has_its_stated_width_and_reads_its_own_text(public):
    whole = {name: extractor_of(public, name) for name in (*VECTORS, *PROBABILITIES)}
    media = media_of(text=LINE, features=READ)
    given = {name: extractor.extract(media) for name, extractor in whole.items()}
    widths = {name: extractor.schema.width for name, extractor in whole.items()}
    assert widths == {
        "scene_emotion": WIDTH, "face_emotion": WIDTH, "text_emotion": 2 * WIDTH,
        "global_text": WIDTH, **dict.fromkeys(PROBABILITIES, len(LABELS)),
    }  # fmt: skip
    for name, value in given.items():
        assert (value.shape, value.dtype) == ((widths[name],), np.float32)
        assert np.isfinite(value).all()
    for name, text in (("scene", CORPUS[0]), ("face", CORPUS[1]), ("text", LINE)):
        truth = oracle(public, text)
        np.testing.assert_allclose(
            given[f"{name}_emotion_probs"], truth["probabilities"], atol=1e-6
        )
        np.testing.assert_allclose(given[f"{name}_emotion"][:WIDTH], truth["cls"], atol=2e-6)
    np.testing.assert_allclose(
        given["text_emotion"][WIDTH:], oracle(public, REACTION)["cls"], atol=2e-6
    )
    np.testing.assert_array_equal(given["text_emotion"][:WIDTH], given["global_text"])


def test_other_texts_and_other_weights_give_other_values(public, tmp_path):
    a, b = values_of(public, [LINE, REACTION])
    assert np.abs(a - b).max() > 0.1
    [c] = values_of(make_roberta_emotion(tmp_path / "other", seed=1), [LINE])
    assert np.abs(a - c).max() > 0.1


def test_what_needs_no_picture_asks_for_none():
    for feature in (*VECTORS, *PROBABILITIES):
        kind = extractor_class(feature, "roberta")
        of_line = feature.startswith(("text", "global"))
        assert kind.media == (frozenset({"text"}) if of_line else frozenset())


def test_labels_are_read_from_the_file_in_the_order_of_their_numbers(tmp_path):
    backwards = {str(i): f"mood {i}" for i in reversed(range(12))}
    path = make_roberta_emotion(tmp_path / "w", id2label=backwards, label2id={})
    extractor = extractor_of(path, "text_emotion_probs")
    assert extractor.labels == tuple(f"mood {i}" for i in range(12))  # 10 comes after 9, not 1
    [shares] = values_of(path, [LINE], feature="text_emotion_probs")
    assert shares.shape == (12,)
    assert shares.sum() == pytest.approx(1.0, abs=1e-6)
    assert extractor.describe()["labels"].startswith("mood 0, mood 1, mood 2")


def test_labels_that_do_not_exclude_each_other_are_not_made_to_sum_to_one(tmp_path):
    path = make_roberta_emotion(tmp_path / "w", problem_type="multi_label_classification")
    [shares] = values_of(path, [LINE], feature="text_emotion_probs")
    softmax = oracle(path, LINE)["probabilities"]
    # Both come from the same logits z: log p_i − log p_j = z_i − z_j.
    logits = np.log(shares / (1 - shares))
    np.testing.assert_allclose(np.diff(logits), np.diff(np.log(softmax)), atol=1e-4)


def test_the_public_network_has_as_many_parameters_as_its_file_has_bytes(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(PUBLIC))
    transformers = quiet_transformers()
    with torch.device("meta"):
        weights = folder_of(tmp_path, KIND)
        config = configured(transformers.RobertaConfig, weights, num_labels=7)
        module = built(transformers.RobertaForSequenceClassification, config, weights)
    count = sum(p.numel() for p in module.parameters())
    # 52 000 768 in the embeddings, 24 layers of 12 596 224, dense 1024² + 1024, 7 · 1024 + 7.
    assert count == 52_000_768 + 24 * 12_596_224 + 1024**2 + 1024 + 7 * 1025
    assert round(4 * count / 1e9, 2) == 1.42  # the size of pytorch_model.bin on the model page
    names = set(module.state_dict())
    assert len(names) == 5 + 24 * 16 + 4  # no pooler, no position_ids
    assert {"classifier.dense.weight", "classifier.out_proj.bias"} <= names


# -- tokens


def test_a_text_beyond_the_positions_loses_its_end_and_is_counted(public, caplog):
    text = " ".join(CORPUS)
    extractor = extractor_of(public)
    with caplog.at_level(logging.INFO, logger="redub.features.models.roberta_emotion.extractor"):
        [ids] = extractor.prepare(media_of(text=text))
        extractor.prepare(media_of(text=LINE))
        extractor.prepare(media_of(text=text + " More."))
    assert (
        len(ids) == 40
    )  # positions 2 to 41 of 42: the padding's own and two reserved are not used
    assert ids == oracle(public, text)["ids"]
    assert [m.split(" truncated")[0] for m in caplog.messages] == ["text 1", "text 2"]
    assert np.isfinite(values_of(public, [text])).all()


@pytest.mark.parametrize("fast", [True, False])
@given(text=st.text(max_size=60))
def test_ids_are_those_of_the_public_tokenizer(tmp_path_factory, fast, text):
    key = f"tokens-{fast}"
    root = tmp_path_factory.getbasetemp() / key
    if not root.exists():
        make_roberta_emotion(root, fast=fast)
    if not text.strip():
        return
    if key not in _TOKENIZERS:
        _TOKENIZERS[key] = public_tokenizer(root)
        _TOKENIZERS[key, "ours"] = network_module.TextTokens(folder_of(root, KIND))
    wanted = _TOKENIZERS[key](text, truncation=True, max_length=40)["input_ids"]
    assert list(_TOKENIZERS[key, "ours"].ids(text)[0]) == wanted


_TOKENIZERS: dict = {}


@pytest.mark.parametrize("text", ["", "  \n"])
def test_a_blank_text_has_no_value(public, text):
    for feature, features in (
        ("global_text", {}),
        ("scene_emotion", {"scene_caption": text}),
        ("text_emotion", {"reaction": "x"}),
    ):
        with pytest.raises(FeatureAbsent) as caught:
            extractor_of(public, feature).extract(media_of(text=text, features=features))
        assert caught.value.code == "E-TEXT-NONE"


# -- batches


def test_a_text_in_a_padded_batch_is_what_it_is_alone(public):
    texts = [LINE, "No.", CORPUS[3], "Oh", " ".join(CORPUS)]
    extractor = extractor_of(public, "text_emotion", pooling="mean")
    inputs = [extractor.prepare(media_of(text=t, features={"reaction": r}))
              for t, r in zip(texts, reversed(texts), strict=True)]  # fmt: skip
    alone = [extractor.compute([item])[0] for item in inputs]
    together = extractor.compute(inputs)
    batched = extractor.compute_all(inputs)
    np.testing.assert_allclose(together, alone, atol=2e-6)
    np.testing.assert_allclose(batched, alone, atol=2e-6)


@given(
    lengths=st.lists(st.integers(1, 512), max_size=80).map(sorted),
    most=st.integers(1, 32),
    waste=st.sampled_from([0.0, 0.1, 0.3]),
)
def test_batches_hold_every_text_once_with_little_padding(lengths, most, waste):
    batches = batches_of_like_length(lengths, most, waste=waste)
    assert [n for b in batches for n in lengths[b]] == lengths
    for batch in batches:
        part = lengths[batch]
        assert 1 <= len(part) <= most
        assert 1 - sum(part) / (len(part) * max(part)) <= waste + 1e-9
    for first, second in pairwise(batches):
        longer = [*lengths[first], lengths[second][0]]  # no batch ends without need
        assert len(longer) > most or 1 - sum(longer) / (len(longer) * max(longer)) > waste - 1e-9


def test_a_shard_is_read_in_batches_of_like_length(public, monkeypatch):
    extractor = extractor_of(public, runtime=Runtime(device="cpu", batch=3))
    shapes = watched(extractor.reader, monkeypatch)
    texts = ["No.", CORPUS[0], "Oh", "Ah", "Mm", CORPUS[1]]
    inputs = [extractor.prepare(media_of(text=text)) for text in texts]
    extractor.compute_all(inputs)
    lengths = sorted(len(item[0]) for item in inputs)
    assert sum(rows for rows, _ in shapes) == 6
    assert all(rows <= 3 for rows, _ in shapes)
    padded = sum(rows * columns for rows, columns in shapes)
    assert 1 - sum(lengths) / padded <= 0.1
    plain = 3 * max(len(i[0]) for i in inputs[:3]) + 3 * max(len(i[0]) for i in inputs[3:])
    assert padded < 0.7 * plain


def watched(reader, monkeypatch):
    shapes = []
    forward = reader._forward
    monkeypatch.setattr(
        reader, "_forward", lambda batch: shapes.append((len(batch), max(map(len, batch)))) or
        forward(batch),
    )  # fmt: skip
    return shapes


# -- one network


def test_all_features_share_one_network_and_each_text_is_read_once(public, monkeypatch):
    loads = []
    load = network_module.load_reader
    monkeypatch.setattr(network_module, "load_reader", lambda *a: loads.append(1) or load(*a))
    extractors = {name: extractor_of(public, name) for name in (*VECTORS, *PROBABILITIES)}
    media = [media_of(text=t, features={**READ, "reaction": t}) for t in (LINE, "No.", CORPUS[2])]
    shapes = None
    values = {}
    for name, extractor in extractors.items():
        if shapes is None:
            shapes = watched(extractor.reader, monkeypatch)
        values[name] = extractor.compute_all([extractor.prepare(m) for m in media])
    assert len(loads) == 1
    assert len({id(extractor.reader) for extractor in extractors.values()}) == 1
    # 3 equal captions of each kind, 3 lines of different length: 5 passes for 8 texts a clip.
    assert len(shapes) == 5
    halves = np.split(np.stack(values["text_emotion"]), 2, axis=1)
    np.testing.assert_array_equal(halves[0], halves[1])  # the reaction is the line


def test_other_weights_are_another_network(public, tmp_path):
    other = make_roberta_emotion(tmp_path / "other", seed=3)
    assert extractor_of(public).reader is not extractor_of(other).reader
    again = make_roberta_emotion(tmp_path / "again")  # the same bytes elsewhere
    assert extractor_of(public).reader is extractor_of(again).reader


def test_batches_read_long_ago_are_forgotten(public):
    extractor = extractor_of(public)
    reader = extractor.reader
    first = reader.read([(0, 5, 2)])
    assert reader.read([(0, 5, 2)]) is first
    for number in range(network_module.BATCHES_REMEMBERED):
        reader.read([(0, 6 + number, 2)])
    assert reader.read([(0, 5, 2)]) is not first
    np.testing.assert_array_equal(reader.read([(0, 5, 2)])[0].cls, first[0].cls)


# -- refusals


def refusal(code, path, feature="global_text"):
    with pytest.raises(ModelRefusedError) as caught:
        values_of(path, [LINE], feature=feature)
    assert caught.value.code == code
    return str(caught.value)


def changed(path, **tensors):
    state = {**load_file(path / "model.safetensors"), **tensors}
    save_file({k: v for k, v in state.items() if v is not None}, path / "model.safetensors")
    return path


@pytest.mark.parametrize(
    ("tensors", "code"),
    [
        ({"classifier.out_proj.weight": None}, "E-MODEL-KEYS"),
        ({"roberta.encoder.layer.1.output.dense.bias": None}, "E-MODEL-KEYS"),
        ({"lm_head.bias": torch.zeros(3)}, "E-MODEL-KEYS"),
        ({"classifier.out_proj.bias": torch.zeros(6)}, "E-MODEL-SHAPE"),
        ({"roberta.embeddings.word_embeddings.weight": torch.zeros(400, 8)}, "E-MODEL-SHAPE"),
    ],
)
def test_a_missing_an_extra_and_a_misshapen_tensor_are_refused(tmp_path, tensors, code):
    refusal(code, changed(make_roberta_emotion(tmp_path / "w", tensors="safetensors"), **tensors))


def test_an_encoder_without_its_classifier_is_refused_by_name(tmp_path):
    path = make_roberta_emotion(tmp_path / "w", tensors="safetensors")
    names = load_file(path / "model.safetensors")
    heads = {name: None for name in names if name.startswith("classifier.")}
    assert "classifier.dense" in refusal("E-MODEL-KEYS", changed(path, **heads))


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"model_type": "bert"}, "E-MODEL-FILE"),
        ({"auto_map": {"AutoModel": "modeling.Evil"}}, "E-MODEL-CODE"),
        ({"num_attention_heads": 5}, "E-MODEL-FILE"),
        ({"hidden_act": "no such function"}, "E-MODEL-FILE"),
        ({"hidden_size": "wide"}, "E-MODEL-FILE"),
        ({"id2label": {"0": "anger", "2": "fear"}}, "E-MODEL-FILE"),
        ({"id2label": None}, "E-MODEL-FILE"),
        ({"pad_token_id": 3}, "E-MODEL-FILE"),
        ({"pad_token_id": None}, "E-MODEL-FILE"),
        ({"vocab_size": 300}, "E-MODEL-FILE"),
    ],
)
def test_a_configuration_of_something_else_is_refused(tmp_path, config, code):
    path = make_roberta_emotion(tmp_path / "w")
    values = {**json.loads((path / "config.json").read_text()), **config}
    (path / "config.json").write_text(json.dumps(values))
    refusal(code, path)


def test_settings_that_fetch_or_import_are_not_listened_to(tmp_path):
    path = make_roberta_emotion(tmp_path / "w")
    values = json.loads((path / "config.json").read_text())
    values |= {
        "attn_implementation": "kernels-community/flash-attn",
        "_attn_implementation": "somebody/kernels",
        "quantization_config": {"quant_method": "gptq", "bits": 4},
        "is_decoder": True,
    }
    truth = values_of(path, [LINE])
    (path / "config.json").write_text(json.dumps(values))
    extractor = extractor_of(path)
    assert extractor.reader.module.config._attn_implementation == "sdpa"
    np.testing.assert_array_equal(values_of(path, [LINE]), truth)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "tokenizer.json"])
def test_half_a_file_is_refused(tmp_path, name):
    kind = "safetensors" if name.endswith("safetensors") else "bin"
    path = make_roberta_emotion(tmp_path / "w", tensors=kind)
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[: len(content) // 2])
    assert name in refusal("E-MODEL-FILE", path)


def test_a_git_lfs_pointer_is_refused(tmp_path):
    path = make_roberta_emotion(tmp_path / "w")
    (path / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    refusal("E-MODEL-LFS", path)


def test_code_in_a_pickle_does_not_run(tmp_path):
    path, marker = make_roberta_emotion(tmp_path / "w"), tmp_path / "ran"
    torch.save({"roberta.x": Payload(marker)}, path / "pytorch_model.bin")
    refusal("E-MODEL-CODE", path)
    (path / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(marker), protocol=2))
    with pytest.raises(ModelRefusedError):
        values_of(path, [LINE])
    assert not marker.exists()


def test_the_files_of_the_training_run_are_never_opened(tmp_path):
    path, marker = make_roberta_emotion(tmp_path / "w"), tmp_path / "ran"
    (path / "training_args.bin").write_bytes(pickle.dumps(Payload(marker), protocol=2))
    values_of(path, [LINE])
    assert not marker.exists()


def test_a_pooling_that_does_not_exist_is_a_mistake_in_the_settings(public):
    with pytest.raises(ConfigError, match="cls, mean, head"):
        extractor_of(public, pooling="max")
    assert labels_of(folder_of(public, KIND)) == LABELS


@pytest.mark.slow
def test_nothing_touches_the_network(public):
    program = f"""
    import socket
    def refuse(*a, **k):
        raise SystemExit("the network was asked for")
    socket.socket.connect = socket.socket.connect_ex = refuse
    socket.getaddrinfo = socket.create_connection = refuse
    from pathlib import Path
    from tests.features.paper.test_roberta_emotion import values_of
    [value] = values_of(Path({str(public)!r}), ["Where are you going?"])
    print(value.shape)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == f"({WIDTH},)"
