"""Measure the takes of some utterances with the extractors that read the footage.

Reads the takes of runs and the recorded features. Writes nothing: ``stages/evaluate.py`` collects
the figures.

Letters: T mel frames, C mel channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from redub.core.errors import ClipError, ConfigError
from redub.core.phonemes import id_of
from redub.core.types import Clip, ClipMedia, FloatArray, Value, Waveform
from redub.evaluation.duration_error import phoneme_error_ms, slot_error_ms
from redub.evaluation.f0_correlation import f0_correlation
from redub.evaluation.mcd import mel_distortion
from redub.evaluation.pitch_errors import pitch_errors
from redub.evaluation.word_error import SpeechRecogniser
from redub.pipeline.store.keys import FeatureKeys
from redub.pipeline.store.ledger import with_reads
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.evaluations import GROUND_TRUTH, MEAN_MEL, RESYNTHESIS, LineFigures
from redub.pipeline.store.runs.takes import read_samples
from redub.pipeline.store.tables import Store
from redub.pipeline.work.speaking import make_vocoder

HEARD = ("mel", "f0", "audio_emotion")


@dataclass(frozen=True, slots=True)
class LineOrder:
    """One task: measure the takes of some utterances by every system."""

    project: Project
    clips: tuple[Clip, ...]
    runs: tuple[str, ...]
    split: str
    asr: bool


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
        for name in ("waveform", "mel", "f0", "durations", "audio_emotion")
    }
    figures = []
    for clip in order.clips:
        truth = {
            n: values[clip.clip_id] for n, values in recorded.items() if clip.clip_id in values
        }
        mel = np.asarray(truth["mel"])
        takes: list[tuple[str, Waveform, FloatArray, Any]] = [
            (GROUND_TRUTH, _sound(order.project, truth["waveform"]), mel, truth.get("durations")),
            (RESYNTHESIS, tools.vocoder.vocode(mel), mel, truth.get("durations")),
        ]
        for run in order.runs:
            sample = runs[run][clip.clip_id]
            durations = _with_ids(tools, clip, sample.durations)
            takes.append((run, sample.waveform, sample.mel, durations))
        constant = np.repeat(tools.mean_mel[None], len(mel), axis=0)  # (T, C)
        takes.append((MEAN_MEL, tools.vocoder.vocode(constant), constant, None))
        figures += [_measure(tools, clip, truth, *take, asr=order.asr) for take in takes]
    return figures


class _Tools:
    """Everything a worker needs: store, vocoder, extractors, speech recogniser, mean mel."""

    def __init__(self, project: Project, split: str, asr: bool) -> None:
        self.project = project
        self.store = Store(project)
        self.keys: FeatureKeys = self.store.keys
        self.vocoder = make_vocoder(project)
        self.names = with_reads(self.keys, HEARD)
        self.extractors = {name: self.keys.make(name) for name in self.names}
        clips = self.store.clips()
        training = [clip for clip in clips if clip.split == "train"]
        mels = self.store.read("mel", [clip.clip_id for clip in training])
        if not mels:
            raise ConfigError("no training clip has a mel; run `redub extract`")
        frames = np.concatenate([np.asarray(m) for m in mels.values()])
        self.mean_mel = frames.mean(axis=0).astype(np.float32)
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
    tools: _Tools,
    clip: Clip,
    truth: dict[str, Value],
    system: str,
    waveform: Waveform,
    mel: FloatArray,
    durations: Any,
    *,
    asr: bool,
) -> LineFigures:
    audio = tools.project.config.audio
    measured = prosody_features(tools, clip, waveform)
    true_f0 = np.asarray(truth["f0"])[:, 0]
    own_f0 = np.asarray(measured["f0"])[:, 0] if "f0" in measured else np.zeros_like(true_f0)
    errors = pitch_errors(true_f0, own_f0)
    true_mel = np.asarray(truth["mel"])
    sound_mel = np.asarray(measured["mel"]) if "mel" in measured else mel
    vector = measured.get("audio_emotion")
    slot = audio.sample_count(clip.video_frames, tools.project.config.video)
    transcript = ""
    if asr and tools.recogniser is not None and system != MEAN_MEL:
        transcript = tools.recogniser.transcribe(waveform)
    return LineFigures(
        clip_id=clip.clip_id,
        system=system,
        slot_error_ms=abs(
            slot_error_ms(len(waveform.samples), slot, sample_rate_hz=waveform.sample_rate_hz)
        ),
        mcd_dtw=mel_distortion(true_mel, sound_mel).mcd_dtw,
        mcd_dtw_mel=mel_distortion(true_mel, mel).mcd_dtw,
        pairs=errors.pairs,
        voiced_in_both=errors.voiced_in_both,
        voicing_errors=errors.voicing_errors,
        gross_errors=errors.gross_errors,
        f0_correlation=f0_correlation(true_f0, own_f0),
        phoneme_error_ms=_phoneme_error(tools, truth.get("durations"), durations),
        transcript=transcript,
        emotion_vector=None if vector is None else [float(v) for v in np.asarray(vector)],
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


def _phoneme_error(tools: _Tools, true: Value | None, own: Any) -> float:
    if true is None or own is None:
        return float("nan")
    audio = tools.project.config.audio
    try:
        return phoneme_error_ms(
            np.asarray(true),
            np.asarray(own),
            frame_ms=1000 * audio.hop_samples / audio.sample_rate_hz,
            pauses={id_of("sil"), id_of("sp"), id_of("spn")},
        )
    except ClipError:
        return float(
            "nan"
        )  # the aligner chose another pronunciation than the first of the dictionary
