"""The links of a pack: one row per clip, with its references to other clips as row numbers.

Reads committed features, neighbours and the index. The caller writes the table to
``packs/<pack>/links.arrow``; :mod:`redub.training.data.pack` describes it.

Letters: W width.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from redub.core.columns import encode, value_type
from redub.core.errors import IntegrityError
from redub.core.types import EMOTIONS, MODALITIES, Clip, FloatArray
from redub.pipeline.store.index.builds import OpenIndex
from redub.pipeline.store.index.neighbours import neighbours_of
from redub.pipeline.store.packs.lines import (
    adjacent_in_scene,
    pick_references,
    reference_candidates,
    voice_name,
)
from redub.pipeline.store.packs.training_set import NO_OTHER_LINE
from redub.pipeline.store.settings import ProjectConfig
from redub.pipeline.store.tables import Store, clips_of, lacking

RECORDED = ("mel", "f0", "energy", "durations")
"""Features of the recording; the last missing one is the reason why a clip is left out."""


def line_links(
    store: Store,
    index: OpenIndex,
    frame: pl.DataFrame,
    rows: Mapping[str, int],
    live: Mapping[str, pl.DataFrame],
) -> tuple[pa.Table, dict[str, dict[str, str]], dict[str, int]]:
    """Collect the links of all clips.

    Args:
        frame: rows of the clip table.
        rows: clip id to its row number in the parts.
        live: feature to :meth:`Store.live_features`.

    Returns:
        One row per clip: split, voice, and every reference to other clips as link row numbers.
        Split to clip id to the reason why the clip is no utterance. Split to number of utterances.

    Raises:
        IntegrityError: E-PACK-LEAK, a clip retrieves a clip that is no training clip.
    """
    config = store.project.config
    clips = clips_of(frame)
    place = {clip.clip_id: number for number, clip in enumerate(clips)}
    splits = {clip.clip_id: clip.split for clip in clips}
    has, why = _held(live)
    speaker = store.read("speaker")
    voices = {name: _Voice(ids, speaker) for name, ids in reference_candidates(clips, has).items()}
    neighbours = neighbours_of(store, index)
    before, after = adjacent_in_scene(clips)
    columns: dict[str, list[Any]] = defaultdict(list)
    left_out: dict[str, dict[str, str]] = defaultdict(dict)
    counts: dict[str, int] = defaultdict(int)
    for clip in clips:
        clip_id = clip.clip_id
        voice = voices.get(voice_name(clip))
        references = (
            [] if voice is None else voice.reference_mels(clip_id, config.train.reference_mels)
        )
        if reason := _why_no_line(clip_id, references, has, why):
            left_out[clip.split][clip_id] = reason
        else:
            counts[clip.split] += 1
        for name, cell in _own_cells(clip, config).items():
            columns[name].append(cell)
        columns["row"].append(rows[clip_id])
        columns["is_line"].append(not reason)
        columns["previous"].append(place.get(before.get(clip_id, ""), -1))
        columns["following"].append(place.get(after.get(clip_id, ""), -1))
        columns["reference_mels"].append([place[i] for i in references])
        vector = voice.vector_without(clip_id) if voice and references else None
        columns["speaker_vector"].append(vector)
        library = index.table.row_of(clip_id)
        columns["audio"].append(None if library is None else index.audio[library])
        for name, cell in _hit_cells(clip, neighbours.get(clip_id, {}), place, splits).items():
            columns[name].append(cell)
    speaker_width = store.keys.by_name["speaker"].schema.width
    widths = {"speaker_vector": speaker_width, "audio": int(index.audio.shape[1])}
    return _link_table(columns, widths), dict(left_out), dict(counts)


def _own_cells(clip: Clip, config: ProjectConfig) -> dict[str, Any]:
    """The cells that follow from the clip's row and the settings alone."""
    samples = config.audio.sample_count(clip.video_frames, config.video)
    return {
        "clip_id": clip.clip_id,
        "split": clip.split,
        "voice": voice_name(clip),
        "mel_frames": config.audio.frame_count(samples),
        "emotion": EMOTIONS.index(clip.emotion) if clip.emotion else -1,
    }


def _hit_cells(
    clip: Clip,
    hits: Mapping[str, Sequence[tuple[str, float]]],
    place: Mapping[str, int],
    splits: Mapping[str, str],
) -> dict[str, list[int] | list[float]]:
    """Row numbers and scores of the clip's hits, by modality; empty lists without hits."""
    cells: dict[str, list[int] | list[float]] = {}
    for modality in MODALITIES:
        own = hits.get(modality, [])
        _refuse_held_out(clip, own, splits)
        cells[f"{modality}_hits"] = [place[hit] for hit, _ in own]
        cells[f"{modality}_scores"] = [score for _, score in own]
    return cells


def _why_no_line(
    clip_id: str,
    references: Sequence[str],
    has: Mapping[str, set[str]],
    why: Mapping[str, Mapping[str, str]],
) -> str:
    """Why a clip is no utterance to train on; empty if it is one."""
    missing = [name for name in RECORDED if clip_id not in has[name]]
    if missing:
        return lacking(missing[-1], why[missing[-1]].get(clip_id))
    return "" if references else NO_OTHER_LINE


def _link_table(columns: Mapping[str, Any], widths: Mapping[str, int]) -> pa.Table:
    """The columns as an Arrow table; ``widths``: vector column to its width."""
    vectors = {
        name: encode(columns[name], value_type("vector", width, "float32"))
        for name, width in widths.items()
    }
    return pa.table({**columns, **vectors}, schema=_link_schema(widths))


def _link_schema(widths: Mapping[str, int]) -> pa.Schema:
    numbers = pa.list_(pa.int32())
    scores = pa.list_(pa.float32())
    return pa.schema(
        [
            ("clip_id", pa.string()),
            ("row", pa.int64()),
            ("split", pa.string()),
            ("voice", pa.string()),
            ("is_line", pa.bool_()),
            ("mel_frames", pa.int64()),
            ("emotion", pa.int64()),
            ("previous", pa.int64()),
            ("following", pa.int64()),
            ("reference_mels", numbers),
            *((name, value_type("vector", width, "float32")) for name, width in widths.items()),
            *((f"{m}_hits", numbers) for m in MODALITIES),
            *((f"{m}_scores", scores) for m in MODALITIES),
        ]
    )


class _Voice:
    """The training clips of one voice: references for a clip come from the *other* clips."""

    def __init__(self, clip_ids: Sequence[str], speaker: Mapping[str, Any]) -> None:
        self.clip_ids = clip_ids
        self.vectors = {i: np.asarray(speaker[i], dtype=np.float64) for i in clip_ids}
        self.total = np.sum(list(self.vectors.values()), axis=0)

    def reference_mels(self, clip_id: str, most: int) -> list[str]:
        """Clip ids of at most ``most`` reference mels for a clip."""
        return pick_references(clip_id, self.clip_ids, most)

    def vector_without(self, clip_id: str) -> FloatArray:
        """(W,) float32, the mean speaker vector of the other clips."""
        own = self.vectors.get(clip_id)
        total = self.total if own is None else self.total - own
        mean: FloatArray = (total / (len(self.vectors) - (own is not None))).astype(np.float32)
        return mean


def _held(
    live: Mapping[str, pl.DataFrame],
) -> tuple[dict[str, set[str]], dict[str, dict[str, str]]]:
    """Feature to the clips with a value, and feature to clip id to the reason for a null."""
    has, why = {}, {}
    for name in (*RECORDED, "speaker"):
        rows = live[name]
        has[name] = set(rows.filter(pl.col("valid"))["clip_id"])
        why[name] = dict(rows.filter(~pl.col("valid")).select("clip_id", "why_not").iter_rows())
    return has, why


def _refuse_held_out(
    clip: Clip, hits: Sequence[tuple[str, float]], splits: Mapping[str, str]
) -> None:
    for hit, _ in hits:
        if splits.get(hit) != "train":
            raise IntegrityError(
                f"{clip.clip_id} retrieves {hit}, which is "
                f"{'gone' if hit not in splits else 'in split ' + splits[hit]}; run "
                "`redub index build` and `redub retrieve`",
                code="E-PACK-LEAK",
            )
