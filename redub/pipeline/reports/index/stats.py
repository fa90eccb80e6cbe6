"""`redub index stats`: what the index holds, and how its stored hits are distributed.

Reads the newest build and its stored neighbours. Writes nothing.

Source of the hubness figures: Radovanović, Nanopoulos and Ivanović, "Hubs in Space" (JMLR 11,
2010): N_k(x), how often x is among the K nearest of the queries, and the skewness of N_k.

Letters: N library rows, n indexed rows, K retrieved clips.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from redub.core.types import MODALITIES, Clip
from redub.index.base import GraphFacts
from redub.index.segments import Placed
from redub.pipeline.store.index.build_record import BuildRecord, current_build, records_of_builds
from redub.pipeline.store.index.builds import (
    LIBRARY,
    OpenIndex,
    is_fresh,
    newest_build,
    read_segment_record,
)
from redub.pipeline.store.index.neighbours import stored_hits
from redub.pipeline.store.project import Project
from redub.pipeline.store.tables import Store

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


GONE = "gone"
"""Stands for the split of a library clip that the clip table does not have any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HitStats:
    """How the stored hits of one modality are distributed over its library rows.

    ``skewness`` of the k-occurrence: 0 is even, above 1 a few hubs are retrieved by most queries;
    None where every row is retrieved equally often. ``never``: rows that no query retrieves.
    ``scores`` and ``margins``: quantiles, ``"0.5"`` is the median; NaN margins are left out, and
    ``margins`` is None where no hit has one.
    """

    queries: int
    hits: int
    most_retrieved: str
    most_times: int
    skewness: float | None
    never: int
    scores: dict[str, float]
    margins: dict[str, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentStats:
    """One segment: ``live`` of its ``rows`` are in the library; ``graph`` is None if exact."""

    name: str
    backend: str
    rows: int
    live: int
    size_bytes: int
    graph: GraphFacts | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityStats:
    """One modality of the build.

    ``feature``: the feature of the build. ``rows``: live rows. ``width``: of the vectors as they
    are searched, after ``transform``. ``size_bytes``: of all segments.
    """

    modality: str
    feature: str
    rows: int
    width: int
    metric: str
    halves: bool
    transform: str
    size_bytes: int
    segments: tuple[SegmentStats, ...]
    hits: HitStats | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStats:
    """The newest build. ``library_by``: clips per film, speaker, emotion and present split."""

    build: str
    is_fresh: bool
    builds: int
    library: int
    library_by: dict[str, dict[str, int]]
    audio_transform: str
    audio_width: int
    library_bytes: int
    modalities: tuple[ModalityStats, ...]

    def lines(self) -> list[str]:
        """The figures in sentences."""
        state = "up to date" if self.is_fresh else "out of date"
        said = [f"index {self.build} ({state}), the newest of {self.builds} builds"]
        said.append(
            f"library: {self.library} clips, audio vectors {self.audio_transform} of width "
            f"{self.audio_width}, {_on_disk(self.library_bytes)}"
        )
        for name, counts in self.library_by.items():
            said.append(f"  by {name}: " + ", ".join(f"{k or '–'} {v}" for k, v in counts.items()))
        for own in self.modalities:
            said.append(
                f"{own.modality}: {own.rows} rows of {own.feature}, width {own.width}, "
                f"{own.metric}{' of two halves' if own.halves else ''}, transform {own.transform}, "
                f"{_on_disk(own.size_bytes)} "
                f"in {len(own.segments)} segments"
            )
            said += [f"  {_segment_line(segment)}" for segment in own.segments]
            said += [f"  {line}" for line in _hit_lines(own.hits)]
        return said


def _segment_line(own: SegmentStats) -> str:
    text = f"{own.name}: {own.live} of {own.rows} rows live, {own.backend}"
    if own.graph is None:
        return text
    facts = own.graph
    return (
        f"{text}, M {facts.m}, ef {facts.ef} (built with {facts.ef_construction}), "
        f"recall@{facts.recall_at} {facts.recall:.4f} on {facts.recall_queries} rows, "
        f"floor {facts.recall_floor}"
    )


def _hit_lines(hits: HitStats | None) -> list[str]:
    if hits is None:
        return ["no hits are stored; run `redub retrieve`"]
    skewness = "–" if hits.skewness is None else f"{hits.skewness:.2f}"
    lines = [
        f"{hits.hits} hits of {hits.queries} queries; skewness {skewness}, {hits.never} rows are "
        f"never retrieved, {hits.most_retrieved} {hits.most_times} times",
        "scores " + _quantile_line(hits.scores),
    ]
    if hits.margins is not None:
        lines.append("margins " + _quantile_line(hits.margins))
    return lines


def _quantile_line(values: Mapping[str, float]) -> str:
    return ", ".join(f"{float(share):.0%} {value:.3f}" for share, value in values.items())


def _on_disk(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.0f} KiB"


def index_stats(project: Project) -> IndexStats:
    """Describe the newest build and its stored neighbours.

    Raises:
        ConfigError: there is no build yet.
        IntegrityError: a file of the build is damaged.
    """
    store = Store(project)
    index = newest_build(store)
    record = current_build(project)
    assert record is not None  # newest_build has opened it
    live = {clip.clip_id: clip for clip in store.clips()}
    rows = stored_hits(store, index).filter(pl.col("clip_id").is_in(list(live)))
    transform, width = _transform(project, index)
    return IndexStats(
        build=index.build,
        is_fresh=is_fresh(store, record),
        builds=len(records_of_builds(project)),
        library=len(index.clips),
        library_by=_library_by(index.clips, live),
        audio_transform=transform,
        audio_width=width,
        library_bytes=_size(project, record, f"{LIBRARY}/{index.build}"),
        modalities=tuple(_modality(project, index, record, m, rows) for m in MODALITIES),
    )


def _library_by(clips: Sequence[Clip], live: Mapping[str, Clip]) -> dict[str, dict[str, int]]:
    splits = [live[c.clip_id].split if c.clip_id in live else GONE for c in clips]
    columns = {
        "film": [clip.film for clip in clips],
        "speaker": [clip.speaker for clip in clips],
        "emotion": [clip.emotion for clip in clips],
        "split": splits,
    }
    return {
        name: dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
        for name, values in columns.items()
    }


def _transform(project: Project, index: OpenIndex) -> tuple[str, int]:
    """The transform steps of the stored audio vectors, and the width after them."""
    path = project.root / "index" / LIBRARY / index.build / "audio_transform.npz"
    with np.load(path, allow_pickle=False) as arrays:
        steps = ", ".join(str(step) for step in arrays["steps"])
    return steps, int(index.audio.shape[1])


def _size(project: Project, record: BuildRecord, folder: str) -> int:
    root = project.root / "index" / folder
    return sum((root / file).stat().st_size for file in record.files[folder])


def _modality(
    project: Project,
    index: OpenIndex,
    record: BuildRecord,
    modality: str,
    rows: pl.DataFrame,
) -> ModalityStats:
    own = index.modalities[modality]
    segments = tuple(
        _segment(project, record, f"{modality}/{name}", placed)
        for name, placed in zip(record.segments[modality], own.backend.placed, strict=True)
    )
    return ModalityStats(
        modality=modality,
        feature=record.features[modality],
        rows=len(own.rows),
        width=own.backend.width,
        metric=own.backend.metric,
        halves=own.halves,
        transform=own.transform_name,
        size_bytes=sum(segment.size_bytes for segment in segments),
        segments=segments,
        hits=_hit_stats(
            rows.filter(pl.col("modality") == modality),
            [index.clips[row].clip_id for row in own.rows],
        ),
    )


def _segment(project: Project, record: BuildRecord, folder: str, placed: Placed) -> SegmentStats:
    saved = read_segment_record(project.root / "index" / folder).index
    return SegmentStats(
        name=folder,
        backend=saved.backend,
        rows=saved.count,
        live=int(placed.is_live.sum()),
        size_bytes=_size(project, record, folder),
        graph=saved.graph,
    )


def _hit_stats(rows: pl.DataFrame, indexed: Sequence[str]) -> HitStats | None:
    if not rows.height:
        return None
    times = Counter(dict.fromkeys(indexed, 0))
    times.update(rows["hit"])
    most, number = min(times.items(), key=lambda item: (-item[1], item[0]))
    margins = rows["margin"].fill_nan(None).drop_nulls().to_numpy()
    return HitStats(
        queries=rows["clip_id"].n_unique(),
        hits=rows.height,
        most_retrieved=most,
        most_times=number,
        skewness=skewness(list(times.values())),
        never=sum(count == 0 for count in times.values()),
        scores=_quantiles(rows["score"].to_numpy()),
        margins=_quantiles(margins) if len(margins) else None,
    )


def _quantiles(values: Any) -> dict[str, float]:
    found = np.quantile(np.asarray(values, dtype=np.float64), QUANTILES)
    return {f"{share:g}": float(value) for share, value in zip(QUANTILES, found, strict=True)}


def skewness(counts: Sequence[int]) -> float | None:
    """E[(N - mean)³] / deviation³ of the whole population; None where all counts are equal."""
    values = np.asarray(counts, dtype=np.float64)
    if not len(values) or values.min() == values.max():
        return None
    apart = values - values.mean()
    return float((apart**3).mean() / (apart**2).mean() ** 1.5)
