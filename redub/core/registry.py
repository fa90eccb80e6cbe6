"""A registry is a literal table ``name → "module:Class"`` that imports nothing until asked."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from redub.core.config import nearest
from redub.core.errors import ConfigError


def load(table: Mapping[str, str], name: str, *, kind: str) -> Any:
    """Import what a registry line names; an unknown name answers with the nearest known one."""
    if name not in table:
        raise ConfigError(f"unknown {kind} '{name}'; {nearest(name, table)}", code="E-CFG-NAME")
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
