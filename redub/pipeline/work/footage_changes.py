"""Find the files of the footage folder that are new, changed or gone since the last ingest.

Reads the footage folder, its CSV tables, and the source table of the store. Writes nothing.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from redub.core.config import digest_of
from redub.core.durable import file_digest
from redub.core.types import Clip
from redub.footage.folder import read_tables, scene_of
from redub.footage.listing import list_files
from redub.footage.subtitles.beside import Choice, Unused
from redub.footage.tables import Tables
from redub.pipeline.store.project import Project
from redub.pipeline.store.tables import Store

INGEST_VERSION = 3


@dataclass(frozen=True, slots=True)
class SourceOrder:
    """One ingest task: read one media file and its subtitles."""

    project: Project
    source: str
    tables: Tables
    subtitles: Choice
    fingerprint: str


@dataclass(frozen=True, slots=True)
class FootageChanges:
    """The footage folder against the store.

    Attributes:
        orders: sources to read because they are new, changed or released by `redub bad retry`.
        unchanged: number of other sources.
        gone: names of sources that left the folder.
        unused: subtitle-like and media-like files that are not used, with the reason.
    """

    orders: list[SourceOrder]
    unchanged: int
    gone: list[str]
    unused: list[Unused]


def footage_changes(store: Store) -> FootageChanges:
    """Compare the footage folder with the store.

    Raises:
        ConfigError: a table of the folder is wrong.
    """
    project = store.project
    root = project.footage_root
    files = list_files(root, subtitles_language=project.config.footage.subtitles_language)
    names, tables = files.sources, read_tables(root, files.sources)
    known = dict(store.source_frame().select("source", "fingerprint").iter_rows())
    releases = store.releases_at_ingest()
    prints = {
        source: fingerprint_of(
            project,
            root,
            source,
            tables,
            files.beside.of(source),
            releases=releases.get(source, 0),
        )
        for source in names
    }
    orders = [
        SourceOrder(project, source, tables, files.beside.of(source), fingerprint)
        for source, fingerprint in prints.items()
        if known.get(source) != fingerprint
    ]
    gone = sorted(s for s, fingerprint in known.items() if fingerprint and s not in prints)
    unused = files.beside.all_unused()
    return FootageChanges(orders, len(names) - len(orders), gone, unused)


def fingerprint_of(
    project: Project,
    root: Path,
    source: str,
    tables: Tables,
    choice: Choice,
    *,
    releases: int = 0,
) -> str:
    """Digest of everything that a source's clip rows depend on; media by size and mtime.

    Args:
        choice: the subtitles of the source.
        releases: how many quarantine rows of the source `redub bad retry` has released. A release
            changes the digest, so that ingest reads the source again.
    """
    path = root / source
    try:
        state = path.stat()
        stamp = [state.st_size, state.st_mtime_ns]
    except OSError as error:
        stamp = [-1, error.errno or 0]
    subtitles = [choice.path, choice.problem]
    if choice.path is not None:
        try:
            subtitles.append(file_digest(root / choice.path))
        except OSError as error:
            subtitles.append(str(error.errno))
    config = project.config
    return digest_of(
        [
            INGEST_VERSION,
            stamp,
            subtitles,
            rows_about(tables, source),
            asdict(config.video),
            asdict(config.footage),
            decoder_versions(),
            *([releases] if releases else []),
        ],
        digits=16,
    )


def rows_about(tables: Tables, source: str) -> list[Any]:
    """The entries of the CSV tables for one source; changes for other sources do not affect it."""
    lines = [
        {line: found.value for line, found in table.get(source, {}).items()}
        for table in (tables.emotions, tables.speakers, tables.scenes)
    ]
    scenes = {scene_of(source), *lines[2].values()}
    splits = [tables.source_splits.get(source), {s: tables.scene_splits.get(s) for s in scenes}]
    cast = None if tables.cast is None else dict(tables.cast)
    languages = {line: found.value for line, found in tables.languages.get(source, {}).items()}
    rows = [cast, [{str(k): v for k, v in table.items()} for table in lines], splits]
    return [*rows, languages] if languages else rows


@lru_cache(maxsize=1)
def decoder_versions() -> dict[str, str]:
    """Versions of the installed decoder packages, ``av`` and ``decord``."""
    return {name: importlib.metadata.version(name) for name in ("av", "decord")}


def with_version(clip: Clip, only: str = "auto", *, reading: str = "") -> Clip:
    """The clip with its decoder's version, which enters the digest: frames may depend on it.

    Args:
        only: the decoder to use instead of the clip's; ``auto`` keeps the clip's.
        reading: of its :class:`SourceInfo`; it enters the digest, too.
    """
    name = clip.decoder if only == "auto" else only
    package = {"pyav": "av", "decord": "decord"}[name]
    return dataclasses.replace(
        clip, decoder=f"{name} {decoder_versions()[package]} {reading}".strip()
    )
