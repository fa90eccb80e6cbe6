"""A tiny Wav2Vec2ForCTC folder with the file names, keys and vocabularies of the public ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from redub.features.text.pronunciation import PHONES
from redub.features.weights.offline import quiet_transformers

LETTERS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ")
"""The vocabulary of facebook/wav2vec2-base-960h, in its order."""
STRESSED_PHONES = (
    "<pad>", "<s>", "</s>", "<unk>", "|", "sil",
    *(p + s for p in sorted(PHONES) for s in (("0", "1", "2") if p[0] in "AEIOU" else ("",))),
)  # fmt: skip

TINY = {
    "architectures": ["Wav2Vec2ForCTC"],
    "model_type": "wav2vec2",
    "transformers_version": "4.7.0.dev0",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [8] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "num_feat_extract_layers": 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "group",
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "gradient_checkpointing": False,
}


def make_ctc(
    folder: Path,
    *,
    seed: int = 0,
    vocabulary: tuple[str, ...] = LETTERS,
    tensors: str = "pytorch_model.bin",
    **config: Any,
) -> Path:
    """Write the folder.

    Args:
        tensors: ``pytorch_model.bin`` (old names of the weight norm, as on the public pages),
            ``model.safetensors`` (new names) or ``shards`` (two files and their index).
        config: settings that replace those of :data:`TINY`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    transformers = quiet_transformers()
    settings = {**TINY, "vocab_size": len(vocabulary), **config}
    torch.manual_seed(seed)
    model = transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**settings))
    # The usual start (std 0.02) gives every sound the same answer.
    torch.nn.init.normal_(model.lm_head.weight, std=1.0)
    state = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
    write_json(folder / "config.json", settings)
    write_json(folder / "vocab.json", {entry: n for n, entry in enumerate(vocabulary)})
    write_json(
        folder / "tokenizer_config.json",
        {
            "unk_token": "<unk>", "pad_token": "<pad>", "do_lower_case": False,
            "word_delimiter_token": "|", "tokenizer_class": "Wav2Vec2CTCTokenizer",
        },
    )  # fmt: skip
    write_json(
        folder / "preprocessor_config.json",
        {
            "do_normalize": True, "feature_size": 1, "padding_side": "right",
            "padding_value": 0.0, "return_attention_mask": False, "sampling_rate": 16000,
        },
    )  # fmt: skip
    write_tensors(folder, state, tensors)
    return folder


def write_tensors(folder: Path, state: dict[str, torch.Tensor], tensors: str) -> None:
    if tensors == "pytorch_model.bin":
        torch.save({old_name(name): value for name, value in state.items()}, folder / tensors)
    elif tensors == "model.safetensors":
        save_file(state, folder / tensors)
    else:
        names = sorted(state)
        halves = {"model-00001-of-00002.safetensors": names[::2]}
        halves["model-00002-of-00002.safetensors"] = names[1::2]
        for file, own in halves.items():
            save_file({name: state[name] for name in own}, folder / file)
        weight_map = {name: file for file, own in halves.items() for name in own}
        index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
        write_json(folder / "model.safetensors.index.json", index)


def old_name(name: str) -> str:
    name = name.replace("parametrizations.weight.original0", "weight_g")
    return name.replace("parametrizations.weight.original1", "weight_v")


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def change_json(path: Path, **values: Any) -> None:
    write_json(path, {**json.loads(path.read_text()), **values})
