"""MAE-DFER's checkpoint as its fine-tuning writes it, with few and narrow layers."""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

import numpy as np
import torch

from tests.features.paper.made_tensors import layer, random_state

NAME = "dfew_fold1_checkpoint.pth"
SETTINGS = {
    "attn_type": "local_global",
    "lg_region_size": [2, 5, 10],
    "lg_classify_token_type": "region",
    "data_set": "DFEW",
    "nb_classes": 7,
    "lr": 1e-3,
    "distributed": True,
}


def tensor_shapes(width=512, depth=16, classes=7):
    """(name, shape) of every tensor of the published files."""
    yield from layer("patch_embed.proj", width, 3, 2, 16, 16)
    yield "lg_region_tokens", (8, width)
    for i in range(depth):
        block = f"blocks.{i}"
        for which in ("first", "second", "third"):
            for norm in ("norm0", "norm1") if which == "third" else ("norm0",):
                yield from layer(f"{block}.{which}_attn_{norm}", width)
            attention = f"{block}.{which}_attn"
            yield f"{attention}.q_bias", (width,)
            yield f"{attention}.v_bias", (width,)
            yield from layer(f"{attention}.q", width, width, bias=False)
            yield from layer(f"{attention}.kv", 2 * width, width, bias=False)
            yield from layer(f"{attention}.proj", width, width)
        yield from layer(f"{block}.norm2", width)
        yield from layer(f"{block}.mlp.fc1", 4 * width, width)
        yield from layer(f"{block}.mlp.fc2", width, 4 * width)
    yield from layer("fc_norm", width)
    yield from layer("head", classes, width)


def make_mae_dfer(folder: Path, *, seed=0, width=512, depth=1, **settings) -> Path:
    """``{"model", "optimizer", "epoch", "scaler", "args"}``, numpy scalars under their old name."""
    folder.mkdir(parents=True, exist_ok=True)
    state = random_state(tensor_shapes(width, depth), seed=seed)
    group = {"lr": np.float64(1e-5), "lr_scale": np.float64(0.75), "betas": (0.9, 0.999)}
    moments = {0: {"step": 120, "exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}}
    content = {
        "model": state,
        "optimizer": {"state": moments, "param_groups": [{**group, "params": [0]}]},
        "epoch": 99,
        "scaler": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 7},
        "args": argparse.Namespace(**{**SETTINGS, **settings}),
    }
    torch.save(content, folder / NAME)
    rename_in_pickle(folder / NAME, b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    return folder


def rename_in_pickle(file: Path, new: bytes, old: bytes) -> None:
    """Give a module the name it had when the published files were written."""
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            if name.endswith("data.pkl"):
                assert new in content
                content = content.replace(new, old)
            archive.writestr(name, content)
