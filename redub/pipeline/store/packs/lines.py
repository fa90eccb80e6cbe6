"""Join committed features into utterances, the input of training and synthesis.

Reads the committed features, the neighbours and the index; opens no media. Writes nothing.

Letters: P phonemes, T mel frames, V video frames, W width.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redub.core.config import close_match
from redub.core.errors import ConfigError
from redub.core.phonemes import id_of
from redub.core.types import EMOTIONS, MODALITIES, Clip, FloatArray, Value
from redub.model.registry import system_spec
from redub.pipeline.store.index.builds import OpenIndex, open_index
from redub.pipeline.store.index.neighbours import neighbours_of, retrieval_key, stack_hits
from redub.pipeline.store.packs.training_set import NO_OTHER_LINE, NO_VOICE
from redub.pipeline.store.packs.voices import References, Voice, library_voices, voice_name
from redub.pipeline.store.project import Project
from redub.pipeline.store.settings import MODALITY_FEATURES, ProjectConfig, feature_of
from redub.pipeline.store.tables import Store, commonest, lacking, store_of
from redub.training.data.lines import SIDES, AdjacentUtterance, Hits, Utterance, with_silence
from redub.training.data.pack_lines import LOCAL_FACE, SOUND_FRAMES, adjacent_utterance


@dataclass(slots=True)
class LineReport:
    """Utterances of a split, and the clips that have none, each with the reason."""

    lines: list[Utterance] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def reasons(self) -> str:
        """The three commonest reasons for missing utterances, each with its count."""
        return commonest(self.left_out.values())


def features_read(config: ProjectConfig, system: str | None = None) -> tuple[str, ...]:
    """The features that utterances for a system consist of.

    A system declares the first feature of each modality; where the settings name another one, that
    feature replaces it.

    Args:
        system: a name of ``model/registry.py``; the project's ``train.model`` by default.
    """
    chosen = feature_of(config.index)
    instead = {MODALITY_FEATURES[modality][0]: name for modality, name in chosen.items()}
    declared = system_spec(system or config.train.model).reads
    return tuple(dict.fromkeys(instead.get(name, name) for name in declared))


class UtteranceBuilder:
    """Joins features into utterances; opens the store and the index once."""

    def __init__(self, source: Store | Project, system: str | None = None) -> None:
        """Read the features of a system, by default the project's ``train.model``."""
        self.store = store_of(source)
        self.project = project = self.store.project
        self.index: OpenIndex = open_index(self.store)
        self.clips = self.store.clips()
        self.by_id = {clip.clip_id: clip for clip in self.clips}
        self.values: dict[str, dict[str, Value]] = {
            name: self.store.read(name) for name in features_read(project.config, system)
        }
        self.retrieval = retrieval_key(project, self.index)
        self.neighbours = neighbours_of(self.store, self.index)
        self._reasons: dict[str, dict[str, str]] = {}
        self.sides: dict[str, dict[str, str]] = {}
        if system_spec(system or project.config.train.model).context:
            self.sides = dict(zip(SIDES, adjacent_in_scene(self.clips), strict=True))
        self.voices = library_voices(self.clips, self.values["mel"], self.values["speaker"])

    def keys(self) -> dict[str, str]:
        """Keys of the features in these utterances, as a checkpoint records them."""
        by_name = self.store.keys.by_name
        names = (*self.values, feature_of(self.project.config.index)["audio"])
        return {name: by_name[name].key for name in names}

    def recorded(self, split: str) -> LineReport:
        """Utterances of a split with their recording: mel, durations, F0, energy."""
        report = LineReport()
        for clip in self.clips:
            if clip.split != split:
                continue
            missing = [
                name
                for name in ("mel", "f0", "energy", "durations")
                if clip.clip_id not in self.values[name]
            ]
            if missing:
                report.left_out[clip.clip_id] = self._why(missing[-1], clip)
                continue
            rows = np.asarray(self.values["durations"][clip.clip_id])
            line = self._line(clip, rows[:, 0], durations=rows[:, 1])
            if line is None:
                report.left_out[clip.clip_id] = NO_OTHER_LINE
            else:
                report.lines.append(line)
        return report

    def scripted(self, split: str) -> LineReport:
        """Utterances of a split for synthesis: words and video, without the recording."""
        report = LineReport()
        for clip in self.clips:
            if clip.split != split:
                continue
            if clip.clip_id not in self.values["phonemes"]:
                report.left_out[clip.clip_id] = self._why("phonemes", clip)
                continue
            ids = np.asarray(self.values["phonemes"][clip.clip_id])[:, 0]
            line = self._line(clip, silenced(ids))
            if line is None:
                report.left_out[clip.clip_id] = NO_VOICE
            else:
                report.lines.append(line)
        return report

    def _values_of(self, clip_id: str) -> dict[str, Value]:
        return {name: of[clip_id] for name, of in self.values.items() if clip_id in of}

    def _why(self, feature: str, clip: Clip) -> str:
        """A sentence on why a clip has no value of a feature, with the extractor's reason."""
        if feature not in self._reasons:
            self._reasons[feature] = self.store.why_absent(feature)
        return lacking(feature, self._reasons[feature].get(clip.clip_id))

    def references_of(self, clip: Clip) -> References | None:
        """What a clip's utterance takes from other clips of its voice; None if there are none."""
        voice = self.voices.get(voice_name(clip))
        most = self.project.config.train.reference_mels
        return None if voice is None else voice.references(clip.clip_id, most)

    def named_voice(self, name: str | None) -> Voice:
        """A voice by speaker or clip id; without a name, the voice with the most utterances.

        Raises:
            ConfigError: no such speaker or clip in the library.
        """
        if not self.voices:
            raise ConfigError("the library has no voice: no training clip has a mel and a speaker")
        if name is None:
            return max(self.voices.values(), key=lambda v: (len(v.clip_ids), v.name))
        if name in self.voices:
            return self.voices[name]
        for voice in self.voices.values():
            if name in voice.clip_ids:
                return voice.of_clip(name)
        clip_ids = [clip_id for voice in self.voices.values() for clip_id in voice.clip_ids]
        hint = close_match(name, [*self.voices, *clip_ids]) or (
            f"speakers: {', '.join(sorted(self.voices))}; or the id of a clip, "
            f"such as {min(clip_ids)}"
        )
        raise ConfigError(f"unknown voice '{name}'; {hint}", code="E-VOICE")

    def make(
        self,
        clip: Clip,
        phonemes: Any,
        references: References,
        *,
        vectors: Mapping[str, FloatArray],
        hits: Mapping[str, Hits],
        lips: FloatArray | None,
        local_face: FloatArray | None,
        recorded: Mapping[str, NDArray[Any]] | None = None,
        context: Mapping[str, AdjacentUtterance] | None = None,
    ) -> Utterance:
        """Make one utterance; its length in mel frames comes from the video alone.

        Args:
            phonemes: (P,) ids, with silence at either end.
            vectors, hits: by modality; a modality without a vector is left out.
            lips, local_face: (V, W), None without a face.
            recorded: ``durations``, ``mel``, ``f0_hz``, ``energy`` and ``sound``, as
                :class:`Utterance` defines them; empty for an utterance to speak.
            context: ``previous`` and ``following`` to the adjacent utterance, if known.
        """
        config, known = self.project.config, recorded or {}
        samples = config.audio.sample_count(clip.video_frames, config.video)
        return Utterance(
            clip_id=clip.clip_id,
            speaker=references.voice,
            phonemes=np.asarray(phonemes, dtype=np.int64),
            mel_frames=config.audio.frame_count(samples),
            speaker_vector=references.speaker_vector,
            reference_mels=[np.asarray(self.values["mel"][i]) for i in references.clip_ids],
            lips=lips,
            local_face=local_face,
            durations=known.get("durations"),
            emotion=EMOTIONS.index(clip.emotion) if clip.emotion else -1,
            vectors=vectors,
            hits=hits,
            context=context or {},
            mel=known.get("mel"),
            f0_hz=known.get("f0_hz"),
            energy=known.get("energy"),
            sound=known.get("sound"),
        )

    def _line(self, clip: Clip, phonemes: Any, *, durations: Any = None) -> Utterance | None:
        references = self.references_of(clip)
        if references is None:
            return None
        clip_id = clip.clip_id
        features = feature_of(self.project.config.index)
        vectors = {
            m: np.asarray(self.values[features[m]][clip_id])
            for m in MODALITIES
            if clip_id in self.values[features[m]]
        }
        lips = self.values["lips"].get(clip_id)
        local_face = self.values.get(LOCAL_FACE, {}).get(clip_id)
        return self.make(
            clip,
            phonemes,
            references,
            vectors=vectors,
            hits=hits_of(self.index, vectors, self.neighbours[clip_id]),
            lips=None if lips is None else np.asarray(lips),
            local_face=None if local_face is None else np.asarray(local_face),
            recorded=None if durations is None else self._recording(clip_id, durations),
            context={
                side: as_context(self._values_of(near[clip_id]))
                for side, near in self.sides.items()
                if clip_id in near
            },
        )

    def _recording(self, clip_id: str, durations: Any) -> dict[str, NDArray[Any]]:
        recorded = {
            "durations": np.asarray(durations, dtype=np.int64),
            "mel": np.asarray(self.values["mel"][clip_id]),
            "f0_hz": np.asarray(self.values["f0"][clip_id])[:, 0],
            "energy": np.asarray(self.values["energy"][clip_id])[:, 0],
        }
        if clip_id in self.values.get(SOUND_FRAMES, {}):
            recorded["sound"] = np.asarray(self.values[SOUND_FRAMES][clip_id])
        return recorded


def as_context(values: Mapping[str, Value]) -> AdjacentUtterance:
    """Collect a clip's values, by feature, as the context of an adjacent utterance."""
    return adjacent_utterance(lambda name: np.asarray(values[name]) if name in values else None)


def hits_of(
    index: OpenIndex,
    vectors: Mapping[str, FloatArray],
    neighbours: Mapping[str, Sequence[tuple[str, float]]],
) -> dict[str, Hits]:
    """The retrieved clips of one clip as arrays, for each modality with a vector and a hit."""
    found = {}
    for modality in vectors:
        if neighbours.get(modality):
            own, audio, scores = stack_hits(index, modality, neighbours[modality])
            found[modality] = Hits(vectors=own, audio=audio, scores=scores)
    return found


def adjacent_in_scene(clips: Sequence[Clip]) -> tuple[dict[str, str], dict[str, str]]:
    """Clip id to the clip before, and clip id to the clip after, in the same film and scene.

    A training clip may be the context of any clip. A held-out clip is context only within its own
    split, so training never sees it. Clips whose positions differ by more than 1 are not adjacent.
    """
    scenes: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in clips:
        scenes[clip.film, clip.scene].append(clip)
    before, after = {}, {}
    for members in scenes.values():
        ordered = sorted(members, key=lambda clip: (clip.position, clip.clip_id))
        for first, second in itertools.pairwise(ordered):
            if second.position != first.position + 1:
                continue  # the clip between them is missing
            if first.split in ("train", second.split):
                before[second.clip_id] = first.clip_id
            if second.split in ("train", first.split):
                after[first.clip_id] = second.clip_id
    return before, after


def silenced(phonemes: Any) -> Any:
    """Phonemes (P,) of an utterance to speak, with a silence at either end, as in alignments."""
    return with_silence(phonemes, silence=id_of("sil"))
