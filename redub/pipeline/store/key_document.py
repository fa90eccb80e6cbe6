"""The key document of a feature: everything that its key covers, stored beside its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from redub.core.records import Json, JsonRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFields:
    """The class name of a config, and its fields as plain values."""

    config: str
    fields: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDocument(JsonRecord):
    """What a feature's numbers depend on; the digest of the document is the feature's key.

    version: of the extractor. media: settings of the decoded media. weights: role to file to
    SHA-256. licence, terms: of the weights. libraries: name to version. reads: feature to key.
    """

    feature: str
    backend: str
    version: int
    settings: ConfigFields
    media: Mapping[str, int]
    weights: Mapping[str, Mapping[str, str]]
    licence: str
    terms: tuple[str, ...]
    libraries: Mapping[str, str]
    reads: Mapping[str, str]


def is_of_redub_01(document: Mapping[str, Json]) -> bool:
    """Whether redub 0.1 wrote a key document; it named the backend ``maker``."""
    return "maker" in document


def differing_fields(
    old: Mapping[str, Json], new: Mapping[str, Json], *, prefix: str = ""
) -> list[str]:
    """Dotted names of the fields that differ between two key documents, as ``name old→new``."""
    lines: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        a, b = old.get(name), new.get(name)
        if a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differing_fields(a, b, prefix=f"{prefix}{name}.")
        else:
            lines.append(f"{prefix}{name} {a!r}→{b!r}")
    return lines
