"""Records: what is written as JSON is read back; what differs from the record is refused."""

import json
import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import pytest

from redub.core import records


class Range(NamedTuple):
    low: float
    high: float


@dataclass(frozen=True)
class Reason:
    code: str


@dataclass(frozen=True)
class Record:
    kind: Literal["a", "b"]
    count: int
    is_new: bool
    ranges: dict[str, Range | Reason]
    names: tuple[str, ...] = ()
    inner: Reason | None = None
    values: list[float] | None = None
    limit: float | None = None
    reasons: list[Reason] = field(default_factory=list)


FULL = Record(
    kind="b",
    count=3,
    is_new=True,
    ranges={"x": Range(1.0, 2.5), "y": Reason("E-X")},
    names=("one", "two"),
    inner=Reason("E-Y"),
    values=[0.1, 1e300],
    limit=0.5,
    reasons=[Reason("E-Z")],
)
BARE = Record(kind="a", count=0, is_new=False, ranges={})


@pytest.mark.parametrize("record", [FULL, BARE])
def test_a_record_is_read_as_it_was_written(record):
    assert records.from_json(Record, json.loads(json.dumps(records.to_json(record)))) == record


def test_a_number_that_is_not_finite_is_null_and_read_as_nan():
    written = records.to_json(Record("a", 1, True, {"x": Range(2.0, math.inf)}, values=[math.nan]))
    assert written["ranges"] == {"x": [2.0, None]}
    read = records.from_json(Record, json.loads(json.dumps(written, allow_nan=False)))
    assert math.isnan(read.ranges["x"].high)
    assert math.isnan(read.values[0])
    assert read.limit is None


def test_a_whole_number_is_read_as_a_float_where_a_float_belongs():
    read = records.from_json(Record, {**records.to_json(FULL), "limit": 2})
    assert type(read.limit) is float


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"kind": "c"}, "record.kind"),
        ({"count": 1.5}, "record.count"),
        ({"count": True}, "record.count"),
        ({"count": None}, "record.count"),
        ({"is_new": 1}, "record.is_new"),
        ({"names": "one"}, "record.names"),
        ({"names": ["one", 2]}, r"record.names\[1\]"),
        ({"ranges": [1]}, "record.ranges"),
        ({"ranges": {"x": [1.0]}}, "record.ranges.x"),
        ({"ranges": {"x": {"code": 1}}}, "record.ranges.x.code"),
        ({"inner": {}}, "record.inner"),
        ({"reasons": [{"code": "E", "more": 1}]}, r"record.reasons\[0\].*more"),
        ({"extra": 1}, "record.*extra"),
    ],
)
def test_what_is_no_such_record_is_refused_with_its_place(change, place):
    with pytest.raises(ValueError, match=place):
        records.from_json(Record, {**records.to_json(FULL), **change})


@pytest.mark.parametrize("key", records.to_json(FULL))
def test_a_missing_key_is_refused_by_name(key):
    cut = {name: value for name, value in records.to_json(FULL).items() if name != key}
    with pytest.raises(ValueError, match=key):
        records.from_json(Record, cut)
