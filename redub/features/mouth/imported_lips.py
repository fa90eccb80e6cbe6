"""Imported lip features, for example of AV-HuBERT: one NumPy array per clip.

The name of a ``.npy`` file decides to which clip it belongs, see :mod:`redub.features.clip_files`.
The array has one row per video frame of the clip, at the project's frame rate. Two rows more or
fewer are allowed, because cuts can be rounded differently.
Letters: V video frames, W width of the feature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from redub.core.errors import FeatureAbsent
from redub.core.types import ClipMedia, FloatArray
from redub.features.base import FeatureSchema, Media, WeightUser
from redub.features.clip_files import file_of
from redub.features.runtime import Runtime
from redub.features.weights.folder import WeightFolder

KIND = "lip_arrays"
SUFFIX = ".npy"
MOST_ROUNDING = 2
WIDEST = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedLipConfig:
    """Settings of the backend for imported lip features; ``weights`` is the entry of the ledger."""

    weights: str = KIND


class ImportedLips(WeightUser):
    """Return imported arrays, (V, W) float32; W is the width of the first file by name."""

    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ()
    Config: ClassVar[type] = ImportedLipConfig

    def __init__(self, config: Any, folders: Mapping[str, WeightFolder], runtime: Runtime) -> None:
        super().__init__(config, folders, runtime)
        self.folder = folders[KIND]
        self.names = sorted(name for name in self.folder.files if name.endswith(SUFFIX))

    @classmethod
    def weights_wanted(cls, config: Any) -> dict[str, tuple[str, str]]:
        """Return the entry with the arrays."""
        return {KIND: (config.weights, KIND)}

    @cached_property
    def width(self) -> int:
        """Width W of the first file.

        Raises:
            ModelRefusedError: E-MODEL-FILE, this file is not an array (frames, width) of floats.
        """
        try:
            return int(self._table(self.names[0]).shape[1])
        except ValueError as error:
            raise self.folder.refused(f"{self.names[0]} {error}", code="E-MODEL-FILE") from error

    @property
    def schema(self) -> FeatureSchema:
        """One row of width W per frame."""
        return FeatureSchema(kind="frames", width=self.width)

    def extract(self, media: ClipMedia) -> FloatArray:
        """Return the array of one clip with exactly V rows; a missing last row is repeated.

        Raises:
            FeatureAbsent: E-FEAT-NOFILE, no file belongs to the clip; E-FEAT-FILE, the file cannot
                be read, or has another width or another number of frames.
        """
        clip = media.clip
        name = file_of(clip, self.names, SUFFIX, code="E-FEAT-FILE")
        if name is None:
            raise FeatureAbsent(
                f"no {clip.clip_id}{SUFFIX} among the {len(self.names)} files of "
                f"'{self.folder.name}'",
                code="E-FEAT-NOFILE",
            )
        try:
            table = self._table(name)
        except ValueError as error:
            raise FeatureAbsent(f"{name} {error}", code="E-FEAT-FILE") from error
        if table.shape[1] != self.width:
            raise FeatureAbsent(
                f"{name} is {table.shape[1]} wide, {self.names[0]} is {self.width}",
                code="E-FEAT-FILE",
            )
        frames = clip.video_frames
        if abs(len(table) - frames) > MOST_ROUNDING:
            raise FeatureAbsent(
                f"{name} has {len(table)} rows, the clip {frames} frames; make it from exactly "
                "the time span of the clip, at the project's video.fps",
                code="E-FEAT-FILE",
            )
        rows = np.minimum(np.arange(frames), len(table) - 1)  # repeat the last row
        return np.array(table[rows], np.float32)

    def _table(self, name: str) -> NDArray[np.floating[Any]]:
        """Map the (rows, W) array of a file.

        Raises:
            ValueError: says what is wrong with the file.
        """
        try:
            values = np.load(self.folder.file(name), mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(f"cannot be read as a NumPy array ({error})") from error
        if values.ndim != 2 or not len(values) or not 0 < values.shape[1] <= WIDEST:
            raise ValueError(f"has the shape {values.shape}; wanted (frames, width)")
        if not np.issubdtype(values.dtype, np.floating):
            raise ValueError(f"holds {values.dtype}; wanted floats")
        table: NDArray[np.floating[Any]] = values
        return table
