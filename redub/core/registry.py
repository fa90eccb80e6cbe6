"""Load classes from registries: literal tables ``name → "module:Class"``.

A module is imported only when its name is loaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from redub.core.config import nearest
from redub.core.errors import ConfigError


def load(table: Mapping[str, str], name: str, *, kind: str) -> Any:
    """Import and return the object that a registry entry names.

    Args:
        kind: what the table holds, for the message ("extractor").

    Raises:
        ConfigError: E-CFG-NAME, an unknown name; the message has the nearest known name.
    """
    if name not in table:
        raise ConfigError(f"unknown {kind} '{name}'; {nearest(name, table)}", code="E-CFG-NAME")
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
