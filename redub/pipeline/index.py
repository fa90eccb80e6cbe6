"""Stage 3 of 7: build the reference footage library and one emotion index per modality.

Reads the committed emotion vectors of the training split. Writes ``index/<modality>/<build>/``
with its record, ``index/library/<build>/`` (clip rows, audio vectors, audio transform), and then
one commit that names the build. Readers keep the build they opened; nothing is overwritten.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from redub.core.config import digest_of
from redub.core.errors import ConfigError, IntegrityError
from redub.core.types import MODALITIES, Clip, FloatArray
from redub.index.library import LibraryTable, ModalityIndex, ModalityRecord
from redub.index.policy import Policy
from redub.index.transform import fit_chain
from redub.pipeline.files import (
    check_folder,
    commit_json,
    folder_digests,
    new_folder,
    read_json,
)
from redub.pipeline.project import IndexConfig, Project
from redub.pipeline.store import Store, clip_table, clips_of

log = logging.getLogger(__name__)

BUILD_VERSION = 1
FEATURE_OF = {modality: f"{modality}_emotion" for modality in (*MODALITIES, "audio")}
LIBRARY = "library"


@dataclass(frozen=True, slots=True)
class IndexSummary:
    """What was built; ``indexed`` counts rows per modality."""

    build: str
    fresh: bool
    library: int
    indexed: dict[str, int]
    left_out: int
    recall: dict[str, float | None]

    def lines(self) -> list[str]:
        if not self.fresh:
            return [f"index {self.build} is up to date ({self.library} clips)"]
        counts = ", ".join(
            f"{name} {count}" + (f" (recall {r:.4f})" if (r := self.recall[name]) else "")
            for name, count in self.indexed.items()
        )
        return [
            f"index {self.build}: {self.library} clips, {counts}",
            f"{self.left_out} training clips left out: they have no audio vector",
        ]


@dataclass(frozen=True, slots=True, eq=False)
class OpenIndex:
    """One committed build, opened and verified: the library and how to search it."""

    build: str
    clips: tuple[Clip, ...]  # sorted by clip id, like the table's rows
    table: LibraryTable
    modalities: Mapping[str, ModalityIndex]
    vectors: Mapping[str, FloatArray]  # (n, D) raw vectors, rows as modalities[…].rows
    audio: FloatArray  # (N, D) transformed audio emotion vectors, one per library row


def policy_of(config: IndexConfig) -> Policy:
    """The project's retrieval policy: training split only, never the clip itself."""
    return Policy(speaker=config.speaker, exclude_same_scene=config.exclude_same_scene)


def build_index(project: Project) -> IndexSummary:
    """Build and commit the index over the training split, unless it is up to date.

    Raises:
        ConfigError: no training clip has an audio emotion vector yet (names the stage to run).
    """
    store = Store(project)
    library, left_out = _library(store)
    document = _document(store, library)
    build = digest_of(document)
    record = current_build(project)
    if record is not None and record["build"] == build and _is_whole(project, record):
        counts = {m: record["rows"][m] for m in MODALITIES}
        return IndexSummary(build, False, len(library), counts, left_out, record["recall"])
    table = LibraryTable.from_clips(library)
    root = project.root / "index"
    files = {LIBRARY: _write_library(store, root, build, library)}
    rows: dict[str, int] = {}
    recall: dict[str, float | None] = {}
    for modality in MODALITIES:
        index, vectors = _modality(store, modality, table)
        with new_folder(root / modality / build) as folder:
            saved = index.save(folder)
            (folder / "record.json").write_text(saved.to_json() + "\n", encoding="utf-8")
            np.save(folder / "raw.npy", vectors, allow_pickle=False)
        files[modality] = folder_digests(root / modality / build)
        rows[modality] = len(index.rows)
        graph = saved.index.graph
        recall[modality] = None if graph is None else graph.recall
    _commit(project, build, document, files, rows, recall)
    return IndexSummary(build, True, len(library), rows, left_out, recall)


def check_build(project: Project, record: dict[str, Any]) -> None:
    """Raise IntegrityError unless every file of a build has its committed bytes."""
    for name, digests in record["files"].items():
        check_folder(project.root / "index" / name / record["build"], digests)


def _is_whole(project: Project, record: dict[str, Any]) -> bool:
    """Whether every file of a build has its committed bytes; a damaged build is made again."""
    try:
        check_build(project, record)
    except IntegrityError as error:
        log.warning("%s; building the index again", error)
        return False
    return True


def _library(store: Store) -> tuple[list[Clip], int]:
    """Training clips that can answer: those with an audio vector; and how many cannot."""
    clips = clips_of(store.clip_frame().filter(pl.col("split") == "train"))
    sounding = set(
        store.live_features(FEATURE_OF["audio"]).filter(pl.col("valid"))["clip_id"].to_list()
    )
    library = sorted((c for c in clips if c.clip_id in sounding), key=lambda c: c.clip_id)
    if not library:
        raise ConfigError(
            f"none of {len(clips)} training clips has an audio emotion vector; "
            "run `redub extract` first",
            code="E-STAGE-EXTRACT",
        )
    return library, len(clips) - len(library)


def _document(store: Store, library: list[Clip]) -> dict[str, Any]:
    keys = store.keys.by_name
    names = sorted(FEATURE_OF.values())
    rows = hashlib.sha256()
    for clip in library:
        facts = [asdict(clip), [keys[name].input_digest(clip) for name in names]]
        rows.update(digest_of(facts, digits=64).encode())
    return {
        "version": BUILD_VERSION,
        "features": {name: keys[name].key for name in names},
        "clips": rows.hexdigest(),
        "config": asdict(store.project.config.index),
    }


def _write_library(store: Store, root: Path, build: str, library: list[Clip]) -> dict[str, str]:
    values = store.read(FEATURE_OF["audio"], [clip.clip_id for clip in library])
    raw = np.stack([np.asarray(values[clip.clip_id]) for clip in library])
    speakers = [clip.speaker for clip in library]
    name = store.project.config.index.audio_transform
    transform = fit_chain((name,), raw, speakers)
    with new_folder(root / LIBRARY / build) as folder:
        fps = store.project.config.video.fps
        pq.write_table(clip_table(library, [build] * len(library), fps), folder / "clips.parquet")
        np.save(folder / "audio.npy", transform.apply(raw, speakers), allow_pickle=False)
        arrays: dict[str, Any] = transform.to_arrays()
        np.savez(folder / "audio_transform.npz", **arrays)
    return folder_digests(root / LIBRARY / build)


def _modality(store: Store, modality: str, table: LibraryTable) -> tuple[ModalityIndex, FloatArray]:
    name = FEATURE_OF[modality]
    ids = [str(clip_id) for clip_id in table.clip_id]
    values = store.read(name, ids)
    rows = np.array([row for row, clip_id in enumerate(ids) if clip_id in values], dtype=np.int64)
    width = store.keys.by_name[name].schema.width
    vectors = np.zeros((len(rows), width), dtype=np.float32)
    for place, row in enumerate(rows):
        vectors[place] = values[ids[row]]
    config = store.project.config.index
    index = ModalityIndex.build(
        modality,
        table,
        vectors,
        rows,
        metric=config.metric,
        halves=modality == "text" and config.metric == "cosine",
        backend=config.backend,
        seed=config.seed,
        feature_key=store.keys.by_name[name].key,
    )
    return index, vectors


# -- the builds


def _commit(
    project: Project,
    build: str,
    document: dict[str, Any],
    files: dict[str, dict[str, str]],
    rows: dict[str, int],
    recall: dict[str, float | None],
) -> None:
    paths = records_of_builds(project)
    number = int(paths[-1].stem) + 1 if paths else 1
    record = {
        "number": number,
        "build": build,
        "document": document,
        "files": files,
        "rows": rows,
        "recall": recall,
    }
    commit_json(project.root / "index" / "commits" / f"{number:08d}.json", record)


def records_of_builds(project: Project) -> list[Path]:
    """The commit records of all builds, oldest first."""
    folder = project.root / "index" / "commits"
    return sorted(folder.glob("[0-9]*.json")) if folder.is_dir() else []


def neighbour_tables(project: Project) -> list[Path]:
    """The folders of all neighbour tables, of any build and policy."""
    root = project.root / "neighbours"
    return sorted(p for p in root.glob("*") if p.is_dir()) if root.is_dir() else []


def current_build(project: Project) -> dict[str, Any] | None:
    """The newest committed build's record, or None before the first."""
    records = records_of_builds(project)
    if not records:
        return None
    record: Any = read_json(records[-1])
    if not isinstance(record, dict) or {"build", "files", "rows", "recall"} - set(record):
        raise IntegrityError(
            f"{records[-1]} is damaged; move it away and run `redub index build`",
            code="E-INT-JSON",
        )
    return record


def is_fresh(store: Store, record: dict[str, Any]) -> bool:
    """Whether a build is of the clips, features and settings that the project has now."""
    try:
        library = _library(store)[0]
    except ConfigError:
        return False
    return bool(digest_of(_document(store, library)) == record["build"])


def open_index(project: Project) -> OpenIndex:
    """Open the newest build, every file checked against its commit first.

    A build of other clips, splits, features or settings than the project has now is refused:
    training on it could retrieve a clip that has become a test clip.

    Raises:
        ConfigError: there is none yet, or it is out of date (names the stage to run).
        IntegrityError: a file is missing or changed.
    """
    record = current_build(project)
    if record is None:
        raise ConfigError("there is no index yet; run `redub index build`", code="E-STAGE-INDEX")
    if not is_fresh(Store(project), record):
        raise ConfigError(
            "the clips, their features or the settings changed since the index was built; "
            "run `redub index build`",
            code="E-STAGE-INDEX",
        )
    root, build = project.root / "index", record["build"]
    check_build(project, record)
    folder = root / LIBRARY / build
    frame = pl.from_arrow(pq.read_table(folder / "clips.parquet"))
    if not isinstance(frame, pl.DataFrame):
        raise IntegrityError(f"{folder}: not a table", code="E-INT-INDEX")
    clips = clips_of(frame)
    table = LibraryTable.from_clips(clips)
    modalities, vectors = {}, {}
    for modality in MODALITIES:
        place = root / modality / build
        saved = ModalityRecord.from_json((place / "record.json").read_text(encoding="utf-8"))
        modalities[modality] = ModalityIndex.load(place, saved, table)
        vectors[modality] = np.load(place / "raw.npy", allow_pickle=False)
    audio = np.load(folder / "audio.npy", allow_pickle=False)
    return OpenIndex(build, tuple(clips), table, modalities, vectors, audio)
