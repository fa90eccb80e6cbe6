"""The shared words: clips, waveforms, frame grids.

Time is counted, not measured: a clip starts and ends on the video grid of 1/25 s, and every
other length follows from that integer by :class:`AudioSpec` and :class:`VideoSpec`.

Letters: V video frames, H and W picture height and width, S samples, T mel frames.
"""

from __future__ import annotations

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
    """The picture clock and size that every video feature shares.

    ``max_side``: frames are scaled down (never up) so that the longer side fits it; both sides
    are kept even. ``fps`` counts frames per second of the grid k/fps, not of the source.
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
        return round(duration_s * self.fps)


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioSpec:
    """The one description of sound and mel frames; defaults are Chem's (16 kHz, 40 ms / 10 ms).

    With the defaults one 25 fps picture lasts exactly 4 mel frames and 640 samples.
    """

    sample_rate_hz: int = 16_000
    n_fft: int = 1024
    hop_samples: int = 160
    win_samples: int = 640
    mel_channels: int = 80
    fmin_hz: float = 0.0
    fmax_hz: float = 8000.0

    def __post_init__(self) -> None:
        if not 0 < self.hop_samples <= self.win_samples <= self.n_fft:
            raise ConfigError(
                f"audio: hop {self.hop_samples}, window {self.win_samples}, fft {self.n_fft}: "
                "wanted 0 < hop <= window <= fft"
            )

    def frame_count(self, samples: int) -> int:
        """Mel frames of a waveform; every frame-level audio feature has exactly this many."""
        return samples // self.hop_samples

    def sample_count(self, video_frames: int, video: VideoSpec) -> int:
        """Samples that ``video_frames`` pictures last."""
        return video_frames * self.sample_rate_hz // video.fps


@dataclass(frozen=True, slots=True)
class Waveform:
    """Mono sound: (S,) float32 in [-1, 1] at ``sample_rate_hz``."""

    samples: FloatArray
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate_hz


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One row of the clip table: one line of dialogue by one speaker, with its media.

    ``source`` is a path relative to the project's footage root (posix). ``source_digest`` is the
    SHA-256 of the media file. ``start_frame``/``end_frame`` count 1/25 s; ``end_frame`` is
    exclusive. ``text``, ``speaker``, ``emotion`` are empty where unknown.
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

    @property
    def video_frames(self) -> int:
        return self.end_frame - self.start_frame


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipMedia:
    """What an extractor is given: one decoded clip, its row, and the features it reads.

    frames: (V, H, W, 3) uint8 RGB on the k/25 s grid, or None when the source has no picture.
    waveform: exactly ``audio.sample_count(V)`` samples, or None when the source has no sound.
    features: values of the extractor's ``reads``, by feature name.
    shared: what extractors of this clip have already worked out; see :meth:`once`.
    """

    clip: Clip
    frames: ByteArray | None = None
    waveform: Waveform | None = None
    features: Mapping[str, Value] = field(default_factory=dict)
    shared: SharedWork = field(default_factory=lambda: SharedWork())

    def once(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """``work(*arguments, **named)``, computed once per clip however many extractors ask.

        Face crops, spectra and picture attributes are each wanted by several extractors. ``work``
        must be a module's function without side effects; what it returns is read by others too,
        so nobody may write into it.
        """
        return self.shared.get(work, arguments, named)


class SharedWork:
    """Results by function and arguments; what has no hash (arrays) counts by identity.

    It holds on to every argument, so an identity cannot pass to another array while it lives,
    which is as long as one clip is worked on. A function that raised is called again.
    """

    def __init__(self) -> None:
        self._results: dict[Hashable, tuple[tuple[Any, ...], Any]] = {}

    def get(
        self, work: Callable[..., T], arguments: tuple[Any, ...], named: Mapping[str, Any]
    ) -> T:
        given = (*arguments, *named.values())
        key = (work, len(arguments), tuple(named), *map(_identity, given))
        if key not in self._results:
            self._results[key] = given, work(*arguments, **named)
        result: T = self._results[key][1]
        return result


def _identity(argument: Any) -> Hashable:
    try:
        hash(argument)
    except TypeError:
        return (type(argument), id(argument))
    return argument  # type: ignore[no-any-return]
