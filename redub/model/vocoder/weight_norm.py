"""Fold weight normalisation into plain weights, for all naming schemes of checkpoints.

A normalised weight is g · v / ‖v‖; the norm is over all dimensions except the first (in a
transposed convolution the first dimension is the *input* channels).

Source: Salimans and Kingma (arXiv:1602.07868), equation 2. Naming schemes: ``X.weight_g,
X.weight_v`` (PyTorch before 2.0), ``X.parametrizations.weight.original0, original1`` (since then),
``X.weight`` (already folded).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from redub.core.errors import ModelRefusedError

PAIRS = (
    (".weight_g", ".weight_v"),
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
)
NORMALISED = (nn.Conv1d, nn.ConvTranspose1d)


def folded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fold normalised weights to plain names; folded weights and biases are unchanged.

    Raises:
        ModelRefusedError: E-MODEL-KEYS, one tensor of a pair is missing or a weight exists twice;
            E-MODEL-SHAPE, the shapes of a pair do not match; E-MODEL-DTYPE, not floating point.
    """
    plain: dict[str, Tensor] = {}
    for name, value in state.items():
        stem, own, other = _pair_of(name)
        if not stem:
            _put(plain, name, value)
        elif stem + other not in state:
            raise ModelRefusedError(
                f"the checkpoint has {name} without {stem}{other}; a normalised weight needs both",
                code="E-MODEL-KEYS",
            )
        elif own in (PAIRS[0][1], PAIRS[1][1]):
            _put(plain, f"{stem}.weight", _product(stem, state[stem + other], value))
    return plain


def _pair_of(name: str) -> tuple[str, str, str]:
    """Split a name into stem, own ending and ending of the partner; empty stem if not a pair."""
    for first, second in PAIRS:
        for own, other in ((first, second), (second, first)):
            if name.endswith(own):
                return name.removesuffix(own), own, other
    return "", "", ""


def _put(plain: dict[str, Tensor], name: str, value: Tensor) -> None:
    if name in plain:
        raise ModelRefusedError(
            f"the checkpoint has {name} in two spellings; it is unclear which one was trained",
            code="E-MODEL-KEYS",
        )
    plain[name] = value


def _product(stem: str, size: Tensor, direction: Tensor) -> Tensor:
    wanted = (direction.shape[0], *(1 for _ in direction.shape[1:])) if direction.dim() else ()
    if direction.dim() < 2 or tuple(size.shape) != wanted:
        raise ModelRefusedError(
            f"{stem}: a size of {tuple(size.shape)} does not fit a direction of "
            f"{tuple(direction.shape)}; wanted a size of {wanted}",
            code="E-MODEL-SHAPE",
        )
    if not (size.is_floating_point() and direction.is_floating_point()):
        raise ModelRefusedError(
            f"{stem}: sizes {size.dtype} and directions {direction.dtype}; wanted floating point",
            code="E-MODEL-DTYPE",
        )
    size, direction = size.float(), direction.float()
    length = torch.linalg.vector_norm(direction, dim=list(range(1, direction.dim())), keepdim=True)
    weight: Tensor = size * (direction / length)
    return weight


def with_weight_norm(module: nn.Module) -> nn.Module:
    """Add weight normalisation to all 1-D convolutions of a module, in place, for training."""
    for part in list(module.modules()):
        if isinstance(part, NORMALISED):
            weight_norm(part)
    return module
