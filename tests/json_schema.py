"""A check of JSON values against the part of JSON Schema (draft 2020-12) that redub's schemas use.

Written from the specification, not from the code that makes the schemas. A keyword that it does not
know is an error, so that no rule is passed over.
"""

import json
from pathlib import Path

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"
TYPES = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
    "array": list,
    "object": dict,
}
KNOWN = {
    *("$schema", "$defs", "$ref", "title", "description", "type", "const", "enum", "anyOf"),
    *("properties", "required", "additionalProperties", "items", "prefixItems", "minItems"),
}


def checked(text: str) -> dict:
    """The one JSON document of a text, after a check against the committed schema it names."""
    value = json.loads(text, parse_constant=_refuse)
    name, _, version = value["schema"].removeprefix("redub.").partition("/")
    assert version == "1"
    schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    faults = faults_of(value, schema, schema)
    assert not faults, faults[:5]
    return value


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def faults_of(value, schema, root, where="$"):
    """One sentence for each rule of the schema that a value breaks."""
    if schema is True or schema is False:
        return [] if schema else [f"{where}: nothing may stand here"]
    assert schema.keys() <= KNOWN, schema.keys() - KNOWN
    faults = []
    if "$ref" in schema:
        kind = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        faults += faults_of(value, kind, root, where)
    if "anyOf" in schema and all(faults_of(value, s, root, where) for s in schema["anyOf"]):
        faults.append(f"{where}: {value!r} fits none of anyOf")
    if "const" in schema and value != schema["const"]:
        faults.append(f"{where}: {value!r} is not {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        faults.append(f"{where}: {value!r} is not in {schema['enum']}")
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(_is(value, name) for name in names):
            faults.append(f"{where}: {value!r} is not {' or '.join(names)}")
    if isinstance(value, dict):
        faults += _object_faults(value, schema, root, where)
    if isinstance(value, list):
        faults += _array_faults(value, schema, root, where)
    return faults


def _is(value, name):
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, TYPES[name])


def _object_faults(value, schema, root, where):
    faults = [f"{where}: no key {key}" for key in schema.get("required", ()) if key not in value]
    known = schema.get("properties", {})
    for key, item in value.items():
        rule = known.get(key, schema.get("additionalProperties", True))
        faults += faults_of(item, rule, root, f"{where}.{key}")
    return faults


def _array_faults(value, schema, root, where):
    first = schema.get("prefixItems", [])
    faults = [f"{where}: too short"] if len(value) < schema.get("minItems", 0) else []
    for number, item in enumerate(value):
        rule = first[number] if number < len(first) else schema.get("items", True)
        faults += faults_of(item, rule, root, f"{where}[{number}]")
    return faults
