"""Lip–audio meter: measures the synchrony of audio and mouth movement, and the offset between them.

A linear map from the mel frames around a video frame to the mouth shape in that frame is fitted on
training clips. On a test clip, the mouth shapes predicted from the audio are compared with the
observed mouth shapes, with the audio shifted by −15 … +15 video frames. The offset is the shift
with the smallest distance; the confidence is median − minimum of the distances.

The procedure follows SyncNet (Chung and Zisserman 2016), but without its two networks: there are no
pretrained weights, the scale depends on the corpus that the meter was fitted on, and the values are
**not** LSE-C or LSE-D. Compare systems and ground truth on one corpus with one fitted meter.

Letters: T mel frames, V video frames, C mel channels, D = windows * C, Q principal components.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import ClipError, ConfigError
from redub.core.types import FloatArray

Matrix = NDArray[np.float64]

MOUTH_SIDE = 96
COARSE_SIDE = 24  # mouth crops are averaged to 24 x 24 pixels first
WINDOW_FRAMES = 21  # mel frames, centred on a video frame, from which its mouth is predicted
COMPONENTS = 12
MAX_SHIFT = 15  # video frames, in both directions
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # multiples of the mean variance of the inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """Synchrony of audio and mouth in one clip.

    ``offset_frames``: in video frames; positive if the audio is late. ``distance``: smallest
    distance over all shifts, in units of the spread of mouth shapes in training (1 is the distance
    of always predicting the mean mouth). ``confidence``: at least 0. ``curve``: the distances at
    the shifts −15 … +15.
    """

    offset_frames: int
    offset_ms: float
    confidence: float
    distance: float
    curve: tuple[float, ...]


class LipAudioMeter:
    """Meter of lip–audio synchrony, fitted on training clips; made by :meth:`fit`."""

    def __init__(
        self,
        components: Matrix,
        weights: Matrix,
        mean_sound: Matrix,
        *,
        per_video_frame: int,
        fps: int,
    ) -> None:
        self._components = components  # (576, Q), scaled: total spread of mouth shapes is 1
        self._weights = weights  # (D, Q)
        self._mean_sound = mean_sound  # (D,)
        self.per_video_frame = per_video_frame  # mel frames
        self.fps = fps

    @classmethod
    def fit(
        cls,
        mels: Sequence[FloatArray],
        mouths: Sequence[NDArray[np.uint8]],
        *,
        fps: int = 25,
    ) -> LipAudioMeter:
        """Fit the meter on training clips; deterministic, reads one clip at a time.

        Every fifth clip is held out to choose the ridge strength; the final fit uses all clips.

        Args:
            mels: (T, C) natural-log mel of each clip.
            mouths: (V, 9216) grey mouth crops of each clip, 96 x 96 flattened. T / V must be the
                same whole number in all clips.

        Raises:
            ConfigError: fewer than two clips, unequal lengths, or mouths that never move.
        """
        if len(mels) != len(mouths) or len(mels) < 2:
            raise ConfigError(
                f"lip-audio meter: {len(mels)} mels and {len(mouths)} mouths; "
                "wanted equal numbers, at least two",
                code="E-EVAL-PAIRS",
            )
        per_video_frame = len(mels[0]) // max(len(mouths[0]), 1)
        components = _principal(mouths)
        held_out = [i % 5 == 4 or (len(mels) < 5 and i == len(mels) - 1) for i in range(len(mels))]
        kept, held = _Sums(), _Sums()
        for mel, mouth, is_held in zip(mels, mouths, held_out, strict=True):
            if per_video_frame < 1 or len(mel) != per_video_frame * len(mouth):
                raise ConfigError(
                    f"lip-audio meter: {len(mel)} mel frames and {len(mouth)} video frames; "
                    "wanted the same whole number of mel frames per video frame in all clips",
                    code="E-EVAL-PAIRS",
                )
            sums = held if is_held else kept
            sums.add(_windows(mel, len(mouth), per_video_frame), _shapes(mouth, components))
        ridge = min(RIDGES, key=lambda r: held.error(*kept.solve(r)))
        weights, mean_sound = (kept + held).solve(ridge)
        return cls(components, weights, mean_sound, per_video_frame=per_video_frame, fps=fps)

    def measure(self, mel: FloatArray, mouth: NDArray[np.uint8]) -> SyncReport:
        """Measure the synchrony of one clip.

        Args:
            mel: (T, C) natural-log mel of the audio, starting with the first video frame. If it is
                shorter than the video, its last frame is repeated; if longer, the rest is ignored.
            mouth: (V, 9216) uint8, at least 16 video frames.

        Raises:
            ClipError: fewer than 16 video frames, or no mel frames.
        """
        count = len(mouth)
        if count <= MAX_SHIFT or len(mel) == 0:
            raise ClipError(
                f"lip-audio meter: {count} video frames and {len(mel)} mel frames; "
                f"wanted more than {MAX_SHIFT} video frames and some audio",
                code="E-EVAL-SHORT",
            )
        observed = _shapes(mouth, self._components)  # (V, Q)
        windows = _windows(mel, count, self.per_video_frame)
        predicted = (windows - self._mean_sound) @ self._weights  # (V, Q)
        shifts = np.arange(-MAX_SHIFT, MAX_SHIFT + 1)
        # Shifted past an end, the first or last audio window is repeated. Dropping these video
        # frames would compare different frames at every shift and bias short clips.
        places = np.clip(np.arange(count) + shifts[:, None], 0, count - 1)  # (31, V)
        curve = np.linalg.norm(predicted[places] - observed, axis=-1).mean(axis=-1)  # (31,)
        # With equal distances (constant mouth or constant audio) the shift nearest to 0 wins.
        order = np.lexsort((shifts, np.abs(shifts), np.round(curve, 12)))
        best = int(order[0])
        return SyncReport(
            offset_frames=int(shifts[best]),
            offset_ms=float(shifts[best]) * 1000.0 / self.fps,
            confidence=float(np.median(curve) - curve[best]),
            distance=float(curve[best]),
            curve=tuple(float(v) for v in curve),
        )


def _coarse(mouth: NDArray[Any]) -> Matrix:
    """Reduce (V, 9216) grey pixels to (V, 576) block averages minus their mean over the clip.

    The mean shows the speaker's face and the light, which the audio cannot predict.
    """
    block = MOUTH_SIDE // COARSE_SIDE
    grid = mouth.reshape(len(mouth), COARSE_SIDE, block, COARSE_SIDE, block)
    small: Matrix = grid.mean(axis=(2, 4), dtype=np.float64).reshape(len(mouth), -1) / 255.0
    centred: Matrix = small - small.mean(axis=0)
    return centred


def _principal(mouths: Iterable[NDArray[np.uint8]]) -> Matrix:
    """Compute the principal components of mouth shapes, scaled to a total spread of 1.

    Raises:
        ConfigError: the mouths never move.
    """
    total, count = np.zeros((COARSE_SIDE**2, COARSE_SIDE**2)), 0
    for mouth in mouths:
        small = _coarse(mouth)
        total += small.T @ small
        count += len(small)
    variances, directions = np.linalg.eigh(total / max(count, 1))
    variances, directions = variances[::-1][:COMPONENTS], directions[:, ::-1][:, :COMPONENTS]
    if variances.sum() <= 1e-12:
        raise ConfigError("lip-audio meter: the mouths never move", code="E-EVAL-STILL")
    scaled: Matrix = directions / np.sqrt(variances.sum())
    return scaled


def _shapes(mouth: NDArray[np.uint8], components: Matrix) -> Matrix:
    shapes: Matrix = _coarse(mouth) @ components  # (V, Q)
    return shapes


def _windows(mel: FloatArray, video_frames: int, per_video_frame: int) -> Matrix:
    """Collect the 21 mel frames around each video frame, (T, C) → (V, 21 * C); edges repeated."""
    middles = np.arange(video_frames) * per_video_frame + per_video_frame // 2
    around = np.arange(WINDOW_FRAMES) - WINDOW_FRAMES // 2
    places = np.clip(middles[:, None] + around, 0, len(mel) - 1)  # (V, 21)
    windows: Matrix = mel[places].reshape(video_frames, -1).astype(np.float64)
    return windows


class _Sums:
    """Running moments of inputs and targets, from which ridge regression is solved and scored."""

    def __init__(self) -> None:
        self.count = 0
        self.x: Any = 0.0  # (D,)
        self.xx: Any = 0.0  # (D, D)
        self.xy: Any = 0.0  # (D, Q)
        self.yy = 0.0

    def add(self, inputs: Matrix, targets: Matrix) -> None:
        """Add the moments of (V, D) inputs and (V, Q) targets of one clip."""
        self.count += len(inputs)
        self.x = self.x + inputs.sum(axis=0)
        self.xx = self.xx + inputs.T @ inputs
        self.xy = self.xy + inputs.T @ targets
        self.yy += float((targets**2).sum())

    def __add__(self, other: _Sums) -> _Sums:
        both = _Sums()
        both.count = self.count + other.count
        both.x, both.xx, both.xy = self.x + other.x, self.xx + other.xx, self.xy + other.xy
        both.yy = self.yy + other.yy
        return both

    def solve(self, ridge: float) -> tuple[Matrix, Matrix]:
        """Solve the ridge regression: weights (D, Q) and the mean input (D,).

        The targets need no mean: it is 0 in every clip by construction.
        """
        mean = self.x / self.count
        spread = self.xx / self.count - np.outer(mean, mean)  # (D, D)
        strength = ridge * max(float(np.trace(spread)) / len(mean), 1e-12)
        weights = np.linalg.solve(spread + strength * np.eye(len(mean)), self.xy / self.count)
        return weights, mean

    def error(self, weights: Matrix, mean: Matrix) -> float:
        """Compute the sum of squared errors of ``(x - mean) @ weights`` over all added clips."""
        outer = np.outer(self.x, mean)
        centred = self.xx - outer - outer.T + self.count * np.outer(mean, mean)
        # The targets of every clip sum to 0, so the mean does not change the cross term.
        return float(
            self.yy - 2 * np.sum(weights * self.xy) + np.sum(weights * (centred @ weights))
        )
