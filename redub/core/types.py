"""Types that all packages share: clips, waveforms, and the grids of video and mel frames.

Times are integers: a clip starts and ends on the video grid of 1/25 s. :class:`AudioSpec` and
:class:`VideoSpec` derive every other length from these integers.

Letters: V video frames, H and W frame height and width, S samples, T mel frames.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ConfigError

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]
Value = NDArray[Any] | str  # one feature of one clip

P = ParamSpec("P")
T = TypeVar("T")

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise", "others")
"""Emotion ids 0–7 of V2C-Animation (Chen et al. 2022), used in every table and model."""

MODALITIES = ("scene", "face", "text")
"""Query modalities of Authentic-Dubber, in the order of its graph nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSpec:
    """Frame rate and frame size that all video features share.

    Attributes:
        fps: frames per second of the grid k/fps, not of the source; only 25 is allowed.
        max_side: longest side of a frame in pixels. Larger frames are scaled down, smaller frames
            are not scaled up; both sides are even.

    Raises:
        ConfigError: E-CFG-VALUE, ``fps`` is not 25 or ``max_side`` is below 32.
    """

    fps: int = 25
    max_side: int = 384

    def __post_init__(self) -> None:
        if self.fps != 25:
            raise ConfigError(
                f"video.fps is {self.fps}; clips, lips and mel are counted on the 25 fps grid",
                code="E-CFG-VALUE",
            )
        if self.max_side < 32:
            raise ConfigError(
                f"video.max_side is {self.max_side}; wanted at least 32", code="E-CFG-VALUE"
            )

    def frame_count(self, duration_s: float) -> int:
        """Convert seconds to a number of video frames, rounded to the nearest integer."""
        return round(duration_s * self.fps)


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioSpec:
    """Sample rate and mel spectrogram settings; the defaults are those of the Chem corpus.

    The defaults are 16 kHz, windows of 40 ms and a hop of 10 ms. One video frame at 25 fps then
    lasts exactly 4 mel frames or 640 samples.

    Raises:
        ConfigError: not ``0 < hop_samples <= win_samples <= n_fft <= 65536``, a sample rate outside
            1,000 to 384,000 Hz, no mel channel or more than 1,024, or not ``0 <= fmin < fmax``.
    """

    sample_rate_hz: int = 16_000
    n_fft: int = 1024
    hop_samples: int = 160
    win_samples: int = 640
    mel_channels: int = 80
    fmin_hz: float = 0.0
    fmax_hz: float = 8000.0

    def __post_init__(self) -> None:
        if not 0 < self.hop_samples <= self.win_samples <= self.n_fft <= 65_536:
            raise ConfigError(
                f"audio: hop {self.hop_samples}, window {self.win_samples}, fft {self.n_fft}: "
                "wanted 0 < hop <= window <= fft <= 65536"
            )
        for name, least, most in (("sample_rate_hz", 1000, 384_000), ("mel_channels", 1, 1024)):
            if not least <= getattr(self, name) <= most:
                raise ConfigError(
                    f"audio.{name} is {getattr(self, name)}; wanted {least} to {most}",
                    code="E-CFG-VALUE",
                )
        if not 0 <= self.fmin_hz < self.fmax_hz < math.inf:
            raise ConfigError(
                f"audio: fmin_hz {self.fmin_hz}, fmax_hz {self.fmax_hz}: wanted 0 <= fmin < fmax",
                code="E-CFG-VALUE",
            )

    def frame_count(self, samples: int) -> int:
        """Return the number of mel frames of a waveform with so many samples.

        Every frame-level audio feature has exactly this number of frames.
        """
        return samples // self.hop_samples

    def sample_count(self, video_frames: int, video: VideoSpec) -> int:
        """Return the number of samples that last as long as ``video_frames`` video frames."""
        return video_frames * self.sample_rate_hz // video.fps


@dataclass(frozen=True, slots=True)
class Waveform:
    """Mono sound: (S,) float32 in [-1, 1] at ``sample_rate_hz``."""

    samples: FloatArray
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate_hz


LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
"""A language tag: ``en``, ``en-GB``, ``de``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One row of the clip table: one utterance by one speaker, and where its media is.

    Attributes:
        source: media file, a posix path relative to the project's footage root.
        source_digest: SHA-256 of the media file.
        start_frame, end_frame: in units of 1/25 s; ``end_frame`` is exclusive.
        position: place of the utterance in its scene, counted from 1.
        text, speaker, emotion: empty where unknown.
        decoder: the reader of the video frames, "pyav" or "decord". In the clip table its version
            follows, and how the source is read where that is not the ordinary way, as
            ``pyav 18.1.0 sound=2 channel=0``.
        off_screen: the speaker is not in the picture: no face and no lips are looked for.
        language: of the text, as ``en``, ``en-GB`` or ``de``.
    """

    clip_id: str
    source: str
    source_digest: str
    start_frame: int
    end_frame: int
    film: str
    scene: str
    position: int
    speaker: str = ""
    text: str = ""
    split: str = "train"
    emotion: str = ""
    rights: str = ""
    has_video: bool = True
    has_audio: bool = True
    decoder: str = "pyav"
    off_screen: bool = False
    language: str = "en"

    @property
    def channel(self) -> int | None:
        """The channel of the sound to use, counted from 0; None for the mean of all channels."""
        return channel_in(self.decoder)

    @property
    def video_frames(self) -> int:
        """Length in video frames of 1/25 s."""
        return self.end_frame - self.start_frame


def channel_in(reading: str) -> int | None:
    """The number of a word ``channel=2`` in a description of how a source is read."""
    words = [word for word in reading.split() if word.startswith("channel=")]
    return int(words[0].partition("=")[2]) if words else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipMedia:
    """The input of an extractor: one decoded clip, its table row, and the features it reads.

    Attributes:
        frames: (V, H, W, 3) uint8 RGB on the k/25 s grid, or None if the source has no video.
        waveform: exactly ``audio.sample_count(V)`` samples, or None if the source has no sound.
        features: values of the features in the extractor's ``reads``, by feature name.
        shared: intermediate results that the extractors of this clip share; see :meth:`once`.
    """

    clip: Clip
    frames: ByteArray | None = None
    waveform: Waveform | None = None
    features: Mapping[str, Value] = field(default_factory=dict)
    shared: SharedWork = field(default_factory=lambda: SharedWork())

    def once(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Return ``work(*arguments, **named)``, computed at most once per clip.

        Several extractors need the same face crops, spectra and frame attributes. ``work`` must
        be a module-level function without side effects. Its result is shared between extractors,
        so the caller must not modify it.
        """
        return self.shared.get(work, arguments, named)


class SharedWork:
    """Cache of results by function and arguments, used while one clip is processed.

    Arguments without a hash (arrays) are compared by identity. The cache keeps a reference to every
    argument, so that the ``id`` of an array cannot be reused while the cache exists. The result of
    a function that raised is not cached.
    """

    def __init__(self) -> None:
        self._results: dict[Hashable, tuple[tuple[Any, ...], Any]] = {}

    def get(
        self, work: Callable[..., T], arguments: tuple[Any, ...], named: Mapping[str, Any]
    ) -> T:
        """Return the cached result for these arguments, or call ``work`` and cache its result."""
        given = (*arguments, *named.values())
        key = (work, len(arguments), tuple(named), *map(_identity, given))
        if key not in self._results:
            self._results[key] = given, work(*arguments, **named)
        result: T = self._results[key][1]
        return result


def _identity(argument: Any) -> Hashable:
    """A cache key for one argument: itself if it is hashable, else its type and ``id``."""
    try:
        hash(argument)
    except TypeError:
        return (type(argument), id(argument))
    return argument  # type: ignore[no-any-return]
