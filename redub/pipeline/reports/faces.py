"""The contact sheet of faces: one page with the input of the face and lip extractors.

Reads the clip table, the stored face features, the quarantine, and the video frames of the shown
clips (decoded again in the decoder child). Writes one HTML file.

Letters: V video frames, H and W frame height and width.
"""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from redub.core.durable import commit_bytes
from redub.core.errors import ClipError, ConfigError, UsageError
from redub.core.types import ByteArray, Clip, FloatArray, Value
from redub.features.face.detector import detector_of
from redub.features.face.landmarks import as_68
from redub.features.face.source import detectors_in, longest_gap, said_detectors
from redub.features.face.track import FaceTrackConfig, FaceTrackExtractor
from redub.features.mouth.warp import SIDE
from redub.features.registry import EXTRACTORS
from redub.pages.contents import QuarantineRow, Table
from redub.pages.faces import FaceClip, FaceSheet, Fed, Moment, render_faces
from redub.pipeline.reports.face_views import View, face_views
from redub.pipeline.store.ledger import WHOLE_CLIP
from redub.pipeline.store.project import Project
from redub.pipeline.store.tables import PENDING, Store
from redub.pipeline.work.decoders import close_decoders
from redub.pipeline.work.extraction import Toolbox

FACE_FEATURES = ("face_track", "face_source", "landmarks", "mouth_crop", "mouth_source")
MOMENTS = 6  # frames shown of each clip
LONG_GAP = 25  # frames, one second: the page points out a box that is held for longer
MOST_ROWS = 200  # of the quarantine; the page says how many more there are


def write_face_sheet(
    project: Project, output: Path, clips: Sequence[str] | None = None, count: int = 24
) -> Path:
    """Draw the contact sheet of some clips.

    Args:
        clips: ids of clips; without them ``count`` clips, evenly spread over the clip table.

    Raises:
        ClipError: ingest quarantined a clip of ``clips``.
        UsageError: an unknown clip, with the nearest known one, or ``count`` below 1.
        ConfigError: E-STAGE-EXTRACT, no face track was extracted yet.
    """
    page = render_faces(face_sheet(project, clips, count))
    commit_bytes(output, page.encode("utf-8"))
    return output


def face_sheet(project: Project, clips: Sequence[str] | None, count: int) -> FaceSheet:
    """Collect everything that the page shows from the store and the footage."""
    store = Store(project)
    every = store.clips()
    states = {name: _states(store, name) for name in FACE_FEATURES}
    if not states["face_track"]:
        raise ConfigError(
            "no face track was extracted yet; run `redub extract`", code="E-STAGE-EXTRACT"
        )
    chosen = _chosen(store, every, clips, count)
    held = store.quarantined().filter(
        pl.col("feature").is_in([*FACE_FEATURES, WHOLE_CLIP]),
        pl.col("code") != "E-FEAT-UPSTREAM",  # the feature that failed has its own row
    )
    filmed = [clip for clip in every if clip.has_video]
    return FaceSheet(
        title=f"{project.config.name}: faces",
        project=project.config.name,
        created=time.strftime("%Y-%m-%d %H:%M"),
        summary=(
            f"{_how_many(chosen, every, clips)}: the face boxes as they are stored, and the crops "
            "that extractors got."
        ),
        clips=_clips(project, store, chosen, states, held),
        counts=tuple(_counts(store, filmed, len(every), states)),
        notes=tuple(_notes(store, filmed, states, held)),
        absent=tuple(_absent(states)),
        quarantine=_quarantine(held),
    )


def _states(store: Store, name: str) -> dict[str, str]:
    """Clip id → why its row is null, empty where it has a value; only clips with a row."""
    live = store.live_features(name).select("clip_id", "valid", "why_not")
    return {clip_id: "" if valid else why for clip_id, valid, why in live.iter_rows()}


def _chosen(
    store: Store, every: Sequence[Clip], wanted: Sequence[str] | None, count: int
) -> list[Clip]:
    if wanted:
        known = {clip.clip_id: clip for clip in every}
        return [known.get(clip_id) or store.clip(clip_id) for clip_id in dict.fromkeys(wanted)]
    if count < 1:
        raise UsageError(f"{count} clips make no sheet; wanted at least 1")
    filmed = [clip for clip in every if clip.has_video]
    places = np.linspace(0, len(filmed) - 1, min(count, len(filmed))).round().astype(int)
    return [filmed[k] for k in places]


def _how_many(chosen: Sequence[Clip], every: Sequence[Clip], wanted: Sequence[str] | None) -> str:
    if len(chosen) == len(every):
        return f"All {len(every)} clips" if len(every) > 1 else "The one clip"
    return f"{len(chosen)} of {_clips_said(len(every))}" + ("" if wanted else ", evenly spread")


# -- clips


def _clips(
    project: Project,
    store: Store,
    chosen: Sequence[Clip],
    states: Mapping[str, Mapping[str, str]],
    held: pl.DataFrame,
) -> tuple[FaceClip, ...]:
    ids = [clip.clip_id for clip in chosen]
    values = {name: store.read(name, ids) for name in FACE_FEATURES}
    reasons: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in held.filter(pl.col("clip_id").is_in(ids)).iter_rows(named=True):
        reasons[row["clip_id"]].append(
            (row["feature"] or "clip", f"{row['code']}: {row['message']}")
        )
    for name in FACE_FEATURES:
        for clip_id in ids:
            why = states[name].get(clip_id, "")
            if why and not _passed_on(why) and not _never(name, states[name]):
                reasons[clip_id].append((name, why))
    tools, views = Toolbox(project), face_views(store.keys)
    made = []
    try:
        for clip in chosen:
            own = {n: values[n][clip.clip_id] for n in FACE_FEATURES if clip.clip_id in values[n]}
            made.append(_clip(clip, own, reasons[clip.clip_id], tools, views))
    finally:
        close_decoders()
    return tuple(made)


def _clip(
    clip: Clip,
    values: Mapping[str, Value],
    reasons: Sequence[tuple[str, str]],
    tools: Toolbox,
    views: Mapping[str, View],
) -> FaceClip:
    trouble = list(reasons)
    moments: tuple[Moment, ...] = ()
    if clip.has_video:
        try:
            frames = tools.decode(clip, frames=True, sound=False).frames
            if frames is not None:
                moments = _moments(frames, values, views, tools.project.config.video.fps)
        except ClipError as error:
            if str(error) not in {why for _, why in trouble}:
                trouble.append(("video", str(error)))
    return FaceClip(
        clip_id=clip.clip_id,
        text=clip.text,
        speaker=clip.speaker,
        face_source=_followed(values),
        mouth_source=str(values.get("mouth_source", "")),
        moments=moments,
        trouble=tuple(trouble),
        look=_look(values, trouble),
    )


def _followed(values: Mapping[str, Value]) -> str:
    """Where the detectors found the face, and how far it was followed from there.

    A detector searches only some frames, so the share of frames in which it found the face says
    little; in all other frames the box follows the face.
    """
    if "face_track" not in values:
        return ""
    track = np.asarray(values["face_track"])
    by = detectors_in(track)
    found = said_detectors(by)
    return (
        f"found in {by.total()} of the searched frames ({found}), followed through all "
        f"{len(track)}; longest stretch between two finds: {longest_gap(track)} frames"
    )


def _look(values: Mapping[str, Value], trouble: Sequence[tuple[str, str]]) -> str:
    """Why the user should check a clip, in a few words; empty where nothing stands out."""
    if trouble:
        return f"no {trouble[0][0].replace('_', ' ')}"
    if "face_track" not in values:
        return PENDING
    track = np.asarray(values["face_track"])
    by = detectors_in(track)
    if "user boxes" in by:
        return ""  # the user drew these boxes
    gap = longest_gap(track)
    if gap >= LONG_GAP:
        return f"no face found for {gap} frames"
    return "mostly from the side" if by["profile"] > by.total() / 2 else ""


def _moments(
    frames: ByteArray, values: Mapping[str, Value], views: Mapping[str, View], fps: int
) -> tuple[Moment, ...]:
    track = values.get("face_track")
    landmarks, mouths = values.get("landmarks"), values.get("mouth_crop")
    points = None if landmarks is None else as_68(np.asarray(landmarks))
    made = []
    for k in np.unique(np.linspace(0, len(frames) - 1, MOMENTS).round().astype(int)):
        fed = []
        if track is not None:
            rows = np.asarray(track)
            fed = [Fed(label=label, picture=view(frames, rows, k)) for label, view in views.items()]
        if mouths is not None:
            fed.append(Fed(label="mouth_crop", picture=np.asarray(mouths[k]).reshape(SIDE, SIDE)))
        made.append(
            Moment(
                number=int(k),
                time_s=int(k) / fps,
                frame=frames[k],
                box=None if track is None else _box(np.asarray(track)[k]),
                found_by="" if track is None else detector_of(float(np.asarray(track)[k, 4])) or "",
                landmarks=None if points is None else points[k].reshape(-1, 2),
                fed=tuple(fed),
            )
        )
    return tuple(made)


def _box(row: FloatArray) -> tuple[float, float, float, float]:
    x, y, w, h = (float(value) for value in row[:4])
    return x, y, w, h


# -- tables


def _counts(
    store: Store, filmed: Sequence[Clip], clips: int, states: Mapping[str, Mapping[str, str]]
) -> list[Table]:
    """Clips by the detector that found the face, and by the method that placed the mouth."""
    ids = [clip.clip_id for clip in filmed]
    tables = []
    for title, source in (("Face found by", "face_source"), ("Mouth placed by", "mouth_source")):
        said = store.read(source, ids)
        counted = Counter(_first_words(str(text)) for text in said.values())
        rows = [*counted.most_common()]
        nulls = sum(bool(states[source].get(clip_id)) for clip_id in ids)
        missing = sum(clip_id not in states[source] for clip_id in ids)
        for label, number in (
            ("no value", nulls),
            ("quarantined or not extracted", missing),
            ("no video", clips - len(filmed)),
        ):
            if number:
                rows.append((label, number))
        tables.append(Table(title=title, columns=(source, "clips"), rows=tuple(rows)))
    return tables


def _first_words(source: str) -> str:
    """The first detector that a ``face_source`` names; a ``mouth_source`` is one word."""
    return re.split(r" \d", source, maxsplit=1)[0]


def _absent(states: Mapping[str, Mapping[str, str]]) -> list[Table]:
    """Nulls by feature and code, with an example; nulls of an upstream feature are left out."""
    tables = []
    for name in ("face_track", "landmarks", "mouth_crop"):
        by_code: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for clip_id, why in states[name].items():
            if why and not _passed_on(why):
                code, _, words = why.partition(": ")
                by_code[code].append((clip_id, words))
        rows = tuple(
            (code, len(found), found[0][1], _some([clip_id for clip_id, _ in found]))
            for code, found in sorted(by_code.items())
        )
        if rows:
            columns = ("code", "clips", "the first one's reason", "which")
            tables.append(Table(title=name, columns=columns, rows=rows))
    return tables


def _passed_on(why: str) -> bool:
    """Whether a null only repeats the null of a feature that the extractor reads."""
    return why.partition(":")[0] in EXTRACTORS


def _never(name: str, state: Mapping[str, str]) -> bool:
    """Whether the project has no extractor of a feature (landmarks in the builtin profile)."""
    return name == "landmarks" and all(state.values())


def _clips_said(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips"


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")


def _notes(
    store: Store,
    filmed: Sequence[Clip],
    states: Mapping[str, Mapping[str, str]],
    held: pl.DataFrame,
) -> list[str]:
    notes = []
    known = set(states["face_track"]) | set(held["clip_id"])
    waiting = [clip.clip_id for clip in filmed if clip.clip_id not in known]
    if waiting:
        notes.append(f"Not extracted yet: {_clips_said(len(waiting))}; run `redub extract`.")
    strangers = _strangers(store)
    if strangers:
        notes.append(
            f"The face boxes you gave name {_clips_said(len(strangers))} that this project does "
            f"not have: {_some(strangers)}."
        )
    if len(held) > MOST_ROWS:
        notes.append(
            f"Not all of the quarantine is shown here: {len(held)} rows; `redub bad list`."
        )
    return notes


def _strangers(store: Store) -> list[str]:
    """Clip ids of the user's boxes that no clip has, most often typing errors."""
    config: Any = store.keys.configured("face_track")
    if not isinstance(config, FaceTrackConfig) or not config.boxes:
        return []
    extractor = store.keys.make("face_track")
    assert isinstance(extractor, FaceTrackExtractor)
    return sorted(set(extractor.given.by_clip) - set(store.clip_frame()["clip_id"]))


def _quarantine(held: pl.DataFrame) -> tuple[QuarantineRow, ...]:
    return tuple(
        QuarantineRow(
            clip_id=row["clip_id"],
            stage=f"{row['stage']} {row['feature']}".strip(),
            code=row["code"],
            message=row["message"],
            command=row["command"],
        )
        for row in held.head(MOST_ROWS).to_dicts()
    )
