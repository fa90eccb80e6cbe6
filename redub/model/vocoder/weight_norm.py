"""Weight normalisation folded into plain weights, whichever way a checkpoint spells it.

A normalised weight is g · v / ‖v‖, the norm being over all dimensions but the first (of a
transposed convolution the first counts its *input* channels). Source: Salimans and Kingma
(arXiv:1602.07868), equation 2. Spellings: ``X.weight_g, X.weight_v`` (PyTorch before 2.0),
``X.parametrizations.weight.original0, original1`` (since), ``X.weight`` (folded already).
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
    """The same weights by plain names; what is folded already, and biases, are passed on.

    Raises:
        ModelRefusedError: E-MODEL-KEYS, one half of a pair is missing or a weight is there twice;
            E-MODEL-SHAPE, the halves do not belong together.
    """
    plain: dict[str, Tensor] = {}
    for name, value in state.items():
        stem, own, other = _pair_of(name)
        if not stem:
            _put(plain, name, value)
        elif stem + other not in state:
            raise ModelRefusedError(
                f"the checkpoint has {name} without {stem}{other}: half of a normalised weight",
                code="E-MODEL-KEYS",
            )
        elif own in (PAIRS[0][1], PAIRS[1][1]):
            _put(plain, f"{stem}.weight", _product(stem, state[stem + other], value))
    return plain


def _pair_of(name: str) -> tuple[str, str, str]:
    """Stem, own ending and the other half's; an empty stem for a name that is no half."""
    for first, second in PAIRS:
        for own, other in ((first, second), (second, first)):
            if name.endswith(own):
                return name.removesuffix(own), own, other
    return "", "", ""


def _put(plain: dict[str, Tensor], name: str, value: Tensor) -> None:
    if name in plain:
        raise ModelRefusedError(
            f"the checkpoint has {name} in two spellings; one of them is not what was trained",
            code="E-MODEL-KEYS",
        )
    plain[name] = value


def _product(stem: str, size: Tensor, direction: Tensor) -> Tensor:
    wanted = (direction.shape[0], *(1 for _ in direction.shape[1:])) if direction.dim() else ()
    if direction.dim() < 2 or tuple(size.shape) != wanted:
        raise ModelRefusedError(
            f"{stem}: a size of {tuple(size.shape)} and a direction of {tuple(direction.shape)} "
            f"make no normalised weight; wanted sizes of {wanted}",
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
    """Normalise every one-dimensional convolution below a module, in place, for training."""
    for part in list(module.modules()):
        if isinstance(part, NORMALISED):
            weight_norm(part)
    return module
