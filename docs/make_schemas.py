"""Write the JSON schemas of what commands print with ``--json`` into ``docs/schemas``.

Each schema (draft 2020-12) is made from a dataclass of :mod:`redub.commands.documents`: types and
required keys from its fields, descriptions from ``docs/schemas/descriptions.toml``.
Run ``python docs/make_schemas.py`` after a change of a dataclass and commit the files.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redub.commands.documents import DOCUMENTS
from redub.core.registry import load

FOLDER = Path(__file__).resolve().parent / "schemas"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
PLAIN = {str: "string", Path: "string", int: "integer", bool: "boolean", type(None): "null"}

Schema = dict[str, Any]


class Descriptions:
    """Sentences about classes and fields from ``descriptions.toml``, and which of them are used.

    The sentence about a field stands under ``[CLASS] field`` or, for all classes, under
    ``[fields] field``; that about a class under ``[classes] CLASS``.
    """

    def __init__(self, tables: Mapping[str, Mapping[str, str]]) -> None:
        self.tables = tables
        self.used: set[tuple[str, str]] = set()
        self.missing: set[tuple[str, str]] = set()

    def of_class(self, kind: str) -> str:
        """The sentence about a class; empty where there is none."""
        return self._find(kind, "classes", (kind, ""))

    def of_field(self, kind: str, field: str) -> str:
        """The sentence about a field of a class; empty where there is none."""
        table = kind if field in self.tables.get(kind, {}) else "fields"
        return self._find(field, table, (kind, field))

    def _find(self, name: str, table: str, wanted: tuple[str, str]) -> str:
        if name not in self.tables.get(table, {}):
            self.missing.add(wanted)
            return ""
        self.used.add((table, name))
        return self.tables[table][name]

    def unused(self) -> set[tuple[str, str]]:
        """Table and field of every sentence that no schema uses."""
        every = {(table, field) for table, own in self.tables.items() for field in own}
        return every - self.used


def schemas(descriptions: Descriptions) -> dict[str, Schema]:
    """The schema of every document, by the document's name."""
    return {name: document_schema(name, descriptions) for name in DOCUMENTS}


def document_schema(name: str, descriptions: Descriptions) -> Schema:
    """The schema of one document: the fields of its dataclass and the key ``schema``."""
    shared: dict[str, Schema] = {}
    kind = load(DOCUMENTS, name, kind="document")
    own = object_schema(kind, shared, descriptions)
    marker = {"description": "Name and version of this document.", "const": f"redub.{name}/1"}
    own["properties"] = {"schema": marker, **own["properties"]}
    own["required"] = ["schema", *own["required"]]
    head = {"$schema": DRAFT, "title": f"redub.{name}/1"}
    return {**head, **own, **({"$defs": dict(sorted(shared.items()))} if shared else {})}


def object_schema(kind: Any, shared: dict[str, Schema], descriptions: Descriptions) -> Schema:
    """A dataclass as a JSON object; dataclasses of its fields are added to ``shared`` by name."""
    hints = typing.get_type_hints(kind)
    properties = {}
    for field in dataclasses.fields(kind):
        text = descriptions.of_field(kind.__name__, field.name)
        own = type_schema(hints[field.name], shared, descriptions)
        properties[field.name] = {"description": text, **own}
    return {
        "description": descriptions.of_class(kind.__name__),
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def type_schema(hint: Any, shared: dict[str, Schema], descriptions: Descriptions) -> Schema:
    """A type as it is printed; see :func:`redub.commands.console.plain_value`.

    Raises:
        TypeError: JSON has no such type.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return {}
    if hint is float:
        return {"type": ["number", "null"]}  # NaN and infinities are printed as null
    if hint in PLAIN:
        return {"type": PLAIN[hint]}
    if dataclasses.is_dataclass(hint):
        name = hint.__name__
        if name not in shared:
            shared[name] = {}  # ends the walk of a class that holds itself
            shared[name] = object_schema(hint, shared, descriptions)
        return {"$ref": f"#/$defs/{name}"}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return union_schema([type_schema(one, shared, descriptions) for one in arguments])
    if issubclass(origin or hint, tuple) and hasattr(hint, "_fields"):  # a NamedTuple
        inner = typing.get_type_hints(hint)
        return tuple_schema([type_schema(inner[n], shared, descriptions) for n in hint._fields])
    if origin is tuple and arguments[-1] is not Ellipsis:
        return tuple_schema([type_schema(one, shared, descriptions) for one in arguments])
    if origin and issubclass(origin, Mapping):
        values = type_schema(arguments[1], shared, descriptions)
        return {"type": "object", "additionalProperties": values}
    if origin and issubclass(origin, Sequence):
        return {"type": "array", "items": type_schema(arguments[0], shared, descriptions)}
    raise TypeError(f"no JSON type for {hint}")


def union_schema(kinds: list[Schema]) -> Schema:
    """One of several schemas; plain types become one list of types."""
    if all(set(kind) == {"type"} for kind in kinds):
        listed = [
            kind["type"] if isinstance(kind["type"], list) else [kind["type"]] for kind in kinds
        ]
        return {"type": list(dict.fromkeys(name for names in listed for name in names))}
    return {"anyOf": kinds}


def tuple_schema(items: list[Schema]) -> Schema:
    """A tuple of fixed length as a JSON array."""
    return {"type": "array", "prefixItems": items, "minItems": len(items), "items": False}


def descriptions() -> Descriptions:
    """Read ``descriptions.toml``."""
    text = (FOLDER / "descriptions.toml").read_text(encoding="utf-8")
    return Descriptions(tomllib.loads(text))


def files() -> dict[str, str]:
    """File name in ``docs/schemas`` to the text that belongs there."""
    return {
        f"{name}.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in schemas(descriptions()).items()
    }


def main() -> None:
    """Write every schema, and remove those of documents that are gone."""
    made = files()
    for file in FOLDER.glob("*.json"):
        if file.name not in made:
            file.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"wrote {len(made)} schemas to {FOLDER}", file=sys.stderr)


if __name__ == "__main__":
    main()
