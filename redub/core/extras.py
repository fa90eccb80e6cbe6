"""Packages that only one part of redub needs: each belongs to an extra of ``pyproject.toml``.

The rest of redub works without them, so they are imported where they are used, through
:func:`optional`. A test compares these calls with the extras that ``pyproject.toml`` declares.
"""

from __future__ import annotations

import importlib
from typing import Any

from redub.core.errors import MissingExtraError


def optional(module: str, *, extra: str, purpose: str) -> Any:
    """Import a package that an extra installs.

    Args:
        module: the module, dotted.
        extra: the extra of ``pyproject.toml`` that declares its package.
        purpose: what needs it, as the start of a sentence: ``"phonemes by espeak"``.

    Raises:
        MissingExtraError: E-EXTRA, the package is not installed. A package that is installed and
            lacks one of its own dependencies raises its ModuleNotFoundError unchanged.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if not f"{module}.".startswith(f"{missing}."):
            raise
        raise MissingExtraError(
            f"{purpose}: the package '{module.partition('.')[0]}' is missing; "
            f"install it with `pip install 'redub[{extra}]'`"
        ) from error
