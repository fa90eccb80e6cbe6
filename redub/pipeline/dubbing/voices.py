"""Model inputs of a script: features, voice, retrieved clips and context of every utterance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from redub.core.errors import ClipError, FeatureAbsent
from redub.core.types import MODALITIES, Clip, ClipMedia, FloatArray, Value, Waveform
from redub.features.text.phonemes import WordPhonemes
from redub.index.notes import Notes
from redub.pipeline.dubbing.direction import Direction, LineDirection, shift_query, shift_retrieved
from redub.pipeline.dubbing.take import DubSummary, LineFault, Retrieved, line_number
from redub.pipeline.store.ledger import with_reads
from redub.pipeline.store.packs.lines import (
    UtteranceBuilder,
    as_context,
    hits_of,
    silenced,
)
from redub.pipeline.store.packs.voices import Voice, voice_name
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


class ScriptLines:
    """The model inputs of a script's lines; :meth:`prepare` makes them.

    ``lines``: the clips that can be spoken, each with its utterance. ``retrieved``: library clips,
    by clip id. ``guessed``: words whose phones a network guessed, by clip id. ``values``: computed
    features, by clip id.
    """

    def __init__(self, builder: UtteranceBuilder, tools: Toolbox, clips: Sequence[Clip]) -> None:
        self.builder, self.tools, self.clips = builder, tools, clips
        self.lines: list[tuple[Clip, Utterance]] = []
        self.retrieved: dict[str, Retrieved] = {}
        self.guessed: dict[str, tuple[str, ...]] = {}
        self.values: dict[str, Mapping[str, Value]] = {}

    def prepare(
        self,
        voice: str | None,
        direction: Direction,
        summary: DubSummary,
        progress: Callable[[int, int], None],
    ) -> None:
        """Extract features, retrieve clips and choose the voice, for every clip of the script.

        A clip that cannot be read becomes a fault of ``summary``.
        """
        builder = self.builder
        named = None if voice is None else builder.named_voice(voice)
        progress(0, len(self.clips))
        try:
            for done, clip in enumerate(self.clips, start=1):
                wanted = direction.on(line_number(clip))
                spoken_by = named or _own_voice(builder, clip)
                if wanted.voice is not None:
                    spoken_by = builder.named_voice(wanted.voice)
                try:
                    values = self.values[clip.clip_id] = _features(builder, self.tools, clip)
                    line, hits = _one_line(builder, clip, values, spoken_by, wanted)
                    self.lines.append((clip, line))
                    self._note_guessed(clip, summary)
                    self.retrieved[clip.clip_id] = hits
                except ClipError as error:
                    fault = LineFault(line_number(clip), error.code, error.message)
                    summary.faults.append(fault)
                progress(done, len(self.clips))
        finally:
            close_decoders()

    def _note_guessed(self, clip: Clip, summary: DubSummary) -> None:
        """Note the words of a line whose phones were guessed."""
        speaker = self.tools.extractor("phonemes")
        guessed = (
            speaker.guessed(clip.text, clip.language) if isinstance(speaker, WordPhonemes) else ()
        )
        self.guessed[clip.clip_id] = guessed
        if guessed:
            summary.notes.append(f"line {line_number(clip)}: guessed: {', '.join(guessed)}")

    def inputs(self, *, with_context: bool) -> list[Utterance]:
        """The utterances.

        Args:
            with_context: add the original features of the adjacent script lines as context.
        """
        if not with_context:
            return [line for _, line in self.lines]
        return [self._in_scene(line, clip, self.values) for clip, line in self.lines]

    def _in_scene(
        self, line: Utterance, clip: Clip, seen: Mapping[str, Mapping[str, Value]]
    ) -> Utterance:
        """Add the features of the adjacent script lines as context."""
        by_position = {other.position: other.clip_id for other in self.clips}
        context = {}
        for side, step in zip(SIDES, (-1, 1), strict=True):
            near = by_position.get(clip.position + step, "")
            if near in seen:
                context[side] = as_context(seen[near])
        return replace(line, context=context)

    def spoken_in_order(
        self, dubber: TrainedDubber, controls: Sequence[VoiceControl]
    ) -> list[SpokenLine]:
        """Speak the utterances in order; each gets the new sound of the previous one as context."""
        silent = {
            clip_id: {name: value for name, value in values.items() if name not in OF_SOUND}
            for clip_id, values in self.values.items()
        }
        names = [name for name in OF_SOUND if name in self.builder.values]
        vocoder, spoken = make_vocoder(self.tools.project), []
        for (clip, line), control in zip(self.lines, controls, strict=True):
            [said] = synthesise(dubber, [self._in_scene(line, clip, silent)], [control])
            waveform, known = vocoder.vocode(said.mel), silent[clip.clip_id]
            known.update(_sound_features(self.tools, clip, names, waveform, known))
            spoken.append(said)
        return spoken


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
    wanted: LineDirection,
) -> tuple[Utterance, Retrieved]:
    project = builder.project
    features = feature_of(project.config.index)
    vectors = {m: np.asarray(values[features[m]]) for m in MODALITIES if features[m] in values}
    if wanted.emotion_target is not None:
        vectors = {
            m: shift_query(builder.index, m, v, wanted.emotion_target) for m, v in vectors.items()
        }
    lips, local_face = (values.get(name) for name in ("lips", LOCAL_FACE))
    found = _retrieved(project, builder, clip, vectors, wanted.notes)
    hits = hits_of(builder.index, vectors, found)
    if wanted.emotion_target is not None:
        hits = {
            m: shift_retrieved(builder.index, own, wanted.emotion_target) for m, own in hits.items()
        }
    most = project.config.train.reference_mels
    references = voice.references(clip.clip_id, most) or voice.references("", most)
    assert references is not None  # every voice has a clip
    line = builder.make(
        clip,
        silenced(np.asarray(values["phonemes"])[:, 0]),
        references,
        vectors=vectors,
        hits=hits,
        lips=None if lips is None else np.asarray(lips),
        local_face=None if local_face is None else np.asarray(local_face),
    )
    return line, found


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


def _retrieved(
    project: Project,
    builder: UtteranceBuilder,
    clip: Clip,
    vectors: dict[str, FloatArray],
    notes: Notes,
) -> Retrieved:
    found: Retrieved = {}
    for modality, vector in vectors.items():
        query: dict[str, Value] = {clip.clip_id: vector}
        rows = neighbour_rows(
            builder.index, project, modality, [clip], query, notes=notes
        ).to_pylist()
        found[modality] = [(row["hit"], row["score"]) for row in rows]
    return found
