"""Utterances on the page of an evaluation: the takes of each system and the retrieved clips."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from redub.core.errors import ClipError, FeatureAbsent
from redub.core.phonemes import symbol_of
from redub.core.types import MODALITIES, Clip, Value, Waveform
from redub.evaluation.takes import GROUND_TRUTH, RESYNTHESIS
from redub.features.text.emotion_lexicon import weights_of, words_of
from redub.features.text.phonemes import WordPhonemes
from redub.footage.encode import write_clip
from redub.pages.contents import Casting, Line, Neighbour, Picture, Sound, Take
from redub.pipeline.store.index.builds import features_of, open_index
from redub.pipeline.store.index.neighbours import neighbours_of
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.evaluations import Evaluation
from redub.pipeline.store.runs.takes import Sample, read_samples
from redub.pipeline.store.settings import MODALITY_FEATURES
from redub.pipeline.store.tables import Store
from redub.pipeline.work.decoders import close_decoders
from redub.pipeline.work.extraction import Toolbox
from redub.pipeline.work.speaking import make_vocoder

LINES_SHOWN, STEPS_SHOWN = 24, 4


def stored_sound(project: Project, stored: Value) -> Sound:
    """A ``waveform`` feature value, (S, 1) int16, as sound for a page."""
    samples = np.asarray(stored)[:, 0].astype(np.float32) / 32768.0
    return Sound(waveform=Waveform(samples, project.config.audio.sample_rate_hz))


# -- lines


def shown_lines(project: Project, store: Store, evaluation: Evaluation) -> tuple[Line, ...]:
    """The first utterances of every scene, at most LINES_SHOWN in all."""
    clips = {clip.clip_id: clip for clip in store.clips()}
    chosen = _spread([clips[i] for i in evaluation.line_ids])
    samples = {run: read_samples(project, run, evaluation.split) for run in evaluation.runs}
    gather = _Gatherer(project, store, chosen, clips)
    shown = _Shown(evaluation)
    lines = []
    try:
        for clip in chosen:
            takes = gather.takes(clip, shown, samples)
            first = samples[evaluation.runs[0]][clip.clip_id].waveform
            lines.append(gather.line(clip, takes, first))
    finally:
        close_decoders()
    return tuple(lines)


def _spread(clips: Sequence[Clip]) -> list[Clip]:
    scenes: dict[tuple[str, str], list[Clip]] = {}
    for clip in clips:
        scenes.setdefault((clip.film, clip.scene), []).append(clip)
    share = max(1, LINES_SHOWN // max(1, len(scenes)))
    return [clip for lines in scenes.values() for clip in lines[:share]][:LINES_SHOWN]


class _Shown:
    """What the page writes under each take."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.metrics = [metric for metric in evaluation.metrics if metric.of_take]
        self.lines = {(line.clip_id, line.system): line for line in evaluation.lines}

    def transcript(self, clip: Clip, system: str) -> str:
        """What the speech recogniser found in a take; empty where it did not run."""
        return self.lines[clip.clip_id, system].transcript or ""

    def figures(self, clip: Clip, system: str) -> tuple[tuple[str, str], ...]:
        """The metrics that are measured take by take, and the recognised emotion."""
        line = self.lines[clip.clip_id, system]
        found = [
            (metric.title, metric.figure(value))
            for metric in self.metrics
            if isinstance(value := line.values[metric.name], float)
        ]
        if line.recognised_emotion:
            found.append(("emotion", line.recognised_emotion))
        return tuple(found)


class _Gatherer:
    """Collects what the shown utterances need; each feature is read once."""

    def __init__(
        self, project: Project, store: Store, chosen: Sequence[Clip], clips: dict[str, Clip]
    ) -> None:
        self.project, self.store, self.clips = project, store, clips
        self.tools = Toolbox(project)
        self.vocoder = make_vocoder(project)
        self.neighbours = neighbours_of(store, open_index(project))
        ids = {clip.clip_id for clip in chosen}
        hits = {hit for i in ids for found in self.neighbours[i].values() for hit, _ in found}
        self.values: dict[str, dict[str, Value]] = {
            name: store.read(name, ids | hits)
            for name in ("waveform", "mel", "f0", "durations", "scene_caption", "face_caption")
        }
        self._sounds: dict[str, Sound] = {}

    def takes(
        self,
        clip: Clip,
        shown: _Shown,
        samples: dict[str, dict[str, Sample]],
    ) -> tuple[Take, ...]:
        """The recording, its vocoder resynthesis, and the take of every run, with figures."""
        mel = np.asarray(self.values["mel"][clip.clip_id])
        durations = self.values["durations"].get(clip.clip_id)
        truth = Take(
            system=GROUND_TRUTH,
            sound=self.recorded(clip.clip_id),
            mel=mel,
            f0_hz=np.asarray(self.values["f0"][clip.clip_id])[:, 0],
            durations=_named(durations),
            transcript=shown.transcript(clip, GROUND_TRUTH),
            figures=shown.figures(clip, GROUND_TRUTH),
        )
        vocoded = Take(
            system=RESYNTHESIS,
            sound=Sound(waveform=self.vocoder.vocode(mel)),
            transcript=shown.transcript(clip, RESYNTHESIS),
            figures=shown.figures(clip, RESYNTHESIS),
        )
        made = []
        for run, takes in samples.items():
            sample = takes[clip.clip_id]
            made.append(
                Take(
                    system=run,
                    sound=Sound(waveform=sample.waveform),
                    mel=sample.mel,
                    f0_hz=sample.arrays.get("f0_hz"),
                    transcript=shown.transcript(clip, run),
                    figures=shown.figures(clip, run),
                )
            )
        return (truth, vocoded, *made)

    def recorded(self, clip_id: str) -> Sound | None:
        """The recorded sound of a clip; None where it has no waveform."""
        if clip_id not in self._sounds:
            stored = self.values["waveform"].get(clip_id)
            if stored is None:
                return None
            self._sounds[clip_id] = stored_sound(self.project, stored)
        return self._sounds[clip_id]

    def line(self, clip: Clip, takes: tuple[Take, ...], dubbed: Waveform) -> Line:
        """One utterance of the page; its video plays with the sound ``dubbed``."""
        fps = self.project.config.video.fps
        return Line(
            clip_id=clip.clip_id,
            text=clip.text,
            speaker=clip.speaker,
            emotion=clip.emotion,
            film=clip.film,
            scene=clip.scene,
            split=clip.split,
            picture=self._picture(clip, dubbed),
            takes=takes,
            casting=tuple(self._casting(clip, modality) for modality in MODALITIES),
            facts=(
                ("slot", f"{clip.start_frame / fps:.2f} s to {clip.end_frame / fps:.2f} s"),
                *self._spoken(clip),
            ),
        )

    def _spoken(self, clip: Clip) -> tuple[tuple[str, str], ...]:
        """What the text of a clip is spoken as, and which of its words are guessed or unknown."""
        speaker = self.tools.extractor("phonemes")
        assert isinstance(speaker, WordPhonemes)
        try:
            said = speaker.saying(clip.text, clip.language)
        except FeatureAbsent as error:
            return (("not spoken", error.message),)
        facts = [("spoken as", " ".join(word.text for word in said.reading.words))]
        guessed = dict.fromkeys(word.text for word in said.words if word.guessed)
        if guessed:
            facts.append(("guessed", ", ".join(guessed)))
        if said.unknown:
            facts.append(("unknown", ", ".join(said.unknown)))
        return tuple(facts)

    def _picture(self, clip: Clip, sound: Waveform) -> Picture | None:
        """The clip's video with a take's sound; None where the video cannot be read."""
        if not clip.has_video:
            return None
        try:
            frames = self.tools.decode(clip, frames=True, sound=False).frames
        except ClipError:
            return None
        if frames is None:
            return None
        with tempfile.TemporaryDirectory(prefix="redub-page-") as folder:
            path = Path(folder) / "line.mp4"
            write_clip(path, frames, self.project.config.video.fps, sound, crf=30)
            return Picture(mp4=path.read_bytes(), poster=frames[len(frames) // 2])

    def _casting(self, clip: Clip, modality: str) -> Casting:
        feature = features_of(self.store)[modality]
        is_worded = feature == MODALITY_FEATURES[modality][0]
        query = clip.text
        if modality != "text":
            query = str(self.values[f"{modality}_caption"].get(clip.clip_id, ""))
        own = set(_feeling_words(query)) if is_worded else set()
        found = []
        for rank, (hit, score) in enumerate(self.neighbours[clip.clip_id][modality], start=1):
            other = self.clips[hit]
            said = other.text
            if modality != "text":
                said = str(self.values[f"{modality}_caption"].get(hit, ""))
            found.append(
                Neighbour(
                    rank=rank,
                    clip_id=hit,
                    score=score,
                    speaker=other.speaker,
                    emotion=other.emotion,
                    text=said,
                    film=other.film,
                    shared_words=tuple(sorted(own & set(_feeling_words(said)))),
                    sound=self.recorded(hit),
                )
            )
        return Casting(
            modality=modality,
            neighbours=tuple(found),
            query=query,
            similarity=f"{self.project.config.index.metric} of {feature}",
        )


def _feeling_words(text: str) -> list[str]:
    """The words of a text that the emotion lexicon knows."""
    return [word for word in words_of(text) if weights_of(word) is not None]


def _named(durations: Value | None) -> tuple[tuple[str, int], ...]:
    if durations is None:
        return ()
    return tuple((symbol_of(int(row[0])), int(row[1])) for row in np.asarray(durations))
