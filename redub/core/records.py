"""Records: dataclasses that are written as JSON and read back.

The JSON of a record has exactly the keys of its fields. A number that is not finite is null; a
NamedTuple and a tuple are lists.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """A record as JSON values: dataclasses as objects, NaN and infinities as None."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def from_json(kind: type[T], value: Any) -> T:
    """Build a record from JSON values.

    Raises:
        ValueError: a key is missing or unknown, or a value has another type; the message has its
            place.
    """
    found: T = _built(kind, value, "record")
    return found


def _built(kind: Any, value: Any, place: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _one_of(arguments, value, place)
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(f"{place}: {value!r} is not one of {arguments}")
        return value
    if is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(kind, value, place)
    if kind is float and value is None:
        return math.nan
    if kind is float and type(value) is int:
        return float(value)
    if kind in (str, int, float, bool, types.NoneType):
        if type(value) is not kind:
            raise ValueError(f"{place}: {value!r}, wanted {kind.__name__}")
        return value
    if (origin or kind) is dict:
        _check(isinstance(value, dict), place, "an object")
        return {key: _built(arguments[1], item, f"{place}.{key}") for key, item in value.items()}
    _check(isinstance(value, list), place, "a list")
    if hasattr(kind, "_fields"):  # a NamedTuple
        hints = [typing.get_type_hints(kind)[name] for name in kind._fields]
        _check(len(hints) == len(value), place, f"{len(hints)} values")
        return kind(*(_built(h, v, place) for h, v in zip(hints, value, strict=True)))
    return origin(_built(arguments[0], item, f"{place}[{i}]") for i, item in enumerate(value))


def _dataclass(kind: type, value: Any, place: str) -> Any:
    _check(isinstance(value, dict), place, "an object")
    hints = typing.get_type_hints(kind)
    names = {field.name for field in fields(kind)}
    if value.keys() != names:
        differing = ", ".join(sorted(value.keys() ^ names))
        raise ValueError(f"{place}: missing or unknown keys: {differing}")
    return kind(**{name: _built(hints[name], value[name], f"{place}.{name}") for name in names})


def _one_of(kinds: tuple[Any, ...], value: Any, place: str) -> Any:
    if value is None and types.NoneType in kinds:
        return None  # not NaN, which null is for a plain float
    for kind in kinds:
        try:
            return _built(kind, value, place)
        except ValueError as error:
            reason = error
    raise reason


def _check(is_right: bool, place: str, wanted: str) -> None:
    if not is_right:
        raise ValueError(f"{place}: wanted {wanted}")
