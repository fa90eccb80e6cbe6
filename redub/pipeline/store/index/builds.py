"""Committed builds of the emotion index: find the newest, compare it with the project, open it.

Reads ``index/commits/<number>.json`` (one record per build), ``index/library/<build>/`` (clips,
audio vectors, transforms) and ``index/<modality>/<segment>/``. Writes nothing: ``stages/index.py``
makes builds.

Letters: N library clips, n indexed rows of one modality, D width.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from redub.core.errors import ConfigError, IntegrityError
from redub.core.types import MODALITIES, Clip, FloatArray
from redub.index.exact import ExactBackend
from redub.index.library import LibraryTable, ModalityIndex, has_direction
from redub.index.policy import Policy
from redub.index.registry import BuildSettings
from redub.index.segments import LiveSegments, Segment, SegmentRecord
from redub.index.selection import Selection
from redub.index.transform import Chain
from redub.pipeline.store.index.build_record import (
    BUILD_VERSION,
    BuildDocument,
    BuildRecord,
    BuiltWith,
    current_build,
)
from redub.pipeline.store.index.spaces import Space, committed_spaces
from redub.pipeline.store.project import Project
from redub.pipeline.store.settings import IndexConfig, feature_of
from redub.pipeline.store.tables import (
    PENDING,
    Store,
    clips_of,
    commonest,
    digest_column,
    frame_digest,
    store_of,
)

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


def library_of(store: Store) -> list[Clip]:
    """The clips that a build would hold now, sorted by clip id.

    Raises:
        ConfigError: no training clip has an audio emotion vector yet (names the stage to run).
    """
    return clips_of(library_clips(store)[0])


def library_clips(store: Store) -> tuple[pl.DataFrame, dict[str, str]]:
    """Training clips that can be retrieved: those with an audio emotion vector.

    Returns:
        Their rows of the clip table, sorted by clip id, and the ids of the training clips that lack
        the vector, each with the reason.

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
    absent = clips.join(library, on="clip_id", how="anti")["clip_id"]
    why = store.why_absent(audio, live=rows) if len(absent) else {}
    return library, {clip_id: why.get(clip_id, PENDING) for clip_id in absent}


def build_document(store: Store, library: pl.DataFrame) -> BuildDocument:
    """Everything that a build of these library clips depends on."""
    keys = {name: store.keys.by_name[name] for name in sorted(features_of(store).values())}
    facts = library.select(
        *CLIP_COLUMNS, **{f"digest of {name}": digest_column(key) for name, key in keys.items()}
    )
    return BuildDocument(
        version=BUILD_VERSION,
        features={name: key.key for name, key in keys.items()},
        clips=frame_digest(facts),
        config=BuiltWith.of(store.project.config.index),
    )


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


def neighbour_tables(project: Project) -> list[Path]:
    """The folders of all neighbour tables, of any build and policy."""
    root = project.root / "neighbours"
    return sorted(p for p in root.glob("*") if p.is_dir()) if root.is_dir() else []


def is_fresh(store: Store, record: BuildRecord) -> bool:
    """Whether a build was made from the project's present clips, features and settings."""
    try:
        library = library_clips(store)[0]
    except ConfigError:
        return False
    return build_document(store, library).build == record.build


def open_index(source: Store | Project) -> OpenIndex:
    """Open the newest build, after every file was checked against its commit.

    A build from other clips, splits, features or settings than the project's is refused: training
    on it could retrieve a clip that has become a test clip.

    Args:
        source: the store; for a project its store is opened.

    Raises:
        ConfigError: no build yet, or the newest is out of date (names the stage to run).
        IntegrityError: a file is missing or changed.
    """
    store = store_of(source)
    record = _newest_record(store.project)
    if not is_fresh(store, record):
        changed = "; ".join(record.changed_settings(store.project.config.index))
        raise ConfigError(
            "the clips, their features or the settings changed since the index was built"
            f"{f' ({changed})' if changed else ''}; run `redub index build`",
            code="E-STAGE-INDEX",
        )
    return _opened(store, record, is_present=True)


def open_build(store: Store, record: BuildRecord) -> OpenIndex:
    """Open a build of the present clips that need not be committed yet, its bytes checked.

    Raises:
        IntegrityError: a file is missing or changed.
    """
    return _opened(store, record, is_present=True)


def newest_build(store: Store) -> OpenIndex:
    """Open the newest build, its bytes checked, even where the project has changed since.

    For audits, which must see such a build; :func:`open_index` refuses it.

    Raises:
        ConfigError: no build yet.
        IntegrityError: a file is missing or changed.
    """
    record = _newest_record(store.project)
    return _opened(store, record, is_present=is_fresh(store, record))


def _newest_record(project: Project) -> BuildRecord:
    record = current_build(project)
    if record is None:
        raise ConfigError("there is no index yet; run `redub index build`", code="E-STAGE-INDEX")
    return record


def _opened(store: Store, record: BuildRecord, *, is_present: bool) -> OpenIndex:
    """Check and open a build.

    Args:
        is_present: the build is of the project's present clips and features.
    """
    record.check_files(store.project)
    root = store.project.root / "index"
    folder = root / LIBRARY / record.build
    frame = pl.from_arrow(pq.read_table(folder / "clips.parquet"))
    if not isinstance(frame, pl.DataFrame):
        raise IntegrityError(f"{folder}: not a table", code="E-INT-INDEX")
    clips = clips_of(frame)
    table = LibraryTable.from_clips(clips)
    spaces = committed_spaces(folder, clips, record.spaces)
    modalities = {}
    for modality in MODALITIES:
        folders = [root / modality / name for name in record.segments[modality]]
        segments = [Segment.load(place, read_segment_record(place)) for place in folders]
        space = spaces.get(modality)
        if is_present:
            wanted = dict(wanted_vectors(store, modality, frame, space).iter_rows())
        else:
            wanted = _indexed(store, modality, clips, segments)
        transform = None if space is None else space.transform
        modalities[modality] = ModalityIndex.of(modality, table, segments, wanted, transform)
    audio = np.load(folder / "audio.npy", allow_pickle=False)
    return OpenIndex(record.build, tuple(clips), table, modalities, audio, spaces)


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


def audio_search(project: Project, index: OpenIndex) -> ModalityIndex:
    """The audio emotion vectors of a build as a modality that the exact backend searches.

    Audio is no modality of training: the sound of a line that is to be dubbed does not exist yet.
    Clips that have sound can be compared by it.
    """
    folder = project.root / "index" / LIBRARY / index.build
    with np.load(folder / "audio_transform.npz", allow_pickle=False) as arrays:
        transform = Chain.from_arrays(dict(arrays))
    metric = project.config.index.metric
    rows = np.flatnonzero(has_direction(index.audio, metric))
    vectors = np.ascontiguousarray(index.audio[rows])
    ids = tuple(index.clips[row].clip_id for row in rows)
    segment = Segment(
        modality="audio",
        feature_key="",
        clip_ids=ids,
        digests=("",) * len(ids),
        backend=ExactBackend.build(vectors, metric=metric),
        raw=vectors,
        halves=False,
    )
    searched = LiveSegments.of([segment], dict.fromkeys(ids, ""), ids)
    return ModalityIndex(modality="audio", rows=rows, backend=searched, transform=transform)


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
