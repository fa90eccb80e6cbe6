"""DeepFilterNet's C library: it is loaded in the native child only.

Source: the header of DeepFilterNet's C interface (``libDF``): ``df_create(path, limit_db, log)``,
``df_get_frame_length``, ``df_process_frame(state, in, out)``, ``df_free``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from redub.core.types import FloatArray
from redub.features.models.native.programs import only_library

MODEL = "DeepFilterNet3_onnx.tar.gz"
RATE_HZ = 48_000
DELAY = 1440
"""Samples by which the output is late: the overlap of the windows and two frames of look-ahead."""

NO_LIMIT_DB = 100.0


class DeepFilter:
    """The network with its state: (S,) samples at 48 kHz to the (S,) samples of the speech."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Load the network; raises as :class:`Program`."""
        self._library = only_library(files)
        self._declare()
        if MODEL not in files:
            raise ValueError(f"{MODEL} is not listed")
        self._state = self._library.df_create(str(files[MODEL]).encode(), NO_LIMIT_DB, None)
        if not self._state:
            raise ValueError(f"{MODEL} is no network of DeepFilterNet")
        self._frame = int(self._library.df_get_frame_length(self._state))

    def _declare(self) -> None:
        library, floats = self._library, ctypes.POINTER(ctypes.c_float)
        library.df_create.restype = ctypes.c_void_p
        library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
        library.df_get_frame_length.restype = ctypes.c_size_t
        library.df_get_frame_length.argtypes = [ctypes.c_void_p]
        library.df_process_frame.restype = ctypes.c_float
        library.df_process_frame.argtypes = [ctypes.c_void_p, floats, floats]

    def run(self, array: FloatArray) -> FloatArray:
        """Return the speech in (S,) samples, not delayed; the state is used up."""
        frame, length = self._frame, len(array)
        frames = -(-(length + DELAY) // frame)
        noisy = np.zeros(frames * frame, np.float32)
        noisy[:length] = array
        speech = np.zeros_like(noisy)
        floats = ctypes.POINTER(ctypes.c_float)
        for start in range(0, len(noisy), frame):
            self._library.df_process_frame(
                self._state,
                noisy[start:].ctypes.data_as(floats),
                speech[start:].ctypes.data_as(floats),
            )
        return speech[DELAY : DELAY + length]
