"""Build frozen config dataclasses from parsed TOML, and compute the digest that names a result.

An unknown key or a bad value raises :class:`ConfigError`; the message names the key and the nearest
known key.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from redub.core.errors import ConfigError

T = TypeVar("T")


RENAMED = {
    "average_decay": "ema_decay",
    "by": "backend",
    "neighbour_lines": "adjacent_lines",
    "neighbour_mels": "adjacent_mels",
    "picture_dropout": "lip_dropout",
    "system": "model",
    "timbre_frames": "reference_frames",
    "timbres": "reference_mels",
}
"""Settings of redub 0.1 to their names since 0.2."""
NAMED_AT_MOST = 40  # a hint lists at most this many words; clip ids could fill a page


def nearest(word: str, known: Iterable[str]) -> str:
    """Make a hint for an unknown word: the most similar known word, else the known words.

    At most ``NAMED_AT_MOST`` words are listed.
    """
    options = sorted(known)
    if close := close_match(word, options):
        return close
    more = f" … and {len(options) - NAMED_AT_MOST} more" if len(options) > NAMED_AT_MOST else ""
    return "known: " + ", ".join(options[:NAMED_AT_MOST]) + more


def close_match(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` with the most similar known word; empty if none is similar.

    A known word that begins with ``word`` is nearer than one that has similar letters.
    """
    options = sorted(known)
    begun = [one for one in options if word and one.casefold().startswith(word.casefold())]
    close = begun[:1] or difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else ""


def unknown_key(path: str, known: Iterable[str]) -> ConfigError:
    """The error for a setting that does not exist: with its new name, or the most similar one."""
    options, key = set(known), path.rpartition(".")[2]
    if RENAMED.get(key) in options:
        hint = f"since redub 0.2 it is called '{RENAMED[key]}'"
    else:
        hint = nearest(key, options)
    return ConfigError(f"unknown key '{path}'; {hint}", code="E-CFG-KEY")


_MOST_TOML_BYTES = 1 << 20


def existing_file(path: Path) -> Path:
    """The path of a file that a command names.

    Raises:
        ConfigError: E-IN-MISSING, there is no such file, or it is a folder.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; wanted a file", code="E-IN-MISSING")
    if not path.exists():
        raise ConfigError(f"there is no file {path}{_sibling(path)}", code="E-IN-MISSING")
    return path


def _sibling(path: Path) -> str:
    """``; did you mean 'x'?`` with a file of the same folder; empty if none has a similar name."""
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent}"
    with os.scandir(path.parent) as entries:
        names = [entry.name for entry in entries if entry.is_file()]
    close = close_match(path.name, [name for name in names if name != path.name])
    return f"; {close}" if close else ""


def read_toml(path: Path, *, code: str = "E-CFG-TOML") -> dict[str, Any]:
    """Read and parse a TOML file in UTF-8; a byte order mark is skipped.

    Args:
        code: of the error about a file that is no TOML.

    Raises:
        ConfigError: E-IN-MISSING, there is no such file; else ``code``, with the line.
    """
    return parse_toml(toml_text(existing_file(path), code=code), where=str(path), code=code)


def toml_text(path: Path, *, code: str = "E-CFG-TOML") -> str:
    """Read the text of a settings file in UTF-8; a byte order mark is skipped.

    Raises:
        ConfigError: it cannot be read, is not UTF-8, or is larger than 1 MiB.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_TOML_BYTES + 1)
        if len(data) > _MOST_TOML_BYTES:
            raise ConfigError(f"{path} is larger than 1 MiB; wanted settings", code=code)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8", code=code
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", code=code) from error


def parse_toml(text: str, *, where: str, code: str = "E-CFG-TOML") -> dict[str, Any]:
    """Parse TOML.

    Args:
        where: name of the file in messages.

    Raises:
        ConfigError: it is no TOML; the message names the line, also at the end of the text.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{where}: values are nested too deeply", code=code) from None
    except tomllib.TOMLDecodeError as error:
        last = max(1, len(text.splitlines()))
        what = str(error).replace("(at end of document)", f"(at line {last}, the last one)")
        raise ConfigError(f"{where}: {what}", code=code) from error


def from_mapping(kind: type[T], values: Mapping[str, Any], *, where: str = "") -> T:
    """Build a config dataclass from parsed TOML, checking every key and type.

    Args:
        kind: a frozen dataclass; nested dataclasses are built from nested tables.
        values: the parsed table; keys that are left out keep their defaults.
        where: dotted path of the table, for messages.

    Raises:
        ConfigError: an unknown key (with the nearest known one) or a value of another type.
    """
    hints = typing.get_type_hints(kind)
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    built: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{where}.{key}" if where else key
        if key not in names:
            raise unknown_key(path, names)
        built[key] = _checked(hints[key], value, path)
    return kind(**built)


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with changes applied, table by table; both inputs stay as they are."""
    both = dict(values)
    for key, change in changes.items():
        old = both.get(key)
        is_table = isinstance(old, Mapping) and isinstance(change, Mapping)
        both[key] = merged(old, change) if is_table else change  # type: ignore[arg-type]
    return both


def _checked(hint: Any, value: Any, path: str) -> Any:
    """Convert one value to the type ``hint``; raise ConfigError if it has another type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"'{path}' wants a table, found {value!r}", code="E-CFG-TYPE")
        return from_mapping(hint, value, where=path)
    if origin is typing.Literal:
        if value not in arguments:
            legal = ", ".join(map(str, arguments))
            raise ConfigError(f"'{path}' is {value!r}; legal: {legal}", code="E-CFG-VALUE")
        return value
    if origin in (typing.Union, types.UnionType):
        for option in arguments:
            if option is type(None):
                continue
            return _checked(option, value, path)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"'{path}' wants a list, found {value!r}", code="E-CFG-TYPE")
        return tuple(_checked(arguments[0], v, f"{path}[{i}]") for i, v in enumerate(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        wanted = getattr(hint, "__name__", str(hint))
        raise ConfigError(f"'{path}' wants {wanted}, found {value!r}", code="E-CFG-TYPE")
    return value


def canonical(value: Any) -> str:
    """Write a value as canonical JSON: sorted keys, no spaces, ASCII; the input of all digests."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest_of(value: Any, *, digits: int = 12) -> str:
    """Return the first ``digits`` hex digits of the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:digits]


def settings_of(config: Any) -> dict[str, Any]:
    """Convert a config dataclass to JSON values with its class name, for cache keys and records."""
    return {"config": type(config).__name__, "fields": json.loads(canonical(asdict(config)))}
