"""The parts of a pack: features of clips in memory-mapped Arrow files that never change.

Reads committed features, one part of the store at a time. Writes ``packs/parts/*.arrow`` and, for
each file, a ``.json`` record.

Letters: n rows of one clip, W width.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from redub.core.columns import Column, encode_rows, value_type
from redub.core.config import digest_of
from redub.core.durable import commit_file, commit_json, file_digest, read_json
from redub.core.errors import ClipError, ConfigError, IntegrityError
from redub.pipeline.store.parts import PartRecord
from redub.pipeline.store.tables import Store
from redub.training.data.pack import PackFile, names_in

FOLDER, PARTS = "packs", "parts"
CHUNK = 128  # clips in memory at a time
PART_CLIPS = 8192  # most clips in one file
MOST_PARTS = 64  # with more files, all parts are written again
MOST_DEAD = 0.5  # rows of removed clips per live row; with more, all parts are written again
HALF_MOST = 65_504.0  # the largest float16


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """How a part stores one feature: one row per clip (``vector``) or many (``frames``)."""

    kind: str
    width: int
    dtype: str

    @property
    def arrow(self) -> pa.DataType:
        """The type of the feature's column."""
        return value_type(self.kind, self.width, self.dtype)


def _part_schema(kinds: Mapping[str, Stored]) -> pa.Schema:
    columns = [("clip_id", pa.string()), ("content", pa.string())]
    return pa.schema([*columns, *((name, kind.arrow) for name, kind in kinds.items())])


def packed_parts(
    source: FeatureSource,
    root: Path,
    settings: str,
    contents: Mapping[str, str],
) -> tuple[list[PackFile], dict[str, float], int]:
    """Find the parts that together hold the present values of every clip; write missing ones.

    Args:
        settings: digest of the packed features and their types; part names start with it.
        contents: clip id to the digest of its values.

    Returns:
        The parts, the largest change by float16 for each feature, and the bytes written.
    """
    kept: list[PackFile] = []
    left = dict(contents)
    losses: dict[str, float] = defaultdict(float)
    for record in sorted((root / PARTS).glob(f"{settings}-*.json")):
        part, moved = _part_record(record)
        ids, found = names_in(root / part.name)
        live = [i for i, content in zip(ids, found, strict=True) if left.get(i) == content]
        if live:
            kept.append(part)
            _keep_largest(losses, moved)
            for clip_id in live:
                del left[clip_id]
    total = sum(part.rows for part in kept)
    if len(kept) + bool(left) > MOST_PARTS or total > (1 + MOST_DEAD) * max(1, len(contents)):
        kept, left, losses = [], dict(contents), defaultdict(float)
    written = 0
    waiting = sorted(left)
    for start in range(0, len(waiting), PART_CLIPS):
        some = waiting[start : start + PART_CLIPS]
        path = root / PARTS / f"{settings}-{digest_of([(i, left[i]) for i in some])}.arrow"
        record = path.with_suffix(".json")
        if not record.exists():
            moved = {}
            commit_file(
                path, partial(_write_part, source=source, clip_ids=some, contents=left, moved=moved)
            )
            commit_json(record, {"file": asdict(pack_file(root, path, len(some))), "moved": moved})
            written += path.stat().st_size
        part, moved = _part_record(record)
        _keep_largest(losses, moved)
        kept.append(part)
    return kept, dict(losses), written


def _keep_largest(losses: dict[str, float], more: Mapping[str, float]) -> None:
    for name, value in more.items():
        losses[name] = max(losses[name], value)


def _part_record(path: Path) -> tuple[PackFile, dict[str, float]]:
    """Read a part's record: its file, and the largest change by float16 for each feature."""
    try:
        value = read_json(path)
        return PackFile(**value["file"]), value["moved"]
    except (KeyError, TypeError) as error:
        raise IntegrityError(
            f"{path} is damaged: {error!r}; remove it and run `redub pack`", code="E-INT-PACK"
        ) from error


def rows_of_parts(
    root: Path, parts: Sequence[PackFile], contents: Mapping[str, str]
) -> Iterator[str]:
    """The clip id of every row of the parts; '' for a row that is outdated or a repetition."""
    seen: set[str] = set()
    for part in parts:
        ids, found = names_in(root / part.name)
        for clip_id, content in zip(ids, found, strict=True):
            is_live = contents.get(clip_id) == content and clip_id not in seen
            seen.add(clip_id)
            yield clip_id if is_live else ""


class FeatureSource:
    """Committed values by clip; of each feature, one part of the store is in memory."""

    def __init__(
        self, store: Store, kinds: Mapping[str, Stored], live: Mapping[str, pl.DataFrame]
    ) -> None:
        self.store, self.kinds = store, kinds
        self.place: dict[str, dict[str, str]] = {}
        self.records: dict[str, dict[str, PartRecord]] = {}
        self._open: dict[str, tuple[str, dict[str, int], Column]] = {}
        for name in kinds:
            valid = live[name].filter(pl.col("valid"))
            self.place[name] = dict(valid.select("clip_id", "part").iter_rows())
            self.records[name] = {part.name: part for part in store.feature_parts(name).parts()}

    def values(self, name: str, clip_ids: Sequence[str]) -> list[NDArray[Any] | None]:
        """(n, W) or (W,) of each clip, views of the part in memory; None without a value."""
        found = []
        for clip_id in clip_ids:
            part = self.place[name].get(clip_id)
            found.append(None if part is None else self._value(name, part, clip_id))
        return found

    def _value(self, name: str, part: str, clip_id: str) -> NDArray[Any] | None:
        opened = self._open.get(name)
        if opened is None or opened[0] != part:
            table = self.store.feature_parts(name).read_one(
                self.records[name][part], ["clip_id", "value"]
            )
            cells = {own: cell for cell, own in enumerate(table.column("clip_id").to_pylist())}
            opened = self._open[name] = (part, cells, Column(table.column("value").chunks))
        _, cells, column = opened
        return column.value(cells[clip_id])


def _write_part(
    temp: Path,
    *,
    source: FeatureSource,
    clip_ids: Sequence[str],
    contents: Mapping[str, str],
    moved: dict[str, float],
) -> None:
    """Stream clips into one Arrow file; ``moved`` receives each feature's change by float16."""
    schema = _part_schema(source.kinds)
    moved.update(dict.fromkeys(source.kinds, 0.0))

    def batches() -> Iterator[pa.RecordBatch]:
        """Rows of ``CHUNK`` clips at a time."""
        for start in range(0, len(clip_ids), CHUNK):
            some = clip_ids[start : start + CHUNK]
            columns = [pa.array(some), pa.array([contents[i] for i in some])]
            for name, kind in source.kinds.items():
                column, far = _packed(name, kind, some, source.values(name, some))
                columns.append(column)
                moved[name] = max(moved[name], far)
            yield pa.record_batch(columns, schema=schema)

    write_ipc(temp, schema, batches())


def write_ipc(temp: Path, schema: pa.Schema, batches: Any) -> None:
    """Write record batches to an Arrow IPC file that can be mapped into memory."""
    with pa.OSFile(str(temp), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _packed(
    name: str,
    kind: Stored,
    clip_ids: Sequence[str],
    values: Sequence[NDArray[Any] | None],
) -> tuple[pa.Array, float]:
    """One feature of some clips as an Arrow column, and its largest change by float16.

    Raises:
        ClipError: E-FEAT-NONFINITE, a value is NaN or infinite (names the clip).
        ConfigError: E-CFG-VALUE, a value is too large for float16.
    """
    present = [v.reshape(-1, kind.width) for v in values if v is not None]
    flat = np.concatenate(present) if present else np.zeros((0, kind.width), np.float32)
    if flat.dtype.kind == "f" and not np.isfinite(flat.sum(dtype=np.float64)):
        bad = next(
            i for i, v in zip(clip_ids, values, strict=True)
            if v is not None and not np.isfinite(v).all()
        )  # fmt: skip
        raise ClipError(
            f"{name} of {bad} holds NaN or infinite values; run `redub cache repair`, then "
            "`redub extract`",
            code="E-FEAT-NONFINITE",
        )
    is_half = kind.dtype == "float16" and flat.size > 0
    most = max(float(flat.max()), -float(flat.min())) if is_half else 0.0
    if most > HALF_MOST:
        raise ConfigError(
            f"{name} reaches {most:.0f}, too large for float16; set "
            'frames = "float32" under [train]',
            code="E-CFG-VALUE",
        )
    stored = flat.astype(kind.dtype, copy=False)
    far = 0.0
    if is_half:
        moved = stored.astype(np.float32)
        moved -= flat
        far = max(float(moved.max()), -float(moved.min()))
    return encode_rows(stored, [None if v is None else len(v) for v in values], kind.arrow), far


def pack_file(root: Path, path: Path, rows: int) -> PackFile:
    """Describe a written file: name below ``root``, rows, bytes, SHA-256."""
    return PackFile(
        name=path.relative_to(root).as_posix(),
        rows=rows,
        size=path.stat().st_size,
        sha256=file_digest(path),
    )
