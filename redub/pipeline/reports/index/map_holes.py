"""Holes of the library: emotions, speakers and regions with few reference clips.

Letters: N library rows, Q queries, D width, K retrieved clips.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binom

from redub.core.types import MODALITIES, Clip, FloatArray
from redub.index.base import SMALLEST_NORM, BoolArray, row_norms
from redub.index.library import ModalityIndex
from redub.index.library import retrieve as search
from redub.index.policy import HELD_OUT, ClipFacts, Policy
from redub.index.selection import Chosen, Selection
from redub.index.transform import Chain
from redub.pages.emotion_map import Hole, HoleList
from redub.pipeline.store.index.builds import LIBRARY, OpenIndex, features_of, policy_of
from redub.pipeline.store.project import Project
from redub.pipeline.store.tables import Store

LOWEST_PERCENT = 5.0  # percentile of the library's best scores; an utterance below stands alone
LISTED = 10  # holes of one kind
EXAMPLES = 3  # clips of one hole


RARE = "Emotions that are missing"


class Found(NamedTuple):
    """A query clip, and the emotions of its labelled hits, best first."""

    clip: Clip
    is_library: bool
    emotions: tuple[str, ...]


def usable_vectors(vectors: FloatArray, metric: str) -> BoolArray:
    """(n,) bool: False for vectors of length 0 under cosine, which have no direction."""
    if metric != "cosine":
        return np.ones(len(vectors), dtype=np.bool_)
    usable: BoolArray = row_norms(vectors) >= SMALLEST_NORM
    return usable


def clips_text(count: int) -> str:
    """A number of clips, in words."""
    return "1 clip" if count == 1 else f"{count} clips"


def lines_text(count: int) -> str:
    """A number of lines, in words."""
    return "1 line" if count == 1 else f"{count} lines"


def with_article(word: str) -> str:
    """A word after "a" or "an"."""
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


# -- coverage holes


def coverage_holes(
    project: Project, store: Store, index: OpenIndex, space: ModalityIndex, modality: str
) -> list[HoleList]:
    """All kinds of holes, in the order of the page.

    Args:
        space: the index of ``modality``, by which regions of another emotion are found.
    """
    every, k = store.clips(), max(1, project.config.index.k)
    held_out = [clip for clip in every if clip.split in HELD_OUT]
    # A library clip is a query like an utterance to be dubbed: it must not retrieve itself.
    policy = dataclasses.replace(policy_of(project.config.index), exclude_self=True)
    lists = label_holes(index.clips, held_out, k)
    for name in MODALITIES:
        query_clips, queries = _queries(project, store, index, name, every)
        hits = _search(index, index.modalities[name], policy, query_clips, queries, 1)
        is_library = np.array(
            [index.table.row_of(c.clip_id) is not None for c in query_clips], bool
        )
        lacking = len(every) - len(query_clips)
        lists.append(alone_holes(name, query_clips, hits.scores[:, 0], is_library, lacking))
    query_clips, queries = _queries(project, store, index, modality, every)
    hits = _search(index, space, policy, query_clips, queries, k)
    found = [
        Found(
            clip,
            index.table.row_of(clip.clip_id) is not None,
            tuple(filter(None, (index.clips[row].emotion for row in rows if row >= 0))),
        )
        for clip, rows in zip(query_clips, hits.rows, strict=True)
    ]
    return [*lists, region_holes(modality, found, Counter(c.emotion for c in index.clips), k)]


def _queries(
    project: Project, store: Store, index: OpenIndex, modality: str, every: Sequence[Clip]
) -> tuple[list[Clip], FloatArray]:
    """The clips with a usable vector of this modality, and their vectors (Q, D)."""
    feature = features_of(store)[modality]
    values = store.read(feature)
    query_clips = [clip for clip in every if clip.clip_id in values]
    width = store.keys.by_name[feature].schema.width
    queries = np.zeros((len(query_clips), width), dtype=np.float32)
    for row, clip in enumerate(query_clips):
        queries[row] = values[clip.clip_id]
    if modality == "audio" and query_clips:
        path = project.root / "index" / LIBRARY / index.build / "audio_transform.npz"
        with np.load(path, allow_pickle=False) as arrays:
            transform = Chain.from_arrays(dict(arrays))
        queries = transform.apply(queries, [clip.speaker for clip in query_clips])
    elif modality != "audio":
        own = index.modalities[modality]
        queries = own.transformed(queries, [clip.speaker for clip in query_clips])
    usable = usable_vectors(queries, project.config.index.metric)
    return list(itertools.compress(query_clips, usable)), queries[usable]


def _search(
    index: OpenIndex,
    space: ModalityIndex,
    policy: Policy,
    query_clips: Sequence[Clip],
    queries: FloatArray,
    k: int,
) -> Chosen:
    if not len(query_clips) or not len(space.rows):
        none = np.full((len(query_clips), k), np.nan, dtype=np.float32)
        return Chosen(np.full((len(query_clips), k), -1, dtype=np.int64), none, none)
    facts = [ClipFacts.of(clip) for clip in query_clips]
    return search(space, index.table, policy, queries, facts, Selection(k=k))


def label_holes(library: Sequence[Clip], held_out: Sequence[Clip], k: int) -> list[HoleList]:
    """Emotions, emotions by speaker and emotions by film with fewer than K library clips.

    First come cells that held-out utterances need; then cells with the largest difference to the
    number of clips that is expected from the totals of emotion and speaker (or film).
    """
    labelled = [clip for clip in library if clip.emotion]
    wanted = Counter(clip.emotion for clip in held_out if clip.emotion)
    if not labelled:
        note = "No library clip has an emotion label, so that nothing can be counted by emotion."
        return [HoleList(title=RARE, note=note)]
    counts = Counter(clip.emotion for clip in labelled)
    rare = [e for e in sorted(counts.keys() | wanted.keys()) if counts[e] < k]
    rare.sort(key=lambda e: (-wanted[e], counts[e], e))
    holes = [
        Hole(said=f"{_counted(counts[e])} of the library {_is(counts[e])} labelled {e}{needed}.")
        for e in rare
        for needed in [_needed_for(wanted[e])]
    ]
    note = "" if holes else f"None: of every emotion there are at least K = {k} clips."
    cells = [_cell_holes(labelled, held_out, by, k) for by in ("speaker", "film")]
    return [_listed(RARE, holes, note), *filter(None, cells)]


def _cell_holes(
    labelled: Sequence[Clip], held_out: Sequence[Clip], by: str, k: int
) -> HoleList | None:
    """Cells of emotion and speaker (or film) with fewer than K library clips.

    A speaker (or film) without any library clip is one hole. None with fewer than two speakers (or
    films), since the cells then equal the counts per emotion.
    """
    have = Counter((getattr(clip, by), clip.emotion) for clip in labelled)
    want = Counter((getattr(clip, by), clip.emotion) for clip in held_out)
    owners = sorted({getattr(clip, by) for clip in (*labelled, *held_out)} - {""})
    by_owner = Counter(getattr(clip, by) for clip in labelled)
    by_emotion = Counter(clip.emotion for clip in labelled)
    if len(owners) < 2:
        return None
    of, by_or_from = {"speaker": ("of", "by"), "film": ("of film", "from film")}[by]
    found: list[tuple[int, float, str]] = []
    for owner in owners:
        if not by_owner[owner]:
            needed = sum(number for (name, _), number in want.items() if name == owner)
            said = f"No labelled clip of the library is {by_or_from} {owner}{_needed_for(needed)}."
            found.append((needed, 0.0, said))
            continue
        for emotion in sorted(by_emotion):
            number = have[owner, emotion]
            if number >= k:
                continue
            needed = want[owner, emotion]
            expected = by_owner[owner] * by_emotion[emotion] / len(labelled)
            said = f"{_counted(number)} {of} {owner} {_is(number)} labelled {emotion}"
            said += f"{_needed_for(needed)}; {expected:.1f} would be expected."
            found.append((needed, expected - number, said))
    found.sort(key=lambda hole: (-hole[0], -hole[1], hole[2]))
    note = (
        f"Fewer than K = {k} clips. First the cells that held-out lines need, then those that are "
        f"furthest below the number that is expected from the totals of {by} and emotion."
        if found
        else f"None: every {by} has at least K = {k} clips of every emotion."
    )
    return _listed(f"Emotions by {by}", [Hole(said=said) for _, _, said in found], note)


def _counted(number: int) -> str:
    return {0: "No clip", 1: "Only 1 clip"}.get(number, f"Only {number} clips")


def _is(number: int) -> str:
    return "is" if number < 2 else "are"


def _needed_for(lines: int) -> str:
    """How many held-out lines have a label too, as the end of a sentence."""
    if not lines:
        return ""
    return f", and {lines} held-out {'line is' if lines == 1 else 'lines are'}"


def alone_holes(
    modality: str,
    query_clips: Sequence[Clip],
    best: FloatArray,
    is_library: BoolArray,
    lacking: int = 0,
) -> HoleList:
    """Utterances whose best eligible hit scores below the 5th percentile of the library clips.

    Args:
        best: (Q,) scores of the best eligible hit, NaN where no clip is eligible.
        is_library: (Q,) bool; the best scores of library clips give the percentile.
        lacking: number of utterances without a vector; the note counts them.
    """
    title = f"Lines that stand alone in {modality}"
    without = (
        f" {lines_text(lacking)} without {with_article(modality)} vector cannot be compared."
        if lacking
        else ""
    )
    own = best[is_library & np.isfinite(best)].astype(np.float64)
    no_hit = ~np.isfinite(best)
    limit = float(np.percentile(own, LOWEST_PERCENT)) if len(own) else math.nan
    is_alone = no_hit | (best < limit)
    # Held-out utterances come first, since they are to be dubbed.
    order = sorted(
        np.flatnonzero(is_alone).tolist(),
        key=lambda q: (is_library[q], not no_hit[q], best[q] if not no_hit[q] else 0.0, q),
    )
    holes = []
    for q in order:
        clip = query_clips[q]
        who = f"{_named(clip)} ({'library' if is_library[q] else clip.split})"
        said = f"{who} stands alone in {modality}: "
        said += "no clip is eligible" if no_hit[q] else f"its best hit scores {best[q]:.3f}"
        holes.append(Hole(said=said, clips=(clip.clip_id,)))
    if not len(own):
        return _listed(title, holes, f"No library clip has an eligible clip.{without}")
    held = int((is_alone & ~is_library).sum())
    return _listed(
        title,
        holes,
        f"For 95 of 100 library clips the best hit scores {limit:.3f} or better. It scores lower "
        f"for {held} of {int((~is_library).sum())} other lines and {len(holes) - held} of "
        f"{int(is_library.sum())} library clips.{without}",
    )


def _named(clip: Clip) -> str:
    return f"“{clip.text}”" if clip.text else "the line without words"


def region_holes(
    modality: str, found: Sequence[Found], library: Mapping[str, int], k: int
) -> HoleList:
    """Emotions with clips that retrieve mostly clips of other emotions.

    Args:
        library: clips of each emotion in the library, to compute the number expected by chance.
    """
    labelled = sum(number for emotion, number in library.items() if emotion)
    rows = []
    for emotion in sorted({f.clip.emotion for f in found} - {""}):
        queries = [f for f in found if f.clip.emotion == emotion and f.emotions]
        mixed = [f for f in queries if 2 * f.emotions.count(emotion) < len(f.emotions)]
        if not mixed:
            continue
        among = Counter(e for f in mixed for e in f.emotions if e != emotion)
        other = min(among, key=lambda e: (-among[e], e))
        share = library.get(emotion, 0) / labelled
        by_chance = sum(float(binom.cdf((len(f.emotions) - 1) // 2, len(f.emotions), share))
                        for f in queries)  # fmt: skip
        held = sum(not f.is_library for f in mixed)
        others = sum(len(f.emotions) for f in mixed)
        said = (
            f"{len(mixed)} of {clips_text(len(queries))} labelled {emotion} lie among other "
            f"emotions, most often {other} ({among[other]} of their {others} neighbours); not in "
            f"the library: {held}. Random labels would give {by_chance:.1f}."
        )
        mixed.sort(key=lambda f: (f.emotions.count(emotion), not f.is_library, f.clip.clip_id))
        clips = tuple(f.clip.clip_id for f in mixed[:EXAMPLES])
        rows.append((len(mixed) / len(queries), len(mixed), Hole(said=said, clips=clips)))
    rows.sort(key=lambda row: (-row[0], -row[1]))
    note = (
        f"Clips with more than half of their K = {k} nearest clips in {modality} labelled with "
        "another emotion."
        if rows
        else f"None: every labelled clip has its own emotion in half of its K = {k} nearest."
    )
    return _listed(f"Regions of another emotion in {modality}", [row[2] for row in rows], note)


def _listed(title: str, holes: Sequence[Hole], note: str) -> HoleList:
    more = max(0, len(holes) - LISTED)
    return HoleList(title=title, note=note, holes=tuple(holes[:LISTED]), more=more)
