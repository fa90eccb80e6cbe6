"""Small emotion2vec folders in the public layout: its file names, keys, prefixes and leftovers.

The list of tensors is the public plus_large file's (185 names); it is written out here from its
sizes, not from a network, so that a network that misses one is seen.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

KERNELS = (10, 3, 3, 3, 3, 2, 2)
LABELS = (
    "生气/angry", "厌恶/disgusted", "恐惧/fearful", "开心/happy", "中立/neutral", "其他/other",
    "难过/sad", "吃惊/surprised", "<unk>",
)  # fmt: skip
UNUSED_LABELS = (
    "生气/angry", "unuse_0", "unuse_1", "开心/happy", "中立/neutral", "unuse_2", "难过/sad",
    "unuse_3", "<unk>",
)  # fmt: skip
LARGE = {"width": 1024, "heads": 16, "depth": 8, "prenet": 4, "channels": 512, "groups": 16}
SMALL = {"width": 32, "heads": 4, "depth": 2, "prenet": 1, "channels": 16, "groups": 4}
SPEC = "[({0}, 10, 5)] + [({0}, 3, 2)] * 4 + [({0},2,2)] + [({0},2,2)]"

CONFIG = """\
# network architecture
model: Emotion2vec
model_conf:
    loss_beta: 0.0
    loss_scale: null
    depth: {depth}
    start_drop_path_rate: 0.0
    end_drop_path_rate: 0.0
    num_heads: {heads}
    norm_eps: 1e-05
    norm_affine: true
    encoder_dropout: 0.1
    post_mlp_drop: 0.1
    attention_dropout: 0.1
    activation_dropout: 0.0
    dropout_input: 0.0
    layerdrop: 0.05
    embed_dim: {width}
    mlp_ratio: 4.0
    layer_norm_first: false
    average_top_k_layers: {depth}
    end_of_block_targets: false
    clone_batch: 8
    layer_norm_target_layer: false
    batch_norm_target_layer: false
    instance_norm_target_layer: true
    max_update: 100000
    extractor_mode: layer_norm
    shared_decoder: null
    supported_modality: AUDIO
    seed: 1
    cls_type: chunk
    normalize: true

    modalities:
        audio:
            type: AUDIO
            prenet_depth: {prenet}
            prenet_layerdrop: 0.05
            prenet_dropout: 0.1
            start_drop_path_rate: 0.0
            end_drop_path_rate: 0.0
            num_extra_tokens: 10
            init_extra_token_zero: true
            mask_noise_std: 0.01
            mask_prob: 0.5
            mask_length: 5
            encoder_zero_mask: true
            mask_channel_prob: 0.0
            mask_channel_length: 64
            ema_local_encoder: false
            local_grad_mult: 1.0
            use_alibi_encoder: true
            alibi_scale: 1.0
            learned_alibi: false
            alibi_max_pos: null
            learned_alibi_scale: true
            learned_alibi_scale_per_head: true
            learned_alibi_scale_per_layer: false
            num_alibi_heads: {heads}
            model_depth: {depth}
            decoder:
                decoder_dim: 384
                decoder_groups: 16
                decoder_kernel: 7
                decoder_layers: 4
                input_dropout: 0.1
                add_positions_masked: false
                add_positions_all: false
                decoder_residual: true
                projection_layers: 1
                projection_ratio: 2.0
            extractor_mode: layer_norm
            feature_encoder_spec: '{spec}'
            conv_pos_width: 95
            conv_pos_groups: {groups}
            conv_pos_depth: 5
            conv_pos_pre_ln: false

tokenizer: CharTokenizer
tokenizer_conf:
  unk_symbol: <unk>
  split_with_space: true

scope_map:
  - 'd2v_model.'
  - none
"""


def config_text(sizes: dict[str, int] | None = None, *, spec: str | None = None) -> str:
    sizes = SMALL if sizes is None else sizes
    return CONFIG.format(**sizes, spec=SPEC.format(sizes["channels"]) if spec is None else spec)


def tensor_shapes(sizes: dict[str, int], classes: int = 9) -> dict[str, tuple[int, ...]]:
    """Name to shape of every tensor of the public plus models, at any width."""
    width, channels = sizes["width"], sizes["channels"]
    audio = "d2v_model.modality_encoders.AUDIO"
    blocks = [f"d2v_model.blocks.{n}" for n in range(sizes["depth"])]
    blocks += [f"{audio}.context_encoder.blocks.{n}" for n in range(sizes["prenet"])]
    shapes: dict[str, tuple[int, ...]] = {}
    for block in blocks:
        for layer, rows, columns in (
            ("attn.qkv", 3 * width, width), ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width), ("mlp.fc2", width, 4 * width),
        ):  # fmt: skip
            shapes |= {f"{block}.{layer}.weight": (rows, columns), f"{block}.{layer}.bias": (rows,)}
        for norm in ("norm1", "norm2"):
            shapes |= {f"{block}.{norm}.weight": (width,), f"{block}.{norm}.bias": (width,)}
    shapes[f"{audio}.alibi_scale"] = (1, 1, sizes["heads"], 1, 1)
    shapes[f"{audio}.extra_tokens"] = (1, 10, width)
    for norm in ("context_encoder.norm",):
        shapes |= {f"{audio}.{norm}.weight": (width,), f"{audio}.{norm}.bias": (width,)}
    for n, kernel in enumerate(KERNELS):
        conv = f"{audio}.local_encoder.conv_layers.{n}"
        shapes[f"{conv}.0.weight"] = (channels, channels if n else 1, kernel)
        shapes |= {f"{conv}.2.1.weight": (channels,), f"{conv}.2.1.bias": (channels,)}
    shapes |= {
        f"{audio}.project_features.1.weight": (channels,),
        f"{audio}.project_features.1.bias": (channels,),
        f"{audio}.project_features.2.weight": (width, channels),
        f"{audio}.project_features.2.bias": (width,),
    }
    for n in range(1, 6):
        conv = f"{audio}.relative_positional_encoder.{n}.0"
        shapes |= {
            f"{conv}.weight": (width, width // sizes["groups"], 19),
            f"{conv}.bias": (width,),
        }
    if classes:
        shapes |= {"proj.weight": (classes, width), "proj.bias": (classes,)}
    return shapes


def tensors_of(sizes: dict[str, int], classes: int, seed: int) -> dict[str, torch.Tensor]:
    """Random weights of such sizes that different sounds give clearly different vectors."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in tensor_shapes(sizes, classes).items():
        value = torch.randn(shape, generator=generator)
        if name.endswith("alibi_scale"):
            state[name] = 0.5 + 0.1 * value
        elif ".norm" in name or ".2.1." in name or "project_features.1." in name:
            state[name] = 0.1 * value + (1.0 if name.endswith("weight") else 0.0)
        else:
            state[name] = value * (0.1 if len(shape) == 1 else math.prod(shape[1:]) ** -0.5)
    return state


def make_emotion2vec(
    folder: Path,
    *,
    seed: int = 0,
    sizes: dict[str, int] | None = None,
    labels: tuple[str, ...] = LABELS,
    config: str | None = None,
    change=None,
    **extra,
) -> Path:
    """``config.yaml``, ``configuration.json``, ``tokens.txt``, ``model.pt``.

    Args:
        labels: none makes a model without classifier, like emotion2vec_base.
        change: called with the table of tensors before it is written.
        extra: further entries of the file's top level.
    """
    sizes = SMALL if sizes is None else sizes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(config or config_text(sizes), encoding="utf-8")
    meta = {"init_param": "model.pt", "config": "config.yaml"}
    if labels:
        (folder / "tokens.txt").write_text("\n".join(labels), encoding="utf-8")
        meta["tokenizer_conf"] = {"token_list": "tokens.txt"}
    configuration = {
        "framework": "pytorch",
        "task": "emotion-recognition",
        "model": {"type": "funasr"},
        "file_path_metas": meta,
    }
    (folder / "configuration.json").write_text(json.dumps(configuration), encoding="utf-8")
    state = tensors_of(sizes, len(labels), seed)
    if change is not None:
        change(state)
    checkpoint = {
        "args": None,
        "cfg": {"_name": None, "model": {"_name": "data2vec_multi"}},
        "model": state,
        "criterion": None,
        "optimizer_history": [{"num_updates": 10, "optimizer_name": "FairseqAdam"}],
        "task_state": {},
        "extra_state": {"epoch": 1, "metrics": {}},
        "last_optimizer_state": {"state": {0: {"step": 10, "exp_avg": torch.zeros(3)}}},
        **extra,
    }
    torch.save(checkpoint, folder / "model.pt")
    return folder
