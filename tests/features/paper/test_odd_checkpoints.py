"""Files that open and are no weights: each is refused by what it is, and no code in it runs."""

import json
import pickle
from contextlib import nullcontext

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from redub.core.errors import ModelRefusedError
from redub.features.models.caption_writer import refuse_odd_types
from redub.features.models.emotion2vec.checkpoint import read_settings
from redub.features.weights.checkpoint_parts import tensor_table
from redub.features.weights.folder import WeightFolder, load_strictly, understood
from tests.features.paper.ledgers import Payload


def folder_of(path):
    return WeightFolder(name="w", path=path.parent, files={path.name: "0" * 64})


def refused(path, code, read=None):
    with pytest.raises(ModelRefusedError) as caught:
        (read or WeightFolder.tensors)(folder_of(path), path.name)
    assert caught.value.code == code
    return str(caught.value)


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_a_web_page_is_named(tmp_path, name):
    (tmp_path / name).write_text("\n<!DOCTYPE html><html>404 Not Found</html>")
    assert "web page" in refused(tmp_path / name, "E-MODEL-FILE")


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_bytes_that_are_nothing_are_no_checkpoint(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(range(3, 200)) * 5)
    assert "copy it again" in refused(tmp_path / name, "E-MODEL-FILE")


@pytest.mark.parametrize("zipped", [True, False])
def test_the_class_that_a_pickle_asks_for_is_named(tmp_path, zipped):
    marker = tmp_path / "ran"
    value = {"weight": torch.zeros(2), "more": Payload(marker)}
    torch.save(value, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    message = refused(tmp_path / "w.pt", "E-MODEL-CODE")
    assert Payload(marker).__reduce__()[0].__name__ in message
    assert "weights_only" not in message  # no advice to run it
    assert not marker.exists()


def test_a_newer_pickle_is_refused_unread(tmp_path):
    marker = tmp_path / "ran"
    (tmp_path / "w.pt").write_bytes(pickle.dumps(Payload(marker), protocol=5))
    refused(tmp_path / "w.pt", "E-MODEL-CODE")
    assert not marker.exists()


def test_a_torchscript_archive_is_a_program(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "w.pt"))
    assert "TorchScript" in refused(tmp_path / "w.pt", "E-MODEL-CODE")


def test_a_table_without_names_is_refused(tmp_path):
    torch.save({1: torch.zeros(2)}, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "E-MODEL-FILE")
    with pytest.raises(ModelRefusedError, match="by name"):
        tensor_table({1: torch.zeros(2)}, folder_of(tmp_path / "w.pt"), "model_state")


def test_json_of_twenty_thousand_brackets_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("[" * 20_000 + "]" * 20_000)
    assert "brackets" in refused(tmp_path / "config.json", "E-MODEL-FILE", WeightFolder.any_json)


@pytest.mark.parametrize(
    ("weight", "what"),
    [
        (torch.zeros(2, 3, dtype=torch.int8), "int8"),
        (torch.zeros(2, 3).to(torch.float8_e4m3fn), "float8"),
        (torch.zeros(2, 3, dtype=torch.complex64), "complex64"),
        (torch.zeros(2, 3).to_sparse(), "sparse"),
        (torch.zeros(2, 3, device="meta"), "without values"),
        (torch.zeros(2, 3, dtype=torch.bfloat16), ""),
        (torch.zeros(2, 3, dtype=torch.float64), ""),
    ],
)
def test_tensors_that_are_not_numbers_are_refused_and_floats_are_converted(tmp_path, weight, what):
    module = nn.Linear(3, 2)
    state = {"weight": weight, "bias": torch.ones(2)}
    with pytest.raises(ModelRefusedError, match=what) if what else nullcontext() as caught:
        load_strictly(module, state, folder_of(tmp_path / "w.pt"))
    if what:
        assert caught.value.code == "E-MODEL-DTYPE"
    else:
        assert module.weight.dtype == torch.float32


def test_a_counter_may_not_be_a_fraction(tmp_path):
    norm = nn.BatchNorm1d(2)
    state = {**norm.state_dict(), "num_batches_tracked": torch.tensor(1.5)}
    with pytest.raises(ModelRefusedError, match="num_batches_tracked"):
        load_strictly(norm, state, folder_of(tmp_path / "w.pt"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_tensor_with_one_value_that_is_no_number_is_refused(tmp_path, value):
    state = {"weight": torch.zeros(2, 3), "bias": torch.tensor([1.0, value])}
    with pytest.raises(ModelRefusedError, match="bias holds values that are not numbers"):
        load_strictly(nn.Linear(3, 2), state, folder_of(tmp_path / "w.pt"))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_hidden_layers", 10**9),
        ("encoder_layers", -1),
        ("num_attention_heads", 0),
        ("num_attention_heads", "12"),
        ("hidden_size", 0.5),
        ("hidden_size", True),
        ("vocab_size", 2**70),
        ("conv_stride", [5, 0]),
        ("conv_kernel", [10, 10**9]),
        ("layer_norm_eps", -0.5),
        ("layer_norm_eps", float("nan")),
        ("layer_norm_eps", float("inf")),
        ("decoder_start_token_id", 10**9),
        ("pad_token_id", 100),
    ],
)
def test_sizes_that_no_network_has_are_refused_by_name(tmp_path, setting, value):
    good = {"num_hidden_layers": 2, "vocab_size": 100, "conv_stride": [5, 2], "pruned_heads": {}}
    good |= {"layer_norm_eps": 1e-5, "hidden_size": None, "eos_token_id": [1, 99]}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(good))
    assert folder_of(path).json("config.json") == good
    for values in ({**good, setting: value}, {"text_config": {**good, setting: value}}):
        path.write_text(json.dumps(values))
        assert setting in refused(path, "E-MODEL-FILE", WeightFolder.json)


def test_a_number_of_five_thousand_digits_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"hidden_size": ' + "9" * 5000 + "}")
    refused(tmp_path / "config.json", "E-MODEL-FILE", WeightFolder.any_json)


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.bool, torch.float8_e4m3fn])
def test_a_captioner_is_not_cast_from_quantised_tensors(tmp_path, kind):
    path = tmp_path / "w.safetensors"
    save_file({"a.weight": torch.zeros(2, 2), "b.weight": torch.zeros(2, 2).to(kind)}, path)
    with pytest.raises(ModelRefusedError, match=r"b\.weight") as caught:
        refuse_odd_types(folder_of(path))
    assert caught.value.code == "E-MODEL-DTYPE"
    tables = {"a.weight": torch.zeros(2, 2).bfloat16(), "vision.position_ids": torch.arange(3)}
    save_file(tables, path)
    refuse_odd_types(folder_of(path))


def test_yaml_that_refers_to_itself_is_refused_at_once(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (tmp_path / "config.yaml").write_text("model: Emotion2vec\n" + "\n".join(lines) + "\n")
    with pytest.raises(ModelRefusedError, match="refers to its own parts"):
        read_settings(folder_of(tmp_path / "config.yaml"))


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("by zero"), KeyError("layers"), RecursionError(), TypeError("x")]
)
def test_whatever_a_library_raises_becomes_a_refusal(tmp_path, error):
    wanted = pytest.raises(ModelRefusedError, match=type(error).__name__)
    with wanted as caught, understood(folder_of(tmp_path / "w.pt")):
        raise error
    assert caught.value.exit_code == 8


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), MemoryError(), OSError("disk")])
def test_what_is_about_the_machine_passes(tmp_path, error):
    with pytest.raises(type(error)), understood(folder_of(tmp_path / "w.pt")):
        raise error
