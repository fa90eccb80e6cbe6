"""Small NPC checkpoints in s3prl's layout, with the heads of its pre-training."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch

PUBLIC = {
    "kernel_size": 15, "mask_size": 5, "n_blocks": 4, "hidden_size": 512, "dropout": 0.1,
    "residual": True, "batch_norm": True, "activate": "relu", "disable_cross_layer": False,
    "vq": {
        "codebook_size": [64, 64, 64, 64], "code_dim": [128, 128, 128, 128],
        "gumbel_temperature": 1.0,
    },
}  # fmt: skip
SMALL = {
    **PUBLIC, "hidden_size": 16,
    "vq": {"codebook_size": [4, 4], "code_dim": [8, 8], "gumbel_temperature": 1.0},
}  # fmt: skip
SHALLOW = {**PUBLIC, "kernel_size": 5, "mask_size": 1, "n_blocks": 1}
"""Rows as wide as the public ones, which is what the settings expect, from 12 MB of weights."""
AUDIO = {
    "feat_type": "fbank", "feat_dim": 80, "frame_length": 25, "frame_shift": 10,
    "decode_wav": False, "cmvn": True,
}  # fmt: skip


def tensor_shapes(paras: dict, channels: int = 80) -> dict[str, tuple[int, ...]]:
    """Name to shape of every tensor of a public file."""
    width, taps = paras["hidden_size"], paras["kernel_size"]
    shapes: dict[str, tuple[int, ...]] = {}
    for n in range(paras["n_blocks"]):
        block = f"blocks.{n}"
        shapes |= {
            f"{block}.conv.weight": (width, width if n else channels, 3),
            f"{block}.conv.bias": (width,),
            f"{block}.linear.weight": (width, width, 1),
            f"{block}.linear.bias": (width,),
        }
        for norm in ("bn1", "bn2") if paras["batch_norm"] else ():
            for name in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{block}.{norm}.{name}"] = (width,)
            shapes[f"{block}.{norm}.num_batches_tracked"] = ()
        if not paras["disable_cross_layer"] or n == paras["n_blocks"] - 1:
            shapes |= {
                f"masked_convs.{n}.conv_mask": (width, width, taps),
                f"masked_convs.{n}.conv.weight": (width, width, taps),
                f"masked_convs.{n}.conv.bias": (width,),
            }
    vq = paras.get("vq") or {"codebook_size": [], "code_dim": []}
    for n, (codes, size) in enumerate(zip(vq["codebook_size"], vq["code_dim"], strict=True)):
        shapes |= {
            f"vq_layers.{n}.vq_logits.weight": (codes, size),
            f"vq_layers.{n}.vq_logits.bias": (codes,),
            f"vq_layers.{n}.codebook_CxE.weight": (size, codes),
        }
    return shapes | {"postnet.weight": (channels, width), "postnet.bias": (channels,)}


def tensors_of(paras: dict, *, seed: int = 0, channels: int = 80) -> dict[str, torch.Tensor]:
    """Random weights; each mask is open but for ``mask_size + 2 (n + 1)`` taps in its middle."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in tensor_shapes(paras, channels).items():
        value = torch.randn(shape, generator=generator)
        if name.endswith("conv_mask"):
            taps, block = paras["kernel_size"], int(name.split(".")[1])
            closed = paras["mask_size"] + 2 * (block + 1)
            value = torch.ones(shape)
            value[:, :, (taps - closed) // 2 : (taps - closed) // 2 + closed] = 0
        elif name.endswith("num_batches_tracked"):
            value = torch.tensor(1000)
        elif name.endswith("running_var"):
            value = 1.0 + 0.5 * torch.rand(shape, generator=generator)
        elif ".bn" in name:
            value = 0.1 * value + (1.0 if name.endswith("weight") else 0.0)
        elif len(shape) > 1:
            value = value * math.prod(shape[1:]) ** -0.5
        else:
            value = 0.1 * value
        state[name] = value
    return state


def make_npc(
    folder: Path,
    *,
    seed: int = 0,
    paras: dict | None = None,
    audio: dict | None = None,
    name: str = "npc_default.ckpt",
    change=None,
    config_key: str = "config",
    **extra,
) -> Path:
    """One ``.ckpt``; s3prl's training also leaves its optimizer and command line in it."""
    paras, audio = dict(paras or SHALLOW), dict(audio or AUDIO)
    folder.mkdir(parents=True, exist_ok=True)
    state = tensors_of(paras, seed=seed, channels=audio["feat_dim"])
    if change is not None:
        change(state)
    checkpoint = {
        config_key: {"data": {"audio": audio}, "model": {"paras": paras}, "task": {"n_future": 5}},
        "model": state,
        "Optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-3}]},
        "Step": 100,
        "Args": argparse.Namespace(upstream="npc", seed=1337),
        **extra,
    }
    torch.save(checkpoint, folder / name)
    return folder
