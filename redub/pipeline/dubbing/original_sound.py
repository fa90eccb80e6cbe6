"""The original sound of a dub: its loudness, and the background that is separated from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from redub.core.errors import UsageError
from redub.core.types import Clip, FloatArray, Waveform
from redub.features.models.deepfilternet.separation import speech_of_sound
from redub.features.sound.loudness import integrated_loudness
from redub.features.weights.folder import WeightFolder
from redub.footage.child import DecoderChild
from redub.footage.probe import SourceInfo
from redub.pipeline.dubbing.mix import PEAK, with_background
from redub.pipeline.dubbing.take import DubSummary
from redub.pipeline.store.keys import FeatureKeys
from redub.pipeline.store.project import Project

BackgroundChoice = Literal["none", "separate"]
NONE: BackgroundChoice = "none"
SEPARATE: BackgroundChoice = "separate"

QUIETEST_ORIGINAL = -45.0  # LUFS; below it the original is noise, not something to match

PIECE_S = 30.0
"""A film is separated in pieces of this length, so that one request stays short."""

OVERLAP_S = 1.0
"""Adjacent pieces overlap; the second half of the overlap is faded from one to the next."""


def check_background(name: str) -> BackgroundChoice:
    """Read the name of a choice.

    Raises:
        UsageError: there is no such choice.
    """
    if name not in (NONE, SEPARATE):
        raise UsageError(f"the background is {name!r}; wanted none or separate")
    return SEPARATE if name == SEPARATE else NONE


@dataclass(frozen=True, slots=True)
class SeparatedSound:
    """The original sound in two parts that add up to it, (S,) samples each."""

    speech: Waveform
    background: Waveform


@dataclass(frozen=True)
class OriginalSound:
    """The sound of the video that is dubbed.

    Attributes:
        separation: the weights that separate speech from background; None to keep no background.
    """

    project: Project
    decoder: DecoderChild
    video: Path
    info: SourceInfo
    separation: WeightFolder | None = None

    def loudness(self, clips: Sequence[Clip]) -> float | None:
        """Loudness of the speech in the dubbed slots, in LUFS: of all sound, or of the separated.

        None where the video has no sound, or where it is below -45 LUFS.

        Raises:
            ClipError: the sound cannot be decoded or separated.
            ModelRefusedError: the weights or the library cannot be loaded.
        """
        if not self.info.has_audio or not clips:
            return None
        samples = np.concatenate([self._samples(clip) for clip in clips])
        rate = self.project.config.audio.sample_rate_hz
        loudness = integrated_loudness(Waveform(samples, rate))
        return None if loudness is None or loudness < QUIETEST_ORIGINAL else loudness

    def with_background(self, track: Waveform, summary: DubSummary) -> Waveform:
        """Add the background to the new track where it was asked for; note what happened to it."""
        if self.separation is None:
            return track
        if not self.info.has_audio:
            summary.notes.append("the video has no sound, so there is no background to keep")
            return track
        both, lowered = with_background(track, self._separated.background, PEAK)
        summary.notes.append(
            "the background is what is left of the original sound without its speech; of music, a "
            "part is taken out with the speech, and a rest of the old voice may be heard"
        )
        if lowered:
            summary.notes.append(
                f"lines and background are {lowered:.1f} dB quieter than requested: their peaks "
                "together are at -1 dBFS"
            )
        return both

    def _samples(self, clip: Clip) -> FloatArray:
        config = self.project.config
        if self.separation is None:
            return self._decoded(clip.start_frame, clip.end_frame)
        first, last = (
            config.audio.sample_count(frame, config.video)
            for frame in (clip.start_frame, clip.end_frame)
        )
        return self._separated.speech.samples[first:last]

    @cached_property
    def _separated(self) -> SeparatedSound:
        """The whole sound in two parts."""
        assert self.separation is not None
        config = self.project.config
        rate = config.audio.sample_rate_hz
        total = round(self.info.duration_s * rate)
        sound, speech = np.zeros(total, np.float32), np.zeros(total, np.float32)
        for start, end in pieces(total, rate, min(PIECE_S, config.footage.max_clip_s)):
            # Starts are whole seconds, and so whole video frames.
            first, last = start * config.video.fps // rate, -(-end * config.video.fps // rate)
            piece = self._decoded(first, last)[: end - start]
            sound[start:end] = piece
            only_speech = speech_of_sound(Waveform(piece, rate), self.separation).samples
            _fade_in(speech, only_speech, start, rate)
        return SeparatedSound(Waveform(speech, rate), Waveform(sound - speech, rate))

    def _decoded(self, start_frame: int, end_frame: int) -> FloatArray:
        config = self.project.config
        decoded = self.decoder.decode(
            self.video,
            start_frame=start_frame,
            end_frame=end_frame,
            video=config.video,
            audio=config.audio,
            decoder="pyav",
            channel=self.info.channel,
            frames=False,
            waveform=True,
        ).waveform
        assert decoded is not None  # the video has sound
        return decoded.samples


def recorded_separation(project: Project) -> WeightFolder:
    """The recorded weights that separate speech from background, with their digests checked.

    Raises:
        ModelRefusedError: they are not recorded, gone or changed.
    """
    return FeatureKeys(project).recorded_separation(checked=True)


def pieces(total: int, rate: int, longest_s: float) -> Iterator[tuple[int, int]]:
    """Spans of samples that cover ``total``; each begins :data:`OVERLAP_S` before the last end.

    Starts are multiples of a second, and so of a video frame.
    """
    longest = max(2, int(longest_s)) * rate
    start = 0
    while start < total:
        end = min(start + longest, total)
        yield start, end
        if end == total:
            return
        start = end - round(OVERLAP_S * rate)


def _fade_in(whole: FloatArray, piece: FloatArray, start: int, rate: int) -> None:
    """Write a piece at ``start``; over the second half of the overlap it replaces the last one."""
    if start == 0:
        whole[: len(piece)] = piece
        return
    half = min(round(OVERLAP_S * rate) // 2, len(piece))
    fade = min(half, len(piece) - half)
    ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    border = start + half
    mixed = whole[border : border + fade] * (1 - ramp) + piece[half : half + fade] * ramp
    whole[border : border + fade] = mixed
    whole[border + fade : start + len(piece)] = piece[half + fade :]
