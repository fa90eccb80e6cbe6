"""hama's C library: it is loaded in the native child only.

Source: the exported functions of the library in package ``hama`` 1.7.0 (Apache-2.0) and their types
in that package: ``hama_asr_load(bytes, length)``, ``hama_asr_num_frames(samples)``,
``hama_asr_run(network, in, samples, out, valid)``.
Letters: S samples, F frames of the network.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from redub.core.types import FloatArray
from redub.features.models.native.programs import only_library

MODEL = "asr_waveform.hama"
STEP = 320
"""Samples at 16 kHz between frames; frame ``f`` is centred on sample ``f · STEP``."""

LABELS = 191
"""Entries of a frame; the last one is CTC's blank."""

MOST_FRAMES = 1500
"""Frames of one array; the library silently ignores all samples after the first 30 s."""


class Recogniser:
    """The network: (S,) samples at 16 kHz to (F, 191) natural log-probabilities."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Load the network; raises as :class:`Program`."""
        self._library = only_library(files)
        self._declare()
        if MODEL not in files:
            raise ValueError(f"{MODEL} is not listed")
        content = files[MODEL].read_bytes()
        self._network = self._library.hama_asr_load(content, len(content))
        if not self._network:
            raise ValueError(f"{MODEL} is no network of hama")

    def _declare(self) -> None:
        library, floats = self._library, ctypes.POINTER(ctypes.c_float)
        library.hama_asr_load.restype = ctypes.c_void_p
        library.hama_asr_load.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
        library.hama_asr_num_frames.restype = ctypes.c_int64
        library.hama_asr_num_frames.argtypes = [ctypes.c_int64]
        library.hama_asr_run.restype = ctypes.c_int64
        library.hama_asr_run.argtypes = [
            ctypes.c_void_p,
            floats,
            ctypes.c_int64,
            floats,
            ctypes.POINTER(ctypes.c_int64),
        ]

    def run(self, array: FloatArray) -> FloatArray:
        """Return (F, 191) of (S,) samples, F = S // 320 + 1, at most 1,500.

        Raises:
            ValueError: the library reports an error, or another number of frames.
        """
        samples = np.ascontiguousarray(array, dtype=np.float32)
        floats = ctypes.POINTER(ctypes.c_float)
        frames = int(self._library.hama_asr_num_frames(len(samples)))
        if frames != min(len(samples) // STEP + 1, MOST_FRAMES):
            raise ValueError(f"{frames} frames for {len(samples)} samples")
        scores = np.empty((frames, LABELS), np.float32)
        valid = ctypes.c_int64(0)
        status = self._library.hama_asr_run(
            self._network,
            samples.ctypes.data_as(floats),
            len(samples),
            scores.ctypes.data_as(floats),
            ctypes.byref(valid),
        )
        if status < 0 or valid.value != frames:
            raise ValueError(f"status {status}, {valid.value} of {frames} frames")
        return scores
