"""Range checks of sizes in the settings of a system."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from redub.core.errors import ConfigError


def check_sizes(config: Any) -> None:
    """Check that counts and widths are at least 1 and dropout rates in [0, 1).

    Args:
        config: a dataclass of settings.

    Raises:
        ConfigError: E-CFG-VALUE; the message names the setting.
    """
    for own in fields(config):
        value = getattr(config, own.name)
        if "dropout" in own.name:
            if not 0.0 <= value < 1.0:
                _refuse(own.name, value, "a number from 0 to below 1")
        elif isinstance(value, int) and not isinstance(value, bool) and value < 1:
            _refuse(own.name, value, "at least 1")
        elif own.type.startswith("tuple[int") and (not value or min(value) < 1):
            _refuse(own.name, value, "one or more numbers, each at least 1")


def _refuse(name: str, value: Any, wanted: str) -> None:
    raise ConfigError(f"{name} is {value}; wanted {wanted}", code="E-CFG-VALUE")
