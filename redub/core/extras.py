"""Optional packages: each belongs to an extra of ``pyproject.toml``.

Only one part of redub needs such a package, so it is imported where it is used, by
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
        MissingExtraError: E-EXTRA, the package is not installed.
        ModuleNotFoundError: the package is installed, but a package that it needs is not.
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
