"""The windows of a sound that DistillMOS rates.

Source: the package ``distillmos`` 0.9.1 (MIT). Letters: S samples, B windows.
"""

from __future__ import annotations

import numpy as np

from redub.core.types import FloatArray

WINDOW = 122_880  # samples at 16 kHz, 7.68 s
MOST_HOP = 16_000  # samples between the starts of two windows, at most
_SILENT = 1e-8  # added to the peak, so that silence stays 0


def window_starts(samples: int) -> list[int]:
    """Compute the first samples of the windows of a sound.

    They have equal distances of at most one second; the first window begins with the sound, and
    the last one ends with it. A sound that is not longer than a window has one.
    """
    beyond = max(0, samples - WINDOW)
    hops = -(-beyond // MOST_HOP)
    return [int(share * beyond) for share in np.linspace(0.0, 1.0, hops + 1)]


def windows_of(sound: FloatArray) -> FloatArray:
    """Cut (S,) samples at 16 kHz into (B, WINDOW) float32 windows with a peak of 1.

    A sound that is shorter than a window is filled with zeros at its end.
    """
    filled = np.pad(sound, (0, max(0, WINDOW - len(sound))))
    windows = np.stack([filled[start : start + WINDOW] for start in window_starts(len(sound))])
    peaks = np.abs(windows).max(axis=1, keepdims=True)
    scaled: FloatArray = (windows / (peaks + _SILENT)).astype(np.float32)
    return scaled
