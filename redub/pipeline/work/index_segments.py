"""The segments of an index build: keep those that are whole, build those that are missing.

Reads committed emotion vectors and the segments of earlier builds. Writes
``index/<modality>/<segment>/`` with its record; the caller commits the build.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from redub.core.config import digest_of
from redub.core.durable import check_folder, file_digest, new_folder
from redub.core.errors import IntegrityError
from redub.core.types import FloatArray
from redub.index.segments import Segment, names_table
from redub.pipeline.store.index.build_record import BUILD_VERSION, BuildRecord, records_of_builds
from redub.pipeline.store.index.builds import (
    RECORD,
    SEGMENT_WITH,
    build_settings,
    features_of,
    read_segment_record,
)
from redub.pipeline.store.index.spaces import Space, has_halves
from redub.pipeline.store.project import Project
from redub.pipeline.store.settings import IndexConfig
from redub.pipeline.store.tables import Store

log = logging.getLogger(__name__)

MOST_SEGMENTS = 16  # every query searches every segment
MOST_DEAD = 0.5  # dead rows per live row; a search still compares with dead rows


@dataclass(frozen=True, slots=True)
class SegmentSource:
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


def build_segments(
    source: SegmentSource, wanted: pl.DataFrame, old: Sequence[str], known: KeptFolders
) -> list[str]:
    """Names of the segments that hold all wanted rows; missing segments are built.

    A segment's name is a digest of everything that it depends on: the settings, the fitted
    transform if there is one, and its clips with their digests.

    Args:
        wanted: ``clip_id, digest`` of every library clip with a vector.
        old: names of the segments of the last build.
        known: checks whether a folder is complete.
    """
    config, settings = source.store.project.config.index, source.settings
    kept: list[str] = []
    left = wanted
    rows = 0
    for name in old:
        if not name.startswith(f"{settings}-") or not known.is_segment(f"{source.modality}/{name}"):
            continue
        names = _names(source.root / name)
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
        if not known.is_segment(f"{source.modality}/{name}"):
            _build_segment(source, source.root / name, part)
        kept.append(name)
    return kept


def _names(segment: Path) -> pl.DataFrame:
    """``clip_id, digest`` of all rows of a saved segment, dead rows included."""
    names = pl.from_arrow(names_table(segment, read_segment_record(segment)))
    if not isinstance(names, pl.DataFrame):
        raise IntegrityError(f"{segment}: its names are not a table", code="E-INT-INDEX")
    return names


def committed_files(project: Project) -> dict[str, Mapping[str, str]]:
    """File digests of every folder that a commit of any build names."""
    files: dict[str, Mapping[str, str]] = {}
    for path in records_of_builds(project):
        with contextlib.suppress(IntegrityError):  # `redub index verify` reports it
            files |= BuildRecord.read(path).files
    return files


@dataclass(frozen=True, slots=True)
class KeptFolders:
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


def segment_digests(folder: Path) -> dict[str, str]:
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


def _build_segment(source: SegmentSource, target: Path, rows: Mapping[str, str]) -> None:
    """Index some rows (clip id → digest) and write the segment."""
    config = source.store.project.config.index
    segment = Segment.build(
        source.modality,
        list(rows),
        list(rows.values()),
        source.vectors(list(rows)),
        settings=build_settings(config),
        halves=has_halves(source.modality, config.metric),
        feature_key=source.store.keys.by_name[source.feature].key,
    )
    with new_folder(target) as folder:
        saved = segment.save(folder)
        (folder / RECORD).write_text(saved.to_json() + "\n", encoding="utf-8")
