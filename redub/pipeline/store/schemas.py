"""The Arrow schemas of the stored tables, and the conversion of feature rows to Arrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import pyarrow as pa

from redub.core.columns import encode, value_type
from redub.core.types import Clip, Value
from redub.features.base import FeatureSchema
from redub.pipeline.store.keys import media_digest, text_digest

_CLIP_TYPES = {"str": pa.string(), "int": pa.int64(), "bool": pa.bool_()}

CLIP_SCHEMA = pa.schema(
    [(f.name, _CLIP_TYPES[str(f.type)]) for f in fields(Clip)]
    + [("start_s", pa.float64()), ("end_s", pa.float64())]
    + [("media_digest", pa.string()), ("text_digest", pa.string()), ("fingerprint", pa.string())]
)

SOURCE_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("fingerprint", pa.string()),
        ("source_digest", pa.string()),
        ("info", pa.string()),
        ("clips", pa.int64()),
        ("faults", pa.int64()),
    ]
)


def clip_table(clips: Sequence[Clip], fingerprints: Sequence[str], fps: int) -> pa.Table:
    """Clip rows for one part of the clip table."""
    columns: dict[str, list[Any]] = {
        f.name: [getattr(clip, f.name) for clip in clips] for f in fields(Clip)
    }
    columns["start_s"] = [clip.start_frame / fps for clip in clips]
    columns["end_s"] = [clip.end_frame / fps for clip in clips]
    columns["media_digest"] = [media_digest(clip) for clip in clips]
    columns["text_digest"] = [text_digest(clip) for clip in clips]
    columns["fingerprint"] = list(fingerprints)
    return pa.table(columns, schema=CLIP_SCHEMA)


class SourceRow(NamedTuple):
    """One reading of a media file; without a fingerprint: the file left the folder.

    ``info``: the file's properties as JSON. ``clips``, ``faults``: how many it gave.
    """

    source: str
    fingerprint: str = ""
    source_digest: str = ""
    info: str = "{}"
    clips: int = 0
    faults: int = 0


def source_table(rows: Sequence[SourceRow]) -> pa.Table:
    """Source rows for one part of the table."""
    return pa.Table.from_pylist([row._asdict() for row in rows], schema=SOURCE_SCHEMA)


QUARANTINE_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("stage", pa.string()),
        ("feature", pa.string()),
        ("source", pa.string()),
        ("input_digest", pa.string()),
        ("state", pa.string()),
        ("code", pa.string()),
        ("message", pa.string()),
        ("attempts", pa.int64()),
        ("signal", pa.string()),
        ("peak_memory_mib", pa.int64()),
        ("versions", pa.string()),
        ("command", pa.string()),
    ]
)

NEIGHBOUR_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("modality", pa.string()),
        ("rank", pa.int32()),
        ("hit", pa.string()),
        ("score", pa.float32()),
        ("margin", pa.float32()),
    ]
)


def feature_schema(schema: FeatureSchema) -> pa.Schema:
    """Columns of a feature part; a null value always has ``valid`` false and a reason."""
    return pa.schema(
        [
            ("clip_id", pa.string()),
            ("clip_digest", pa.string()),
            ("value", value_type(schema.kind, schema.width, schema.dtype, as_bytes=True)),
            ("valid", pa.bool_()),
            ("why_not", pa.string()),
            ("seconds", pa.float64()),
        ]
    )


class FeatureRow(NamedTuple):
    """One feature of one clip: a value, or None and a reason; ``seconds``: the clip's length."""

    clip_id: str
    clip_digest: str
    value: Value | None
    why_not: str
    seconds: float


def feature_table(schema: FeatureSchema, rows: Sequence[FeatureRow]) -> pa.Table:
    """Convert feature rows to an Arrow table; numbers are copied as whole arrays."""
    arrow = feature_schema(schema)
    return pa.table(
        {
            "clip_id": [row.clip_id for row in rows],
            "clip_digest": [row.clip_digest for row in rows],
            "value": encode([row.value for row in rows], arrow.field("value").type),
            "valid": [row.value is not None for row in rows],
            "why_not": [row.why_not for row in rows],
            "seconds": [row.seconds for row in rows],
        },
        schema=arrow,
    )
