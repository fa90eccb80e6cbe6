"""The dubbed sound track: utterances at their places, at the loudness of the original."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from redub.core.types import Clip, Waveform
from redub.features.sound.loudness import integrated_loudness
from redub.footage.probe import SourceInfo
from redub.pipeline.store.project import Project
from redub.pipeline.work.speaking import make_vocoder
from redub.training.synthesis import SpokenLine, VoiceControl

FADE_S = 0.005
PEAK = 10 ** (-1 / 20)  # -1 dBFS
UNHEARD_DB = 0.5
FALLBACK_LOUDNESS = -23.0  # LUFS, EBU R 128


def mixed_track(
    project: Project, info: SourceInfo, clips: Sequence[Clip], spoken: Sequence[SpokenLine]
) -> Waveform:
    """Vocode every utterance into its slot; the track is as long as the video.

    Utterances are faded over 5 ms at both ends. Between them there is silence; where two speakers
    talk at the same time, their sound is added.
    """
    config = project.config
    rate = config.audio.sample_rate_hz
    total = max(
        round(info.duration_s * rate), _sample(project, max(clip.end_frame for clip in clips))
    )
    samples = np.zeros(total, dtype=np.float32)
    vocoder = make_vocoder(project)
    for clip, line in zip(clips, spoken, strict=True):
        waveform = vocoder.vocode(line.mel).samples.copy()
        fade = min(round(FADE_S * rate), len(waveform) // 2)
        ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
        waveform[:fade] *= ramp
        waveform[len(waveform) - fade :] *= ramp[::-1]
        start = _sample(project, clip.start_frame)
        kept = min(len(waveform), total - start)
        samples[start : start + kept] += waveform[:kept]
    return Waveform(samples, rate)


def _sample(project: Project, frame: int) -> int:
    return project.config.audio.sample_count(frame, project.config.video)


def louder_db(clips: Sequence[Clip], controls: Sequence[VoiceControl]) -> float:
    """By how many decibels the energy controls make the take louder, weighted by slot length."""
    frames = np.array([clip.end_frame - clip.start_frame for clip in clips], dtype=np.float64)
    power = 10 ** (np.array([one.energy for one in controls]) / 10)
    return float(10 * np.log10((frames * power).sum() / frames.sum()))


def missing_db(track: Waveform, wanted_lufs: float) -> float:
    """By how many decibels a take is below the wanted loudness; 0 for at most 0.5 dB."""
    loudness = integrated_loudness(track)
    short = 0.0 if loudness is None else wanted_lufs - loudness
    return short if short > UNHEARD_DB else 0.0


def at_loudness(track: Waveform, wanted_lufs: float) -> Waveform:
    """Apply one gain to the whole take, so that it reaches the wanted loudness.

    Utterances keep their balance. Peaks stay at or below -1 dBFS, so a take may end quieter.
    A silent take is returned unchanged.
    """
    loudness = integrated_loudness(track)
    if loudness is None:
        return track
    gain = 10 ** ((wanted_lufs - loudness) / 20)
    peak = float(np.abs(track.samples).max(initial=0.0)) * gain
    if peak > PEAK:
        gain *= PEAK / peak
    return Waveform((track.samples * np.float32(gain)).astype(np.float32), track.sample_rate_hz)


def with_background(track: Waveform, background: Waveform, peak: float) -> tuple[Waveform, float]:
    """Add a background to a track of the same rate; the longer one gives the length.

    Args:
        peak: the largest sample that is allowed; both are lowered together to keep it.

    Returns:
        The sum, and by how many decibels both were lowered.
    """
    samples = np.zeros(max(len(track.samples), len(background.samples)), np.float32)
    samples[: len(track.samples)] = track.samples
    samples[: len(background.samples)] += background.samples
    highest = float(np.abs(samples).max(initial=0.0))
    if highest <= peak:
        return Waveform(samples, track.sample_rate_hz), 0.0
    lowered = (samples * np.float32(peak / highest)).astype(np.float32)
    return Waveform(lowered, track.sample_rate_hz), float(20 * np.log10(highest / peak))
