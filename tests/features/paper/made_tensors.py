"""Random tensors by name and shape, so that makers of checkpoints list names, not modules."""

from __future__ import annotations

import math

import torch


def random_state(shapes, *, seed=0):
    """A state dict: weights that keep a signal's size, plausible statistics, counters of 1000.

    shapes: (name, shape) pairs. What a tensor is follows from its name.
    """
    torch.manual_seed(seed)
    return {name: _tensor(name, tuple(shape)) for name, shape in shapes}


def _tensor(name, shape):
    last = name.rpartition(".")[2]
    if last == "num_batches_tracked":
        return torch.tensor(1000)
    if last == "running_var":
        return torch.rand(shape) + 0.5
    if len(shape) > 1:
        return torch.randn(shape) * math.sqrt(2 / math.prod(shape[1:]))
    if last == "weight":  # of a normalisation, or slopes of PReLU
        return torch.rand(shape) * 0.5 + 0.5
    return torch.randn(shape) * 0.1


def batch_norm(name, width):
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (width,)
    yield f"{name}.num_batches_tracked", ()


def layer(name, *shape, bias=True):
    yield f"{name}.weight", shape
    if bias:
        yield f"{name}.bias", shape[:1]
