"""Frame-level sound feature of the builtin profile: log-mel bands and their changes.

Letters: T mel frames, C mel channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from redub.core.types import ClipMedia, FloatArray
from redub.features.base import FeatureSchema, LocalExtractor, Media, frames_of

BANDS = 12
REACH = 2  # a slope is fitted over so many frames on each side
OTHERS = (
    "mean", "spread", "tilt", "flux", "mean_slope", "mean_bend", "loudest_band", "loudest_place",
)  # fmt: skip
WIDTH = 2 * BANDS + len(OTHERS)


def mel_movement(mel: FloatArray) -> FloatArray:
    """Compute (T, 32) float32 from a (T, C) log-mel, one row per frame.

    A row has 12 band levels, their slopes per frame over ±2 frames (edges are repeated), then
    OTHERS: mean and standard deviation over channels, tilt, change of the spectral shape, first and
    second derivative of the mean, and level and place of the loudest band.
    """
    values = np.asarray(mel, dtype=np.float64)
    groups = np.array_split(values, BANDS, axis=1)
    bands = np.stack([group.mean(axis=1) for group in groups], axis=1)  # (T, 12)
    level = values.mean(axis=1, keepdims=True)  # (T, 1)
    ramp = np.linspace(-1.0, 1.0, values.shape[1])
    tilt = (values * ramp).sum(axis=1, keepdims=True) / (ramp @ ramp)
    shape = bands - level
    flux = np.abs(np.diff(shape, axis=0, prepend=shape[:1])).mean(axis=1, keepdims=True)
    rise = _slope(level)
    loudest = bands.argmax(axis=1)[:, None] / (BANDS - 1)
    columns = [
        bands, _slope(bands), level, values.std(axis=1, keepdims=True), tilt, flux,
        rise, _slope(rise), bands.max(axis=1, keepdims=True) - level, loudest,
    ]  # fmt: skip
    rows: FloatArray = np.concatenate(columns, axis=1).astype(np.float32)
    return rows


def _slope(tracks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares slope per frame over ±REACH frames, (T, n) to (T, n)."""
    padded = np.pad(tracks, ((REACH, REACH), (0, 0)), mode="edge")
    frames = len(tracks)
    moved = np.zeros_like(tracks)
    for step in range(1, REACH + 1):
        ahead, behind = padded[REACH + step :][:frames], padded[REACH - step :][:frames]
        moved += step * (ahead - behind)
    slope: NDArray[np.float64] = moved / (2 * sum(step**2 for step in range(1, REACH + 1)))
    return slope


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAudioConfig:
    """No settings: the feature is computed from the mel."""


class LocalAudioExtractor(LocalExtractor):
    """Compute (T, 32) levels and changes from the mel; needs no decoding."""

    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("mel",)
    Config: ClassVar[type] = LocalAudioConfig

    def __init__(self, config: LocalAudioConfig) -> None:
        self.config = config

    @property
    def schema(self) -> FeatureSchema:
        """One row of ``WIDTH`` numbers per mel frame."""
        return FeatureSchema(kind="frames", width=WIDTH)

    def extract(self, media: ClipMedia) -> FloatArray:
        """Compute the rows of one clip."""
        return mel_movement(frames_of(media.features, "mel"))
