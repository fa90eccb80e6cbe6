"""Records: what is written is read back, and what has another type is refused with its place."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import pytest

from redub.core.errors import IntegrityError
from redub.core.records import JsonRecord


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    span: tuple[float, float]


class Range(NamedTuple):
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Measured(JsonRecord):
    found: Mapping[str, Range | Part]
    values: list[float] | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole(JsonRecord):
    ADVICE = "run it again"
    number: int
    share: float
    is_new: bool
    kind: Literal["a", "b"]
    parts: tuple[Part, ...]
    counts: Mapping[str, Mapping[str, int]]
    limit: float | None
    note: str | tuple[str, ...] = ""
    more: Mapping[str, str] = field(default_factory=dict)


WHOLE = Whole(
    number=3,
    share=0.5,
    is_new=True,
    kind="b",
    parts=(Part("x", (0.0, 1.5)), Part("y", (2.0, 3.0))),
    counts={"one": {"a": 1}, "none": {}},
    limit=None,
    note=("p", "q"),
    more={"k": "v"},
)
STORED = {
    "number": 3,
    "share": 0.5,
    "is_new": True,
    "kind": "b",
    "parts": [{"name": "x", "span": [0.0, 1.5]}, {"name": "y", "span": [2.0, 3.0]}],
    "counts": {"one": {"a": 1}, "none": {}},
    "limit": None,
    "note": ["p", "q"],
    "more": {"k": "v"},
}


def test_a_record_is_stored_under_the_names_of_its_fields_and_read_back_equal(tmp_path):
    WHOLE.write(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == STORED
    assert Whole.read(tmp_path / "r.json") == WHOLE


def test_fields_with_a_default_may_be_missing():
    short = {name: value for name, value in STORED.items() if name not in ("note", "more")}
    read = Whole.from_json(short, "r.json")
    assert (read.note, read.more) == ("", {})


def without(name):
    return {key: value for key, value in STORED.items() if key != name}


WRONG = {
    "no object": ([], "wanted an object"),
    "missing": (without("share"), "no field 'share'"),
    "unknown": ({**STORED, "colour": 1}, "unknown field 'colour'"),
    "text for a number": ({**STORED, "number": "3"}, "'number' wants a whole number, found '3'"),
    "true for a number": ({**STORED, "number": True}, "'number' wants a whole number"),
    "true for a float": ({**STORED, "share": True}, "'share' wants a number"),
    "fraction for an integer": ({**STORED, "number": 3.5}, "'number' wants a whole number"),
    "number for a flag": ({**STORED, "is_new": 1}, "'is_new' wants true or false"),
    "another word": ({**STORED, "kind": "c"}, "'kind' wants one of a, b"),
    "none": ({**STORED, "number": None}, "'number' wants a whole number"),
    "object for a list": ({**STORED, "parts": {}}, "'parts' wants a list"),
    "list for an object": ({**STORED, "counts": []}, "'counts' wants an object"),
    "inside a list": (
        {**STORED, "parts": [{"name": 3, "span": [0, 1]}]},
        r"'parts\[0\].name' wants text",
    ),
    "too long": (
        {**STORED, "parts": [{"name": "x", "span": [0, 1, 2]}]},
        r"'parts\[0\].span' wants 2 values, found 3",
    ),
    "inside an object": ({**STORED, "counts": {"one": {"a": "b"}}}, r"'counts\.one\.a' wants"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_record_is_refused_with_the_file_the_field_and_the_advice(name):
    value, message = WRONG[name]
    with pytest.raises(IntegrityError, match=message) as raised:
        Whole.from_json(value, "r.json")
    assert raised.value.code == "E-INT-JSON"
    assert "r.json is damaged" in raised.value.message
    assert raised.value.message.endswith("run it again")


def test_a_number_that_is_not_finite_is_null_and_read_as_nan(tmp_path):
    found = {"x": Range(2.0, math.inf), "y": Part("z", (0.0, 1.0))}
    Measured(found, values=[math.nan, 1e300]).write(tmp_path / "r.json")
    stored = json.loads((tmp_path / "r.json").read_text(), parse_constant=pytest.fail)
    assert stored["found"]["x"] == [2.0, None]
    assert stored["values"] == [None, 1e300]
    read = Measured.read(tmp_path / "r.json")
    assert isinstance(read.found["x"], Range)
    assert math.isnan(read.found["x"].high)
    assert read.found["y"] == found["y"]
    assert math.isnan(read.values[0])
    assert read.limit is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"found": {"x": [1.0]}}, "in 'found.x'"),
        ({"found": {"x": ["1", 2.0]}}, "'found.x"),
        ({"found": {"x": {"name": 1, "span": [0, 1]}}}, "'found.x.name' wants text"),
        ({"found": {}, "values": [1.0, "2"]}, r"'values\[1\]' wants a number"),
        ({"found": {}, "values": "1"}, "'values' wants a list"),
    ],
)
def test_lists_and_named_tuples_are_checked_by_place(change, message):
    with pytest.raises(IntegrityError, match=message):
        Measured.from_json(change, "r.json")


def test_a_file_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(IntegrityError, match="damaged"):
        Whole.read(tmp_path / "r.json")
