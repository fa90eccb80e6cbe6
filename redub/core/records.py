"""Records on disk: frozen dataclasses, written as JSON and read back with every type checked.

A record is one JSON object. Its fields are the dataclass's fields: text, numbers, booleans, tuples,
lists and NamedTuples (JSON lists), mappings with text keys (JSON objects) and other dataclasses. A
number that is not finite is null, since JSON has no other way to write it; it is read as NaN. An
unknown field, a missing field or a value of another type raises :class:`IntegrityError` with the
file's path.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

from redub.core.durable import commit_json, read_json
from redub.core.errors import IntegrityError

if TYPE_CHECKING:
    Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
    """Any JSON value, where the fields are not known: settings of another version, for example."""
else:
    Json = object  # a type that refers to itself cannot be looked up by get_type_hints


CODE = "E-INT-JSON"


class JsonRecord:
    """A frozen dataclass that is stored as one JSON object.

    ``ADVICE``: the end of the message about a damaged file, for example what to run.
    ``OMITS_DEFAULTS``: fields that have their default value are not written.
    """

    __slots__ = ()
    ADVICE: ClassVar[str] = ""
    OMITS_DEFAULTS: ClassVar[bool] = False

    def to_json(self) -> dict[str, Json]:
        """The record as JSON values; tuples become lists."""
        return _object(self)

    @classmethod
    def from_json(cls, value: object, path: Path | str) -> Self:
        """Check what was read from ``path``, and build the record.

        Raises:
            IntegrityError: E-INT-JSON, a field is unknown, missing or of another type.
        """
        try:
            return typing.cast(Self, _built(cls, value, ""))
        except _WrongError as error:
            advice = f"; {cls.ADVICE}" if cls.ADVICE else ""
            raise IntegrityError(f"{path} is damaged: {error}{advice}", code=CODE) from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file that :meth:`write` wrote.

        Raises:
            IntegrityError: E-INT-JSON, it is not JSON, or see :meth:`from_json`.
            FileNotFoundError: no such file.
        """
        return cls.from_json(read_json(path), path)

    def write(self, path: Path) -> None:
        """Write the record atomically, as canonical JSON."""
        commit_json(path, self.to_json())


def _object(record: Any) -> dict[str, Json]:
    omits = isinstance(record, JsonRecord) and record.OMITS_DEFAULTS
    return {
        own.name: _plain(value)
        for own in dataclasses.fields(record)
        if (value := getattr(record, own.name)) != own.default or not omits
    }


def _plain(value: Any) -> Json:
    if dataclasses.is_dataclass(value):
        return _object(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} is no JSON value")


class _WrongError(ValueError):
    """A value does not have the type of its field; the message names the field."""


@lru_cache(maxsize=256)
def _hints(kind: type) -> dict[str, object]:
    return typing.get_type_hints(kind)


def _built(kind: type, value: object, where: str) -> object:
    if not isinstance(value, dict):
        raise _WrongError(f"wanted an object{where and f' in {where!r}'}, found {_short(value)}")
    hints = _hints(kind)
    known = {own.name: own for own in dataclasses.fields(kind)}
    inside = f"{where}." if where else ""
    if unknown := value.keys() - known.keys():
        raise _WrongError(f"unknown field '{inside}{min(unknown)}'")
    for name, own in known.items():
        has_default = own.default is not MISSING or own.default_factory is not MISSING
        if name not in value and not has_default:
            raise _WrongError(f"no field '{inside}{name}'")
    return kind(**{n: _checked(hints[n], v, f"{inside}{n}") for n, v in value.items()})


def _checked(hint: Any, value: object, where: str) -> object:
    """Convert one JSON value to the type ``hint``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is object:
        return value
    if origin in (typing.Union, types.UnionType):
        return _first_fitting(arguments, value, where)
    if origin is typing.Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        return _tuple(arguments, value, where)
    if origin is list and isinstance(value, list):
        return list(_tuple((arguments[0], ...), value, where))
    if hasattr(hint, "_fields") and isinstance(value, list):  # a NamedTuple
        kinds = _hints(hint)
        return hint(*_tuple(tuple(kinds[name] for name in hint._fields), value, where))
    if origin in (dict, Mapping) and isinstance(value, dict):
        return {k: _checked(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _built(hint, value, where)
    if hint is float and value is None:
        return math.nan
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint in (str, int, bool, types.NoneType) and type(value) is hint:
        return value
    raise _WrongError(f"'{where}' wants {_name(hint)}, found {_short(value)}")


def _first_fitting(options: tuple[Any, ...], value: object, where: str) -> object:
    if value is None and types.NoneType in options:
        return None
    options = tuple(option for option in options if option is not types.NoneType)
    for option in options[:-1]:
        try:
            return _checked(option, value, where)
        except _WrongError:
            continue
    return _checked(options[-1], value, where)


def _tuple(arguments: tuple[Any, ...], value: list[object], where: str) -> tuple[object, ...]:
    if arguments[-1] is not Ellipsis and len(value) != len(arguments):
        raise _WrongError(f"'{where}' wants {len(arguments)} values, found {len(value)}")
    kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
    return tuple(
        _checked(kind, part, f"{where}[{place}]")
        for place, (kind, part) in enumerate(zip(kinds, value, strict=True))
    )


_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _name(hint: Any) -> str:
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if origin in (tuple, list) or hasattr(hint, "_fields"):
        return "a list"
    if origin in (dict, Mapping):
        return "an object"
    return _NAMES.get(hint, str(hint))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
