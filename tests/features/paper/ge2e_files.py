"""A GE2E checkpoint in Resemblyzer's layout; its sizes are few and fixed, so it is full size."""

from __future__ import annotations

from pathlib import Path

import torch


def tensor_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"similarity_weight": (1,), "similarity_bias": (1,)}
    for n in range(3):
        shapes |= {
            f"lstm.weight_ih_l{n}": (4 * 256, 256 if n else 40),
            f"lstm.weight_hh_l{n}": (4 * 256, 256),
            f"lstm.bias_ih_l{n}": (4 * 256,),
            f"lstm.bias_hh_l{n}": (4 * 256,),
        }
    return shapes | {"linear.weight": (256, 256), "linear.bias": (256,)}


def tensors_of(*, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator) * (0.1 if len(shape) > 1 else 0.05)
        for name, shape in tensor_shapes().items()
    }


def make_ge2e(
    folder: Path, *, seed: int = 0, name: str = "pretrained.pt", change=None, **extra
) -> Path:
    """``pretrained.pt``: step, encoder with the two scalars of its loss, optimizer."""
    folder.mkdir(parents=True, exist_ok=True)
    state = tensors_of(seed=seed)
    if change is not None:
        change(state)
    optimizer = {"state": {0: {"step": 1564501, "exp_avg": torch.zeros(2)}}, "param_groups": []}
    checkpoint = {"step": 1564501, "model_state": state, "optimizer_state": optimizer, **extra}
    torch.save(checkpoint, folder / name)
    return folder
