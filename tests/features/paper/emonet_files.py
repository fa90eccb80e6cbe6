"""EmoNet's state dict as parallel training writes it, with a narrow alignment network.

The names of the alignment network are those of the public FAN; those of the emotion head are noted
in ``docs/extractors/emonet.md``.
"""

from __future__ import annotations

from pathlib import Path

import torch

from tests.features.paper.made_tensors import batch_norm, layer, random_state

NAME = "emonet_8.pth"


def block(name, before, width):
    steps = ((before, width // 2), (width // 2, width // 4), (width // 4, width // 4))
    for i, (n, m) in enumerate(steps, start=1):
        yield from batch_norm(f"{name}.bn{i}", n)
        yield from layer(f"{name}.conv{i}", m, n, 3, 3, bias=False)
    if before != width:
        yield from batch_norm(f"{name}.downsample.0", before)
        yield from layer(f"{name}.downsample.2", width, before, 1, 1, bias=False)


def tensor_shapes(width=256, vector=256, classes=8):
    """(name, shape) of every tensor; 682 of them."""
    yield from layer("conv1", width // 4, 3, 7, 7)
    yield from batch_norm("bn1", width // 4)
    yield from block("conv2", width // 4, width // 2)
    yield from block("conv3", width // 2, width // 2)
    yield from block("conv4", width // 2, width)
    for i in range(2):
        for level in range(4, 0, -1):
            for name in ("b1", "b2", "b3"):
                yield from block(f"m{i}.{name}_{level}", width, width)
        yield from block(f"m{i}.b2_plus_1", width, width)
        yield from block(f"top_m_{i}", width, width)
        yield from layer(f"conv_last{i}", width, width, 1, 1)
        yield from batch_norm(f"bn_end{i}", width)
        yield from layer(f"l{i}", 68, width, 1, 1)
    yield from layer("bl0", width, width, 1, 1)
    yield from layer("al0", width, 68, 1, 1)
    yield from layer("conv1x1_input_emo_2", vector, 3 * width, 1, 1)
    for i in (0, 2, 4, 6):
        yield from block(f"emo_net_2.{i}", vector, vector)
    yield from layer("emo_fc_2.0", vector // 2, vector)
    yield from batch_norm("emo_fc_2.1", vector // 2)
    yield from layer("emo_fc_2.3", classes + 2, vector // 2)


def make_emonet(folder: Path, *, seed=0, width=16, vector=256, classes=8, counters=True) -> Path:
    """``emonet_8.pth``, every name with the ``module.`` of parallel training."""
    folder.mkdir(parents=True, exist_ok=True)
    state = random_state(tensor_shapes(width, vector, classes), seed=seed)
    for name in state:
        if name.startswith(("l0.", "l1.")):
            state[name] *= 0.1  # 68 maps are summed up
    # The outer eye corners are where one map is highest and lowest, so that they do not coincide.
    state["l1.weight"][45] = -state["l1.weight"][36]
    torch.save(
        {
            f"module.{name}": value
            for name, value in state.items()
            if counters or not name.endswith("num_batches_tracked")
        },
        folder / (NAME if classes == 8 else f"emonet_{classes}.pth"),
    )
    return folder
