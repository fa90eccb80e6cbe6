"""Find the checkpoint file of a weight folder, and check the state dict in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from redub.features.weights.folder import WeightFolder, without_prefix

if TYPE_CHECKING:
    from torch import Tensor


def only_file(weights: WeightFolder, *suffixes: str) -> str:
    """Return the only listed file with one of the suffixes, for kinds without a fixed file name.

    Raises:
        ModelRefusedError: E-MODEL-FILE, no such file, or more than one.
    """
    found = sorted(name for name in weights.files if name.endswith(suffixes))
    if len(found) == 1:
        return found[0]
    listed = ", ".join(found) if found else "none of them"
    raise weights.refused(
        f"wants exactly one file *{', *'.join(suffixes)}; listed: {listed}. Record the file "
        "itself: `redub weights add KIND FILE`",
        code="E-MODEL-FILE",
    )


def tensor_table(value: Any, weights: WeightFolder, where: str) -> dict[str, Tensor]:
    """Check that a value is a state dict, and remove the prefix ``module.`` of parallel training.

    Args:
        where: what the value is, for the message.

    Raises:
        ModelRefusedError: E-MODEL-FILE, the value is not a mapping from names to tensors.
    """
    import torch

    if not isinstance(value, Mapping):
        raise weights.refused(
            f"{where} is a {type(value).__name__}, wanted a table of tensors", code="E-MODEL-FILE"
        )
    others = [
        str(name)
        for name, entry in value.items()
        if not (isinstance(name, str) and isinstance(entry, torch.Tensor))
    ]
    if others:
        raise weights.refused(
            f"{where} holds more than tensors by name ({', '.join(others[:3])})",
            code="E-MODEL-FILE",
        )
    return without_prefix(value, "module.")
