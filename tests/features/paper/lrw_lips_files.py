"""The lip reader's checkpoint as its training writes it; its front end has its real size."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from tests.features.paper.made_tensors import batch_norm, layer, random_state

NAME = "lrw_resnet18_mstcn_video.pth"


def tensor_shapes(slopes=False):
    """(name, shape) of every tensor of the front end; ``slopes``: of PReLU."""
    yield from layer("frontend3D.0", 64, 1, 5, 7, 7, bias=False)
    yield from batch_norm("frontend3D.1", 64)
    if slopes:
        yield "frontend3D.2.weight", (64,)
    before = 64
    for i, width in enumerate((64, 128, 256, 512), start=1):
        for j in (0, 1):
            name = f"trunk.layer{i}.{j}"
            yield from layer(f"{name}.conv1", width, before, 3, 3, bias=False)
            yield from batch_norm(f"{name}.bn1", width)
            yield from layer(f"{name}.conv2", width, width, 3, 3, bias=False)
            yield from batch_norm(f"{name}.bn2", width)
            if slopes:
                yield f"{name}.relu1.weight", (width,)
                yield f"{name}.relu2.weight", (width,)
            if before != width:
                yield from layer(f"{name}.downsample.0", width, before, 1, 1, bias=False)
                yield from batch_norm(f"{name}.downsample.1", width)
            before = width


def back_end():
    """A few tensors of the multi-scale temporal network, at toy width."""
    yield from layer("tcn.mb_ms_tcn.network.0.cbcr0_0.conv", 4, 512, 3)
    yield from batch_norm("tcn.mb_ms_tcn.network.0.cbcr0_0.batchnorm", 4)
    yield from layer("tcn.tcn_output", 500, 12)


def make_lrw_lips(folder: Path, *, seed=0, slopes=False, relu_type: str | None = "swish") -> Path:
    """The ``.pth`` and, with ``relu_type``, the model's JSON file from the repository's configs."""
    folder.mkdir(parents=True, exist_ok=True)
    state = random_state([*tensor_shapes(slopes), *back_end()], seed=seed)
    content = {
        "epoch_idx": 80,
        "model_state_dict": state,
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 0.0, "params": [0]}]},
        "best_prec": 0.889,
    }
    torch.save(content, folder / NAME)
    if relu_type is not None:
        model = {"backbone_type": "resnet", "relu_type": relu_type, "tcn_num_layers": 4}
        (folder / "lrw_resnet18_mstcn.json").write_text(json.dumps(model))
    return folder
