"""Stage 1 of 7: turn a folder of footage into rows of the clip table.

Reads the footage folder (media, subtitles, tables). Writes the source table, the clip table and
a quarantine row for every file and every subtitle cue that cannot be used. A source is read
again only when its bytes, its subtitles, its rows in the tables or the decoders changed, or when
`redub bad retry` released one of its quarantine rows.
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from redub.core.config import digest_of
from redub.core.errors import ConfigError
from redub.core.progress import Progress
from redub.footage.faults import ClipFault, shown
from redub.footage.folder import FolderRules, SourceClips, read_source
from redub.footage.subtitles import TEXT_KINDS, counted, not_spoken_sentence
from redub.pipeline.store.project import Project
from redub.pipeline.store.quarantine import QuarantineRow, quarantine_table
from redub.pipeline.store.schemas import SourceRow, clip_table, source_table
from redub.pipeline.store.tables import Store
from redub.pipeline.store.writing import writing
from redub.pipeline.work.decoders import close_decoders, shared_decoder
from redub.pipeline.work.executor import Failure, Scheduler
from redub.pipeline.work.footage_changes import SourceOrder, footage_changes, with_version

OnlySources = Callable[[str], bool]
"""Whether a source, a posix path below the footage folder, may be read or taken out now."""


@dataclass(slots=True)
class IngestSummary:
    """Counts of the stage: sources read, unchanged or gone, and new clips and quarantine rows.

    ``first_reason``: source, code and message of the first quarantined row; empty without one.
    ``not_spoken``: kind of text in the subtitles that is not dialogue → number of texts.
    ``notices``: sentences about doubtful cues that are used, and about what was chosen in the
    media (tracks, channels, orientation, holes), with their source. ``unused``: files that were
    seen and not used, with the reason. ``without_subtitles``: number of sources without subtitles;
    each is one utterance without words. ``with_words``, ``with_speaker``: utterances of the whole
    project.
    """

    sources: int = 0
    unchanged: int = 0
    gone: int = 0
    clips: int = 0
    quarantined: int = 0
    first_reason: str = ""
    not_spoken: dict[str, int] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    without_subtitles: int = 0
    with_words: int = 0
    with_speaker: int = 0
    alike: list[str] = field(default_factory=list)

    def add(self, batch: Sequence[SourceClips]) -> None:
        """Count what was found in some sources."""
        for read in batch:
            self.clips += len(read.clips)
            self.quarantined += len(read.faults)
            for kind, number in counted(read.others).items():
                self.not_spoken[kind] = self.not_spoken.get(kind, 0) + number
            self.without_subtitles += bool(read.clips) and not read.subtitles
            own = [notice.text for notice in read.notices]
            own += read.info.notes if read.info else ()
            self.notices += [f"{read.source}: {notice}" for notice in own]
            if read.faults and not self.first_reason:
                first = read.faults[0]
                self.first_reason = f"{first.source}: {first.code}: {first.message}"

    def count(self, clips: pl.DataFrame) -> None:
        """Count the utterances of the whole project, given its live clips."""
        self.with_words = int((clips["text"] != "").sum())
        self.with_speaker = int((clips["speaker"] != "").sum())
        self.alike = _alike(clips["speaker"].unique().to_list())

    def remarks(self) -> list[str]:
        """What a user should know besides the counts, as sentences; the first ones of many."""
        said = [f"{self.with_words} utterances have words, {self.with_speaker} have a speaker"]
        if self.without_subtitles:
            said.append(
                f"{self.without_subtitles} sources have no subtitles: each is one utterance "
                "without words"
            )
        said += [
            f"{names} are different voices, and their names differ only in capitals; if they are "
            "one person, write the name once in cast.csv and ingest again"
            for names in self.alike
        ]
        if self.not_spoken:
            said.append(not_spoken_sentence(self.not_spoken))
        for what, kind, found in (
            ("note", "notes", self.notices),
            ("not used", "files", self.unused),
        ):
            said += [f"{what}: {one}" for one in found[:_NAMED]]
            if len(found) > _NAMED:
                more = len(found) - _NAMED
                said.append(f"{what}: {more} more {kind}, all of them with `redub ingest --json`")
        return said


_NAMED = 5  # notes and unused files in a message


def ingest(
    project: Project,
    *,
    scheduler: Scheduler,
    progress: Progress = lambda done, total: None,
    only: OnlySources = lambda source: True,
) -> IngestSummary:
    """Read every new or changed source; the caller holds the project lock.

    Args:
        progress: given the number of sources read, and of all to read.
        only: sources that may be read or taken out now; the others stay as they are.

    Raises:
        ConfigError: the footage folder is missing or empty, or a table is wrong.
    """
    root = check_footage(project)
    store = Store(project)
    changes = footage_changes(store)
    orders = [order for order in changes.orders if only(order.source)]
    gone = [source for source in changes.gone if only(source)]
    unused = [str(found) for found in changes.unused]
    if not changes.orders and not changes.unchanged:
        seen = f"; not used: {'; '.join(unused[:_NAMED])}" if unused else ""
        raise ConfigError(f"0 clips: no media below {root}{seen}", code="E-CFG-FOOTAGE")
    summary = IngestSummary(
        sources=len(orders), unchanged=changes.unchanged, gone=len(gone), unused=unused
    )
    if gone:
        _take_out(store, gone)
    size = project.config.store.sources_per_commit
    with contextlib.closing(
        read_sources(orders, scheduler=scheduler, progress=progress)
    ) as results:
        while batch := list(islice(results, size)):
            _commit(store, batch, summary)
    summary.count(store.clip_frame())
    return summary


def check_footage(project: Project) -> Path:
    """Return the footage folder.

    Raises:
        ConfigError: E-CFG-FOOTAGE, it does not exist.
    """
    root = project.footage_root
    if not root.is_dir():
        raise ConfigError(f"the footage folder {root} does not exist", code="E-CFG-FOOTAGE")
    return root


def _alike(speakers: Collection[str]) -> list[str]:
    """The names that differ only in capitals, as ``'BOB' and 'Bob'``."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for name in sorted(speakers):
        by_name[name.casefold()].append(f"'{shown(name)}'")
    return [" and ".join(names) for names in by_name.values() if len(names) > 1]


def read_one(order: SourceOrder) -> SourceClips:
    """Read one source; runs in a worker."""
    footage = order.project.config.footage
    return read_source(
        order.project.footage_root,
        order.source,
        order.tables,
        decoder=shared_decoder(order.project),
        rules=FolderRules(
            allow_audio_only=footage.allow_audio_only,
            film=footage.film or None,
            dialogue_styles=footage.dialogue_styles,
            language=footage.language,
            subtitles_language=footage.subtitles_language,
        ),
        subtitles=order.subtitles,
    )


def _lost(order: SourceOrder, failure: Failure[SourceOrder]) -> SourceClips:
    fault = ClipFault(
        clip_id="",
        source=order.source,
        code="E-WORKER-LOST",
        message=f"the worker died while it read this file ({failure.message})",
    )
    return SourceClips(order.source, None, (), (fault,))


def _commit(
    store: Store, batch: Sequence[tuple[SourceOrder, SourceClips]], summary: IngestSummary
) -> None:
    """Commit quarantine rows, then clips, then sources; the source commit makes the rows live.

    Part names are digests of the input, so an ingest that is killed and repeated finds its parts.
    """
    shard = digest_of([[order.source, order.fingerprint] for order, _ in batch], digits=16)
    name = f"part-{shard}.parquet"
    faults = [
        QuarantineRow.of_source(fault, order.fingerprint)
        for order, read in batch
        for fault in read.faults
    ]
    rows = rows_of(store.project, batch)
    tables = [
        (store.quarantine, quarantine_table(faults)),
        (store.clip_parts, rows.clips),
        (store.sources, rows.sources),
    ]
    for parts, table in tables:
        if table.num_rows and not parts.ends_with(name):
            parts.commit([parts.write_part(name, table, shard=shard)])
    summary.add([read for _, read in batch])


class SourceRows(NamedTuple):
    """Rows of the clip table and of the source table."""

    clips: pa.Table
    sources: pa.Table


def rows_of(project: Project, batch: Sequence[tuple[SourceOrder, SourceClips]]) -> SourceRows:
    """Make the rows of sources that were read."""
    only = project.config.footage.decoder
    clips = [
        with_version(clip, only, reading=read.info.reading if read.info else "")
        for _, read in batch
        for clip in read.clips
    ]
    prints = [order.fingerprint for order, read in batch for _ in read.clips]
    return SourceRows(
        clip_table(clips, prints, project.config.video.fps),
        source_table([_source_row(*item) for item in batch]),
    )


def read_sources(
    orders: Sequence[SourceOrder],
    *,
    scheduler: Scheduler,
    progress: Progress = lambda done, total: None,
) -> Generator[tuple[SourceOrder, SourceClips], None, None]:
    """Read sources in the order of ``orders``; a worker that died is a fault of its source."""
    progress(0, len(orders))
    try:
        results = scheduler.run(read_one, orders)
        for done, (order, result) in enumerate(zip(orders, results, strict=True), start=1):
            yield order, _lost(order, result) if isinstance(result, Failure) else result
            progress(done, len(orders))
    finally:
        close_decoders()


def _take_out(store: Store, gone: Sequence[str]) -> None:
    """Mark sources that left the folder: their clips are no longer live, their rows stay.

    A source that comes back is read again; its features are still in the store.
    """
    number = len(store.sources.commits()) + 1
    shard = digest_of([number, list(gone)], digits=16)
    table = rows_of_gone(gone)
    part = store.sources.write_part(f"part-{shard}.parquet", table, shard=shard)
    store.sources.commit([part])


def rows_of_gone(sources: Sequence[str]) -> pa.Table:
    """Rows of the source table that take sources out: they have no fingerprint."""
    return source_table([SourceRow(source=source) for source in sources])


def _source_row(order: SourceOrder, read: SourceClips) -> SourceRow:
    info: dict[str, object] = {} if read.info is None else asdict(read.info)
    if others := [asdict(other) for other in read.others if other.kind in TEXT_KINDS]:
        info["not_spoken"] = others
    if read.subtitles:
        info["subtitles"] = read.subtitles
    if read.notices:
        info["notices"] = [notice.text for notice in read.notices]
    return SourceRow(
        source=order.source,
        fingerprint=order.fingerprint,
        source_digest=read.clips[0].source_digest if read.clips else "",
        info=json.dumps(info, sort_keys=True),
        clips=len(read.clips),
        faults=len(read.faults),
    )


def run_ingest(project: Project, scheduler: Scheduler, progress: Progress) -> IngestSummary:
    """Run stage 1 under the project lock; see :func:`ingest`."""
    with writing(project, "ingest"):
        return ingest(project, scheduler=scheduler, progress=progress)
