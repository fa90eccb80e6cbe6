"""How a trained dubber follows pitch, range, energy, rate and emotion, measured on its sound.

    python benchmarks/with_data/control.py [PROJECT] [--run authentic] [--lines 24] [--split test]

Every line of the split is spoken at five settings of each knob and made audible; F0, level and
length of the speech are measured on the samples, by the same extractor for all. A knob should move
its own column in one direction and leave the others within 10 % (of hertz, semitones of range,
amplitude, seconds). Of an emotion, the share of lines in which a recogniser finds it; the
recogniser is fitted on the recorded training lines. Prints tables, asserts nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from redub.core.types import AudioSpec, Waveform
from redub.evaluation.emotion_recogniser import EmotionRecogniser
from redub.features.sound.audio_emotion import prosody_vector
from redub.features.sound.energy import frame_energy
from redub.features.sound.f0 import f0_track
from redub.features.sound.mel import log_mel
from redub.pipeline.dubbing.direction import EmotionTarget, shift_query, shift_retrieved
from redub.pipeline.store.packs.lines import UtteranceBuilder, hits_of
from redub.pipeline.store.project import Project, open_project
from redub.pipeline.work.judging import prosody_of
from redub.pipeline.work.query import neighbour_rows
from redub.pipeline.work.speaking import make_vocoder, open_dubber
from redub.training.data.lines import Utterance
from redub.training.synthesis import TrainedDubber, VoiceControl, synthesise

KNOBS: dict[str, list[VoiceControl]] = {
    "pitch, semitones": [VoiceControl(pitch=st / 12) for st in (-4, -2, 0, 2, 4)],
    "range, factor": [VoiceControl(pitch_range=r) for r in (0.4, 0.7, 1.0, 1.3, 1.6)],
    "energy, dB": [VoiceControl(energy=db) for db in (-6, -3, 0, 3, 6)],
    "rate, factor": [VoiceControl(rate=r) for r in (0.9, 0.95, 1.0, 1.15, 1.3)],
}
OWN = ("f0_hz", "range_st", "level_db", "speech_s")
INTENSITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
SPEECH_DB = 30.0  # frames this far below the loudest are no speech


@dataclass(frozen=True)
class Measured:
    """Of some lines: median F0, spread of F0, level of voiced frames, length of the speech."""

    f0_hz: float
    range_st: float
    level_db: float
    speech_s: float


def measured(waveforms: list[Waveform], audio: AudioSpec) -> Measured:
    """Means over lines; the F0 of a line is the median of its voiced frames."""
    rows = []
    for waveform in waveforms:
        track = f0_track(waveform, audio)
        level = 20 * np.log10(np.maximum(frame_energy(waveform, audio)[: len(track)], 1e-5))
        track = track[: len(level)]
        voiced = (track > 0) & (level > level.max() - SPEECH_DB)
        if voiced.sum() < 5:
            continue
        semitones = 12 * np.log2(track[voiced])
        spoken = np.flatnonzero(level > level.max() - SPEECH_DB)
        seconds = (spoken[-1] - spoken[0] + 1) * audio.hop_samples / audio.sample_rate_hz
        low, middle, high = np.percentile(semitones, [10, 50, 90])
        rows.append((2 ** (middle / 12), high - low, level[voiced].mean(), seconds))
    return Measured(*np.mean(rows, axis=0).tolist())


def spoken(
    project: Project,
    dubber: TrainedDubber,
    lines: list[Utterance],
    control: VoiceControl | None = None,
) -> list[Waveform]:
    """Lines made audible, each under the same control."""
    vocoder = make_vocoder(project)
    controls = None if control is None else [control] * len(lines)
    return [vocoder.vocode(line.mel) for line in synthesise(dubber, lines, controls)]


def away(one: Measured, plain: Measured) -> dict[str, float]:
    """By how many per cent each measure differs."""
    return {
        "f0_hz": 100 * (one.f0_hz / plain.f0_hz - 1),
        "range_st": 100 * (one.range_st / plain.range_st - 1),
        "level_db": 100 * (10 ** ((one.level_db - plain.level_db) / 20) - 1),
        "speech_s": 100 * (one.speech_s / plain.speech_s - 1),
    }


def show_knobs(project: Project, dubber: TrainedDubber, lines: list[Utterance]) -> None:
    audio = project.config.audio
    plain = measured(spoken(project, dubber, lines), audio)
    print("| knob | set to | F0 median, Hz | range, st | level, dB | speech, s | others off by |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for (knob, settings), own in zip(KNOBS.items(), OWN, strict=True):
        values = []
        for control in settings:
            found = measured(spoken(project, dubber, lines, control), audio)
            others = {k: v for k, v in away(found, plain).items() if k != own}
            worst = max(others, key=lambda name: abs(others[name]))
            values.append(getattr(found, own))
            wanted = (control.pitch * 12, control.pitch_range, control.energy, control.rate)
            print(
                f"| {knob} | {wanted[OWN.index(own)]:g} | {found.f0_hz:.1f} | {found.range_st:.2f} "
                f"| {found.level_db:.2f} | {found.speech_s:.3f} "
                f"| {others[worst]:+.1f} % ({worst}) |",
                flush=True,
            )
        steps = np.diff(values) * (-1 if own == "speech_s" else 1)
        print(f"| {knob} | {'one direction' if (steps > 0).all() else 'NOT monotone'} | | | | | |")


def show_emotions(
    project: Project, dubber: TrainedDubber, builder: UtteranceBuilder, lines: list[Utterance]
) -> None:
    judge = _judge(builder)
    if judge is None:
        print("no judge of emotion: too few labelled training lines")
        return
    print("| emotion | " + " | ".join(f"{share:g}" for share in INTENSITIES) + " |")
    print("| --- " * (len(INTENSITIES) + 1) + "|")
    audio = project.config.audio
    for emotion in sorted({c.emotion for c in builder.index.clips if c.emotion}):
        shares = []
        for intensity in INTENSITIES:
            emotion_target = EmotionTarget(emotion=emotion, intensity=intensity)
            wanted = [_line_with_emotion(project, builder, line, emotion_target) for line in lines]
            vectors = [
                prosody_vector(w, audio, log_mel(w, audio), f0_track(w, audio))
                for w in spoken(project, dubber, wanted)
            ]
            speakers = [builder.by_id[line.clip_id].speaker for line in lines]
            said = judge.predict(prosody_of(np.array(vectors)), speakers)
            shares.append(float(np.mean([word == emotion for word in said])))
        print(f"| {emotion} | " + " | ".join(f"{100 * s:.0f} %" for s in shares) + " |", flush=True)


def _line_with_emotion(
    project: Project, builder: UtteranceBuilder, line: Utterance, emotion_target: EmotionTarget
) -> Utterance:
    """A line with an emotion target, as of ``redub dub --emotion``."""
    clip = builder.by_id[line.clip_id]
    vectors = {m: shift_query(builder.index, m, v, emotion_target) for m, v in line.vectors.items()}
    found = {
        m: [
            (row["hit"], row["score"])
            for row in neighbour_rows(
                builder.index, project, m, [clip], {clip.clip_id: v}
            ).to_pylist()
        ]
        for m, v in vectors.items()
    }
    hits = hits_of(builder.index, vectors, found)
    hits = {m: shift_retrieved(builder.index, own, emotion_target) for m, own in hits.items()}
    return replace(line, vectors=vectors, hits=hits)


def _judge(builder: UtteranceBuilder) -> EmotionRecogniser | None:
    training = [c for c in builder.clips if c.split == "train" and c.emotion]
    vectors = builder.store.read("audio_emotion", [c.clip_id for c in training])
    training = [c for c in training if c.clip_id in vectors]
    if len({c.emotion for c in training}) < 2 or len(training) < 16:
        return None
    features = np.stack([np.asarray(vectors[c.clip_id]) for c in training])
    facts = (
        [c.emotion for c in training],
        [c.speaker for c in training],
        [f"{c.film}/{c.scene}" for c in training],
    )
    return EmotionRecogniser.fit(prosody_of(features), *facts, seed=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("project", nargs="?", type=Path)
    parser.add_argument("--run", default="authentic")
    parser.add_argument("--lines", type=int, default=24)
    parser.add_argument("--split", default="test")
    parser.add_argument("--emotions", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    if options.project is None:
        print("say PROJECT: it measures a run that was trained there")
        return
    project = open_project(options.project)
    dubber = open_dubber(project, options.run)
    builder = UtteranceBuilder(project, dubber.system)
    lines = builder.scripted(options.split).lines[: options.lines]
    print(f"{options.run}, step {dubber.step}, {len(lines)} lines of {options.split}\n")
    show_knobs(project, dubber, lines)
    if options.emotions:
        print()
        show_emotions(project, dubber, builder, lines)


if __name__ == "__main__":
    main()
