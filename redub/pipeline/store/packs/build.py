"""Build and open packs: clips, the features of a model and the neighbours, joined for training.

Reads committed features, neighbours and the index; never media. Writes ``packs/parts/*.arrow`` and
``packs/<pack>/`` (see :mod:`redub.training.data.pack`). A part holds the features of some clips and
never changes: a later pack of more clips keeps the existing parts and adds a new one.

Clips are processed in chunks, so memory does not grow with the footage.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from redub.core.config import digest_of
from redub.core.durable import commit_file
from redub.core.errors import IntegrityError
from redub.core.types import MODALITIES
from redub.pipeline.store.index.builds import OpenIndex, features_of, open_index
from redub.pipeline.store.index.neighbours import retrieval_key
from redub.pipeline.store.packs.lines import features_read
from redub.pipeline.store.packs.links import line_links
from redub.pipeline.store.packs.parts import (
    FOLDER,
    FeatureSource,
    Stored,
    pack_file,
    packed_parts,
    rows_of_parts,
    write_ipc,
)
from redub.pipeline.store.project import Project
from redub.pipeline.store.tables import Store, commonest, digest_column, store_of
from redub.training.data.pack import (
    LINKS,
    RECORD,
    Pack,
    PackedFeature,
    PackRecord,
    damaged_files,
)

log = logging.getLogger(__name__)

PACK_VERSION = 5


@dataclass(frozen=True, slots=True)
class PackSummary:
    """What was packed; ``written_bytes`` are new, the others were kept."""

    pack: str
    fresh: bool
    splits: Mapping[str, int]
    left_out: int
    parts: int
    size_bytes: int
    written_bytes: int
    reasons: str = ""

    def lines(self) -> list[str]:
        """The summary as sentences: utterances per split, clips left out, size."""
        counts = ", ".join(f"{split} {count}" for split, count in sorted(self.splits.items()))
        counts = counts or "no recorded utterance"
        without = f"{self.left_out} clips left out" + (f": {self.reasons}" if self.reasons else "")
        if not self.fresh:
            return [f"pack {self.pack} is up to date ({counts}); {without}"]
        return [
            f"pack {self.pack}: {counts}; {without}",
            f"{self.size_bytes / 2**20:.1f} MiB in {self.parts} parts, "
            f"{self.written_bytes / 2**20:.1f} MiB of them new",
        ]


def pack_keys(
    store: Store, index: OpenIndex, contents: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Keys of everything that the utterances of a pack depend on; checkpoints keep them too.

    They cover the features, the retrieval, the clips, the values of each clip, the number of
    reference mels per utterance, and the dtype of frames.

    Args:
        contents: what :func:`_contents` returned; computed if None.
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
        "reference_mels": str(store.project.config.train.reference_mels),
    }


def build_pack(source: Store | Project) -> PackSummary:
    """Write the pack of the project's present footage and settings, unless it exists.

    Args:
        source: the store; for a project its store is opened.

    Raises:
        ConfigError: features, the index or the neighbours are missing (names the stage), or a
            value does not fit into float16 (names the feature).
        IntegrityError: an utterance retrieves a clip that is no training clip now.
    """
    store = store_of(source)
    project, index = store.project, open_index(store)
    kinds = _kinds(store)
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
    values = FeatureSource(store, kinds, live)
    parts, losses, written = packed_parts(values, root, settings, contents)
    rows = {clip_id: row for row, clip_id in enumerate(rows_of_parts(root, parts, contents))}
    links = line_links(store, index, clips, rows, live)
    target, table = root / name / LINKS, links.table
    commit_file(target, lambda temp: write_ipc(temp, table.schema, table.to_batches()))
    record = PackRecord(
        pack=name,
        keys=keys,
        features={
            name: PackedFeature(**asdict(kind), moved=losses.get(name, 0.0))
            for name, kind in kinds.items()
        },
        modalities={m: n for m, n in features_of(store).items() if m in MODALITIES},
        parts=tuple(parts),
        links=pack_file(root, target, len(table)),
        splits=links.splits,
        left_out=links.left_out,
    )
    record.commit(root / name / RECORD)
    return _summary(root, record, fresh=True, written=written + target.stat().st_size)


def open_pack(source: Store | Project, built: PackSummary | None = None) -> Pack:
    """Open the pack of the project's present footage and settings; build it if it is missing.

    Damaged files of a pack are deleted and written again.

    Args:
        source: the store; for a project its store is opened.
        built: the result of :func:`build_pack`, if the caller has just called it.
    """
    store = store_of(source)
    root = store.project.root / FOLDER
    name = (built or build_pack(store)).pack
    try:
        return Pack.open(root, name)
    except IntegrityError as error:
        log.warning("%s; packing again", error)
    for file in damaged_files(root, PackRecord.read(root / name / RECORD)):
        (root / file.name).unlink(missing_ok=True)
        (root / file.name).with_suffix(".json").unlink(missing_ok=True)
    (root / name / RECORD).unlink()
    return Pack.open(root, build_pack(store).pack)


# -- content


def _kinds(store: Store) -> dict[str, Stored]:
    """The packed features and their stored types; float32 frames may be stored as float16."""
    kinds = {}
    for name in features_read(store.project.config):
        schema = store.keys.by_name[name].schema
        is_frames = schema.kind == "frames" and schema.dtype == "float32"
        dtype = store.project.config.train.frames if is_frames else schema.dtype
        kinds[name] = Stored(kind=schema.kind, width=schema.width, dtype=dtype)
    return kinds


def _contents(
    store: Store, clips: pl.DataFrame, live: Mapping[str, pl.DataFrame]
) -> dict[str, str]:
    """Clip id to a digest of its packed values: the input digest of each, empty without a value.

    So the digest changes when a clip gets a value that was missing before.
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
    """The record of a pack whose files all exist with the right size; None if one does not."""
    try:
        record = PackRecord.read(root / name / RECORD)
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
        size_bytes=sum(file.size for file in (*record.parts, record.links)),
        written_bytes=written,
        reasons=commonest(why for clips in record.left_out.values() for why in clips.values()),
    )
