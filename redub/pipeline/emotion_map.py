"""The emotion map: the library drawn flat, with what it lacks named in words and numbers.

Reads the newest index build, the clips' emotion vectors, cached sound, and one picture of each
embedded clip (through the decoder child). Writes one HTML file, the same bytes for the same store.
Letters: N library rows, Q queries, D width, K neighbours.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import binom

from redub.core.config import nearest
from redub.core.errors import ClipError, ConfigError, UsageError
from redub.core.types import MODALITIES, Clip, FloatArray, Waveform
from redub.index.base import SMALLEST_NORM, BoolArray, IntArray, row_norms
from redub.index.library import ModalityIndex
from redub.index.library import retrieve as search
from redub.index.policy import HELD_OUT, ClipFacts, Policy
from redub.index.projection import Layout, Trust, lay_out, trustworthiness
from redub.index.selection import Chosen, Selection
from redub.index.similarity import unit_rows
from redub.index.transform import Chain
from redub.pages.emotion_map import (
    EmotionMap,
    Hole,
    HoleList,
    MapPoint,
    render_map,
    small_poster,
    small_sound,
)
from redub.pipeline.decoders import close_decoders
from redub.pipeline.extract import Toolbox
from redub.pipeline.files import commit_bytes
from redub.pipeline.index import LIBRARY, OpenIndex, features_of, open_index, policy_of
from redub.pipeline.project import Project
from redub.pipeline.store import Store

SPACES = ("audio", *MODALITIES)
MEDIA = ("auto", "all", "none")
MOST_DRAWN = 4000  # points; browsers grow slow beyond
MOST_MEDIA_BYTES = 12 << 20  # embedded by ``auto``, before base64
NEAREST = 3
TRUST_K = 10
LOWEST_PERCENT = 5.0  # of the library's own best scores; a line below stands alone
LISTED = 10  # holes of one kind
EXAMPLES = 3
RARE = "Emotions that are missing"


class Found(NamedTuple):
    """A clip that was asked about: its labelled neighbours' emotions, best first."""

    clip: Clip
    is_library: bool
    emotions: tuple[str, ...]


def write_map(
    project: Project,
    output: Path,
    *,
    modality: str = "audio",
    media: str = "auto",
    count: int = 400,
) -> Path:
    """Draw the map of one kind of emotion vector.

    Args:
        media: ``auto`` embeds sound and a picture of at most ``count`` clips, evenly spread over
            emotions and speakers, and fewer where they are long; ``all`` of every drawn clip;
            ``none`` of no clip.

    Raises:
        UsageError: an unknown modality or media, or a negative count.
        ConfigError: there is no index, it is out of date, or nobody has such a vector.
    """
    page = render_map(emotion_map(project, modality=modality, media=media, count=count))
    commit_bytes(output, page.encode("utf-8"))
    return output


def emotion_map(project: Project, *, modality: str, media: str, count: int) -> EmotionMap:
    """Everything the page shows, gathered from the index, the store and the footage."""
    if modality not in SPACES:
        raise UsageError(f"unknown modality '{modality}'; {nearest(modality, SPACES)}")
    if media not in MEDIA:
        raise UsageError(f"unknown media '{media}'; {nearest(media, MEDIA)}")
    if count < 0:
        raise UsageError(f"{count} clips cannot be embedded; wanted 0 or more")
    store, index = Store(project), open_index(project)
    space, vectors = _space(project, index, modality)
    if not len(space.rows):
        raise ConfigError(
            f"no library clip has a {modality} emotion vector: nothing to draw; see `redub status`",
            code="E-STAGE-EXTRACT",
        )
    having = [index.clips[row] for row in space.rows]
    drawn = np.sort(spread(having, MOST_DRAWN))  # (n,) places in space.rows
    clips = [having[place] for place in drawn]
    shown = space.prepared(vectors[drawn])
    if project.config.index.metric == "cosine":
        shown = unit_rows(shown)
    layout = lay_out(shown)
    trust = trustworthiness(shown, layout.places, TRUST_K)
    near = _nearest(space, vectors, drawn, len(index.table))
    embedded = _embedded(project, store, clips, media, count)
    used = project.config.index.audio_transform if modality == "audio" else space.transform_name
    after = "" if used == "identity" else f" after {used}"
    feature = features_of(store)[modality]
    similarity = f"{_metric(project, space)} of {feature}{after}"
    return EmotionMap(
        title=f"{project.config.name}: emotion map",
        project=project.config.name,
        build=index.build,
        vectors=f"{feature}, the vectors of how they {_SAID[modality]}",
        similarity=similarity,
        points=tuple(
            _point(clip, layout, number, near[number], embedded.get(number), project)
            for number, clip in enumerate(clips)
        ),
        drawn_by=tuple(_drawn_by(layout, trust)),
        notes=tuple(_notes(index, len(having), len(clips), len(embedded), modality)),
        holes=tuple(_holes(project, store, index, space, modality)),
    )


_SAID = {"audio": "sound", "scene": "are lit and set", "face": "look", "text": "are worded"}


def _metric(project: Project, space: ModalityIndex) -> str:
    metric = project.config.index.metric.replace("_", " ")
    return f"mean {metric} of both halves" if space.halves else metric


def _space(project: Project, index: OpenIndex, modality: str) -> tuple[ModalityIndex, FloatArray]:
    """How the drawn vectors are searched, and these (n, W), transformed, a row each."""
    if modality != "audio":
        space = index.modalities[modality]
        return space, space.backend.raw
    config = project.config.index
    rows = np.flatnonzero(_usable(index.audio, config.metric))
    space = ModalityIndex.build(
        "audio",
        index.table,
        index.audio[rows],
        rows,
        metric=config.metric,
        backend=config.backend,
        recall_floor=config.recall_floor,
        seed=config.seed,
    )
    return space, index.audio[rows]


def _usable(vectors: FloatArray, metric: str) -> BoolArray:
    """(n,) bool: a vector of no length has no cosine."""
    if metric != "cosine":
        return np.ones(len(vectors), dtype=np.bool_)
    usable: BoolArray = row_norms(vectors) >= SMALLEST_NORM
    return usable


def _nearest(
    space: ModalityIndex, vectors: FloatArray, drawn: IntArray, count: int
) -> list[tuple[tuple[int, float], ...]]:
    """For every point the numbers and similarities of its three nearest, whatever the policy."""
    is_drawn = np.zeros(count, dtype=np.bool_)
    is_drawn[space.rows[drawn]] = True
    hits = space.search(vectors[drawn], NEAREST + 1, is_drawn)
    number_of = {int(row): number for number, row in enumerate(space.rows[drawn])}
    near = []
    for number, (rows, scores) in enumerate(zip(hits.rows, hits.scores, strict=True)):
        found = [
            (number_of[int(row)], float(score))
            for row, score in zip(rows, scores, strict=True)
            if row >= 0 and number_of[int(row)] != number
        ]
        near.append(tuple(found[:NEAREST]))
    return near


def _point(
    clip: Clip,
    layout: Layout,
    number: int,
    near: tuple[tuple[int, float], ...],
    media: tuple[bytes, bytes] | None,
    project: Project,
) -> MapPoint:
    poster, sound = media or (b"", b"")
    fps = project.config.video.fps
    return MapPoint(
        clip_id=clip.clip_id,
        x=float(layout.places[number, 0]),
        y=float(layout.places[number, 1]),
        text=clip.text,
        speaker=clip.speaker,
        emotion=clip.emotion,
        film=clip.film,
        scene=clip.scene,
        source=clip.source,
        start_s=clip.start_frame / fps,
        end_s=clip.end_frame / fps,
        neighbours=near,
        poster=poster,
        sound=sound,
    )


def _drawn_by(layout: Layout, trust: Trust) -> list[str]:
    if layout.method == "t-SNE":
        how = (
            f"Drawn by exact t-SNE (perplexity {layout.perplexity:.0f}, started from PCA). Read "
            "who is near whom. Distances between far groups mean nothing, nor does a group’s size."
        )
    else:
        how = (
            f"Drawn by PCA: two axes, which hold {layout.explained:.0%} of the variance. Clips "
            "that lie together here may be far apart along the axes that are not drawn."
        )
    if not trust.k:
        return [how]
    return [
        how,
        f"Trustworthiness at K = {trust.k}: {trust.value:.3f}. At 1, a point’s {trust.k} nearest "
        "on the picture are its nearest in truth; the same points shuffled reach "
        f"{trust.shuffled:.3f}.",
    ]


def _notes(index: OpenIndex, having: int, drawn: int, embedded: int, modality: str) -> list[str]:
    notes = []
    lacking = len(index.clips) - having
    if lacking:
        notes.append(f"Not drawn: {_clips(lacking)} of the library without {_a(modality)} vector.")
    if drawn < having:
        notes.append(
            f"Drawn are {drawn} of {_clips(having)}, evenly spread over emotions and speakers."
        )
    if not embedded:
        notes.append("No clip is embedded in this page; a point names its source and time.")
    elif embedded < drawn:
        notes.append(
            f"Sound and pictures of {embedded} of {_clips(drawn)} are in this page, evenly spread "
            "over emotions and speakers; the others name their source and time."
        )
    return notes


def _clips(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips"


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"


def _a(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


# -- which clips, and their media


def spread(clips: Sequence[Clip], count: int) -> list[int]:
    """Numbers of at most ``count`` clips, as even as can be over pairs of emotion and speaker.

    Within a pair they are evenly spaced, and the pairs take turns, so that the first ones of the
    answer are spread as well.
    """
    pairs: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, clip in enumerate(clips):
        pairs[clip.emotion, clip.speaker].append(number)
    groups = [pairs[pair] for pair in sorted(pairs)]
    shares = [0] * len(groups)
    left = min(count, len(clips))
    while left:
        open_groups = [g for g, group in enumerate(groups) if shares[g] < len(group)]
        for g in open_groups[:left]:
            shares[g] += 1
        left -= len(open_groups[:left])
    picked = [
        [group[k] for k in np.linspace(0, len(group) - 1, share).round().astype(int)]
        for group, share in zip(groups, shares, strict=True)
    ]
    turns = itertools.zip_longest(*picked)
    return [number for turn in turns for number in turn if number is not None]


def _embedded(
    project: Project, store: Store, clips: Sequence[Clip], media: str, count: int
) -> dict[int, tuple[bytes, bytes]]:
    """Poster and sound by the point's number; a clip that has neither is left out."""
    if media == "none":
        return {}
    chosen = spread(clips, len(clips) if media == "all" else count)
    waveforms = store.read("waveform", [clips[number].clip_id for number in chosen])
    rate = project.config.audio.sample_rate_hz
    tools, found, size = Toolbox(project), {}, 0
    try:
        for number in chosen:
            clip, sound = clips[number], b""
            if clip.clip_id in waveforms:
                samples = np.asarray(waveforms[clip.clip_id])[:, 0].astype(np.float32) / 32768.0
                sound = small_sound(Waveform(samples, rate))
            poster = _poster(tools, clip)
            size += len(poster) + len(sound)
            if media == "auto" and size > MOST_MEDIA_BYTES:
                break
            if poster or sound:
                found[number] = poster, sound
    finally:
        close_decoders()
    return found


def _poster(tools: Toolbox, clip: Clip) -> bytes:
    """The clip's middle picture; nothing where it has none or it cannot be read."""
    if not clip.has_video:
        return b""
    middle = (clip.start_frame + clip.end_frame) // 2
    moment = dataclasses.replace(clip, start_frame=middle, end_frame=middle + 1)
    try:
        frames = tools.decode(moment, frames=True, sound=False).frames
    except ClipError:
        return b""
    return b"" if frames is None or not len(frames) else small_poster(frames[0])


# -- coverage holes


def _holes(
    project: Project, store: Store, index: OpenIndex, space: ModalityIndex, modality: str
) -> list[HoleList]:
    every, k = store.clips(), max(1, project.config.index.k)
    held_out = [clip for clip in every if clip.split in HELD_OUT]
    # A library clip asks like a line to be dubbed: it must not find itself, whatever the project.
    policy = dataclasses.replace(policy_of(project.config.index), exclude_self=True)
    lists = label_holes(index.clips, held_out, k)
    for name in MODALITIES:
        asking, queries = _queries(project, store, index, name, every)
        hits = _ask(index, index.modalities[name], policy, asking, queries, 1)
        is_library = np.array([index.table.row_of(c.clip_id) is not None for c in asking], bool)
        lacking = len(every) - len(asking)
        lists.append(alone_holes(name, asking, hits.scores[:, 0], is_library, lacking))
    asking, queries = _queries(project, store, index, modality, every)
    hits = _ask(index, space, policy, asking, queries, k)
    found = [
        Found(
            clip,
            index.table.row_of(clip.clip_id) is not None,
            tuple(filter(None, (index.clips[row].emotion for row in rows if row >= 0))),
        )
        for clip, rows in zip(asking, hits.rows, strict=True)
    ]
    return [*lists, region_holes(modality, found, Counter(c.emotion for c in index.clips), k)]


def _queries(
    project: Project, store: Store, index: OpenIndex, modality: str, every: Sequence[Clip]
) -> tuple[list[Clip], FloatArray]:
    """The clips that have a vector of this kind, and the vectors (Q, D)."""
    feature = features_of(store)[modality]
    values = store.read(feature)
    asking = [clip for clip in every if clip.clip_id in values]
    width = store.keys.by_name[feature].schema.width
    queries = np.zeros((len(asking), width), dtype=np.float32)
    for row, clip in enumerate(asking):
        queries[row] = values[clip.clip_id]
    if modality == "audio" and asking:
        path = project.root / "index" / LIBRARY / index.build / "audio_transform.npz"
        with np.load(path, allow_pickle=False) as arrays:
            transform = Chain.from_arrays(dict(arrays))
        queries = transform.apply(queries, [clip.speaker for clip in asking])
    elif modality != "audio":
        own = index.modalities[modality]
        queries = own.transformed(queries, [clip.speaker for clip in asking])
    usable = _usable(queries, project.config.index.metric)
    return list(itertools.compress(asking, usable)), queries[usable]


def _ask(
    index: OpenIndex,
    space: ModalityIndex,
    policy: Policy,
    asking: Sequence[Clip],
    queries: FloatArray,
    k: int,
) -> Chosen:
    if not len(asking) or not len(space.rows):
        none = np.full((len(asking), k), np.nan, dtype=np.float32)
        return Chosen(np.full((len(asking), k), -1, dtype=np.int64), none, none)
    facts = [ClipFacts.of(clip) for clip in asking]
    return search(space, index.table, policy, queries, facts, Selection(k=k))


def label_holes(library: Sequence[Clip], held_out: Sequence[Clip], k: int) -> list[HoleList]:
    """Emotions, and cells of emotions by speakers and by films, with fewer than K library clips.

    What a user would miss most comes first: cells that held-out lines would ask for, then those
    with the most clips fewer than emotion and speaker (or film), taken on their own, let expect.
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
        Hole(said=f"{_counted(counts[e])} of the library {_is(counts[e])} labelled {e}{asked}.")
        for e in rare
        for asked in [_asked_for(wanted[e])]
    ]
    note = "" if holes else f"None: of every emotion there are at least K = {k} clips."
    cells = [_cell_holes(labelled, held_out, by, k) for by in ("speaker", "film")]
    return [_listed(RARE, holes, note), *filter(None, cells)]


def _cell_holes(
    labelled: Sequence[Clip], held_out: Sequence[Clip], by: str, k: int
) -> HoleList | None:
    """Cells of the emotions that the library has; an owner it does not have is one hole.

    None where there is one owner at most: the emotions' own numbers say it all.
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
            asked = sum(number for (name, _), number in want.items() if name == owner)
            said = f"No labelled clip of the library is {by_or_from} {owner}{_asked_for(asked)}."
            found.append((asked, 0.0, said))
            continue
        for emotion in sorted(by_emotion):
            number = have[owner, emotion]
            if number >= k:
                continue
            asked = want[owner, emotion]
            expected = by_owner[owner] * by_emotion[emotion] / len(labelled)
            said = f"{_counted(number)} {of} {owner} {_is(number)} labelled {emotion}"
            said += f"{_asked_for(asked)}; {expected:.1f} would be expected."
            found.append((asked, expected - number, said))
    found.sort(key=lambda hole: (-hole[0], -hole[1], hole[2]))
    note = (
        f"Fewer than K = {k} clips. First those that held-out lines would ask for, then those that "
        f"fall most behind what the {by}’s and the emotion’s own numbers let expect."
        if found
        else f"None: every one has at least K = {k} clips of every emotion."
    )
    return _listed(f"Emotions by {by}", [Hole(said=said) for _, _, said in found], note)


def _counted(number: int) -> str:
    return {0: "No clip", 1: "Only 1 clip"}.get(number, f"Only {number} clips")


def _is(number: int) -> str:
    return "is" if number < 2 else "are"


def _asked_for(lines: int) -> str:
    if not lines:
        return ""
    return f", and {lines} held-out {'line is' if lines == 1 else 'lines are'}"


def alone_holes(
    modality: str,
    asking: Sequence[Clip],
    best: FloatArray,
    is_library: BoolArray,
    lacking: int = 0,
) -> HoleList:
    """Lines whose best eligible hit is worse than what nearly every library clip finds.

    Args:
        best: (Q,) scores of the best eligible hit, NaN where nobody may be retrieved.
        is_library: (Q,) bool; the library's own scores set the limit, their 5th percentile.
        lacking: lines without a vector, only counted.
    """
    title = f"Lines that stand alone in {modality}"
    without = f" {_lines(lacking)} without {_a(modality)} vector cannot ask." if lacking else ""
    own = best[is_library & np.isfinite(best)].astype(np.float64)
    nobody = ~np.isfinite(best)
    limit = float(np.percentile(own, LOWEST_PERCENT)) if len(own) else math.nan
    is_alone = nobody | (best < limit)
    # Held-out lines first: they are the ones to be dubbed.
    order = sorted(
        np.flatnonzero(is_alone).tolist(),
        key=lambda q: (is_library[q], not nobody[q], best[q] if not nobody[q] else 0.0, q),
    )
    holes = []
    for q in order:
        clip = asking[q]
        who = f"{_named(clip)} ({'library' if is_library[q] else clip.split})"
        said = f"{who} stands alone in {modality}: "
        said += "nobody may be retrieved" if nobody[q] else f"its best hit scores {best[q]:.3f}"
        holes.append(Hole(said=said, clips=(clip.clip_id,)))
    if not len(own):
        return _listed(title, holes, f"No library clip finds another one.{without}")
    held = int((is_alone & ~is_library).sum())
    return _listed(
        title,
        holes,
        f"95 of 100 library clips that ask the others find a score of {limit:.3f} or better. "
        f"{held} of {int((~is_library).sum())} other lines do not, and {len(holes) - held} of "
        f"{int(is_library.sum())} library clips.{without}",
    )


def _named(clip: Clip) -> str:
    return f"“{clip.text}”" if clip.text else "the line without words"


def region_holes(
    modality: str, found: Sequence[Found], library: Mapping[str, int], k: int
) -> HoleList:
    """Emotions whose clips lie, in most of their K neighbours, among other emotions.

    Args:
        library: clips of each emotion in the library, for what would come out by chance.
    """
    labelled = sum(number for emotion, number in library.items() if emotion)
    rows = []
    for emotion in sorted({f.clip.emotion for f in found} - {""}):
        asked = [f for f in found if f.clip.emotion == emotion and f.emotions]
        strangers = [f for f in asked if 2 * f.emotions.count(emotion) < len(f.emotions)]
        if not strangers:
            continue
        among = Counter(e for f in strangers for e in f.emotions if e != emotion)
        other = min(among, key=lambda e: (-among[e], e))
        share = library.get(emotion, 0) / labelled
        by_chance = sum(float(binom.cdf((len(f.emotions) - 1) // 2, len(f.emotions), share))
                        for f in asked)  # fmt: skip
        held = sum(not f.is_library for f in strangers)
        others = sum(len(f.emotions) for f in strangers)
        said = (
            f"{len(strangers)} of {_clips(len(asked))} labelled {emotion} lie among other "
            f"emotions, most often {other} ({among[other]} of their {others} neighbours); not in "
            f"the library: {held}. Labels dealt out at random would give {by_chance:.1f}."
        )
        strangers.sort(key=lambda f: (f.emotions.count(emotion), not f.is_library, f.clip.clip_id))
        clips = tuple(f.clip.clip_id for f in strangers[:EXAMPLES])
        rows.append((len(strangers) / len(asked), len(strangers), Hole(said=said, clips=clips)))
    rows.sort(key=lambda row: (-row[0], -row[1]))
    note = (
        f"Clips of which more than half of the K = {k} nearest in {modality} feel otherwise: there "
        "the library answers with another feeling."
        if rows
        else f"None: every labelled clip has its own emotion in half of its K = {k} nearest."
    )
    return _listed(f"Regions of another emotion in {modality}", [row[2] for row in rows], note)


def _listed(title: str, holes: Sequence[Hole], note: str) -> HoleList:
    more = max(0, len(holes) - LISTED)
    return HoleList(title=title, note=note, holes=tuple(holes[:LISTED]), more=more)
