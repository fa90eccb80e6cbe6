"""The links of a pack: one row per clip, with its references to other clips as row numbers.

Reads committed features, neighbours and the index. The caller writes the table to
``packs/<pack>/links.arrow``; :mod:`redub.training.data.pack` describes it.

Letters: W width.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from redub.core.columns import encode, value_type
from redub.core.errors import IntegrityError
from redub.core.types import EMOTIONS, MODALITIES, Clip
from redub.pipeline.store.index.builds import OpenIndex
from redub.pipeline.store.index.neighbours import neighbours_of
from redub.pipeline.store.packs.lines import adjacent_in_scene
from redub.pipeline.store.packs.training_set import NO_OTHER_LINE
from redub.pipeline.store.packs.voices import References, library_voices, voice_name
from redub.pipeline.store.tables import Store, clips_of, lacking

RECORDED = ("mel", "f0", "energy", "durations")
"""Features of the recording; the last missing one is the reason why a clip is left out."""


class Links(NamedTuple):
    """The links of all clips.

    table: one row per clip, with its references to other clips as row numbers of the table.
    left_out: split to clip id to the reason why the clip is no utterance. splits: split to number
    of utterances.
    """

    table: pa.Table
    left_out: dict[str, dict[str, str]]
    splits: dict[str, int]


def line_links(
    store: Store,
    index: OpenIndex,
    frame: pl.DataFrame,
    rows: Mapping[str, int],
    live: Mapping[str, pl.DataFrame],
) -> Links:
    """Collect the links of all clips.

    Args:
        frame: rows of the clip table.
        rows: clip id to its row number in the parts.
        live: feature to :meth:`Store.live_features`.

    Raises:
        IntegrityError: E-PACK-LEAK, a clip retrieves a clip that is no training clip.
    """
    clips = clips_of(frame)
    has, why = _held(live)
    voices = library_voices(clips, has["mel"], store.read("speaker"))
    most = store.project.config.train.reference_mels
    neighbours = neighbours_of(store, index)
    links = _LinkRows(store, index, clips)
    left_out: dict[str, dict[str, str]] = defaultdict(dict)
    counts: dict[str, int] = defaultdict(int)
    for clip in clips:
        voice = voices.get(voice_name(clip))
        references = None if voice is None else voice.references(clip.clip_id, most)
        if reason := _why_no_line(clip.clip_id, references, has, why):
            left_out[clip.split][clip.clip_id] = reason
        else:
            counts[clip.split] += 1
        links.add(
            clip,
            row=rows[clip.clip_id],
            is_line=not reason,
            references=references,
            hits=neighbours.get(clip.clip_id, {}),
        )
    return Links(links.table(), dict(left_out), dict(counts))


class _LinkRows:
    """The link table, filled clip by clip."""

    def __init__(self, store: Store, index: OpenIndex, clips: Sequence[Clip]) -> None:
        self.config, self.index = store.project.config, index
        self.place = {clip.clip_id: number for number, clip in enumerate(clips)}
        self.splits = {clip.clip_id: clip.split for clip in clips}
        self.before, self.after = adjacent_in_scene(clips)
        self.widths = {
            "speaker_vector": store.keys.by_name["speaker"].schema.width,
            "audio": int(index.audio.shape[1]),
        }
        self.columns: dict[str, list[Any]] = defaultdict(list)

    def add(
        self,
        clip: Clip,
        *,
        row: int,
        is_line: bool,
        references: References | None,
        hits: Mapping[str, Sequence[tuple[str, float]]],
    ) -> None:
        """Add the row of one clip; ``row`` is its row number in the parts."""
        columns, place, clip_id = self.columns, self.place, clip.clip_id
        samples = self.config.audio.sample_count(clip.video_frames, self.config.video)
        columns["clip_id"].append(clip_id)
        columns["row"].append(row)
        columns["split"].append(clip.split)
        columns["voice"].append(voice_name(clip))
        columns["is_line"].append(is_line)
        columns["mel_frames"].append(self.config.audio.frame_count(samples))
        columns["emotion"].append(EMOTIONS.index(clip.emotion) if clip.emotion else -1)
        columns["previous"].append(place.get(self.before.get(clip_id, ""), -1))
        columns["following"].append(place.get(self.after.get(clip_id, ""), -1))
        picked = () if references is None else references.clip_ids
        columns["reference_mels"].append([place[i] for i in picked])
        vector = None if references is None else references.speaker_vector
        columns["speaker_vector"].append(vector)
        library = self.index.table.row_of(clip_id)
        columns["audio"].append(None if library is None else self.index.audio[library])
        for modality in MODALITIES:
            own = hits.get(modality, ())
            _refuse_held_out(clip, own, self.splits)
            columns[f"{modality}_hits"].append([place[hit] for hit, _ in own])
            columns[f"{modality}_scores"].append([score for _, score in own])

    def table(self) -> pa.Table:
        """All rows as an Arrow table."""
        vectors = {
            name: encode(self.columns[name], value_type("vector", width, "float32"))
            for name, width in self.widths.items()
        }
        return pa.table({**self.columns, **vectors}, schema=_link_schema(self.widths))


def _why_no_line(
    clip_id: str,
    references: References | None,
    has: Mapping[str, set[str]],
    why: Mapping[str, Mapping[str, str]],
) -> str:
    """Why a clip is no utterance to train on; empty if it is one."""
    missing = [name for name in RECORDED if clip_id not in has[name]]
    if missing:
        return lacking(missing[-1], why[missing[-1]].get(clip_id))
    return NO_OTHER_LINE if references is None else ""


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
