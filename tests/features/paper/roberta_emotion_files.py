"""A folder in the layout of ``j-hartmann/emotion-english-roberta-large``, at toy width."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from redub.features.weights.offline import quiet_transformers

LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
WIDTH = 32
POSITIONS = 42  # 40 tokens

TINY = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": POSITIONS,
}
PUBLIC = {  # the public network, in the spelling of the config.json of its time
    "architectures": ["RobertaForSequenceClassification"],
    "attention_probs_dropout_prob": 0.1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "gradient_checkpointing": False,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 1024,
    "id2label": {str(i): label for i, label in enumerate(LABELS)},
    "initializer_range": 0.02,
    "intermediate_size": 4096,
    "label2id": {label: i for i, label in enumerate(LABELS)},
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 514,
    "model_type": "roberta",
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "pad_token_id": 1,
    "position_embedding_type": "absolute",
    "problem_type": "single_label_classification",
    "transformers_version": "4.6.0.dev0",
    "type_vocab_size": 1,
    "use_cache": True,
    "vocab_size": 50265,
}

CORPUS = (
    "The scene is dark and cold: mostly deep blue. It feels calm and lonely.",
    "The mouth opens wide; its corners are raised. It looks happy, cheerful.",
    "We should go home now! I am so sorry, I never meant to hurt you.",
    "What a wonderful day. Where are you going? Get out of here.",
)


@cache
def byte_level_bpe(size: int = 400, mask: bool = True) -> tuple[dict[str, int], tuple[str, ...]]:
    """Vocabulary and merges learnt from :data:`CORPUS`, the special tokens where RoBERTa has them:
    four at the start, the mask at the end."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - mask,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    state = json.loads(tokenizer.to_str())["model"]
    vocab = dict(state["vocab"])
    if mask:
        vocab["<mask>"] = len(vocab)
    return vocab, tuple(" ".join(pair) for pair in state["merges"])


def write_tokenizer(folder: Path, *, fast: bool) -> int:
    """vocab.json and merges.txt, and tokenizer.json if ``fast``; the number of tokens."""
    vocab, merges = byte_level_bpe()
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (folder / "merges.txt").write_text(
        "\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8"
    )
    if fast:
        public_tokenizer(folder).save_pretrained(folder)
        stored = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        # Public files were saved after training runs, with the run's own cutting and padding.
        stored["truncation"] = {
            "direction": "Right", "max_length": 7, "strategy": "LongestFirst", "stride": 0,
        }  # fmt: skip
        (folder / "tokenizer.json").write_text(json.dumps(stored), encoding="utf-8")
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    return len(vocab)


def public_tokenizer(folder: Path) -> Any:
    """transformers' own tokenizer of vocab.json and merges.txt, its mask as in the public files."""
    transformers = quiet_transformers()
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    return transformers.RobertaTokenizer(
        vocab=vocab,
        merges=[tuple(line.split(" ")) for line in lines],
        mask_token=AddedToken("<mask>", lstrip=True, special=True),
    )


def make_roberta_emotion(
    folder: Path,
    *,
    seed: int = 0,
    tensors: str = "bin",
    fast: bool = True,
    **changed: object,
) -> Path:
    """Write the folder.

    Args:
        tensors: ``bin`` writes pytorch_model.bin with the old buffer, as on the public main branch;
            ``safetensors`` the file of the later revision, without it; ``shards`` two of them.
        fast: with tokenizer.json beside vocab.json and merges.txt.
        changed: entries of config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = write_tokenizer(folder, fast=fast)
    values = {**PUBLIC, **TINY, "vocab_size": size, **changed}
    (folder / "config.json").write_text(json.dumps(values, indent=2))
    state = network_of(values, seed).state_dict()
    if tensors == "bin":
        state["roberta.embeddings.position_ids"] = torch.arange(POSITIONS)[None]
        torch.save(state, folder / "pytorch_model.bin")
    elif tensors == "safetensors":
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        names = sorted(state)
        shards = {n: f"model-0000{1 + (i % 2)}-of-00002.safetensors" for i, n in enumerate(names)}
        for shard in set(shards.values()):
            save_file({n: state[n] for n in names if shards[n] == shard}, folder / shard)
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": shards})
        )
    # Files of the training; they must not be opened.
    (folder / "training_args.bin").write_bytes(b"not even a pickle")
    return folder


def network_of(values: dict[str, object], seed: int) -> torch.nn.Module:
    """Random weights so large that different texts give clearly different values."""
    transformers = quiet_transformers()
    config = transformers.RobertaConfig(**{k: v for k, v in values.items() if k != "model_type"})
    torch.manual_seed(seed)
    network = transformers.RobertaForSequenceClassification(config)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.25)
    return network.eval()
