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

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from redub.core.durable import folder_digests, new_folder
from redub.core.errors import ConfigError, IntegrityError
from redub.core.types import MODALITIES, Clip
from redub.index.transform import fit_chain
from redub.pipeline.store.index.build_record import (
    BuildDocument,
    BuildRecord,
    current_build,
    records_of_builds,
)
from redub.pipeline.store.index.builds import (
    LIBRARY,
    build_document,
    features_of,
    library_clips,
    read_segment_record,
    wanted_vectors,
)
from redub.pipeline.store.index.spaces import (
    PLAIN,
    Space,
    fit_space,
    read_spaces,
    transform_of,
    write_arrays,
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
from redub.pipeline.store.tables import Store, clips_of, commonest
from redub.pipeline.store.writing import writing
from redub.pipeline.work.index_segments import (
    KeptFolders,
    SegmentSource,
    build_segments,
    committed_files,
    segment_digests,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IndexSummary:
    """What was built.

    ``fresh``: False where the build was up to date. ``indexed`` and ``recall`` are per modality;
    the recall is None where all segments search exactly. ``left_out``: number of training clips
    without an audio vector. ``reasons``: the three commonest reasons, with counts.
    """

    build: str
    fresh: bool
    library: int
    indexed: dict[str, int]
    left_out: int
    recall: dict[str, float | None]
    reasons: str = ""

    def lines(self) -> list[str]:
        """The summary in sentences."""
        if not self.fresh:
            return [f"index {self.build} is up to date ({self.library} clips)"]
        counts = ", ".join(
            f"{name} {count}" + (f" (recall {r:.4f})" if (r := self.recall[name]) else "")
            for name, count in self.indexed.items()
        )
        said = f"{self.left_out} training clips left out"
        if self.left_out:
            said += f": they have no audio vector ({self.reasons})"
        return [f"index {self.build}: {self.library} clips, {counts}", said]


@dataclass(frozen=True, slots=True)
class PreparedBuild:
    """A build whose files are written; ``fresh``: it is not committed yet, so nobody reads it."""

    record: BuildRecord
    fresh: bool
    library: int
    left_out: dict[str, str]

    def commit(self, project: Project) -> None:
        """Make this build the newest one, unless it already is."""
        if self.fresh:
            self.record.commit(project)

    def summary(self) -> IndexSummary:
        """What was built."""
        return IndexSummary(
            build=self.record.build,
            fresh=self.fresh,
            library=self.library,
            indexed={modality: self.record.rows[modality] for modality in MODALITIES},
            left_out=len(self.left_out),
            recall=dict(self.record.recall),
            reasons=commonest(self.left_out.values()),
        )


def build_index(project: Project, *, compact: bool = False) -> IndexSummary:
    """Build and commit the index over the training split, unless it is up to date.

    Args, Raises: see :func:`prepare_build`.
    """
    prepared = prepare_build(project, compact=compact)
    prepared.commit(project)
    return prepared.summary()


def prepare_build(project: Project, *, compact: bool = False) -> PreparedBuild:
    """Write the files of a build over the training split, without the commit that names it.

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
    try:
        newest = current_build(project)
    except IntegrityError as error:
        log.warning("%s", error)
        newest = None
    up_to_date = newest is not None and newest.build == document.build and not compact
    if newest is not None and up_to_date and newest.is_whole(project):
        return PreparedBuild(newest, False, len(library), left_out)
    old = None if compact else newest
    made = _built(store, library, document, old, every_byte=up_to_date or old is None)
    return PreparedBuild(made, True, len(library), left_out)


def _built(
    store: Store,
    library: pl.DataFrame,
    document: BuildDocument,
    old: BuildRecord | None,
    *,
    every_byte: bool,
) -> BuildRecord:
    """Write what a build lacks; returns its record, which is not committed yet.

    Args:
        old: the build whose segments are kept where they fit; None to index all clips again.
        every_byte: see :class:`KeptFolders`.
    """
    project, build = store.project, document.build
    root = project.root / "index"
    kept = KeptFolders(root, committed_files(project), every_byte=every_byte)
    place = f"{LIBRARY}/{build}"
    if not kept.is_whole(place):
        _write_library(store, root / place, library)
    files: dict[str, dict[str, str]] = {place: folder_digests(root / place)}
    spaces: dict[str, Space] = {}
    if _has_spaces(project.config.index):
        spaces = read_spaces(root / place, clips_of(library))
    rows: dict[str, int] = {}
    recall: dict[str, float | None] = {}
    segments: dict[str, tuple[str, ...]] = {}
    for modality in MODALITIES:
        source = SegmentSource(store, modality, library, spaces.get(modality))
        wanted = wanted_vectors(store, modality, library, source.space)
        names = () if old is None else old.segments.get(modality, ())
        segments[modality] = tuple(build_segments(source, wanted, names, kept))
        rows[modality] = len(wanted)
        folders = [source.root / name for name in segments[modality]]
        files |= {f"{modality}/{folder.name}": segment_digests(folder) for folder in folders}
        graphs = [read_segment_record(folder).index.graph for folder in folders]
        recall[modality] = min((g.recall for g in graphs if g is not None), default=None)
    paths = records_of_builds(project)
    return BuildRecord(
        number=int(paths[-1].stem) + 1 if paths else 1,
        build=build,
        document=document,
        files=files,
        segments=segments,
        rows=rows,
        recall=recall,
        spaces={modality: space.digest for modality, space in spaces.items()},
    )


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
        write_arrays(folder / "audio_transform.npz", transform.to_arrays())
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


def run_index(project: Project, *, compact: bool = False) -> IndexSummary:
    """Run stage 3 under the project lock; see :func:`build_index`."""
    with writing(project, "index"):
        return build_index(project, compact=compact)
