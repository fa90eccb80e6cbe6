"""Stage 3 of 7: build the reference footage library and one emotion index per modality.

Reads the committed emotion vectors of the training split. Writes ``index/<modality>/<segment>/``
with its record, ``index/library/<build>/`` (clip rows, audio vectors, fitted transforms), and then
one commit that names the build and its segments. Nothing is overwritten: a reader keeps the build
that it opened.

Builds share segments, so adding a few clips to a large library is quick. A modality with a fitted
transform is the exception: a changed library gives another transform, and all its rows are indexed
again.

A build does not read a kept segment again: it checks the bytes of the record and the sizes of the
files. Opening a build, and ``index verify``, check every byte. A segment that is refused there is
rebuilt by the next build.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from redub.core.config import digest_of
from redub.core.durable import check_folder, commit_json, file_digest, folder_digests, new_folder
from redub.core.errors import ConfigError, IntegrityError
from redub.core.types import MODALITIES, Clip, FloatArray
from redub.index.segments import Segment, names_table
from redub.index.transform import fit_chain
from redub.pipeline.store.index.builds import (
    BUILD_VERSION,
    LIBRARY,
    RECORD,
    SEGMENT_WITH,
    build_document,
    build_settings,
    current_build,
    features_of,
    is_whole,
    library_clips,
    read_build,
    read_segment_record,
    records_of_builds,
    wanted_vectors,
)
from redub.pipeline.store.index.spaces import (
    PLAIN,
    Space,
    fit_space,
    has_halves,
    read_spaces,
    transform_of,
    write_space,
)
from redub.pipeline.store.project import Project
from redub.pipeline.store.schemas import CLIP_SCHEMA
from redub.pipeline.store.settings import (
    FEATURE_SETTINGS,
    MODALITY_FEATURES,
    IndexConfig,
    feature_of,
)
from redub.pipeline.store.tables import Store, clips_of
from redub.pipeline.store.writing import writing

log = logging.getLogger(__name__)

MOST_SEGMENTS = 16  # every query searches every segment
MOST_DEAD = 0.5  # dead rows per live row; a search still compares with dead rows


@dataclass(frozen=True, slots=True)
class IndexSummary:
    """What was built.

    ``fresh``: False where the build was up to date. ``indexed`` and ``recall`` are per modality;
    the recall is None where all segments search exactly. ``left_out``: training clips without an
    audio vector.
    """

    build: str
    fresh: bool
    library: int
    indexed: dict[str, int]
    left_out: int
    recall: dict[str, float | None]

    def lines(self) -> list[str]:
        """The summary in sentences."""
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


def build_index(project: Project, *, compact: bool = False) -> IndexSummary:
    """Build and commit the index over the training split, unless it is up to date.

    Only new and changed clips are indexed; other clips stay in the segments of the last build.
    Beyond 16 segments, or with more than one dead row per two live rows, all clips are indexed
    again.

    Args:
        compact: index all clips again, in as few segments as possible.

    Raises:
        ConfigError: no training clip has an audio emotion vector yet, no clip has a row of a
            feature that the settings name (names the stage to run), or a transform cannot be
            fitted.
    """
    store = Store(project)
    library, left_out = library_clips(store)
    _check_extracted(store, library)
    document = build_document(store, library)
    build = digest_of(document)
    try:
        record = current_build(project)
    except IntegrityError as error:
        log.warning("%s", error)
        record = None
    up_to_date = record is not None and record["build"] == build and not compact
    if record is not None and up_to_date and is_whole(project, record):
        counts = {m: record["rows"][m] for m in MODALITIES}
        return IndexSummary(build, False, len(library), counts, left_out, record["recall"])
    root = project.root / "index"
    is_grown = record is not None and not up_to_date and not compact
    kept = _Kept(root, _committed(project), every_byte=not is_grown)
    place = f"{LIBRARY}/{build}"
    if not kept.is_whole(place):
        _write_library(store, root / place, library)
    files = {place: folder_digests(root / place)}
    spaces = {}
    if _has_spaces(project.config.index):
        spaces = read_spaces(root / place, clips_of(library))
    rows: dict[str, int] = {}
    recall: dict[str, float | None] = {}
    segments: dict[str, list[str]] = {}
    for modality in MODALITIES:
        new = _NewRows(store, modality, library, spaces.get(modality))
        wanted = wanted_vectors(store, modality, library, new.space)
        names = [] if record is None or compact else record["segments"].get(modality, [])
        segments[modality] = _segments(new, wanted, names, kept)
        rows[modality] = len(wanted)
        folders = [new.root / name for name in segments[modality]]
        files |= {f"{modality}/{folder.name}": _segment_digests(folder) for folder in folders}
        graphs = [read_segment_record(folder).index.graph for folder in folders]
        recall[modality] = min((g.recall for g in graphs if g is not None), default=None)
    digests = {modality: space.digest for modality, space in spaces.items()}
    _commit(project, build, document, files, segments, rows, recall, digests)
    return IndexSummary(build, True, len(library), rows, left_out, recall)


def _check_extracted(store: Store, library: pl.DataFrame) -> None:
    """Refuse a feature that the settings name and that was not extracted yet.

    Without this check the modality would be empty, and no message would say so.

    Raises:
        ConfigError: E-STAGE-EXTRACT.
    """
    wanted = feature_of(store.project.config.index)
    for modality, setting in FEATURE_SETTINGS.items():
        name = wanted[modality]
        is_named = name != MODALITY_FEATURES[modality][0]  # the default may be left out on purpose
        if is_named and store.live_features(name, clips=library).is_empty():
            raise ConfigError(
                f"index.{setting} is '{name}', which no library clip has yet; "
                "run `redub extract` first",
                code="E-STAGE-EXTRACT",
            )


def _write_library(store: Store, target: Path, library: pl.DataFrame) -> None:
    raw = store.read_rows(features_of(store)["audio"], library["clip_id"], clips=library)
    speakers = library["speaker"].to_list()
    name = store.project.config.index.audio_transform
    transform = fit_chain((name,), raw, speakers)
    rows = library.with_columns(fingerprint=pl.lit(target.name)).select(CLIP_SCHEMA.names)
    with new_folder(target) as folder:
        table = rows.rechunk().to_arrow().cast(CLIP_SCHEMA)
        pq.write_table(table, folder / "clips.parquet")
        np.save(folder / "audio.npy", transform.apply(raw, speakers), allow_pickle=False)
        arrays: dict[str, Any] = transform.to_arrays()
        np.savez(folder / "audio_transform.npz", **arrays)
        if _has_spaces(store.project.config.index):
            for modality, space in _fitted_spaces(store, clips_of(library)):
                write_space(folder, modality, space)


def _has_spaces(config: IndexConfig) -> bool:
    """Whether any modality is searched in a fitted space."""
    return any(transform_of(config, modality) != PLAIN for modality in MODALITIES)


def _fitted_spaces(store: Store, library: Sequence[Clip]) -> Iterator[tuple[str, Space]]:
    config = store.project.config.index
    ids = [clip.clip_id for clip in library]
    for modality in MODALITIES:
        if transform_of(config, modality) == PLAIN:
            continue  # no fit, so the vectors of a large library are not loaded
        values = store.read(features_of(store)[modality], ids)
        space = fit_space(config, modality, library, values)
        if space is not None:
            yield modality, space


@dataclass(frozen=True, slots=True)
class _NewRows:
    """Source of the rows of one modality: features, library clips, fitted space if any."""

    store: Store
    modality: str
    library: pl.DataFrame
    space: Space | None

    @property
    def root(self) -> Path:
        """The folder of the modality's segments."""
        return self.store.project.root / "index" / self.modality

    @property
    def feature(self) -> str:
        """Name of the feature that the modality is searched by."""
        return features_of(self.store)[self.modality]

    @property
    def settings(self) -> str:
        """Digest of everything but the clip that a row depends on; begins a segment's name."""
        config = self.store.project.config.index
        key = self.store.keys.by_name[self.feature].key
        built = [BUILD_VERSION, key, *(getattr(config, name) for name in SEGMENT_WITH)]
        return digest_of(built if self.space is None else [*built, self.space.digest])

    def vectors(self, clip_ids: Sequence[str]) -> FloatArray:
        """(n, W) float32 vectors as they are searched, after the transform."""
        vectors = self.store.read_rows(self.feature, clip_ids, clips=self.library)
        if self.space is None:
            return vectors
        speaker_of = dict(self.library.select("clip_id", "speaker").iter_rows())
        return self.space.transform.apply(vectors, [speaker_of[c] for c in clip_ids])


def _segments(new: _NewRows, wanted: pl.DataFrame, old: Sequence[str], known: _Kept) -> list[str]:
    """Names of the segments that hold all wanted rows; missing segments are built.

    A segment's name is a digest of everything that it depends on: the settings, the fitted
    transform if there is one, and its clips with their digests.

    Args:
        wanted: ``clip_id, digest`` of every library clip with a vector.
        old: names of the segments of the last build.
        known: checks whether a folder is complete.
    """
    config, settings = new.store.project.config.index, new.settings
    kept: list[str] = []
    left = wanted
    rows = 0
    for name in old:
        if not name.startswith(f"{settings}-") or not known.is_segment(f"{new.modality}/{name}"):
            continue
        names = _names(new.root / name)
        live = names.join(left, on=["clip_id", "digest"], how="semi")
        if len(live):
            kept.append(name)
            rows += len(names)
            left = left.join(live, on="clip_id", how="anti", maintain_order="left")
    dead = rows - (len(wanted) - len(left))
    if len(kept) + bool(len(left)) > MOST_SEGMENTS or dead > MOST_DEAD * max(1, len(wanted)):
        kept, left = [], wanted
    for part in _shards(dict(left.iter_rows()), config):
        name = f"{settings}-{digest_of(sorted(part.items()))}"
        if not known.is_segment(f"{new.modality}/{name}"):
            _build_segment(new, new.root / name, part)
        kept.append(name)
    return kept


def _names(segment: Path) -> pl.DataFrame:
    """``clip_id, digest`` of all rows of a saved segment, dead rows included."""
    names = pl.from_arrow(names_table(segment, read_segment_record(segment)))
    if not isinstance(names, pl.DataFrame):
        raise IntegrityError(f"{segment}: its names are not a table", code="E-INT-INDEX")
    return names


def _committed(project: Project) -> dict[str, dict[str, str]]:
    """File digests of every folder that a commit of any build names."""
    files: dict[str, dict[str, str]] = {}
    for path in records_of_builds(project):
        with contextlib.suppress(IntegrityError):  # `redub index verify` reports it
            files |= read_build(path)["files"]
    return files


@dataclass(frozen=True, slots=True)
class _Kept:
    """Folders that are not written again: a commit names them and they are whole.

    They hold what would be written, and a reader may have them open.

    ``committed``: file digests by folder, of all builds. ``every_byte``: hash all files of a
    segment; otherwise check the bytes of its record and the sizes of its files.
    """

    root: Path
    committed: Mapping[str, Mapping[str, str]]
    every_byte: bool

    def is_whole(self, place: str) -> bool:
        """Whether a folder has the committed bytes."""
        return place in self.committed and self._holds(place, self.committed[place])

    def is_segment(self, place: str) -> bool:
        """Whether a segment has the committed bytes, or (see ``every_byte``) the right sizes."""
        digests = self.committed.get(place, {})
        if self.every_byte or RECORD not in digests:
            return self.is_whole(place)
        return self._holds(place, {RECORD: digests[RECORD]}) and all(
            self._has_size(self.root / place / entry.name, entry.size)
            for entry in read_segment_record(self.root / place).files
        )

    def _holds(self, place: str, digests: Mapping[str, str]) -> bool:
        try:
            check_folder(self.root / place, digests)
        except IntegrityError as error:
            log.warning("%s; it is built again", error)
            return False
        return True

    def _has_size(self, path: Path, size: int) -> bool:
        found = path.stat().st_size if path.is_file() else -1
        if found != size:
            log.warning("%s is gone or does not have its committed size; it is built again", path)
        return found == size


def _segment_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of a segment's files, taken from its record; the other files are not read."""
    entries = {entry.name: entry.sha256 for entry in read_segment_record(folder).files}
    return {**entries, RECORD: file_digest(folder / RECORD)}


def _shards(rows: Mapping[str, str], config: IndexConfig) -> list[dict[str, str]]:
    """Cut rows into parts of about ``segment_rows`` by the digest of the clip id."""
    count = -(-len(rows) // config.segment_rows)
    parts: list[dict[str, str]] = [{} for _ in range(count)]
    for clip_id in sorted(rows):
        place = int(hashlib.sha256(clip_id.encode()).hexdigest()[:12], 16) % count
        parts[place][clip_id] = rows[clip_id]
    return [part for part in parts if part]


def _build_segment(new: _NewRows, target: Path, rows: Mapping[str, str]) -> None:
    """Index some rows (clip id → digest) and write the segment."""
    config = new.store.project.config.index
    segment = Segment.build(
        new.modality,
        list(rows),
        list(rows.values()),
        new.vectors(list(rows)),
        settings=build_settings(config),
        halves=has_halves(new.modality, config.metric),
        feature_key=new.store.keys.by_name[new.feature].key,
    )
    with new_folder(target) as folder:
        saved = segment.save(folder)
        (folder / RECORD).write_text(saved.to_json() + "\n", encoding="utf-8")


# -- the builds


def _commit(
    project: Project,
    build: str,
    document: dict[str, Any],
    files: dict[str, dict[str, str]],
    segments: dict[str, list[str]],
    rows: dict[str, int],
    recall: dict[str, float | None],
    spaces: dict[str, str],
) -> None:
    paths = records_of_builds(project)
    number = int(paths[-1].stem) + 1 if paths else 1
    record = {
        "number": number,
        "build": build,
        "document": document,
        "files": files,
        "segments": segments,
        "rows": rows,
        "recall": recall,
        "spaces": spaces,
    }
    record["digest"] = digest_of(record, digits=64)
    commit_json(project.root / "index" / "commits" / f"{number:08d}.json", record)


def run_index(project: Project, *, compact: bool = False) -> IndexSummary:
    """Run stage 3 under the project lock; see :func:`build_index`."""
    with writing(project, "index"):
        return build_index(project, compact=compact)
