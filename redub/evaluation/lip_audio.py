"""Lip–audio meter: does the sound fit the mouth, and if not, by how much is it late?

A linear map from the sound around a picture to what the mouth looks like in it is fitted on
training clips. On a clip to be judged, the mouth that the sound predicts is compared with the
mouth that is seen, with the sound moved by −15 … +15 pictures: the offset is where they agree
best, the confidence how much better that is than a typical shift (median − minimum).

The procedure is SyncNet's (Chung and Zisserman 2016), the two towers are not: there are no
pretrained weights here, the scale depends on the corpus the meter was fitted on, and the numbers
are **not** LSE-C or LSE-D. Compare systems on one corpus with one fitted meter, ground truth among
them.

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
COARSE_SIDE = 24  # mouth pictures are averaged to 24 x 24 before anything else
WINDOW_FRAMES = 21  # mel frames that a picture is predicted from, centred on it
COMPONENTS = 12
MAX_SHIFT = 15  # pictures, either way
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # multiples of the mean variance of the inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """How sound and mouth of one clip fit.

    ``offset_frames`` counts pictures; positive: the sound comes late. ``distance`` is the least
    distance, in units of the spread of mouth shapes in training (1: no better than always
    predicting the mean mouth). ``confidence`` ≥ 0. ``curve`` holds the distance at the shifts
    −15 … +15.
    """

    offset_frames: int
    offset_ms: float
    confidence: float
    distance: float
    curve: tuple[float, ...]


class LipAudioMeter:
    """A fitted meter; made by :meth:`fit`."""

    def __init__(
        self,
        components: Matrix,
        weights: Matrix,
        mean_sound: Matrix,
        *,
        per_picture: int,
        fps: int,
    ) -> None:
        self._components = components  # (576, Q), scaled: mouth shapes have spread 1 in all
        self._weights = weights  # (D, Q)
        self._mean_sound = mean_sound  # (D,)
        self.per_picture = per_picture  # mel frames
        self.fps = fps

    @classmethod
    def fit(
        cls,
        mels: Sequence[FloatArray],
        mouths: Sequence[NDArray[np.uint8]],
        *,
        fps: int = 25,
    ) -> LipAudioMeter:
        """Fit on training clips; deterministic, and clips are read one at a time.

        Args:
            mels: (T, C) natural-log mel of each clip.
            mouths: (V, 9216) grey mouth crops of each clip, 96 x 96 flattened; T / V is one
                whole number for all clips.

        Every fifth clip is held out to choose the strength of the ridge; the final fit uses all.

        Raises:
            ConfigError: fewer than two clips, unequal lengths, or mouths that never move.
        """
        if len(mels) != len(mouths) or len(mels) < 2:
            raise ConfigError(
                f"lip-audio meter: {len(mels)} mels and {len(mouths)} mouths; "
                "wanted as many, and at least two",
                code="E-EVAL-PAIRS",
            )
        per_picture = len(mels[0]) // max(len(mouths[0]), 1)
        components = _principal(mouths)
        held_out = [i % 5 == 4 or (len(mels) < 5 and i == len(mels) - 1) for i in range(len(mels))]
        kept, held = _Sums(), _Sums()
        for mel, mouth, is_held in zip(mels, mouths, held_out, strict=True):
            if per_picture < 1 or len(mel) != per_picture * len(mouth):
                raise ConfigError(
                    f"lip-audio meter: {len(mel)} mel frames and {len(mouth)} pictures; "
                    "wanted one whole number of mel frames per picture in all clips",
                    code="E-EVAL-PAIRS",
                )
            sums = held if is_held else kept
            sums.add(_windows(mel, len(mouth), per_picture), _shapes(mouth, components))
        ridge = min(RIDGES, key=lambda r: held.error(*kept.solve(r)))
        weights, mean_sound = (kept + held).solve(ridge)
        return cls(components, weights, mean_sound, per_picture=per_picture, fps=fps)

    def measure(self, mel: FloatArray, mouth: NDArray[np.uint8]) -> SyncReport:
        """Judge one clip.

        Args:
            mel: (T, C) of the sound to judge. It starts with the picture; where it is shorter or
                longer than the picture its last frame is held, or its rest is ignored.
            mouth: (V, 9216) uint8; at least 16 pictures, or most shifts compare nothing.

        Raises:
            ClipError: too short.
        """
        count = len(mouth)
        if count <= MAX_SHIFT or len(mel) == 0:
            raise ClipError(
                f"lip-audio meter: {count} pictures and {len(mel)} mel frames; "
                f"wanted more than {MAX_SHIFT} pictures and some sound",
                code="E-EVAL-SHORT",
            )
        seen = _shapes(mouth, self._components)  # (V, Q)
        windows = _windows(mel, count, self.per_picture)
        heard = (windows - self._mean_sound) @ self._weights  # (V, Q)
        shifts = np.arange(-MAX_SHIFT, MAX_SHIFT + 1)
        # Shifted past an end, the sound's first or last window is held: dropping those pictures
        # instead would compare different pictures at every shift, and biases short clips.
        places = np.clip(np.arange(count) + shifts[:, None], 0, count - 1)  # (31, V)
        curve = np.linalg.norm(heard[places] - seen, axis=-1).mean(axis=-1)  # (31,)
        # Equal distances (a mouth or a sound that never moves) mean no shift, so look there first.
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
    """(V, 9216) grey pixels → (V, 576) averages, minus the clip's own mean mouth.

    The mean goes because it is the speaker's face and the light, which no sound predicts.
    """
    block = MOUTH_SIDE // COARSE_SIDE
    grid = mouth.reshape(len(mouth), COARSE_SIDE, block, COARSE_SIDE, block)
    small: Matrix = grid.mean(axis=(2, 4), dtype=np.float64).reshape(len(mouth), -1) / 255.0
    centred: Matrix = small - small.mean(axis=0)
    return centred


def _principal(mouths: Iterable[NDArray[np.uint8]]) -> Matrix:
    """Main directions in which mouths move, scaled so that training shapes have spread 1."""
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


def _windows(mel: FloatArray, pictures: int, per_picture: int) -> Matrix:
    """(T, C) → (V, 21 * C): the mel frames around the middle of every picture, edges held."""
    middles = np.arange(pictures) * per_picture + per_picture // 2
    around = np.arange(WINDOW_FRAMES) - WINDOW_FRAMES // 2
    places = np.clip(middles[:, None] + around, 0, len(mel) - 1)  # (V, 21)
    windows: Matrix = mel[places].reshape(pictures, -1).astype(np.float64)
    return windows


class _Sums:
    """Running moments of inputs and targets; enough to solve a ridge and to score it."""

    def __init__(self) -> None:
        self.count = 0
        self.x: Any = 0.0  # (D,)
        self.xx: Any = 0.0  # (D, D)
        self.xy: Any = 0.0  # (D, Q)
        self.yy = 0.0

    def add(self, inputs: Matrix, targets: Matrix) -> None:
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
        """Weights (D, Q) and the mean input; targets have mean 0 in every clip by construction."""
        mean = self.x / self.count
        spread = self.xx / self.count - np.outer(mean, mean)  # (D, D)
        strength = ridge * max(float(np.trace(spread)) / len(mean), 1e-12)
        weights = np.linalg.solve(spread + strength * np.eye(len(mean)), self.xy / self.count)
        return weights, mean

    def error(self, weights: Matrix, mean: Matrix) -> float:
        """Sum of squared errors of ``(x - mean) @ weights`` over what was added."""
        outer = np.outer(self.x, mean)
        centred = self.xx - outer - outer.T + self.count * np.outer(mean, mean)
        # The targets of every clip sum to 0, so the mean takes nothing from the cross term.
        return float(
            self.yy - 2 * np.sum(weights * self.xy) + np.sum(weights * (centred @ weights))
        )
