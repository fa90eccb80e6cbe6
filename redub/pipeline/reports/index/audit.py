"""`redub index audit`: hits that the policy forbids, and data on both sides of a split.

Reads the clip table, the newest index build (up to date or not), its stored neighbours and the
cached mel frames. Opens no media and writes nothing.

The effect of each kind of leak on the scores is measured: precision@K by emotion (counted as in
:mod:`redub.pipeline.reports.index.precision`) of the stored hits, and again with every hit of that
kind replaced by the next best clip that is allowed.

Letters: N library rows, Q queries, K retrieved clips.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from redub.core.types import MODALITIES, Clip
from redub.index.base import BoolArray, IntArray
from redub.index.near_duplicates import (
    LEAST_CHANNELS,
    Duplicate,
    Fingerprint,
    find_duplicates,
    fingerprint,
)
from redub.index.policy import HELD_OUT, ClipFacts
from redub.pipeline.reports.index.audit_effects import (
    Look,
    counted_queries,
    forbidden_rows,
    kind_report,
    own_clip,
    search_without,
)
from redub.pipeline.reports.index.audit_report import AuditReport, Finding, KindReport, Severity
from redub.pipeline.store.project import Project

TELLING_WORDS = 3
"""Shorter lines, such as "yes" or "thank you", occur in every film; they are only counted."""


SURE_WORDS = 5
"""Lines of so many words rarely occur twice by chance; shorter ones are a warning."""


def audit_index(project: Project) -> AuditReport:
    """Look for every kind of leak and measure its effect on the scores.

    Raises:
        ConfigError: there is no index build yet (names the stage to run).
        IntegrityError: a file of the build, the neighbours or a feature is damaged.
    """
    look = Look.at(project)
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


# -- the kinds


def _self_hits(look: Look) -> tuple[KindReport, list[Finding]]:
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
        """(N,) bool: rows that the policy forbids when it excludes the query itself."""
        return ~strict.eligible(ClipFacts.of(clip), look.index.table)

    says = counted_queries(look, flagged, "are the query itself or overlap it")
    if flagged.height:
        says += (
            f"{own_clip(look, flagged)} would get their own recording, which a line to be dubbed "
            "does not have",
        )
    return kind_report(look, "self_hit", findings, says, flagged, ban)


def _same_scene(look: Look) -> tuple[KindReport, list[Finding]]:
    col = pl.col
    same = (col("film") == col("hit_film")) & (col("scene") == col("hit_scene"))
    same &= (col("scene") != "") & (col("clip_id") != col("hit"))
    near = (col("position") - col("hit_position")).abs() <= look.policy.adjacent_lines
    flagged = look.joined().filter(same)
    if look.policy.exclude_same_scene:
        wrong = flagged
    else:
        wrong = flagged.filter(near) if look.policy.adjacent_lines else flagged.clear()
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
        """(N,) bool: rows of the query's film and scene."""
        table = look.index.table
        return table.is_value("film", clip.film) & table.is_value("scene", clip.scene)

    says = counted_queries(look, flagged, "are of the query's own scene")
    if flagged.height and not look.policy.exclude_same_scene:
        rule = "index.exclude_same_scene is false"
        if look.policy.adjacent_lines:
            rule += f", only lines up to {look.policy.adjacent_lines} away are excluded"
        says += (f"{rule}: for information",)
    return kind_report(look, "same_scene", findings, says, flagged, ban)


def _near_duplicates(look: Look) -> tuple[KindReport, list[Finding]]:
    prints = _fingerprints(look)
    ids = sorted(prints)
    clips = [look.clips[clip_id] for clip_id in ids]
    pairs = find_duplicates([prints[clip_id] for clip_id in ids], may_pair=_comparable(look, clips))
    findings, partners = [], defaultdict(set)
    for pair in pairs:
        one, other = clips[pair.first], clips[pair.second]
        if one.split not in HELD_OUT and other.split in HELD_OUT:
            one, other = other, one  # the held-out clip is named first
        partners[one.clip_id].add(other.clip_id)
        partners[other.clip_id].add(one.clip_id)
        findings.append(_same_sound(one, other, pair))
    leaked = {f.clip_id for f in findings if f.severity == "leak"}
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
            f"the sound of {len(leaked)} of {len(held_out)} held-out lines is in the training "
            "split: scores on these lines measure memory",
            f"{own_clip(look, flagged)} retrieve their own recording",
        )

    def ban(clip: Clip) -> BoolArray:
        """(N,) bool: rows with the query's recording."""
        return look.index.table.is_one_of("clip_id", partners[clip.clip_id])

    return kind_report(look, "near_duplicate_audio", findings, says, flagged, ban)


def _same_sound(one: Clip, other: Clip, pair: Duplicate) -> Finding:
    """The finding about two clips; ``one`` is the held-out clip if there is one."""
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


def _fingerprints(look: Look) -> dict[str, Fingerprint]:
    """Fingerprints of all live clips with cached mels; reads part by part to save memory."""
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


def _comparable(look: Look, clips: Sequence[Clip]) -> Callable[[IntArray, IntArray], BoolArray]:
    """Pairs on two sides of a split, and pairs of two files inside the library."""
    scored = ("train", *HELD_OUT)
    split = np.array([scored.index(c.split) if c.split in scored else -1 for c in clips], dtype=int)
    sources = {source: number for number, source in enumerate({c.source for c in clips})}
    source = np.array([sources[clip.source] for clip in clips], dtype=int)
    inside = np.array([clip.clip_id in look.library for clip in clips], dtype=bool)

    def may_pair(one: IntArray, other: IntArray) -> BoolArray:
        """Whether each pair of clip numbers is compared."""
        apart = (split[one] != split[other]) & (split[one] >= 0) & (split[other] >= 0)
        files = inside[one] & inside[other] & (source[one] != source[other])
        wanted: BoolArray = apart | files
        return wanted

    return may_pair


def _duplicate_text(look: Look) -> tuple[KindReport, list[Finding]]:
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
    queries = pl.DataFrame(list(said.items()), schema=_SAID, orient="row")
    repeats = [(c.clip_id, text) for text in set(said.values()) for c in trained[text]]
    hits = pl.DataFrame(repeats, schema=_SAID, orient="row").rename({"clip_id": "hit"})
    flagged = look.rows.join(queries, on="clip_id", maintain_order="left").join(
        hits, on=["hit", "words"], how="semi", maintain_order="left"
    )

    def ban(clip: Clip) -> BoolArray:
        """(N,) bool: training rows with the query's words."""
        same = {other.clip_id for other in trained[said[clip.clip_id]]}
        return look.index.table.is_one_of("clip_id", same)

    return kind_report(look, "duplicate_text", findings, says, flagged, ban)


_SAID = {"clip_id": pl.String, "words": pl.String}


def _same_words(clip: Clip, trained: Sequence[Clip], words: str) -> Finding:
    """The finding about a held-out line; names a training line of its speaker if there is one."""
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
    """Normalise a text: no case, no punctuation, one space between two words.

    An apostrophe leaves no gap, so ``don't`` and ``dont`` are the same word.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    folded = re.sub("['’ʼ`´]", "", folded)
    kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in folded)
    return " ".join("".join(kept).split())


def word_count(words: str) -> int:
    """The number of words; in scripts without spaces two characters count as one word."""
    count = 0
    for word in words.split():
        signs = sum(unicodedata.name(c, "").startswith(_UNSPACED) for c in word)
        count += max(1, round(signs / 2))
    return count


_UNSPACED = ("CJK ", "HIRAGANA ", "KATAKANA ", "THAI ", "LAO ", "KHMER ", "MYANMAR ")


def _held_out(look: Look) -> tuple[KindReport, list[Finding]]:
    """Library rows whose clip was moved to a held-out split after the build."""
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
            f"{flagged.height} of {look.rows.height} stored hits are such clips",
            *_without_self_exclusion(look, inside),
        )

    def ban(clip: Clip) -> BoolArray:
        """(N,) bool: rows of held-out clips."""
        return look.index.table.is_one_of("clip_id", ids)

    return kind_report(look, "held_out_in_library", findings, says, flagged, ban)


def _without_self_exclusion(look: Look, clips: Sequence[Clip]) -> tuple[str, ...]:
    """How many clips would retrieve themselves if only the split rule kept them apart."""
    policy = replace(look.policy, exclude_self=False, exclude_same_scene=False, adjacent_lines=0)
    counts = []
    for modality in MODALITIES:
        found = search_without(
            look, modality, clips, look.k, lambda clip: forbidden_rows(look, policy, clip)
        )
        if found:
            own = sum(clip_id in hits for clip_id, hits in found.items())
            counts.append(f"{modality} {own} of {len(found)}")
    if not counts:
        return ()
    return (
        "queries that would retrieve their own recording without the rules on the query itself and "
        f"its scene: {', '.join(counts)}",
    )


def _stale(look: Look) -> tuple[KindReport, list[Finding]]:
    """Stored rows whose query or hit is a clip that is gone."""
    queries: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    partner: dict[str, tuple[str, str]] = {}
    for clip_id, modality, hit in look.gone.select("clip_id", "modality", "hit").iter_rows():
        for gone, other, counter in ((clip_id, hit, queries), (hit, clip_id, hits)):
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
            detail=f"the clip is gone; {queries[gone]} stored rows are its hits, {hits[gone]} name "
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
                else "; `redub retrieve` searches again"
            ),
        )
    flagged = look.rows.filter(pl.col("hit").is_in(list(hits)))

    def ban(clip: Clip) -> BoolArray:
        """(N,) bool: rows of clips that are gone."""
        return look.index.table.is_one_of("clip_id", hits)

    return kind_report(look, "stale_neighbours", findings, says, flagged, ban)
