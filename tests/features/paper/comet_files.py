"""Folders of encoder-decoders that could be a COMET: BART as of 2020, T5 with SentencePiece."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from redub.features.weights.offline import quiet_transformers
from tests.features.paper.roberta_emotion_files import CORPUS, write_tokenizer

PROMPT_WORDS = ("xReact [GEN]", "happy", "sad", "none")


def make_comet(folder: Path, *, seed: int = 0, fast: bool = False, **changed: object) -> Path:
    """A BART folder as COMET-ATOMIC 2020 was published: pytorch_model.bin with every tied copy and
    the format numbers of the fairseq conversion, vocab.json, merges.txt.

    Args:
        fast: with tokenizer.json.
        changed: entries of config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = write_tokenizer(folder, fast=fast)
    if fast:
        stored = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        (folder / "tokenizer.json").write_text(json.dumps({**stored, "truncation": None}))
    else:
        (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 1024}))
    values = {
        "activation_function": "gelu", "architectures": ["BartForConditionalGeneration"],
        "bos_token_id": 0, "d_model": 32, "decoder_attention_heads": 2, "decoder_ffn_dim": 32,
        "decoder_layers": 1, "decoder_start_token_id": 2, "encoder_attention_heads": 2,
        "encoder_ffn_dim": 32, "encoder_layers": 1, "eos_token_id": 2, "is_encoder_decoder": True,
        "max_position_embeddings": 64, "model_type": "bart", "pad_token_id": 1,
        "scale_embedding": False, "vocab_size": size,
        # Settings of another task, as in facebook/bart-large; none of them may be followed.
        "num_beams": 4, "min_length": 10, "no_repeat_ngram_size": 3, "early_stopping": True,
        **changed,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(values))
    state = bart_of(values, seed).state_dict()
    state["model.encoder.version"] = torch.tensor([2.0])
    state["model.decoder.version"] = torch.tensor([2.0])
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def bart_of(values: dict[str, Any], seed: int) -> Any:
    transformers = quiet_transformers()
    known = transformers.BartConfig.__annotations__
    config = transformers.BartConfig(**{k: v for k, v in values.items() if k in known})
    torch.manual_seed(seed)
    return enlarged(transformers.BartForConditionalGeneration(config))


def enlarged(network: Any) -> Any:
    """Weights so large that answers depend on the prompt."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.6)
    return network.eval()


def make_comet_t5(folder: Path, *, seed: int = 0, untied: bool = False) -> Path:
    """A T5 folder with model.safetensors (tied copies left out) and only spiece.model.

    ``untied``: an output layer of its own, as in T5 1.1.
    """
    import sentencepiece

    transformers = quiet_transformers()
    folder.mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*CORPUS, *PROMPT_WORDS] * 4), model_writer=model, vocab_size=90,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    (folder / "spiece.model").write_bytes(model.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).get_piece_size()
    rows = pieces + 100 + 3  # T5: 32 000 pieces, 100 sentinels, 28 rows without a token
    values = {
        "architectures": ["T5ForConditionalGeneration"], "d_ff": 32, "d_kv": 8, "d_model": 32,
        "decoder_start_token_id": 0, "dropout_rate": 0.1, "eos_token_id": 1,
        "initializer_factor": 1.0, "is_encoder_decoder": True, "layer_norm_epsilon": 1e-6,
        "model_type": "t5", "n_positions": 512, "num_heads": 4, "num_layers": 1,
        "output_past": True, "pad_token_id": 0, "relative_attention_num_buckets": 32,
        "vocab_size": rows, "tie_word_embeddings": not untied,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "generation_config.json").write_text(
        json.dumps({"decoder_start_token_id": 0, "do_sample": True, "temperature": 5.0})
    )
    torch.manual_seed(seed)
    config = transformers.T5Config(**{k: v for k, v in values.items() if k != "model_type"})
    network = enlarged(transformers.T5ForConditionalGeneration(config))
    state = {k: v.clone() for k, v in network.state_dict().items()}
    for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"):
        del state[name]
    if untied:
        state["lm_head.weight"] = torch.randn(rows, 32) * 0.6
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
