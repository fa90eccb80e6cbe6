"""Committed builds of the emotion index: find the newest, compare it with the project, open it.

Reads ``index/commits/<number>.json`` (one record per build), ``index/library/<build>/`` (clips,
audio vectors, transforms) and ``index/<modality>/<segment>/``. Writes nothing: ``stages/index.py``
makes builds.

Letters: N library clips, n indexed rows of one modality, D width.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from redub.core.config import digest_of
from redub.core.durable import check_folder, read_json
from redub.core.errors import ConfigError, IntegrityError
from redub.core.types import MODALITIES, Clip, FloatArray
from redub.index.exact import ExactBackend
from redub.index.library import LibraryTable, ModalityIndex
from redub.index.policy import Policy
from redub.index.registry import BuildSettings
from redub.index.segments import LiveSegments, Segment, SegmentRecord
from redub.index.selection import Selection
from redub.pipeline.store.index.spaces import Space, committed_spaces
from redub.pipeline.store.project import Project
from redub.pipeline.store.settings import FEATURE_SETTINGS, IndexConfig, feature_of, features_among
from redub.pipeline.store.tables import Store, clips_of, commonest, digest_column, frame_digest

log = logging.getLogger(__name__)

BUILD_VERSION = 3

BUILT_WITH = (
    "backend",
    "metric",
    "audio_transform",
    "scene_transform",
    "face_transform",
    "text_transform",
    "recall_floor",
    "seed",
    "segment_rows",
)
"""Settings of ``[index]`` that change a build; the others are applied at every search."""

SEGMENT_WITH = ("backend", "metric", "recall_floor", "seed")
"""Settings of ``[index]`` that change a segment."""

RECORD = "record.json"
LIBRARY = "library"
CLIP_COLUMNS = [own.name for own in fields(Clip)]


@dataclass(frozen=True, slots=True, eq=False)
class OpenIndex:
    """One committed build, opened and verified: the library and how to search it."""

    build: str
    clips: tuple[Clip, ...]  # sorted by clip id, like the table's rows
    table: LibraryTable
    modalities: Mapping[str, ModalityIndex]
    audio: FloatArray  # (N, D) transformed audio emotion vectors, one per library row
    spaces: Mapping[str, Space] = field(default_factory=dict)  # only modalities with a transform

    @property
    def vectors(self) -> dict[str, FloatArray]:
        """Modality to its (n, D) vectors as extracted, in the order of ``modalities[…].rows``."""
        return {
            name: self.spaces[name].raw_of(own.rows) if name in self.spaces else own.backend.raw
            for name, own in self.modalities.items()
        }


def build_settings(config: IndexConfig) -> BuildSettings:
    """How the project indexes vectors."""
    return BuildSettings(
        backend=config.backend,
        metric=config.metric,
        recall_floor=config.recall_floor,
        seed=config.seed,
    )


def policy_of(config: IndexConfig) -> Policy:
    """The project's retrieval policy; only training clips, and never the query clip itself."""
    return Policy(
        speaker=config.speaker,
        exclude_same_scene=config.exclude_same_scene,
        adjacent_lines=config.adjacent_lines,
        films=config.films,
        rights_required=config.rights,
        include=config.include,
        exclude=config.exclude,
    )


def selection_of(config: IndexConfig, k: int | None = None) -> Selection:
    """How the project chooses hits among the candidates; ``k`` replaces the project's K."""
    return Selection(
        k=config.k if k is None else k,
        min_score=config.min_score,
        adaptive=config.adaptive,
        diversity=config.diversity,
    )


def features_of(store: Store) -> dict[str, str]:
    """Modality (scene, face, text, audio) to the feature that the project uses for it."""
    return feature_of(store.project.config.index)


def check_build(project: Project, record: dict[str, Any]) -> None:
    """Raise IntegrityError unless every file of a build has its committed bytes."""
    for folder, digests in record["files"].items():
        check_folder(project.root / "index" / folder, digests)


def is_whole(project: Project, record: dict[str, Any]) -> bool:
    """Whether every file of a build has its committed bytes; if not, log that it is built again."""
    try:
        check_build(project, record)
    except IntegrityError as error:
        log.warning("%s; building the index again", error)
        return False
    return True


def library_of(store: Store) -> list[Clip]:
    """The clips that a build would hold now, sorted by clip id.

    Raises:
        ConfigError: no training clip has an audio emotion vector yet (names the stage to run).
    """
    return clips_of(library_clips(store)[0])


def library_clips(store: Store) -> tuple[pl.DataFrame, int]:
    """Training clips that can be retrieved: those with an audio emotion vector.

    Returns:
        Their rows of the clip table, sorted by clip id, and the number of training clips that lack
        the vector.

    Raises:
        ConfigError: no clip, no training clip, or no audio emotion vector (names the stage to run).
    """
    every = store.clip_frame()
    clips = every.filter(pl.col("split") == "train")
    audio = features_of(store)["audio"]
    rows = store.live_features(audio, clips=clips)
    library = clips.join(rows.filter(pl.col("valid")), on="clip_id", how="semi").sort("clip_id")
    if every.is_empty():
        raise ConfigError("the project has no clip; run `redub ingest`", code="E-STAGE-EXTRACT")
    if clips.is_empty():
        raise ConfigError(
            f"none of {len(every)} clips is in the training split; give it some in splits.csv",
            code="E-STAGE-SPLIT",
        )
    if library.is_empty():
        found = f"none of {len(clips)} training clips has an audio emotion vector"
        advice = "run `redub extract` first"
        if len(rows) == len(clips):  # another extraction would find the same
            found += f" ({commonest(rows['why_not'])})"
            advice = "add footage with speech"
        raise ConfigError(f"{found}; {advice}", code="E-STAGE-EXTRACT")
    return library, len(clips) - len(library)


def build_document(store: Store, library: pl.DataFrame) -> dict[str, Any]:
    """Everything that a build of these library clips depends on; its digest names the build."""
    keys = {name: store.keys.by_name[name] for name in sorted(features_of(store).values())}
    facts = library.select(
        *CLIP_COLUMNS, **{f"digest of {name}": digest_column(key) for name, key in keys.items()}
    )
    return {
        "version": BUILD_VERSION,
        "features": {name: key.key for name, key in keys.items()},
        "clips": frame_digest(facts),
        "config": {name: getattr(store.project.config.index, name) for name in BUILT_WITH},
    }


def wanted_vectors(
    store: Store, modality: str, library: pl.DataFrame, space: Space | None
) -> pl.DataFrame:
    """``clip_id, digest`` of every library clip with a searchable vector, sorted by clip id."""
    name = features_of(store)[modality]
    own = library if space is None else library[space.rows]
    valid = store.live_features(name, clips=own).filter(pl.col("valid"))
    return own.join(valid, on="clip_id", how="semi", maintain_order="left").select(
        "clip_id", digest=digest_column(store.keys.by_name[name])
    )


def read_segment_record(folder: Path) -> SegmentRecord:
    """Read the record of a segment folder: its rows, feature key and settings."""
    return SegmentRecord.from_json((folder / RECORD).read_text(encoding="utf-8"))


def _opened(
    root: Path,
    modality: str,
    names: Sequence[str],
    table: LibraryTable,
    wanted: pl.DataFrame,
    space: Space | None,
) -> ModalityIndex:
    folders = [root / modality / name for name in names]
    segments = [Segment.load(folder, read_segment_record(folder)) for folder in folders]
    transform = None if space is None else space.transform
    return ModalityIndex.of(modality, table, segments, dict(wanted.iter_rows()), transform)


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
    return read_build(records[-1])


def read_build(path: Path) -> dict[str, Any]:
    """Read one commit record and check its own digest.

    Raises:
        IntegrityError: E-INT-JSON, the record is damaged, or an earlier redub wrote it.
    """
    record: Any = read_json(path)
    digest = record.pop("digest", "") if isinstance(record, dict) else ""
    if not digest or digest != digest_of(record, digits=64):
        raise IntegrityError(
            f"{path} is damaged or of an earlier redub; `redub index build` makes a new build",
            code="E-INT-JSON",
        )
    found: dict[str, Any] = record
    return found


def is_fresh(store: Store, record: dict[str, Any]) -> bool:
    """Whether a build was made from the project's present clips, features and settings."""
    try:
        library = library_clips(store)[0]
    except ConfigError:
        return False
    return bool(digest_of(build_document(store, library)) == record["build"])


def changed_settings(config: IndexConfig, record: Mapping[str, Any]) -> list[str]:
    """Settings that changed since a build was made, as ``index.metric dot → cosine``."""
    features = {FEATURE_SETTINGS[m]: built_of(record)[m] for m in FEATURE_SETTINGS}
    built = {**record["document"]["config"], **features}
    return [
        f"index.{name} {built[name]} → {getattr(config, name)}"
        for name in (*BUILT_WITH, *features)
        if name in built and built[name] != getattr(config, name)
    ]


def built_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Modality (scene, face, text, audio) to the feature that a build was made from."""
    return features_among(record["document"]["features"])


def open_index(project: Project) -> OpenIndex:
    """Open the newest build, after every file was checked against its commit.

    A build from other clips, splits, features or settings than the project's is refused: training
    on it could retrieve a clip that has become a test clip.

    Raises:
        ConfigError: no build yet, or the newest is out of date (names the stage to run).
        IntegrityError: a file is missing or changed.
    """
    record = current_build(project)
    if record is None:
        raise ConfigError("there is no index yet; run `redub index build`", code="E-STAGE-INDEX")
    if not is_fresh(Store(project), record):
        changed = "; ".join(changed_settings(project.config.index, record))
        raise ConfigError(
            "the clips, their features or the settings changed since the index was built"
            f"{f' ({changed})' if changed else ''}; run `redub index build`",
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
    store = Store(project)
    spaces = spaces_of(project, record, clips)
    modalities = {}
    for modality in MODALITIES:
        space = spaces.get(modality)
        wanted = wanted_vectors(store, modality, frame, space)
        names = record["segments"][modality]
        modalities[modality] = _opened(root, modality, names, table, wanted, space)
    audio = np.load(folder / "audio.npy", allow_pickle=False)
    return OpenIndex(build, tuple(clips), table, modalities, audio, spaces)


def spaces_of(
    project: Project, record: Mapping[str, Any], library: Sequence[Clip]
) -> dict[str, Space]:
    """The fitted transforms of a committed build, by modality; old builds have none."""
    folder = project.root / "index" / LIBRARY / record["build"]
    return committed_spaces(folder, library, record.get("spaces", {}))


def newest_build(project: Project) -> OpenIndex:
    """Open the newest build, its bytes checked, even where the project has changed since.

    For audits, which must see such a build; :func:`open_index` refuses it.

    Raises:
        ConfigError: no build yet.
        IntegrityError: a file is missing or changed.
    """
    record = current_build(project)
    store = Store(project)
    if record is None or is_fresh(store, record):
        return open_index(project)
    check_build(project, record)
    root = project.root / "index"
    folder = root / LIBRARY / record["build"]
    frame = pl.from_arrow(pq.read_table(folder / "clips.parquet"))
    if not isinstance(frame, pl.DataFrame):
        raise IntegrityError(f"{folder}: not a table", code="E-INT-INDEX")
    clips = clips_of(frame)
    table = LibraryTable.from_clips(clips)
    modalities, spaces = {}, spaces_of(project, record, clips)
    for modality in MODALITIES:
        segments = [
            Segment.load(root / modality / name, segment_record(root / modality / name))
            for name in record["segments"][modality]
        ]
        wanted = _indexed(store, modality, clips, segments)
        transform = spaces[modality].transform if modality in spaces else None
        modalities[modality] = ModalityIndex.of(modality, table, segments, wanted, transform)
    audio = np.load(folder / "audio.npy", allow_pickle=False)
    return OpenIndex(record["build"], tuple(clips), table, modalities, audio, spaces)


def segment_record(folder: Path) -> SegmentRecord:
    """Read the record of a segment folder: its rows, feature key and settings."""
    return SegmentRecord.from_json((folder / RECORD).read_text(encoding="utf-8"))


def _indexed(
    store: Store, modality: str, clips: Sequence[Clip], segments: Sequence[Segment]
) -> dict[str, str]:
    """Clip id to input digest of every library clip, as of the time when it was indexed.

    The digest is computed from the clip row that the library keeps. Another extractor may depend on
    other fields of the row; the computed digest is then in no segment, and the last stored one is
    taken.
    """
    key = store.keys.by_name[features_of(store)[modality]]
    known: dict[str, list[str]] = defaultdict(list)
    for segment in segments:
        for clip_id, digest in zip(segment.clip_ids, segment.digests, strict=True):
            known[clip_id].append(digest)
    own = {clip.clip_id: key.input_digest(clip) for clip in clips if clip.clip_id in known}
    return {c: digest if digest in known[c] else known[c][-1] for c, digest in own.items()}


def exact_search(index: OpenIndex, modality: str) -> ModalityIndex:
    """One modality of a build, searched by the exact backend over its stored vectors."""
    own = index.modalities[modality]
    if not len(own.rows):
        return own
    ids = tuple(index.clips[row].clip_id for row in own.rows)
    vectors = np.ascontiguousarray(own.backend.vectors)
    segment = Segment(
        modality=modality,
        feature_key="",
        clip_ids=ids,
        digests=("",) * len(ids),
        backend=ExactBackend.build(vectors, metric=own.backend.metric),
        raw=own.backend.raw,
        halves=own.halves,
    )
    return replace(own, backend=LiveSegments.of([segment], dict.fromkeys(ids, ""), ids))
