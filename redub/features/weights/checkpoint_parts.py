"""Which file of a folder is the checkpoint, and which of its parts is the table of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from redub.features.weights.folder import WeightFolder, without_prefix

if TYPE_CHECKING:
    from torch import Tensor


def only_file(weights: WeightFolder, *suffixes: str) -> str:
    """The one listed file with one of the suffixes, for kinds whose publishers name it freely.

    Raises:
        ModelRefusedError: E-MODEL-FILE, there is none, or more than one.
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
    """A state dict, checked to be one; the ``module.`` of parallel training is cut off.

    Raises:
        ModelRefusedError: E-MODEL-FILE, no table of tensors.
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
