"""Measure the takes of some utterances with the extractors that read the footage.

Reads the takes of runs and the recorded features. Writes nothing: ``stages/evaluate.py`` collects
the figures.

Letters: T mel frames, C mel channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from redub.core.errors import ClipError, ConfigError
from redub.core.types import Clip, ClipMedia, FloatArray, Value, Waveform
from redub.evaluation.pitch_errors import pitch_errors
from redub.evaluation.registry import METRIC_WEIGHTS
from redub.evaluation.summary import take_values
from redub.evaluation.takes import (
    GROUND_TRUTH,
    MEAN_MEL,
    RESYNTHESIS,
    LineFigures,
    TakeSignals,
)
from redub.evaluation.word_error import SpeechRecogniser
from redub.pipeline.store.keys import FeatureKeys
from redub.pipeline.store.ledger import with_reads
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.takes import read_samples
from redub.pipeline.store.tables import Store
from redub.pipeline.store.weights import checked_folder
from redub.pipeline.work.speaking import make_vocoder

TAKE_FEATURES = ("mel", "f0", "audio_emotion")


@dataclass(frozen=True, slots=True)
class LineOrder:
    """One task: measure the takes of some utterances by every system."""

    project: Project
    clips: tuple[Clip, ...]
    runs: tuple[str, ...]
    split: str
    asr: bool


class _Spoken(NamedTuple):
    """One take: sound, mel (T, C) before the vocoder, and (P, 2) durations with phoneme ids."""

    system: str
    waveform: Waveform
    mel: FloatArray
    durations: Value | None


Recorded = Mapping[str, Value]
"""Feature to its value for one recorded clip."""


# -- one task


def measure_lines(order: LineOrder) -> list[LineFigures]:
    """Measure every system's takes of some utterances; runs in a worker.

    Besides the runs, the recording, its resynthesis by the vocoder, and the mean training mel are
    measured.

    Raises:
        ConfigError, IntegrityError: see :func:`redub.pipeline.store.runs.takes.read_samples`.
    """
    tools = _tools(order.project, order.split, order.asr)
    ids = [clip.clip_id for clip in order.clips]
    runs = {run: read_samples(order.project, run, order.split, ids) for run in order.runs}
    recorded = {
        name: tools.store.read(name, ids)
        for name in ("waveform", "mel", "f0", "durations", "phonemes", "audio_emotion")
    }
    figures = []
    for clip in order.clips:
        truth = {
            n: values[clip.clip_id] for n, values in recorded.items() if clip.clip_id in values
        }
        mel = np.asarray(truth["mel"])
        aligned = truth.get("durations")
        takes = [
            _Spoken(GROUND_TRUTH, _sound(order.project, truth["waveform"]), mel, aligned),
            _Spoken(RESYNTHESIS, tools.vocoder.vocode(mel), mel, aligned),
        ]
        for run in order.runs:
            sample = runs[run][clip.clip_id]
            durations = _with_ids(tools, clip, sample.durations)
            takes.append(_Spoken(run, sample.waveform, sample.mel, durations))
        constant = np.repeat(tools.mean_mel[None], len(mel), axis=0)  # (T, C)
        takes.append(_Spoken(MEAN_MEL, tools.vocoder.vocode(constant), constant, None))
        figures += [_measure(tools, clip, truth, take, asr=order.asr) for take in takes]
    return figures


class _Tools:
    """Everything a worker needs: store, vocoder, extractors, speech recogniser, mean mel."""

    def __init__(self, project: Project, split: str, asr: bool) -> None:
        self.project = project
        self.store = Store(project)
        self.keys: FeatureKeys = self.store.keys
        self.vocoder = make_vocoder(project)
        self.names = with_reads(self.keys, TAKE_FEATURES)
        self.extractors = {name: self.keys.make(name) for name in self.names}
        clips = self.store.clips()
        training = [clip for clip in clips if clip.split == "train"]
        mels = self.store.read("mel", [clip.clip_id for clip in training])
        if not mels:
            raise ConfigError("no training clip has a mel; run `redub extract`")
        frames = np.concatenate([np.asarray(m) for m in mels.values()])
        self.mean_mel = frames.mean(axis=0).astype(np.float32)
        self.weights = {
            name: checked_folder(self.keys.ledger, name, name)
            for name in METRIC_WEIGHTS
            if name in self.keys.ledger.entries
        }
        self.recogniser: SpeechRecogniser | None = None
        sentences = [clip.text for clip in training if clip.text]
        if asr and sentences:
            self.recogniser = SpeechRecogniser(sentences, [clip.text for clip in clips])


@lru_cache(maxsize=1)
def _tools_of(root: Path, config: str, split: str, asr: bool) -> _Tools:
    from redub.pipeline.store.project import open_project

    return _Tools(open_project(root), split, asr)


def _tools(project: Project, split: str, asr: bool) -> _Tools:
    return _tools_of(project.root, repr(project.config), split, asr)


def _sound(project: Project, stored: Value) -> Waveform:
    samples = np.asarray(stored)[:, 0].astype(np.float32) / 32768.0
    return Waveform(samples, project.config.audio.sample_rate_hz)


def _with_ids(tools: _Tools, clip: Clip, durations: Any) -> Any:
    from redub.pipeline.store.packs.lines import silenced

    stored = tools.store.read("phonemes", [clip.clip_id]).get(clip.clip_id)
    if stored is None:
        return None
    ids = silenced(np.asarray(stored)[:, 0])
    return np.stack([ids, np.asarray(durations)], axis=1) if len(ids) == len(durations) else None


def _measure(
    tools: _Tools, clip: Clip, truth: Recorded, take: _Spoken, *, asr: bool
) -> LineFigures:
    project = tools.project
    audio = project.config.audio
    measured = prosody_features(tools, clip, take.waveform)
    true_f0 = np.asarray(truth["f0"])[:, 0]
    phonemes = np.asarray(truth["phonemes"])[:, 0] if "phonemes" in truth else None
    own_f0 = np.asarray(measured["f0"])[:, 0] if "f0" in measured else np.zeros_like(true_f0)
    signals = TakeSignals(
        system=take.system,
        waveform=take.waveform,
        slot_samples=audio.sample_count(clip.video_frames, project.config.video),
        hop_ms=1000 * audio.hop_samples / audio.sample_rate_hz,
        mel=take.mel,
        sound_mel=np.asarray(measured["mel"]) if "mel" in measured else take.mel,
        f0_hz=own_f0,
        durations=take.durations,
        recorded_mel=np.asarray(truth["mel"]),
        recorded_f0_hz=true_f0,
        recorded_durations=truth.get("durations"),
        phonemes=phonemes,
        weights=tools.weights,
    )
    transcript = None
    if asr and tools.recogniser is not None and take.system != MEAN_MEL:
        transcript = tools.recogniser.transcribe(take.waveform)
    vector = measured.get("audio_emotion")
    return LineFigures(
        clip_id=clip.clip_id,
        system=take.system,
        text=clip.text,
        emotion=clip.emotion,
        values=take_values(signals),
        pitch=pitch_errors(true_f0, own_f0),
        transcript=transcript,
        emotion_vector=None if vector is None else [float(v) for v in np.asarray(vector)],
        phoneme_count=0 if phonemes is None else len(phonemes),
    )


def prosody_features(tools: _Tools, clip: Clip, waveform: Waveform) -> dict[str, Value]:
    """Mel, F0 and audio emotion vector of a take, by the project's extractors.

    A feature that cannot be computed, for example because the take has no speech, is left out.
    """
    values: dict[str, Value] = {}
    for name in tools.names:
        reads = tools.extractors[name].reads
        if any(r not in values and r not in tools.extractors[name].optional for r in reads):
            continue
        given = {read: values[read] for read in reads if read in values}
        media = ClipMedia(clip=clip, waveform=waveform, features=given)
        try:
            values[name] = tools.extractors[name].extract(media)
        except ClipError:
            continue  # a take without speech has no F0 and no emotion vector
    return values
