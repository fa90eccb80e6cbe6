"""Leaks of the index: what retrieves what it must not, what stands on both sides of a split.

Reads the clip table, the newest index build (out of date or not), its stored neighbours and the
cached mel frames. Opens no media and writes nothing.

What a finding would do to the scores is measured, not assumed: precision@K by emotion (counted as
in :mod:`redub.pipeline.precision`) of the stored hits as they are, and with every hit of that kind
replaced by the next best clip that is allowed.

Letters: N library rows, Q queries, K neighbours.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from redub.core.errors import IntegrityError
from redub.core.types import MODALITIES, Clip
from redub.evaluation.intervals import wilson
from redub.index.base import BoolArray, IntArray
from redub.index.exact import ExactBackend
from redub.index.library import LibraryTable, ModalityIndex
from redub.index.near_duplicates import (
    LEAST_CHANNELS,
    Duplicate,
    Fingerprint,
    find_duplicates,
    fingerprint,
)
from redub.index.policy import HELD_OUT, ClipFacts, Policy
from redub.index.segments import LiveSegments, Segment, SegmentRecord
from redub.pipeline.index import (
    LIBRARY,
    RECORD,
    OpenIndex,
    built_of,
    check_build,
    current_build,
    features_of,
    is_fresh,
    open_index,
    policy_of,
    spaces_of,
)
from redub.pipeline.project import Project
from redub.pipeline.retrieve import neighbour_parts
from redub.pipeline.store import Store, clips_of

Severity = Literal["leak", "warning", "note"]
Kind = Literal[
    "self_hit",
    "same_scene",
    "near_duplicate_audio",
    "duplicate_text",
    "held_out_in_library",
    "stale_neighbours",
]
Ban = Callable[[Clip], BoolArray]
"""A query clip to (N,) bool, True where a library row may not answer it."""

TELLING_WORDS = 3
"""Fewer words, such as "yes" or "thank you", are said in every film; they are only counted."""

SURE_WORDS = 5
"""Lines of so many words are hardly said twice by chance; shorter ones are a warning."""

MEASURED_QUERIES = 2000
"""Queries that are searched again per kind and modality; of more, so many spread evenly."""

SEARCH_BLOCK = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong. ``clip_id`` is the query, or the clip that is held out."""

    kind: Kind
    severity: Severity
    clip_id: str
    other: str
    modality: str
    detail: str


@dataclass(frozen=True, slots=True)
class Share:
    """``hits`` of ``of``, with the 95 % interval of the share (Wilson)."""

    hits: int
    of: int
    value: float
    low: float
    high: float

    @classmethod
    def counted(cls, hits: int, of: int) -> Share | None:
        return None if not of else cls(hits, of, *wilson(hits, of))


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What the hits of one kind do in one modality.

    ``hits`` of ``stored`` rows are of the kind, for ``queries`` different clips. ``precision`` is
    that of ``measured`` labelled queries among them as stored, ``without`` after replacement;
    ``overall`` and ``overall_without`` are over all labelled queries, None where only a sample of
    the queries was searched again. None also where no label can be counted.
    """

    modality: str
    hits: int
    stored: int
    queries: int
    measured: int
    precision: Share | None
    without: Share | None
    overall: Share | None
    overall_without: Share | None

    def line(self, k: int) -> str:
        text = f"{self.modality}: {self.hits} of {self.stored} hits, in {self.queries} queries"
        if self.precision is None or self.without is None:
            return f"{text}; not measured: no emotion labels, or vectors of another extractor"
        text += (
            f"; precision@{k} of {self.measured} of them {_percent(self.precision)}, "
            f"without those hits {_percent(self.without)}"
        )
        if self.overall is not None and self.overall_without is not None:
            before, after = self.overall.value, self.overall_without.value
            text += f"; of all queries {before:.1%}, without {after:.1%}"
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class KindReport:
    """All there is to say about one kind, findings or not."""

    kind: Kind
    leaks: int
    warnings: int
    notes: int
    says: tuple[str, ...]
    effects: tuple[Effect, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """``leaks`` is what decides: 0 is clean, whatever was noted besides."""

    build: str
    is_fresh: bool
    k: int
    clips: int
    library: int
    stored_hits: int
    leaks: int
    kinds: tuple[KindReport, ...]
    findings: tuple[Finding, ...]
    not_looked_at: tuple[str, ...]

    def lines(self, most: int = 5) -> list[str]:
        """The report for people; of each kind the first ``most`` findings."""
        state = "up to date" if self.is_fresh else "out of date"
        said = [
            f"index {self.build} ({state}): {self.clips} clips, {self.library} in the library, "
            f"{self.stored_hits} stored hits"
        ]
        for report in self.kinds:
            said += [f"{report.kind}: {sentence}" for sentence in report.says]
            said += [f"  {effect.line(self.k)}" for effect in report.effects]
            own = [finding for finding in self.findings if finding.kind == report.kind]
            said += [
                f"  {finding.severity}: {finding.clip_id} ← {finding.other}"
                + (f" [{finding.modality}]" if finding.modality else "")
                + f": {finding.detail}"
                for finding in own[:most]
            ]
            if len(own) > most:
                said.append(f"  … and {len(own) - most} more (--json names all)")
        said += [f"not looked at: {what}" for what in self.not_looked_at]
        said.append("no leaks" if not self.leaks else f"{self.leaks} leaks")
        return said


def audit_index(project: Project) -> AuditReport:
    """Look for every kind of leak and measure what each does.

    Raises:
        ConfigError: there is no index build yet (names the stage to run).
        IntegrityError: a file of the build, the neighbours or a feature is damaged.
    """
    look = _Look.at(project)
    found: list[tuple[KindReport, list[Finding]]] = [
        _self_hits(look),
        _same_scene(look),
        _near_duplicates(look),
        _duplicate_text(look),
        _held_out(look),
        _stale(look),
    ]
    findings = tuple(finding for _, own in found for finding in own)
    return AuditReport(
        build=look.index.build,
        is_fresh=look.is_fresh,
        k=look.k,
        clips=len(look.clips),
        library=len(look.index.clips),
        stored_hits=look.rows.height,
        leaks=sum(finding.severity == "leak" for finding in findings),
        kinds=tuple(report for report, _ in found),
        findings=findings,
        not_looked_at=tuple(look.gaps),
    )


# -- what is looked at


class _Look:
    """Everything an audit reads, opened once."""

    def __init__(
        self, store: Store, index: OpenIndex, *, fresh: bool, built: Mapping[str, str]
    ) -> None:
        config = store.project.config.index
        self.store, self.index, self.is_fresh = store, index, fresh
        self.features, self.built = features_of(store), built
        self.policy, self.k = policy_of(config), config.k
        self.clips = {clip.clip_id: clip for clip in store.clips()}
        self.library = {clip.clip_id: clip for clip in index.clips}
        self.facts = _facts(self.library | self.clips)
        self.gaps: list[str] = []
        stored = stored_hits(store, index)
        live = pl.Series(list(self.clips), dtype=pl.String)
        is_live = pl.col("clip_id").is_in(live) & pl.col("hit").is_in(live)
        self.gone = stored.filter(~is_live)
        self.rows = stored.filter(pl.col("clip_id").is_in(live))
        if not len(stored):
            self.gaps.append("hits: no neighbours are stored for this build; run `redub retrieve`")
        elif missing := len(self.clips) - self.rows["clip_id"].n_unique():
            self.gaps.append(f"hits of {missing} clips: none are stored")
        self._searchable: dict[str, ModalityIndex | None] = {}

    @classmethod
    def at(cls, project: Project) -> _Look:
        index = newest_build(project)
        store = Store(project)
        record = current_build(project)
        assert record is not None  # or there had been no index to open
        return cls(store, index, fresh=is_fresh(store, record), built=built_of(record))

    def joined(self) -> pl.DataFrame:
        """Stored rows with the facts of the query and, prefixed ``hit_``, of the hit."""
        hits = self.facts.rename({name: f"hit_{name}" for name in self.facts.columns})
        return self.rows.join(self.facts, on="clip_id", maintain_order="left").join(
            hits, left_on="hit", right_on="hit_clip_id", maintain_order="left"
        )

    def searchable(self, modality: str) -> ModalityIndex | None:
        """The modality with exact search; None where queries are not comparable with it."""
        if modality not in self._searchable:
            placed = self.index.modalities[modality].backend.placed
            feature, built = self.features[modality], self.built[modality]
            key = self.store.keys.by_name[feature].key
            if any(one.segment.feature_key != key for one in placed):
                why = "changed since the build"
                if feature != built:
                    why = f"is asked for now, the build is of {built}"
                self.gaps.append(f"effects in {modality}: {feature} {why}")
                self._searchable[modality] = None
            else:
                self._searchable[modality] = exact_search(self.index, modality)
        return self._searchable[modality]

    def held_out(self) -> list[Clip]:
        return [clip for clip in self.clips.values() if clip.split in HELD_OUT]


def newest_build(project: Project) -> OpenIndex:
    """The newest build, its bytes checked, even where the project has moved on since.

    :func:`redub.pipeline.index.open_index` refuses such a build; an audit has to see what is in it.

    Raises:
        ConfigError: there is none. IntegrityError: a file is missing or changed.
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
    """What a segment's folder says it is."""
    return SegmentRecord.from_json((folder / RECORD).read_text(encoding="utf-8"))


def _indexed(
    store: Store, modality: str, clips: Sequence[Clip], segments: Sequence[Segment]
) -> dict[str, str]:
    """Clip id to input digest of every library clip, as it was when it was indexed.

    A digest depends on the clip's row alone, and the library keeps that row. Only under another
    extractor may it be made of other parts of the row; then there is one digest to choose from.
    """
    key = store.keys.by_name[features_of(store)[modality]]
    known: dict[str, list[str]] = defaultdict(list)
    for segment in segments:
        for clip_id, digest in zip(segment.clip_ids, segment.digests, strict=True):
            known[clip_id].append(digest)
    own = {clip.clip_id: key.input_digest(clip) for clip in clips if clip.clip_id in known}
    return {c: digest if digest in known[c] else known[c][-1] for c, digest in own.items()}


def _facts(clips: Mapping[str, Clip]) -> pl.DataFrame:
    names = (
        "clip_id",
        "film",
        "scene",
        "position",
        "split",
        "emotion",
        "source_digest",
        "start_frame",
        "end_frame",
    )
    rows = [tuple(getattr(clip, name) for name in names) for clip in clips.values()]
    kinds = {"position": pl.Int64, "start_frame": pl.Int64, "end_frame": pl.Int64}
    schema = {name: kinds.get(name, pl.String) for name in names}
    return pl.DataFrame(rows, schema=schema, orient="row")


def stored_hits(store: Store, index: OpenIndex) -> pl.DataFrame:
    """The committed neighbours of one build under the project's settings; of each clip the newest.

    Columns ``clip_id, modality, rank, hit, score, margin``; clips that are gone are still there.
    """
    table = neighbour_parts(store, index)
    names = table.schema.names
    frames = [
        pl.DataFrame(table.read_one(part, None).to_pydict()).with_columns(part=pl.lit(number))
        for number, part in enumerate(table.parts())
        if part.rows
    ]
    if not frames:
        kinds = {"rank": pl.Int64, "score": pl.Float64, "margin": pl.Float64}
        return pl.DataFrame(schema={name: kinds.get(name, pl.String) for name in names})
    rows = pl.concat(frames)
    newest = pl.col("part") == pl.col("part").max().over("clip_id")
    return rows.filter(newest).select(names)


def exact_search(index: OpenIndex, modality: str) -> ModalityIndex:
    """One modality of a build, answered by the exact backend over its stored vectors."""
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


# -- the kinds


def _self_hits(look: _Look) -> tuple[KindReport, list[Finding]]:
    col = pl.col
    overlaps = (
        (col("source_digest") == col("hit_source_digest"))
        & (col("source_digest") != "")
        & (col("start_frame") < col("hit_end_frame"))
        & (col("end_frame") > col("hit_start_frame"))
    )
    flagged = look.joined().filter((col("clip_id") == col("hit")) | overlaps)
    findings = [
        Finding(
            kind="self_hit",
            severity="leak",
            clip_id=row["clip_id"],
            other=row["hit"],
            modality=row["modality"],
            detail=(
                "the clip retrieved itself"
                if row["clip_id"] == row["hit"]
                else "the hit shows the same seconds of the same file"
            )
            + f" at rank {row['rank'] + 1}",
        )
        for row in flagged.iter_rows(named=True)
    ]
    strict = replace(look.policy, exclude_self=True)

    def ban(clip: Clip) -> BoolArray:
        return ~strict.eligible(ClipFacts.of(clip), look.index.table)

    says = _counted(look, flagged, "are the query itself or overlap it")
    if flagged.height:
        says += (
            f"{_own(look, flagged)} would be handed their own recording, which a line to be dubbed "
            "does not have",
        )
    return _report(look, "self_hit", findings, says, flagged, ban)


def _same_scene(look: _Look) -> tuple[KindReport, list[Finding]]:
    col = pl.col
    same = (col("film") == col("hit_film")) & (col("scene") == col("hit_scene"))
    same &= (col("scene") != "") & (col("clip_id") != col("hit"))
    near = (col("position") - col("hit_position")).abs() <= look.policy.neighbour_lines
    flagged = look.joined().filter(same)
    if look.policy.exclude_same_scene:
        wrong = flagged
    else:
        wrong = flagged.filter(near) if look.policy.neighbour_lines else flagged.clear()
    findings = [
        Finding(
            kind="same_scene",
            severity="leak",
            clip_id=row["clip_id"],
            other=row["hit"],
            modality=row["modality"],
            detail=f"scene {row['scene']} of {row['film']}, "
            f"{abs(row['position'] - row['hit_position'])} lines away, at rank {row['rank'] + 1}; "
            "the policy excludes it",
        )
        for row in wrong.iter_rows(named=True)
    ]

    def ban(clip: Clip) -> BoolArray:
        table = look.index.table
        return table.is_value("film", clip.film) & table.is_value("scene", clip.scene)

    says = _counted(look, flagged, "are of the query's own scene")
    if flagged.height and not look.policy.exclude_same_scene:
        rule = "index.exclude_same_scene is false"
        if look.policy.neighbour_lines:
            rule += f", only lines up to {look.policy.neighbour_lines} away are excluded"
        says += (f"{rule}: for information",)
    return _report(look, "same_scene", findings, says, flagged, ban)


def _near_duplicates(look: _Look) -> tuple[KindReport, list[Finding]]:
    prints = _fingerprints(look)
    ids = sorted(prints)
    clips = [look.clips[clip_id] for clip_id in ids]
    pairs = find_duplicates([prints[clip_id] for clip_id in ids], may_pair=_comparable(look, clips))
    findings, partners = [], defaultdict(set)
    for pair in pairs:
        one, other = clips[pair.first], clips[pair.second]
        if one.split not in HELD_OUT and other.split in HELD_OUT:
            one, other = other, one  # the held-out one is named first
        partners[one.clip_id].add(other.clip_id)
        partners[other.clip_id].add(one.clip_id)
        findings.append(_same_sound(one, other, pair))
    heard = {f.clip_id for f in findings if f.severity == "leak"}
    held_out = look.held_out()
    says: tuple[str, ...] = (f"none among {len(ids)} clips with sound",)
    flagged = look.rows.clear()
    if findings:
        numbers = Counter(finding.severity for finding in findings)
        both = [(c, other) for c, others in partners.items() for other in sorted(others)]
        alike = pl.DataFrame(both, schema=["clip_id", "hit"], orient="row")
        flagged = look.rows.join(alike, on=["clip_id", "hit"], how="semi", maintain_order="left")
        says = (
            f"{numbers['leak']} pairs of a held-out and a training clip, {numbers['warning']} of a "
            f"validation and a test clip, {numbers['note']} inside the library, among {len(ids)} "
            "clips with sound",
            f"{len(heard)} of {len(held_out)} held-out lines were heard in training: what is "
            "scored on them is memory",
            f"{_own(look, flagged)} retrieve their own recording",
        )

    def ban(clip: Clip) -> BoolArray:
        return look.index.table.is_one_of("clip_id", partners[clip.clip_id])

    return _report(look, "near_duplicate_audio", findings, says, flagged, ban)


def _same_sound(one: Clip, other: Clip, pair: Duplicate) -> Finding:
    """A finding about two clips, of which the first is held out if one of them is."""
    severity: Severity = "note"
    if one.split in HELD_OUT and other.split != one.split:
        severity = "leak" if other.split == "train" else "warning"
    where = f"{one.split} and {other.split}" if one.split != other.split else f"both {one.split}"
    return Finding(
        kind="near_duplicate_audio",
        severity=severity,
        clip_id=one.clip_id,
        other=other.clip_id,
        modality="",
        detail=f"the same recording for {pair.common_s:.2f} s ({where}; "
        f"{pair.distance:.1%} of the signs differ)",
    )


def _fingerprints(look: _Look) -> dict[str, Fingerprint]:
    """Of every live clip with cached mel frames, part by part: all mel at once may not fit."""
    audio = look.store.project.config.audio
    if audio.mel_channels < LEAST_CHANNELS:
        look.gaps.append(
            f"near-duplicate audio: {audio.mel_channels} mel channels, wanted {LEAST_CHANNELS}"
        )
        return {}
    live = look.store.live_features("mel").filter(pl.col("valid"))
    prints: dict[str, Fingerprint] = {}
    for (part,), rows in live.group_by("part", maintain_order=True):
        values = look.store.read_part_values("mel", str(part), set(rows["clip_id"]))
        for clip_id, mel in values.items():
            prints[clip_id] = fingerprint(np.asarray(mel), audio)
    if missing := sum(clip.has_audio for clip in look.clips.values()) - len(prints):
        look.gaps.append(f"near-duplicate audio of {missing} clips: they have no cached mel")
    return prints


def _comparable(look: _Look, clips: Sequence[Clip]) -> Callable[[IntArray, IntArray], BoolArray]:
    """Pairs on two sides of a split, and pairs of two files inside the library."""
    scored = ("train", *HELD_OUT)
    split = np.array([scored.index(c.split) if c.split in scored else -1 for c in clips], dtype=int)
    sources = {source: number for number, source in enumerate({c.source for c in clips})}
    source = np.array([sources[clip.source] for clip in clips], dtype=int)
    inside = np.array([clip.clip_id in look.library for clip in clips], dtype=bool)

    def may_pair(one: IntArray, other: IntArray) -> BoolArray:
        apart = (split[one] != split[other]) & (split[one] >= 0) & (split[other] >= 0)
        files = inside[one] & inside[other] & (source[one] != source[other])
        wanted: BoolArray = apart | files
        return wanted

    return may_pair


def _duplicate_text(look: _Look) -> tuple[KindReport, list[Finding]]:
    words = {clip_id: plain_words(clip.text) for clip_id, clip in look.clips.items()}
    trained: dict[str, list[Clip]] = defaultdict(list)
    for clip in look.clips.values():
        if clip.split == "train" and words[clip.clip_id]:
            trained[words[clip.clip_id]].append(clip)
    held_out = [clip for clip in look.held_out() if words[clip.clip_id]]
    repeated = [clip for clip in held_out if words[clip.clip_id] in trained]
    telling = [c for c in repeated if word_count(words[c.clip_id]) >= TELLING_WORDS]
    findings = [_same_words(c, trained[words[c.clip_id]], words[c.clip_id]) for c in telling]
    says: tuple[str, ...] = (f"none of {len(held_out)} held-out lines",)
    if repeated:
        says = (
            f"{len(telling)} of {len(held_out)} held-out lines have the words of a training line; "
            f"{len(repeated) - len(telling)} more of fewer than {TELLING_WORDS} words are not "
            "counted as findings",
        )
    if telling:
        says += (
            f"word errors and durations of {len(telling) / len(held_out):.1%} of the held-out "
            "lines measure sentences that were trained on",
        )
    said = {clip.clip_id: words[clip.clip_id] for clip in telling}
    asked = pl.DataFrame(list(said.items()), schema=_SAID, orient="row")
    heard = [(c.clip_id, text) for text in set(said.values()) for c in trained[text]]
    answers = pl.DataFrame(heard, schema=_SAID, orient="row").rename({"clip_id": "hit"})
    flagged = look.rows.join(asked, on="clip_id", maintain_order="left").join(
        answers, on=["hit", "words"], how="semi", maintain_order="left"
    )

    def ban(clip: Clip) -> BoolArray:
        same = {other.clip_id for other in trained[said[clip.clip_id]]}
        return look.index.table.is_one_of("clip_id", same)

    return _report(look, "duplicate_text", findings, says, flagged, ban)


_SAID = {"clip_id": pl.String, "words": pl.String}


def _same_words(clip: Clip, trained: Sequence[Clip], words: str) -> Finding:
    """The training line of the same speaker is named, where there is one."""
    other = min(trained, key=lambda t: (t.speaker != clip.speaker, t.clip_id))
    is_sure = word_count(words) >= SURE_WORDS
    by = "another speaker"
    if "" in (other.speaker, clip.speaker):
        by = "an unknown speaker"
    elif other.speaker == clip.speaker:
        by = "the same speaker"
    more = f", and {len(trained) - 1} more training lines" if len(trained) > 1 else ""
    return Finding(
        kind="duplicate_text",
        severity="leak" if is_sure else "warning",
        clip_id=clip.clip_id,
        other=other.clip_id,
        modality="text",
        detail=f"'{words}' is said in {clip.split} and, by {by}, in training{more}",
    )


def plain_words(text: str) -> str:
    """The words alone: no case, no punctuation, one space between two words.

    Apostrophes go without a gap, so that ``don't`` and ``dont`` are one word.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    folded = re.sub("['’ʼ`´]", "", folded)
    kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in folded)
    return " ".join("".join(kept).split())


def word_count(words: str) -> int:
    """How many words, at two signs to a word in scripts that write none apart."""
    count = 0
    for word in words.split():
        signs = sum(unicodedata.name(c, "").startswith(_UNSPACED) for c in word)
        count += max(1, round(signs / 2))
    return count


_UNSPACED = ("CJK ", "HIRAGANA ", "KATAKANA ", "THAI ", "LAO ", "KHMER ", "MYANMAR ")


def _held_out(look: _Look) -> tuple[KindReport, list[Finding]]:
    """Library rows of clips that have become held out since the build."""
    inside = [clip for clip in look.held_out() if clip.clip_id in look.library]
    ids = pl.Series([clip.clip_id for clip in inside], dtype=pl.String)
    flagged = look.rows.filter(pl.col("hit").is_in(ids))
    users: dict[str, list[str]] = defaultdict(list)
    for clip_id, hit in flagged.select("clip_id", "hit").unique(maintain_order=True).iter_rows():
        users[hit].append(clip_id)
    findings = [
        Finding(
            kind="held_out_in_library",
            severity="leak",
            clip_id=clip.clip_id,
            other=next(iter(users[clip.clip_id]), ""),
            modality="",
            detail=f"a {clip.split} clip is a library row of build {look.index.build}; "
            f"{len(users[clip.clip_id])} queries retrieve it",
        )
        for clip in inside
    ]
    says: tuple[str, ...] = (f"none of {len(look.held_out())} held-out clips",)
    if inside:
        says = (
            f"{len(inside)} of {len(look.held_out())} held-out clips are in the library, "
            f"{flagged.height} of {look.rows.height} stored hits hand out their recordings",
            *_without_self_exclusion(look, inside),
        )

    def ban(clip: Clip) -> BoolArray:
        return look.index.table.is_one_of("clip_id", ids)

    return _report(look, "held_out_in_library", findings, says, flagged, ban)


def _without_self_exclusion(look: _Look, clips: Sequence[Clip]) -> tuple[str, ...]:
    """How many of the clips find their own recording where only the split can keep them apart."""
    policy = replace(look.policy, exclude_self=False, exclude_same_scene=False, neighbour_lines=0)
    counts = []
    for modality in MODALITIES:
        found = _search(look, modality, clips, look.k, lambda clip: _forbidden(look, policy, clip))
        if found:
            own = sum(clip_id in hits for clip_id, hits in found.items())
            counts.append(f"{modality} {own} of {len(found)}")
    if not counts:
        return ()
    return (
        "queries that would retrieve their own recording without the rules on the query itself and "
        f"its scene: {', '.join(counts)}",
    )


def _stale(look: _Look) -> tuple[KindReport, list[Finding]]:
    """Stored rows that ask for, or hit, a clip that is gone."""
    asked: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    partner: dict[str, tuple[str, str]] = {}
    for clip_id, modality, hit in look.gone.select("clip_id", "modality", "hit").iter_rows():
        for gone, other, counter in ((clip_id, hit, asked), (hit, clip_id, hits)):
            if gone not in look.clips:
                counter[gone] += 1
                partner.setdefault(gone, (other, modality))
    findings = [
        Finding(
            kind="stale_neighbours",
            severity="warning",
            clip_id=gone,
            other=partner[gone][0],
            modality=partner[gone][1],
            detail=f"the clip is gone; {asked[gone]} stored rows are its hits, {hits[gone]} name "
            "it as a hit",
        )
        for gone in sorted(partner)
    ]
    total = look.rows.height + look.gone.filter(~pl.col("clip_id").is_in(list(look.clips))).height
    says: tuple[str, ...] = (f"none of {total} stored hits",)
    if findings:
        live = look.rows.filter(pl.col("hit").is_in(list(hits)))
        says = (
            f"{look.gone.height} of {total} stored hits are of {len(findings)} clips that are gone",
            f"{live['clip_id'].n_unique()} live clips still have such a hit"
            + (
                "; no stage reads them: the build is out of date, `redub index build` and "
                "`redub retrieve` replace it"
                if not look.is_fresh
                else "; `redub retrieve` asks again"
            ),
        )
    flagged = look.rows.filter(pl.col("hit").is_in(list(hits)))

    def ban(clip: Clip) -> BoolArray:
        return look.index.table.is_one_of("clip_id", hits)

    return _report(look, "stale_neighbours", findings, says, flagged, ban)


def _counted(look: _Look, flagged: pl.DataFrame, what: str) -> tuple[str, ...]:
    share = f" ({flagged.height / look.rows.height:.1%})" if look.rows.height else ""
    return (f"{flagged.height} of {look.rows.height} stored hits{share} {what}",)


def _own(look: _Look, flagged: pl.DataFrame) -> str:
    """Which queries have one of the flagged hits, held-out ones first."""
    asking = set(flagged["clip_id"])
    held_out = {clip.clip_id for clip in look.held_out()}
    return (
        f"{len(asking & held_out)} of {len(held_out)} held-out and {len(asking - held_out)} of "
        f"{len(look.clips) - len(held_out)} other queries"
    )


def _report(
    look: _Look,
    kind: Kind,
    findings: list[Finding],
    says: tuple[str, ...],
    flagged: pl.DataFrame,
    ban: Ban,
) -> tuple[KindReport, list[Finding]]:
    numbers = Counter(finding.severity for finding in findings)
    report = KindReport(
        kind=kind,
        leaks=numbers["leak"],
        warnings=numbers["warning"],
        notes=numbers["note"],
        says=says,
        effects=tuple(_effects(look, flagged, ban)),
    )
    return report, findings


# -- what it does to the scores


class _Hits(NamedTuple):
    """Stored hits of one query in one modality, best first, and which of them are flagged."""

    hits: list[str]
    flagged: set[str]


def _effects(look: _Look, flagged: pl.DataFrame, ban: Ban) -> Iterable[Effect]:
    for modality in MODALITIES:
        own = flagged.filter(pl.col("modality") == modality)
        if own.height:
            yield _effect(look, modality, own, ban)


def _effect(look: _Look, modality: str, flagged: pl.DataFrame, ban: Ban) -> Effect:
    wrong: dict[str, set[str]] = defaultdict(set)
    for clip_id, hit in flagged.select("clip_id", "hit").iter_rows():
        wrong[clip_id].add(hit)
    rows = look.rows.filter(pl.col("modality") == modality).sort("clip_id", "rank")
    stored: dict[str, list[str]] = defaultdict(list)
    for clip_id, hit in rows.select("clip_id", "hit").iter_rows():
        stored[clip_id].append(hit)
    labelled = [clip_id for clip_id in wrong if look.clips[clip_id].emotion]
    labelled.sort()
    places = np.linspace(0, len(labelled) - 1, min(MEASURED_QUERIES, len(labelled))).round()
    measured = [labelled[place] for place in places.astype(int)]
    asked = {clip_id: _Hits(stored[clip_id], wrong[clip_id]) for clip_id in measured}
    after = _replaced(look, modality, asked, ban)
    before = {clip_id: stored[clip_id] for clip_id in after}
    is_whole = len(after) == len(labelled)
    return Effect(
        modality=modality,
        hits=flagged.height,
        stored=rows.height,
        queries=len(wrong),
        measured=len(after),
        precision=_precision(look, before),
        without=_precision(look, after),
        overall=_precision(look, stored),
        overall_without=_precision(look, {**stored, **after}) if is_whole else None,
    )


def _precision(look: _Look, hits: Mapping[str, Sequence[str]]) -> Share | None:
    """The share of labelled hits with the label of their labelled query."""
    labels = {clip_id: clip.emotion for clip_id, clip in (look.library | look.clips).items()}
    shared = [
        labels[hit] == labels[clip_id]
        for clip_id, found in hits.items()
        for hit in found
        if labels.get(clip_id) and labels.get(hit)
    ]
    return Share.counted(sum(shared), len(shared))


def _replaced(
    look: _Look, modality: str, asked: Mapping[str, _Hits], ban: Ban
) -> dict[str, list[str]]:
    """The hits with every flagged one replaced by the best clips that neither rule forbids."""
    kept = {c: [hit for hit in own.hits if hit not in own.flagged] for c, own in asked.items()}

    def forbidden(clip: Clip) -> BoolArray:
        table = look.index.table
        mask: BoolArray = _forbidden(look, look.policy, clip) | ban(clip)
        mask |= table.is_one_of("clip_id", kept[clip.clip_id])
        return mask

    clips = [look.clips[clip_id] for clip_id in asked]
    most = max((len(own.flagged) for own in asked.values()), default=0)
    found = _search(look, modality, clips, most, forbidden)
    return {
        clip_id: kept[clip_id] + hits[: len(asked[clip_id].flagged)]
        for clip_id, hits in found.items()
    }


def _forbidden(look: _Look, policy: Policy, clip: Clip) -> BoolArray:
    forbidden: BoolArray = ~policy.eligible(ClipFacts.of(clip), look.index.table)
    return forbidden


def _search(
    look: _Look, modality: str, clips: Sequence[Clip], k: int, forbidden: Ban
) -> dict[str, list[str]]:
    """Exact answers of the clips that have a vector in the modality."""
    own = look.searchable(modality)
    if own is None or not clips:
        return {}
    values = look.store.read(look.features[modality], [clip.clip_id for clip in clips])
    asking = [clip for clip in clips if clip.clip_id in values]
    answers: dict[str, list[str]] = {}
    for start in range(0, len(asking), SEARCH_BLOCK):
        some = asking[start : start + SEARCH_BLOCK]
        queries = np.stack([np.asarray(values[clip.clip_id]) for clip in some]).astype(np.float32)
        queries = own.transformed(queries, [clip.speaker for clip in some])
        can_ask = own.can_ask(queries)
        some, queries = list(itertools.compress(some, can_ask)), queries[can_ask]
        if not some:
            continue
        hits = own.search(queries, k, np.stack([~forbidden(clip) for clip in some]))
        for clip, rows in zip(some, hits.rows, strict=True):
            answers[clip.clip_id] = [look.index.clips[row].clip_id for row in rows if row >= 0]
    return answers


def _percent(share: Share) -> str:
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"
