"""The emotion map: the library in two dimensions, and a list of what it lacks.

Reads the newest index build, the clips' emotion vectors, cached sound, and one video frame of each
embedded clip (in the decoder child). Writes one HTML file, the same bytes for the same store.

Letters: N library rows, Q queries, D width, K retrieved clips.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from redub.core.config import nearest
from redub.core.durable import commit_bytes
from redub.core.errors import ClipError, ConfigError, UsageError
from redub.core.types import MODALITIES, Clip, FloatArray, Waveform
from redub.index.base import IntArray
from redub.index.library import ModalityIndex
from redub.index.projection import Layout, Trust, lay_out, trustworthiness
from redub.index.similarity import unit_rows
from redub.pages.emotion_map import EmotionMap, MapPoint, render_map, small_poster, small_sound
from redub.pipeline.reports.index.map_holes import (
    clips_text,
    coverage_holes,
    usable_vectors,
    with_article,
)
from redub.pipeline.store.index.builds import OpenIndex, build_settings, features_of, open_index
from redub.pipeline.store.project import Project
from redub.pipeline.store.tables import Store
from redub.pipeline.work.decoders import close_decoders
from redub.pipeline.work.extraction import Toolbox

SPACES = ("audio", *MODALITIES)


MEDIA = ("auto", "all", "none")


MOST_DRAWN = 4000  # points; browsers grow slow beyond


MOST_MEDIA_BYTES = 12 << 20  # embedded by ``auto``, before base64


NEAREST = 3


TRUST_K = 10


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
        media: ``auto`` embeds sound and an image of at most ``count`` clips, evenly spread over
            emotions and speakers, and at most 12 MiB; ``all`` embeds every drawn clip; ``none``
            embeds nothing.

    Raises:
        UsageError: an unknown modality or media, or a negative count.
        ConfigError: there is no index, it is out of date, or no library clip has such a vector.
    """
    page = render_map(emotion_map(project, modality=modality, media=media, count=count))
    commit_bytes(output, page.encode("utf-8"))
    return output


def emotion_map(project: Project, *, modality: str, media: str, count: int) -> EmotionMap:
    """Collect everything that the page shows from the index, the store and the footage."""
    if modality not in SPACES:
        raise UsageError(f"unknown modality '{modality}'; {nearest(modality, SPACES)}")
    if media not in MEDIA:
        raise UsageError(f"unknown media '{media}'; {nearest(media, MEDIA)}")
    if count < 0:
        raise UsageError(f"{count} clips cannot be embedded; wanted 0 or more")
    store = Store(project)
    index = open_index(store)
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
        holes=tuple(coverage_holes(project, store, index, space, modality)),
    )


_SAID = {"audio": "sound", "scene": "are lit and set", "face": "look", "text": "are worded"}


def _metric(project: Project, space: ModalityIndex) -> str:
    metric = project.config.index.metric.replace("_", " ")
    return f"mean {metric} of both halves" if space.halves else metric


def _space(project: Project, index: OpenIndex, modality: str) -> tuple[ModalityIndex, FloatArray]:
    """The index of the drawn vectors, and these vectors (n, W) after the transform."""
    if modality != "audio":
        space = index.modalities[modality]
        return space, space.backend.raw
    config = project.config.index
    rows = np.flatnonzero(usable_vectors(index.audio, config.metric))
    space = ModalityIndex.build(
        "audio",
        index.table,
        index.audio[rows],
        rows,
        settings=build_settings(config),
    )
    return space, index.audio[rows]


def _nearest(
    space: ModalityIndex, vectors: FloatArray, drawn: IntArray, count: int
) -> list[tuple[tuple[int, float], ...]]:
    """For every point, numbers and scores of its three nearest points, without the policy."""
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
            f"Drawn by exact t-SNE (perplexity {layout.perplexity:.0f}, started from PCA). Points "
            "that are close have similar vectors. Distances between far groups and the size of a "
            "group have no meaning."
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
        f"Trustworthiness at K = {trust.k}: {trust.value:.3f}. It is 1 where the {trust.k} nearest "
        "points of every point on the map are its nearest in the vector space; the same points "
        f"shuffled reach {trust.shuffled:.3f}.",
    ]


def _notes(index: OpenIndex, having: int, drawn: int, embedded: int, modality: str) -> list[str]:
    notes = []
    lacking = len(index.clips) - having
    if lacking:
        notes.append(
            f"Not drawn: {clips_text(lacking)} of the library without "
            f"{with_article(modality)} vector."
        )
    if drawn < having:
        notes.append(
            f"Drawn are {drawn} of {clips_text(having)}, evenly spread over emotions and speakers."
        )
    if not embedded:
        notes.append("No clip is embedded in this page; a point names its source and time.")
    elif embedded < drawn:
        notes.append(
            f"Sound and images of {embedded} of {clips_text(drawn)} are in this page, evenly "
            "spread over emotions and speakers; the others name their source and time."
        )
    return notes


# -- which clips, and their media


def spread(clips: Sequence[Clip], count: int) -> list[int]:
    """Numbers of at most ``count`` clips, evenly spread over pairs of emotion and speaker.

    Within a pair the clips are evenly spaced. The pairs alternate in the result, so that its
    beginning is evenly spread too.
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
    """Point number → (image, sound) as bytes; a clip without both is left out."""
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
    """The clip's middle video frame as an image file; empty where it cannot be read."""
    if not clip.has_video:
        return b""
    middle = (clip.start_frame + clip.end_frame) // 2
    moment = dataclasses.replace(clip, start_frame=middle, end_frame=middle + 1)
    try:
        frames = tools.decode(moment, frames=True, sound=False).frames
    except ClipError:
        return b""
    return b"" if frames is None or not len(frames) else small_poster(frames[0])
