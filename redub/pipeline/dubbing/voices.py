"""Model inputs of a script: features, voice, retrieved clips and context of every utterance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from redub.core.errors import ClipError, FeatureAbsent
from redub.core.types import MODALITIES, Clip, ClipMedia, FloatArray, Value, Waveform
from redub.index.notes import Notes
from redub.pipeline.dubbing.direction import Direction, LineDirection, shift_query, shift_retrieved
from redub.pipeline.dubbing.take import DubSummary, LineFault, Neighbours, line_number
from redub.pipeline.store.ledger import with_reads
from redub.pipeline.store.packs.lines import (
    UtteranceBuilder,
    Voice,
    as_context,
    hits_of,
    make_line,
    silenced,
    voice_name,
)
from redub.pipeline.store.project import Project
from redub.pipeline.store.settings import feature_of
from redub.pipeline.work.clip_work import ClipWork, run_works
from redub.pipeline.work.decoders import close_decoders
from redub.pipeline.work.extraction import Toolbox
from redub.pipeline.work.query import neighbour_rows
from redub.pipeline.work.speaking import make_vocoder
from redub.training.data.lines import SIDES, Utterance
from redub.training.data.pack_lines import GLOBAL_FEATURES, LOCAL_FACE, SOUND_FRAMES
from redub.training.synthesis import SpokenLine, TrainedDubber, VoiceControl, synthesise

ContextChoice = Literal["original", "dubbed"]


ORIGINAL: ContextChoice = "original"


OF_SOUND = ("mel", "f0", "energy", SOUND_FRAMES, GLOBAL_FEATURES["audio"])


OF_CONTEXT = (GLOBAL_FEATURES["face"], GLOBAL_FEATURES["text"])


def dubbing_lines(
    builder: UtteranceBuilder,
    tools: Toolbox,
    clips: Sequence[Clip],
    voice: str | None,
    direction: Direction,
    found: dict[str, Neighbours],
    seen: dict[str, Mapping[str, Value]],
    summary: DubSummary,
    progress: Callable[[int, int], None],
) -> list[tuple[Clip, Utterance]]:
    """Extract features, retrieve clips and choose the voice, for every clip of the script.

    Fills ``found`` with the retrieved clips and ``seen`` with the features, both by clip id. A
    clip that cannot be read becomes a fault of ``summary``.
    """
    named = None if voice is None else builder.named_voice(voice)
    lines = []
    progress(0, len(clips))
    try:
        for done, clip in enumerate(clips, start=1):
            asked = direction.on(line_number(clip))
            spoken_by = named or _own_voice(builder, clip)
            if asked.voice is not None:
                spoken_by = builder.named_voice(asked.voice)
            try:
                seen[clip.clip_id] = values = _features(builder, tools, clip)
                line, hits = _one_line(builder, clip, values, spoken_by, asked)
                lines.append((clip, line))
                found[clip.clip_id] = hits
            except ClipError as error:
                summary.faults.append(LineFault(line_number(clip), error.code, error.message))
            progress(done, len(clips))
    finally:
        close_decoders()
    return lines


def _own_voice(builder: UtteranceBuilder, clip: Clip) -> Voice:
    name = voice_name(clip)
    return builder.named_voice(name if name in builder.voices else None)


def _features(builder: UtteranceBuilder, tools: Toolbox, clip: Clip) -> Mapping[str, Value]:
    """Compute from the video the features that the run reads of an utterance and as context."""
    features = feature_of(builder.project.config.index)
    needed = ["phonemes", "lips", *(features[m] for m in MODALITIES)]
    needed += [name for name in (LOCAL_FACE,) if name in builder.values]
    if builder.sides:
        needed += [name for name in OF_SOUND + OF_CONTEXT if name in builder.values]
    work = ClipWork(clip, with_reads(tools.keys, needed), {}, {})
    run_works([work], tools, defaultdict(float))
    for row in work.quarantine:
        raise ClipError(row.message, code=row.code)
    if "phonemes" not in work.values:
        code, _, message = work.nulls["phonemes"].partition(": ")
        raise ClipError(message, code=code)
    return work.values


def _one_line(
    builder: UtteranceBuilder,
    clip: Clip,
    values: Mapping[str, Value],
    voice: Voice,
    asked: LineDirection,
) -> tuple[Utterance, Neighbours]:
    project = builder.project
    features = feature_of(project.config.index)
    vectors = {m: np.asarray(values[features[m]]) for m in MODALITIES if features[m] in values}
    if asked.emotion_target is not None:
        vectors = {
            m: shift_query(builder.index, m, v, asked.emotion_target) for m, v in vectors.items()
        }
    lips, local_face = (values.get(name) for name in ("lips", LOCAL_FACE))
    found = _neighbours(project, builder, clip, vectors, asked.notes)
    hits = hits_of(builder.index, vectors, found)
    if asked.emotion_target is not None:
        hits = {
            m: shift_retrieved(builder.index, own, asked.emotion_target) for m, own in hits.items()
        }
    line = make_line(
        project,
        clip,
        silenced(np.asarray(values["phonemes"])[:, 0]),
        voice,
        vectors=vectors,
        hits=hits,
        lips=None if lips is None else np.asarray(lips),
        local_face=None if local_face is None else np.asarray(local_face),
    )
    return line, found


def in_scene(
    line: Utterance,
    clip: Clip,
    clips: Sequence[Clip],
    seen: Mapping[str, Mapping[str, Value]],
) -> Utterance:
    """Add the features of the adjacent script lines as context."""
    by_position = {other.position: other.clip_id for other in clips}
    context = {}
    for side, step in zip(SIDES, (-1, 1), strict=True):
        near = by_position.get(clip.position + step, "")
        if near in seen:
            context[side] = as_context(seen[near])
    return replace(line, context=context)


def in_order(
    dubber: TrainedDubber,
    builder: UtteranceBuilder,
    tools: Toolbox,
    clips: Sequence[Clip],
    lines: Sequence[tuple[Clip, Utterance]],
    controls: Sequence[VoiceControl],
    seen: Mapping[str, Mapping[str, Value]],
) -> list[SpokenLine]:
    """Speak the utterances in order; each gets the new sound of the previous one as context."""
    silent = {
        clip_id: {name: value for name, value in values.items() if name not in OF_SOUND}
        for clip_id, values in seen.items()
    }
    names = [name for name in OF_SOUND if name in builder.values]
    vocoder, spoken = make_vocoder(tools.project), []
    for (clip, line), control in zip(lines, controls, strict=True):
        [said] = synthesise(dubber, [in_scene(line, clip, clips, silent)], [control])
        sound = _sound_features(tools, clip, names, vocoder.vocode(said.mel), silent[clip.clip_id])
        silent[clip.clip_id].update(sound)
        spoken.append(said)
    return spoken


def _sound_features(
    tools: Toolbox,
    clip: Clip,
    names: Sequence[str],
    waveform: Waveform,
    values: Mapping[str, Value],
) -> dict[str, Value]:
    """Compute the named features of a new waveform.

    ``names`` must have a feature after those that it reads. A feature that cannot be computed is
    left out.
    """
    known, made = dict(values), {}
    for name in names:
        extractor = tools.extractor(name)
        reads = {read: known[read] for read in extractor.reads if read in known}
        try:
            known[name] = made[name] = extractor.extract(
                ClipMedia(clip=clip, frames=None, waveform=waveform, features=reads)
            )
        except (ClipError, FeatureAbsent, KeyError):
            continue  # the context has no value of this feature
    return made


def _neighbours(
    project: Project,
    builder: UtteranceBuilder,
    clip: Clip,
    vectors: dict[str, FloatArray],
    notes: Notes,
) -> Neighbours:
    found: Neighbours = {}
    for modality, vector in vectors.items():
        asked: dict[str, Value] = {clip.clip_id: vector}
        rows = neighbour_rows(
            builder.index, project, modality, [clip], asked, notes=notes
        ).to_pylist()
        found[modality] = [(row["hit"], row["score"]) for row in rows]
    return found
