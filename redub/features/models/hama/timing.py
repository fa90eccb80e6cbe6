"""From the frames of phones to their times: borders between them, and where the sound is quiet.

A CTC network emits a phone in one or two frames somewhere inside the phone, and nothing elsewhere.
So borders lie midway between these frames, and the loudness decides where the utterance begins and
ends and which gaps are pauses.
Letters: S samples at 16 kHz, N phones, K steps of 10 ms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from redub.core.types import FloatArray
from redub.features.models.hama.library import STEP
from redub.features.sound.durations import TimedPhone
from redub.features.sound.speech_input import RATE_HZ

LAG = 400
"""Samples (25 ms) by which hama emits a phone late. The midpoints between its frames come later
than the borders of pocketsphinx: 30 ms in the median, 18 ms in the mean (985 borders in 58
recordings of RAVDESS)."""

REACH = 25
"""Steps (0.25 s) from its frame to where the first phone begins, and the last one ends, at most."""

HOP = 160  # samples between levels
LEVEL_WINDOW = 400
LOWEST_HZ = 100.0  # hum and rumble below it are not heard as speech
BELOW_PEAK_DB = 35.0
ABOVE_FLOOR = 0.25  # of the distance between floor and peak
LEAST_BELOW_DB = 10.0  # below the peak; in steady noise nothing is quiet
_FLOOR_DB = -100.0  # relative to full scale; the level of digital silence


def quiet_steps(speech: FloatArray, first: int, last: int) -> NDArray[np.bool_]:
    """Find the quiet steps of 10 ms; step ``k`` is centred on sample ``(k + 1/2) · 160``.

    Quiet is what lies 35 dB below the peak, or less than a quarter of the way from the floor to the
    peak, but always 10 dB below the peak. The peak is the 90th percentile of the levels between two
    samples; the floor is the 5th percentile of all levels.

    Args:
        speech: (S,) samples at 16 kHz.
        first, last: samples between which the utterance lies.

    Returns:
        (K,) with K = ceil(S / 160).
    """
    spectrum = np.fft.rfft(speech.astype(np.float64))
    spectrum[np.fft.rfftfreq(len(speech), 1 / RATE_HZ) < LOWEST_HZ] = 0
    energy = np.concatenate([[0.0], np.cumsum(np.fft.irfft(spectrum, len(speech)) ** 2)])
    centres = np.arange(-(-len(speech) // HOP)) * HOP + HOP // 2
    begins = np.clip(centres - LEVEL_WINDOW // 2, 0, len(speech))
    ends = np.clip(centres + LEVEL_WINDOW // 2, 0, len(speech))
    power = (energy[ends] - energy[begins]) / (ends - begins)
    levels = 10 * np.log10(np.maximum(power, 0) + 10 ** (_FLOOR_DB / 10))
    inside = levels[first // HOP : max(last // HOP, first // HOP) + 1]
    peak, floor = np.percentile(inside, 90), np.percentile(levels, 5)
    most = max(peak - BELOW_PEAK_DB, floor + ABOVE_FLOOR * (peak - floor))
    quiet: NDArray[np.bool_] = levels <= min(most, peak - LEAST_BELOW_DB)
    return quiet


def timed_phones(
    spans: NDArray[np.int64],
    phonemes: Sequence[int],
    speech: FloatArray,
    *,
    pause_s: float,
) -> list[TimedPhone]:
    """Compute the times of phones in seconds.

    Args:
        spans: (N, 2) first frame of each phone and the first frame after it, N > 0.
        phonemes: (N,) ids.
        speech: (S,) samples at 16 kHz.
        pause_s: a quiet stretch between two phones is a pause if it lasts at least so long.
    """
    early, late = spans[:, 0] * STEP, (spans[:, 1] - 1) * STEP  # centres, in samples
    quiet = quiet_steps(speech, int(early[0]), int(late[-1]))
    from_, to = early - LAG, late + STEP // 2  # what of each phone is certain
    borders = (late[:-1] + early[1:]) / 2 - LAG
    starts = np.concatenate([[_begin(quiet, int(from_[0]))], borders])
    ends = np.concatenate([borders, [_end(quiet, int(to[-1]))]])
    for n in range(len(borders)):
        first, last = _longest_quiet(quiet, int(to[n]), int(from_[n + 1]))
        if last > first and last - first >= pause_s * RATE_HZ:
            ends[n], starts[n + 1] = first, last
    return [
        TimedPhone(int(phoneme), float(start / RATE_HZ), float(end / RATE_HZ))
        for phoneme, start, end in zip(
            phonemes, starts.clip(0, len(speech)), ends.clip(0, len(speech)), strict=True
        )
    ]


def _begin(quiet: NDArray[np.bool_], sample: int) -> int:
    """Go back from a sample to the quiet before it, at most by :data:`REACH`."""
    step = max(sample, 0) // HOP
    before = np.flatnonzero(quiet[:step])
    begin = int(before[-1]) + 1 if len(before) else 0
    return min(sample, max(begin, step - REACH) * HOP)


def _end(quiet: NDArray[np.bool_], sample: int) -> int:
    """Go on from a sample to the quiet after it, at most by :data:`REACH`."""
    step = -(-sample // HOP)
    after = np.flatnonzero(quiet[step:])
    end = step + int(after[0]) if len(after) else len(quiet)
    return max(sample, min(end, step + REACH) * HOP)


def _longest_quiet(quiet: NDArray[np.bool_], first: int, last: int) -> tuple[int, int]:
    """Find the longest quiet stretch between two samples; (0, 0) if there is none."""
    step = -(-first // HOP)
    inside = np.concatenate([[False], quiet[step : max(last // HOP, step)], [False]])
    edges = np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2)
    if not len(edges):
        return 0, 0
    begin, end = edges[np.argmax(edges[:, 1] - edges[:, 0])]
    return int(step + begin) * HOP, int(step + end) * HOP
