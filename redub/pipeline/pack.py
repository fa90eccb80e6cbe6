"""First half of stage 5: join clips, the features of a model and the neighbours into a pack.

Reads committed features, neighbours and the index; never media. Writes ``packs/parts/*.arrow`` and
``packs/<pack>/`` (see :mod:`redub.training.pack`). A part holds the features of some clips and is
never changed: a later pack of more clips keeps the parts there are and adds one.

Clips go through in chunks, so memory does not grow with the footage.
"""

from __future__ import annotations

import logging
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

from redub.core.columns import Column, encode, encode_rows, value_type
from redub.core.config import digest_of
from redub.core.errors import ClipError, ConfigError, IntegrityError
from redub.core.types import EMOTIONS, MODALITIES, Clip, FloatArray
from redub.pipeline.files import commit_file, commit_json, file_digest, read_json
from redub.pipeline.index import OpenIndex, features_of, open_index
from redub.pipeline.lines import (
    features_read,
    lenders,
    lent_to,
    neighbours_in_scene,
    voice_name,
)
from redub.pipeline.parts import PartRecord
from redub.pipeline.project import Project
from redub.pipeline.retrieve import neighbours_of, retrieval_key
from redub.pipeline.store import Store, clips_of, commonest, digest_column, lacking
from redub.pipeline.training_set import NO_OTHER_LINE
from redub.training.pack import (
    LINKS,
    RECORD,
    Pack,
    PackFile,
    PackRecord,
    damaged_files,
    names_in,
    read_record,
    record_document,
)

log = logging.getLogger(__name__)

FOLDER, PARTS = "packs", "parts"
PACK_VERSION = 4
CHUNK = 128  # clips in memory at a time
PART_CLIPS = 8192
MOST_PARTS = 64
MOST_DEAD = 0.5  # rows of clips that are gone, per live row
HALF_MOST = 65_504.0  # the largest float16
RECORDED = ("mel", "f0", "energy", "durations")
"""What only a recorded line has; the last one that is missing is named as the reason."""


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


@dataclass(frozen=True, slots=True)
class PackSummary:
    """What was packed; ``written`` bytes are new, the others were kept."""

    pack: str
    fresh: bool
    splits: Mapping[str, int]
    left_out: int
    parts: int
    size: int
    written: int
    reasons: str = ""

    def lines(self) -> list[str]:
        counts = ", ".join(f"{split} {count}" for split, count in sorted(self.splits.items()))
        counts = counts or "no recorded line"
        without = f"{self.left_out} clips left out" + (f": {self.reasons}" if self.reasons else "")
        if not self.fresh:
            return [f"pack {self.pack} is up to date ({counts}); {without}"]
        return [
            f"pack {self.pack}: {counts}; {without}",
            f"{self.size / 2**20:.1f} MiB in {self.parts} parts, "
            f"{self.written / 2**20:.1f} MiB of them new",
        ]


def pack_keys(
    store: Store, index: OpenIndex, contents: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What lines are made from; a checkpoint keeps the same.

    Features, retrieval, the clips, which values each clip has of what bytes and words, and how many
    timbre prompts a line may have.

    Args:
        contents: of :func:`_contents`, where they are known.
    """
    reads = features_read(store.project.config)
    names = (*reads, features_of(store)["audio"])
    if contents is None:
        frame = store.clip_frame()
        live = {name: store.live_features(name, clips=frame) for name in reads}
        contents = _contents(store, frame, live)
    ids = sorted((c.clip_id, c.split, c.text, c.emotion, c.speaker) for c in store.clips())
    return {
        **{name: store.keys.by_name[name].key for name in names},
        "retrieval": retrieval_key(store.project, index),
        "frames": store.project.config.train.frames,
        "clips": digest_of(ids),
        "values": digest_of(contents),
        "timbres": str(store.project.config.train.timbres),
    }


def build_pack(project: Project) -> PackSummary:
    """Write the pack of the project's present footage and settings, unless it is there.

    Raises:
        ConfigError: features, the index or the neighbours are missing (names the stage), or a
            value does not fit into float16 (names the clip).
        IntegrityError: a training line retrieves a clip that is held out now.
    """
    store, index = Store(project), open_index(project)
    kinds = _kinds(store, project)
    clips = store.clip_frame()
    live = {name: store.live_features(name, clips=clips) for name in kinds}
    contents = _contents(store, clips, live)
    keys = pack_keys(store, index, contents)
    document = {
        "version": PACK_VERSION,
        "keys": keys,
        "features": {name: asdict(kind) for name, kind in kinds.items()},
    }
    name = digest_of(document)
    root = project.root / FOLDER
    if found := _usable(root, name):
        return _summary(root, found, fresh=False, written=0)
    settings = digest_of([PACK_VERSION, {n: (keys[n], asdict(k)) for n, k in kinds.items()}])
    source = _Source(store, kinds, live)
    parts, losses, written = _parts(source, root, settings, contents)
    rows = {clip_id: row for row, clip_id in enumerate(_rows_of(root, parts, contents))}
    links, left_out, splits = _links(store, index, clips, rows, live)
    target = root / name / LINKS
    commit_file(target, lambda temp: _write_ipc(temp, links.schema, links.to_batches()))
    record = PackRecord(
        pack=name,
        keys=keys,
        features={n: {**asdict(kind), "moved": losses.get(n, 0.0)} for n, kind in kinds.items()},
        modalities={m: n for m, n in features_of(store).items() if m in MODALITIES},
        parts=tuple(parts),
        links=_file(root, target, len(links)),
        splits=splits,
        left_out=left_out,
    )
    commit_json(root / name / RECORD, record_document(record))
    return _summary(root, record, fresh=True, written=written + target.stat().st_size)


def open_pack(project: Project, built: PackSummary | None = None) -> Pack:
    """The pack of the project's present footage and settings, built where it is not there.

    A pack whose bytes are damaged is made again.

    Args:
        built: what :func:`build_pack` just said, so that nothing is looked up twice.
    """
    root = project.root / FOLDER
    name = (built or build_pack(project)).pack
    try:
        return Pack.open(root, name)
    except IntegrityError as error:
        log.warning("%s; packing again", error)
    for file in damaged_files(root, read_record(root / name / RECORD)):
        (root / file.name).unlink(missing_ok=True)
        (root / file.name).with_suffix(".json").unlink(missing_ok=True)
    (root / name / RECORD).unlink()
    return Pack.open(root, build_pack(project).pack)


# -- what is packed


def _kinds(store: Store, project: Project) -> dict[str, Stored]:
    """The features with the types that a part stores; frames of numbers may be float16."""
    kinds = {}
    for name in features_read(project.config):
        schema = store.keys.by_name[name].schema
        is_frames = schema.kind == "frames" and schema.dtype == "float32"
        dtype = project.config.train.frames if is_frames else schema.dtype
        kinds[name] = Stored(kind=schema.kind, width=schema.width, dtype=dtype)
    return kinds


def _contents(
    store: Store, clips: pl.DataFrame, live: Mapping[str, pl.DataFrame]
) -> dict[str, str]:
    """Clip id to a digest of all its packed values: of what each was computed from, and if it is.

    A clip that gets a value that was missing has other contents then.
    """
    columns = clips.select("clip_id", "media_digest", "text_digest")
    for name in live:
        known = live[name].select("clip_id", has="valid")
        columns = columns.join(known, on="clip_id", how="left", maintain_order="left")
        digest = pl.when(pl.col("has")).then(digest_column(store.keys.by_name[name]))
        columns = columns.with_columns(digest.otherwise(pl.lit("")).alias(f"of {name}")).drop("has")
    parts = [pl.col(f"of {name}") for name in live]
    joined = columns.select("clip_id", content=pl.concat_str(parts, separator="|"))
    return {clip_id: digest_of(content) for clip_id, content in joined.iter_rows()}


def _usable(root: Path, name: str) -> PackRecord | None:
    """A pack that is there with all its files; their bytes are checked when it is opened."""
    try:
        record = read_record(root / name / RECORD)
    except IntegrityError:
        return None
    files = (*record.parts, record.links)
    whole = all(
        (root / f.name).is_file() and (root / f.name).stat().st_size == f.size for f in files
    )
    return record if whole else None


def _summary(root: Path, record: PackRecord, *, fresh: bool, written: int) -> PackSummary:
    return PackSummary(
        pack=record.pack,
        fresh=fresh,
        splits=record.splits,
        left_out=sum(map(len, record.left_out.values())),
        parts=len(record.parts),
        size=sum(file.size for file in (*record.parts, record.links)),
        written=written,
        reasons=commonest(why for clips in record.left_out.values() for why in clips.values()),
    )


# -- parts


def _part_schema(kinds: Mapping[str, Stored]) -> pa.Schema:
    columns = [("clip_id", pa.string()), ("content", pa.string())]
    return pa.schema([*columns, *((name, kind.arrow) for name, kind in kinds.items())])


def _parts(
    source: _Source,
    root: Path,
    settings: str,
    contents: Mapping[str, str],
) -> tuple[list[PackFile], dict[str, float], int]:
    """The parts that together hold every clip as it is now; those that are missing are written.

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
            commit_json(record, {"file": asdict(_file(root, path, len(some))), "moved": moved})
            written += path.stat().st_size
        part, moved = _part_record(record)
        _keep_largest(losses, moved)
        kept.append(part)
    return kept, dict(losses), written


def _keep_largest(losses: dict[str, float], more: Mapping[str, float]) -> None:
    for name, value in more.items():
        losses[name] = max(losses[name], value)


def _part_record(path: Path) -> tuple[PackFile, dict[str, float]]:
    """A part that is whole, as the record beside it says, and how far float16 moved its values."""
    try:
        value = read_json(path)
        return PackFile(**value["file"]), value["moved"]
    except (KeyError, TypeError) as error:
        raise IntegrityError(
            f"{path} is damaged: {error!r}; remove it and run `redub pack`", code="E-INT-PACK"
        ) from error


def _rows_of(root: Path, parts: Sequence[PackFile], contents: Mapping[str, str]) -> Iterator[str]:
    """The clip of every row of the parts; rows that are not live, or again, have the name ''."""
    seen: set[str] = set()
    for part in parts:
        ids, found = names_in(root / part.name)
        for clip_id, content in zip(ids, found, strict=True):
            is_live = contents.get(clip_id) == content and clip_id not in seen
            seen.add(clip_id)
            yield clip_id if is_live else ""


class _Source:
    """Cached values by clip, read a part of the store at a time."""

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
        """(n, W) or (W,) of each clip, views of what is in memory; None where there is none."""
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
    source: _Source,
    clip_ids: Sequence[str],
    contents: Mapping[str, str],
    moved: dict[str, float],
) -> None:
    """Stream clips into one Arrow file; ``moved`` gets how far float16 moved each feature."""
    schema = _part_schema(source.kinds)
    moved.update(dict.fromkeys(source.kinds, 0.0))

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(clip_ids), CHUNK):
            some = clip_ids[start : start + CHUNK]
            columns = [pa.array(some), pa.array([contents[i] for i in some])]
            for name, kind in source.kinds.items():
                column, far = _packed(name, kind, some, source.values(name, some))
                columns.append(column)
                moved[name] = max(moved[name], far)
            yield pa.record_batch(columns, schema=schema)

    _write_ipc(temp, schema, batches())


def _write_ipc(temp: Path, schema: pa.Schema, batches: Any) -> None:
    with pa.OSFile(str(temp), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _packed(
    name: str,
    kind: Stored,
    clip_ids: Sequence[str],
    values: Sequence[NDArray[Any] | None],
) -> tuple[pa.Array, float]:
    """One feature of some clips as an Arrow column, and how far float16 moved it."""
    present = [v.reshape(-1, kind.width) for v in values if v is not None]
    flat = np.concatenate(present) if present else np.zeros((0, kind.width), np.float32)
    if flat.dtype.kind == "f" and not np.isfinite(flat.sum(dtype=np.float64)):
        bad = next(
            i for i, v in zip(clip_ids, values, strict=True)
            if v is not None and not np.isfinite(v).all()
        )  # fmt: skip
        raise ClipError(
            f"{name} of {bad} holds values that are not numbers; `redub cache repair`, then "
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


# -- links


def _links(
    store: Store,
    index: OpenIndex,
    frame: pl.DataFrame,
    rows: Mapping[str, int],
    live: Mapping[str, pl.DataFrame],
) -> tuple[pa.Table, dict[str, dict[str, str]], dict[str, int]]:
    """One row per clip: split, voice, and every reference to other clips as link row numbers."""
    project = store.project
    clips = clips_of(frame)
    place = {clip.clip_id: number for number, clip in enumerate(clips)}
    splits = {clip.clip_id: clip.split for clip in clips}
    has, why = _held(live)
    members = lenders(clips, has)
    speaker = store.read("speaker")
    voices = {name: _Voice(ids, speaker) for name, ids in members.items()}
    neighbours = neighbours_of(store, index)
    before, after = neighbours_in_scene(clips)
    columns: dict[str, list[Any]] = defaultdict(list)
    left_out: dict[str, dict[str, str]] = defaultdict(dict)
    counts: dict[str, int] = defaultdict(int)
    config = project.config
    for clip in clips:
        clip_id = clip.clip_id
        voice = voices.get(voice_name(clip))
        lent = [] if voice is None else voice.timbres(clip_id, config.train.timbres)
        missing = [name for name in RECORDED if clip_id not in has[name]]
        if missing:
            left_out[clip.split][clip_id] = lacking(missing[-1], why[missing[-1]].get(clip_id))
        elif not lent:
            left_out[clip.split][clip_id] = NO_OTHER_LINE
        else:
            counts[clip.split] += 1
        samples = config.audio.sample_count(clip.video_frames, config.video)
        columns["clip_id"].append(clip_id)
        columns["row"].append(rows[clip_id])
        columns["split"].append(clip.split)
        columns["voice"].append(voice_name(clip))
        columns["is_line"].append(not missing and bool(lent))
        columns["mel_frames"].append(config.audio.frame_count(samples))
        columns["emotion"].append(EMOTIONS.index(clip.emotion) if clip.emotion else -1)
        columns["previous"].append(place.get(before.get(clip_id, ""), -1))
        columns["following"].append(place.get(after.get(clip_id, ""), -1))
        columns["timbres"].append([place[i] for i in lent])
        columns["speaker_vector"].append(voice.vector_without(clip_id) if voice and lent else None)
        library = index.table.row_of(clip_id)
        columns["audio"].append(None if library is None else index.audio[library])
        for modality in MODALITIES:
            hits = neighbours[clip_id][modality] if clip_id in neighbours else []
            _refuse_held_out(clip, hits, splits)
            columns[f"{modality}_hits"].append([place[hit] for hit, _ in hits])
            columns[f"{modality}_scores"].append([score for _, score in hits])
    widths = {
        "speaker_vector": store.keys.by_name["speaker"].schema.width,
        "audio": int(index.audio.shape[1]),
    }
    for name, width in widths.items():
        columns[name] = encode(columns[name], value_type("vector", width, "float32"))
    return pa.table(dict(columns), schema=_link_schema(widths)), dict(left_out), dict(counts)


def _link_schema(widths: Mapping[str, int]) -> pa.Schema:
    numbers = pa.list_(pa.int32())
    scores = pa.list_(pa.float32())
    return pa.schema(
        [
            ("clip_id", pa.string()),
            ("row", pa.int64()),
            ("split", pa.string()),
            ("voice", pa.string()),
            ("is_line", pa.bool_()),
            ("mel_frames", pa.int64()),
            ("emotion", pa.int64()),
            ("previous", pa.int64()),
            ("following", pa.int64()),
            ("timbres", numbers),
            *((name, value_type("vector", width, "float32")) for name, width in widths.items()),
            *((f"{m}_hits", numbers) for m in MODALITIES),
            *((f"{m}_scores", scores) for m in MODALITIES),
        ]
    )


class _Voice:
    """The training lines of one voice: what each line is lent by the *others*."""

    def __init__(self, clip_ids: Sequence[str], speaker: Mapping[str, Any]) -> None:
        self.clip_ids = clip_ids
        self.vectors = {i: np.asarray(speaker[i], dtype=np.float64) for i in clip_ids}
        self.total = np.sum(list(self.vectors.values()), axis=0)

    def timbres(self, clip_id: str, most: int) -> list[str]:
        return lent_to(clip_id, self.clip_ids, most)

    def vector_without(self, clip_id: str) -> FloatArray:
        """The mean speaker vector of the other lines."""
        own = self.vectors.get(clip_id)
        total = self.total if own is None else self.total - own
        mean: FloatArray = (total / (len(self.vectors) - (own is not None))).astype(np.float32)
        return mean


def _held(
    live: Mapping[str, pl.DataFrame],
) -> tuple[dict[str, set[str]], dict[str, dict[str, str]]]:
    """Of the features that make a line: who has a value, and why others have none."""
    has, why = {}, {}
    for name in (*RECORDED, "speaker"):
        rows = live[name]
        has[name] = set(rows.filter(pl.col("valid"))["clip_id"])
        why[name] = dict(rows.filter(~pl.col("valid")).select("clip_id", "why_not").iter_rows())
    return has, why


def _refuse_held_out(
    clip: Clip, hits: Sequence[tuple[str, float]], splits: Mapping[str, str]
) -> None:
    for hit, _ in hits:
        if splits.get(hit) != "train":
            raise IntegrityError(
                f"{clip.clip_id} retrieves {hit}, which is "
                f"{'gone' if hit not in splits else 'in split ' + splits[hit]}; run "
                "`redub index build` and `redub retrieve`",
                code="E-PACK-LEAK",
            )


def _file(root: Path, path: Path, rows: int) -> PackFile:
    return PackFile(
        name=path.relative_to(root).as_posix(),
        rows=rows,
        size=path.stat().st_size,
        sha256=file_digest(path),
    )
