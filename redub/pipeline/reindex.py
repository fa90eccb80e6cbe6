"""`redub reindex`: bring clips, features, index and neighbours up to date with the footage folder.

    ingest → extract → index → retrieve

One lock is held over all four. The new index and its neighbours are written beside those in use,
and become the project's with one commit at the end; a process that opened the build before keeps
it. The features have the bytes, and the index the answers, of a project that is made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import polars as pl

from redub.core.errors import ConfigError, UsageError
from redub.core.progress import Bar
from redub.footage.faults import shown
from redub.footage.listing import list_files
from redub.pipeline.foresee import foresee
from redub.pipeline.reports.plan import plan
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.index import prepare_build
from redub.pipeline.stages.ingest import IngestSummary, OnlySources, ingest
from redub.pipeline.stages.retrieve import retrieve
from redub.pipeline.store.index.build_record import current_build
from redub.pipeline.store.index.builds import is_fresh
from redub.pipeline.store.index.neighbours import hits_of_build
from redub.pipeline.store.project import Project
from redub.pipeline.store.tables import Store
from redub.pipeline.store.timings import note_features
from redub.pipeline.store.writing import writing
from redub.pipeline.work.executor import Scheduler

_NAMED = 5  # utterances in a sentence
WITHOUT_INDEX = ("E-STAGE-EXTRACT", "E-STAGE-SPLIT")
"""Codes of a project whose clips cannot be a library: no speech, or no training clip."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table that are new, written again, or no longer used."""

    added: int
    changed: int
    removed: int

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


@dataclass(slots=True, kw_only=True)
class Reindexed:
    """What `redub reindex` did, or with ``is_dry_run`` what it would do.

    Attributes:
        sources, unchanged, gone: files that were read, left as they are, and taken out.
        clips: rows of the clip table.
        features: feature → its rows; a row that ends in quarantine is counted, too.
        build_before, build_after: names of the index builds; empty without one. In a dry run
            ``build_after`` is empty where another build would be made.
        queried: utterances that were searched for.
        differing: ids of the utterances of before that now retrieve other clips.
        quarantined: files, subtitle lines and clips that were quarantined now.
        without_index: why there is no index; empty if there is one.
        remarks: sentences about the footage.
    """

    is_dry_run: bool = False
    sources: int = 0
    unchanged: int = 0
    gone: int = 0
    clips: Rows = field(default_factory=lambda: Rows(0, 0, 0))
    features: dict[str, Rows] = field(default_factory=dict)
    build_before: str = ""
    build_after: str = ""
    queried: int = 0
    differing: list[str] = field(default_factory=list)
    quarantined: int = 0
    without_index: str = ""
    remarks: list[str] = field(default_factory=list)

    @property
    def is_nothing(self) -> bool:
        """Whether nothing was to do."""
        rows = [self.clips, *self.features.values()]
        return not any(rows) and self.build_before == self.build_after and not self.queried

    def sentences(self) -> list[str]:
        """What happened to footage, clips and index, as sentences."""
        said = [
            f"{self.sources} sources {'to read' if self.is_dry_run else 'read'}, "
            f"{self.unchanged} unchanged, {self.gone} gone",
            f"clips: {self.clips.added} added, {self.clips.changed} changed, "
            f"{self.clips.removed} removed",
        ]
        if self.without_index:
            said.append(f"no index: {self.without_index}")
        elif self.build_before == self.build_after:
            said.append(f"index {self.build_after} is up to date")
        elif self.is_dry_run:
            said.append(f"index {self.build_before or '(none)'}: another build would be made")
        else:
            said.append(f"index {self.build_before or '(none)'} → {self.build_after}")
        if self.differing:
            named = ", ".join(shown(clip) for clip in self.differing[:_NAMED])
            more = len(self.differing) - _NAMED
            said.append(
                f"{len(self.differing)} utterances retrieve other clips than before: {named}"
                + (f" and {more} more (`redub reindex --json` names all)" if more > 0 else "")
            )
        return said


def reindex(
    project: Project, scheduler: Scheduler, *, bar: Bar, only: OnlySources = lambda source: True
) -> Reindexed:
    """Do the four stages.

    Args:
        bar: makes the progress bar of a stage.
        only: sources that may be read or taken out; see :func:`sources_below`.

    Raises:
        LockedError: another process writes to the project.
        ConfigError, ModelRefusedError, StorageError, IntegrityError, ClusterLostError: as the
            stages. What was committed stays; the index is as it was before.
    """
    with writing(project, "reindex"):
        before = _Before.of(Store(project))
        with bar("ingest", "files") as progress:
            read = ingest(project, scheduler=scheduler, progress=progress, only=only)
        found = _changes(Store(project), before, read)
        with bar("extract") as progress:
            done = extract(project, scheduler=scheduler, progress=progress)
        note_features(project, done.seconds, done.clips)
        found.quarantined += done.quarantined
        try:
            prepared = prepare_build(project)
        except ConfigError as error:
            if error.code not in WITHOUT_INDEX:
                raise
            found.without_index = error.message
            return found
        build = prepared.record.build
        found.queried = retrieve(project, prepared.record).queries
        found.build_after = build
        found.differing = _differing(Store(project), before.hits, hits_of_build(project, build))
        prepared.commit(project)
        return found


def foresee_reindex(
    project: Project, scheduler: Scheduler, *, bar: Bar, only: OnlySources = lambda source: True
) -> Reindexed:
    """What :func:`reindex` would do; writes nothing.

    Which utterances would retrieve other clips is not known before their features are computed.
    """
    before = _Before.of(Store(project))
    with bar("read", "files") as progress:
        store, read = foresee(project, scheduler=scheduler, progress=progress, only=only)
    found = _changes(store, before, read)
    found.is_dry_run = True
    record = current_build(project)
    if record is not None and not any(found.features.values()) and is_fresh(store, record):
        found.build_after = record.build
    return found


def sources_below(project: Project, paths: Sequence[Path]) -> OnlySources:
    """Whether a source lies below one of some paths, or belongs to a subtitle file among them.

    Args:
        paths: files and folders in the footage folder, which need not exist any more; no path
            means all sources.

    Raises:
        UsageError: a path is outside the footage folder, or is a table of it.
        ConfigError: see :func:`list_files`.
    """
    if not paths:
        return lambda source: True
    root = project.footage_root.resolve()
    wanted: set[str] = set()
    for path in paths:
        place = path.resolve()
        if not place.is_relative_to(root):
            raise UsageError(
                f"'{shown(str(path))}' is outside the footage folder {root}; put it there, or "
                "name its folder in [footage] root"
            )
        wanted.add(place.relative_to(root).as_posix())
    tables = sorted(name for name in wanted if PurePosixPath(name).suffix.lower() == ".csv")
    if tables:
        raise UsageError(f"'{shown(tables[0])}' concerns all sources; leave out the paths")
    choices = list_files(root).beside.choices
    wanted |= {source for source, choice in choices.items() if choice.path in wanted}

    def lies_below(source: str) -> bool:
        above = {source, *map(str, PurePosixPath(source).parents)}
        return not above.isdisjoint(wanted)

    return lies_below


@dataclass(frozen=True, slots=True)
class _Before:
    """The project before the stages: clips with their digests, feature rows, build, and hits."""

    clips: pl.DataFrame
    rows: dict[str, pl.DataFrame]
    build: str
    hits: pl.DataFrame

    @classmethod
    def of(cls, store: Store) -> _Before:
        clips = store.clip_frame()
        record = current_build(store.project)
        build = "" if record is None else record.build
        return cls(
            clips.select("clip_id", "media_digest", "text_digest"),
            {
                name: store.live_features(name, clips=clips).select("clip_id")
                for name in store.keys.usable
            },
            build,
            hits_of_build(store.project, build),
        )


def _changes(store: Store, before: _Before, read: IngestSummary) -> Reindexed:
    """Compare the store after ingest, or the foreseen one, with the project before."""
    clips = store.clip_frame().select("clip_id", "media_digest", "text_digest")
    both = clips.join(before.clips, on="clip_id", how="inner", suffix="_before")
    same = (pl.col("media_digest") == pl.col("media_digest_before")) & (
        pl.col("text_digest") == pl.col("text_digest_before")
    )
    removed = before.clips.height - both.height
    lines = {line.feature: line for line in plan(store)}
    features = {}
    for name, line in lines.items():
        rows = before.rows.get(name)
        left = 0 if rows is None else rows.join(clips, on="clip_id", how="anti").height
        features[name] = Rows(line.new, line.changed, left)
    return Reindexed(
        sources=read.sources,
        unchanged=read.unchanged,
        gone=read.gone,
        clips=Rows(clips.height - both.height, both.filter(~same).height, removed),
        features=features,
        build_before=before.build,
        quarantined=read.quarantined,
        remarks=read.remarks(),
    )


def _differing(store: Store, before: pl.DataFrame, after: pl.DataFrame) -> list[str]:
    """Clips of before that are still there and whose hits are others, in clip-table order."""
    both = before.join(after, on="clip_id", suffix="_after")
    other = both.filter(pl.col("hits") != pl.col("hits_after")).select("clip_id")
    live = store.clip_frame().select("clip_id")
    found: list[str] = live.join(other, on="clip_id", how="semi", maintain_order="left")[
        "clip_id"
    ].to_list()
    return found
