"""Integrated loudness of a mono waveform.

Source: ITU-R BS.1770-4, Annex 1: K-weighting, 400 ms blocks with 75 % overlap, absolute gate at
-70 LUFS, relative gate 10 LU below the mean of the remaining blocks. The standard gives the filters
for 48 kHz; here they are derived from analogue parameters for any rate (bilinear transform).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from redub.core.types import Waveform

SHELF = (1681.974450955533, 0.7071752369554196, 3.999843853973347)  # Hz, Q, dB
HIGH_PASS = (38.13547087602444, 0.5003270373238773)  # Hz, Q
OFFSET_DB = -0.691
ABSOLUTE_GATE = -70.0
BLOCK_S, STEP_S = 0.4, 0.1


def integrated_loudness(waveform: Waveform) -> float | None:
    """Measure the loudness in LUFS; None for silence and for sounds under 100 ms.

    A sound that is shorter than one block is measured as one block. None is also the result if no
    block is above the absolute gate.
    """
    weighted = _k_weighted(waveform)
    rate = waveform.sample_rate_hz
    block, step = round(BLOCK_S * rate), round(STEP_S * rate)
    if len(weighted) < step:
        return None
    if len(weighted) < block:
        power = np.array([np.mean(weighted**2)])
    else:
        views = np.lib.stride_tricks.sliding_window_view(weighted**2, block)[::step]
        power = views.mean(axis=1)
    loud = power[_lufs(power) > ABSOLUTE_GATE]
    if not len(loud):
        return None
    kept = loud[_lufs(loud) > float(_lufs(loud.mean())) - 10.0]
    return float(_lufs(kept.mean()))


def _lufs(power: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    return OFFSET_DB + 10.0 * np.log10(np.maximum(power, 1e-20))


def _k_weighted(waveform: Waveform) -> NDArray[np.float64]:
    rate = waveform.sample_rate_hz
    samples = np.asarray(waveform.samples, dtype=np.float64)
    for numerator, denominator in (_shelf(rate), _high_pass(rate)):
        samples = lfilter(numerator, denominator, samples)
    return samples


def _shelf(rate: int) -> tuple[list[float], list[float]]:
    frequency, q, gain_db = SHELF
    k = math.tan(math.pi * frequency / rate)
    high = 10.0 ** (gain_db / 20.0)
    middle = high**0.4996667741545416
    a0 = 1.0 + k / q + k * k
    numerator = [
        (high + middle * k / q + k * k) / a0,
        2.0 * (k * k - high) / a0,
        (high - middle * k / q + k * k) / a0,
    ]
    return numerator, [1.0, 2.0 * (k * k - 1.0) / a0, (1.0 - k / q + k * k) / a0]


def _high_pass(rate: int) -> tuple[list[float], list[float]]:
    frequency, q = HIGH_PASS
    k = math.tan(math.pi * frequency / rate)
    a0 = 1.0 + k / q + k * k
    return [1.0, -2.0, 1.0], [1.0, 2.0 * (k * k - 1.0) / a0, (1.0 - k / q + k * k) / a0]
