"""The store: every table of a project, and the rule that says which of their rows are live.

Nothing is overwritten. A changed clip gets a new row in a later commit. Of several rows with the
same id, the row of the latest commit is live.

Letters: N clips with a value, W width.
"""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields

import numpy as np
import polars as pl
import pyarrow as pa

from redub.core.columns import Column, texts
from redub.core.config import nearest
from redub.core.durable import commit_json
from redub.core.errors import ClipError, IntegrityError, UsageError
from redub.core.types import Clip, FloatArray, Value
from redub.pipeline.store.keys import (
    SCHEMA,
    FeatureKey,
    FeatureKeys,
    key_folder,
)
from redub.pipeline.store.parts import PartTable
from redub.pipeline.store.project import Project
from redub.pipeline.store.schemas import (
    CLIP_SCHEMA,
    QUARANTINE_SCHEMA,
    SOURCE_SCHEMA,
    feature_schema,
)

LATER_CLIP_COLUMNS: dict[str, str | bool] = {"language": "en", "off_screen": False}
"""Columns of the clip table that redub 0.1 did not write, with the value for its rows."""


class Store:
    """All tables of one project; stages read live rows and append new ones."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.keys = FeatureKeys(project)
        root = project.root
        self.sources = PartTable(root / "sources", SOURCE_SCHEMA)
        self.clip_parts = PartTable(root / "clips", CLIP_SCHEMA, later=LATER_CLIP_COLUMNS)
        self.quarantine = PartTable(root / "quarantine", QUARANTINE_SCHEMA)
        self._features: dict[str, PartTable] = {}

    # -- live rows

    def source_frame(self) -> pl.DataFrame:
        """The latest row of every source, sorted by source."""
        frame = self.source_rows()
        return frame.unique(subset="source", keep="last", maintain_order=True).sort("source")

    def source_rows(self) -> pl.DataFrame:
        """All rows of the source table in the order of their commits."""
        return _frame(self.sources.read())

    def clip_rows(self) -> pl.DataFrame:
        """All rows of the clip table in the order of their commits."""
        return _frame(self.clip_parts.read())

    def clip_frame(self) -> pl.DataFrame:
        """Live clips in clip-table order: the clips of each source's latest ingest."""
        latest = self.source_frame().select("source", "fingerprint")
        live = (
            self.clip_rows()
            .join(latest, on=["source", "fingerprint"], how="semi", maintain_order="left")
            .unique(subset="clip_id", keep="last", maintain_order=True)
        )
        return through_scenes(live)

    def clips(self) -> list[Clip]:
        """Live clips as objects, in clip-table order."""
        return clips_of(self.clip_frame())

    def clip(self, clip_id: str) -> Clip:
        """A live clip by its id.

        Raises:
            ClipError: ingest quarantined it, so that it is no clip; with the row's code.
            UsageError: no such clip; the message names the nearest id.
        """
        frame = self.clip_frame()
        found = clips_of(frame.filter(pl.col("clip_id") == clip_id))
        if found:
            return found[0]
        at_ingest = self.quarantined().filter(pl.col("stage") == "ingest")
        for row in at_ingest.filter(pl.col("clip_id") == clip_id).iter_rows(named=True):
            raise ClipError(
                f"'{clip_id}' was quarantined at ingest: {row['message']}; see "
                f"`redub bad show {shlex.quote(clip_id)}`",
                code=row["code"],
            )
        known = {*frame["clip_id"], *at_ingest["clip_id"]}
        raise UsageError(f"unknown clip '{clip_id}'; {nearest(clip_id, known)}")

    def quarantined(self) -> pl.DataFrame:
        """Quarantine rows in force: not released, and for the present clip and feature key."""
        rows = _frame(self.quarantine.read())
        last = rows.unique(
            subset=["clip_id", "stage", "feature"], keep="last", maintain_order=True
        ).filter(pl.col("state") == "held")
        readings = self.source_frame().select("source", current="fingerprint")
        spans = self.clip_frame().select("clip_id", "media_digest", "text_digest")
        joined = last.join(readings, on="source", how="left", maintain_order="left").join(
            spans, on="clip_id", how="left", maintain_order="left"
        )
        at_ingest = (pl.col("stage") == "ingest") & (pl.col("input_digest") == pl.col("current"))
        whole = pl.col("media_digest") + "+" + pl.col("text_digest")
        made_from = pl.col("input_digest").str.split_exact("@", 1)
        found = pl.DataFrame(
            [(name, self.keys.by_name[name].key) for name in self.keys.usable],
            schema={"feature": pl.String, "present": pl.String},
            orient="row",
        )
        joined = joined.join(found, on="feature", how="left", maintain_order="left").with_columns(
            whole=made_from.struct.field("field_0"), under=made_from.struct.field("field_1")
        )
        is_present = pl.col("under").eq(pl.col("present")).fill_null(value=True)
        at_extract = (pl.col("stage") != "ingest") & (pl.col("whole") == whole) & is_present
        return joined.filter(at_ingest | at_extract).select(QUARANTINE_SCHEMA.names)

    def releases_at_ingest(self) -> dict[str, int]:
        """How many released quarantine rows of the stage ``ingest`` each source has."""
        rows = _frame(self.quarantine.read(["source", "stage", "state"]))
        released = rows.filter(pl.col("stage") == "ingest", pl.col("state") == "released")
        return dict(released["source"].value_counts().iter_rows())

    def live_features(self, name: str, *, clips: pl.DataFrame | None = None) -> pl.DataFrame:
        """One row per live clip that has a row of this feature: ``clip_id, valid, why_not, part``.

        Args:
            clips: rows of :meth:`clip_frame`, if the caller has them.
        """
        key = self.keys.by_name[name]
        table = self.feature_parts(name)
        frames = [
            _frame(
                table.read_one(part, ["clip_id", "clip_digest", "valid", "why_not"])
            ).with_columns(part=pl.lit(part.name))
            for part in table.parts()
        ]
        if not frames:
            names = ["clip_id", "valid", "why_not", "part"]
            kinds = [pl.String, pl.Boolean, pl.String, pl.String]
            return pl.DataFrame(schema=dict(zip(names, kinds, strict=True)))
        live = self.clip_frame() if clips is None else clips
        expected = live.select("clip_id", clip_digest=digest_column(key))
        rows = pl.concat(frames).join(
            expected, on=["clip_id", "clip_digest"], how="semi", maintain_order="left"
        )
        return rows.unique(subset="clip_id", keep="last", maintain_order=True).drop("clip_digest")

    def why_absent(
        self, name: str, *, live: pl.DataFrame | None = None, held: pl.DataFrame | None = None
    ) -> dict[str, str]:
        """Clip id to the reason why a feature has no value; clips that are pending have none.

        The reason is that of the extractor, or ``quarantined: CODE``.

        Args:
            live: rows of :meth:`live_features`, if the caller has them.
            held: rows of :meth:`quarantined`, if the caller has them.
        """
        rows = self.live_features(name) if live is None else live
        found = self.quarantined() if held is None else held
        covers = pl.col("feature") == name
        if self.keys.by_name[name].uses_media:
            covers |= pl.col("feature") == ""
        at_extract = found.filter((pl.col("stage") == "extract") & covers)
        codes = dict(at_extract.select("clip_id", "code").iter_rows())
        nulls = rows.filter(~pl.col("valid")).select("clip_id", "why_not")
        quarantined = {clip_id: f"quarantined: {code}" for clip_id, code in codes.items()}
        return {**quarantined, **dict(nulls.iter_rows())}

    # -- feature values

    def feature_parts(self, name: str) -> PartTable:
        """The part table of a feature under the project's present settings."""
        if name not in self._features:
            key = self.keys.by_name[name]
            folder = key_folder(self.project, name, key.key)
            self._features[name] = PartTable(folder, feature_schema(key.schema))
        return self._features[name]

    def describe_key(self, name: str) -> None:
        """Write a feature's key document and schema next to its parts.

        A later plan can then say what differs, and rows stay readable if the weights are gone.
        """
        key = self.keys.by_name[name]
        folder = key_folder(self.project, name, key.key)
        for file, content in (("key.json", key.document.to_json()), (SCHEMA, asdict(key.schema))):
            if not (folder / file).exists():
                commit_json(folder / file, content)

    def read(self, name: str, clip_ids: Iterable[str] | None = None) -> dict[str, Value]:
        """Values of one feature by clip id, without clips whose value is null.

        Args:
            clip_ids: only these clips; all by default.
        """
        wanted = None if clip_ids is None else set(clip_ids)
        live = self.live_features(name).filter(pl.col("valid"))
        if wanted is not None:
            live = live.filter(pl.col("clip_id").is_in(list(wanted)))
        values: dict[str, Value] = {}
        for (part,), rows in live.group_by("part", maintain_order=True):
            ids = set(rows["clip_id"])
            values.update(self.read_part_values(name, str(part), ids))
        return values

    def read_part_values(self, name: str, part: str, clip_ids: set[str]) -> dict[str, Value]:
        """Values of some clips from one committed part."""
        schema = self.keys.by_name[name].schema
        table = self.feature_parts(name)
        record = next(p for p in table.parts() if p.name == part)
        rows = table.read_one(record, ["clip_id", "value"])
        wanted = [
            (cell, clip_id)
            for cell, clip_id in enumerate(rows.column("clip_id").to_pylist())
            if clip_id in clip_ids
        ]
        found: Sequence[Value | None]
        if schema.kind == "text":
            cells = texts(rows.column("value"))
            found = [cells[cell] for cell, _ in wanted]
        else:
            column = Column(rows.column("value").chunks)
            found = [column.value(cell) for cell, _ in wanted]
        return {
            clip_id: value
            for (_, clip_id), value in zip(wanted, found, strict=True)
            if value is not None
        }

    def read_vectors(self, name: str) -> tuple[list[str], FloatArray]:
        """All vectors of a feature: clip ids sorted, and (N, W) float32 in the same order."""
        live = self.live_features(name).filter(pl.col("valid"))
        ids = live["clip_id"].sort().to_list()
        return ids, self.read_rows(name, ids)

    def read_rows(
        self,
        name: str,
        clip_ids: Sequence[str] | pl.Series,
        *,
        clips: pl.DataFrame | None = None,
    ) -> FloatArray:
        """(N, W) float32 vectors of a feature, one per clip id, in their order.

        Args:
            clips: rows of :meth:`clip_frame` with at least these clips, if the caller has them.

        Raises:
            IntegrityError: a clip has no value.
        """
        places = pl.DataFrame({"clip_id": clip_ids}, schema={"clip_id": pl.String})
        live = self.live_features(name, clips=clips).filter(pl.col("valid"))
        found = places.with_row_index("place").join(live, on="clip_id", how="inner")
        if len(found) != len(places):
            lacking = places.join(live, on="clip_id", how="anti")["clip_id"][0]
            raise IntegrityError(f"no committed {name} of {lacking} has a value")
        rows = np.empty((len(places), self.keys.by_name[name].schema.width), dtype=np.float32)
        for (part,), own in found.group_by("part", maintain_order=True):
            there, column = self._rows_of_part(name, str(part))
            own = own.join(there, on="clip_id", how="inner", maintain_order="left")
            rows[own["place"].to_numpy()] = column.stacked(own["at"].to_numpy())
        return rows

    def _rows_of_part(self, name: str, part: str) -> tuple[pl.DataFrame, Column]:
        """``clip_id, at`` of one part (``at``: the cell number), and the column of its values."""
        table = self.feature_parts(name)
        record = next(p for p in table.parts() if p.name == part)
        rows = table.read_one(record, ["clip_id", "value"])
        there = _frame(rows.select(["clip_id"])).with_row_index("at")
        column = Column(rows.column("value").chunks)
        return there.unique(subset="clip_id", keep="last"), column


def store_of(source: Store | Project) -> Store:
    """The store itself; for a project its store, opened now."""
    return source if isinstance(source, Store) else Store(source)


PENDING = "not extracted yet"
"""Why a clip has no value of a feature that nothing has tried to compute."""


def commonest(reasons: Iterable[str]) -> str:
    """The three commonest of some reasons as text, each with its count."""
    counts = Counter(reasons).most_common(3)
    return "; ".join(f"{count} × {why}" for why, count in counts)


def lacking(feature: str, why_not: str | None) -> str:
    """A sentence about a clip without a value of a feature.

    Args:
        why_not: the reason of :meth:`Store.why_absent`; None if the feature is pending.
    """
    return f"no {feature} ({PENDING if why_not is None else why_not})"


def digest_column(key: FeatureKey) -> pl.Expr:
    """The row digest that a feature expects for each clip: :func:`keys.row_digest` on columns."""
    if not key.uses_media and not key.uses_text:
        return pl.lit("")  # imported values depend only on their file, and the key covers it
    if key.uses_media and key.uses_text:
        return pl.col("media_digest") + "+" + pl.col("text_digest")
    return pl.col("media_digest") if key.uses_media else pl.col("text_digest")


def through_scenes(clips: pl.DataFrame) -> pl.DataFrame:
    """Number the positions of a scene through all of its sources, in the order of their names.

    Stored positions count within one source, so that a source can be ingested alone.
    """
    scene = ["film", "scene"]
    last = clips.group_by(*scene, "source").agg(last=pl.col("position").max()).sort("source")
    before = last.with_columns(before=pl.col("last").cum_sum().over(scene) - pl.col("last"))
    return (
        clips.join(before, on=[*scene, "source"], how="left", maintain_order="left")
        .with_columns(position=pl.col("position") + pl.col("before"))
        .drop("last", "before")
    )


def clips_of(frame: pl.DataFrame) -> list[Clip]:
    """Rows of a clip table as objects, in their order."""
    names = [f.name for f in fields(Clip)]
    return [Clip(**row) for row in frame.select(names).iter_rows(named=True)]


def frame_digest(frame: pl.DataFrame) -> str:
    """SHA-256 of a frame of strings, integers and booleans: column names, order, every value."""
    total = hashlib.sha256()
    for column in frame.get_columns():
        total.update(f"{column.name}\n{column.dtype}\n{len(column)}\n".encode())
        total.update(column.is_null().to_numpy().tobytes())
        if column.dtype == pl.String:
            text = column.fill_null("").rechunk()
            total.update(text.str.len_bytes().to_numpy().astype("<u8").tobytes())
            words = text.to_arrow().cast(pa.large_string())
            _, ends, letters = words.buffers()
            first, last = np.frombuffer(ends, dtype="<i8")[[words.offset, words.offset + len(text)]]
            total.update(memoryview(letters)[first:last] if letters is not None else b"")
        else:
            total.update(column.fill_null(0).cast(pl.Int64).to_numpy().astype("<i8").tobytes())
    return total.hexdigest()


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame):
        raise TypeError(f"wanted a table, got {type(frame).__name__}")
    return frame
