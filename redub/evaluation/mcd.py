"""Mel-cepstral distortion (MCD): distance of two spectral envelopes, in decibels.

Definition, with cepstra c of the log amplitude, log |H(ω)| = c_0 + Σ c_m cos(mω), ω warped:
    one pair of frames   10 √2 / ln 10 · √(Σ_m (c_m - ĉ_m)²)
    MCD                  mean over frames, the longer signal cut to the shorter one
    MCD-DTW              mean over the pairs of the best alignment
    MCD-DTW-SL           MCD-DTW times (longer / shorter) number of frames
By Parseval's theorem the distance of a pair is the rms difference of the two log spectra, in dB.
Source: Kubichek 1993 (MCD); Battenberg et al., arXiv:1910.10838 (MCD-DTW); Chen et al. 2022
(V2C-Animation; SL).

Conventions: lower is better, 0 for equal signals. There are two measures, which must not be mixed
in one table:
* :func:`mel_distortion`, defined by redub: cepstra are the DCT of the run's log-mel, order 13,
  without the loudness term c_0; exact DTW.
* :func:`published_distortion`, as reported in the dubbing papers (the ``pymcd`` package): WORLD
  envelopes at 22.05 kHz, mel-cepstra of order 13 at α 0.65, c_0 *included* in the distance but not
  in the alignment, and power envelopes used as amplitudes, which doubles every coefficient. The
  only difference from ``pymcd`` is exact DTW instead of FastDTW, so the sum over the path is at
  most that of ``pymcd``.

Letters: T frames, C mel channels, M cepstral order, F spectral bins, S samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyworld
import soxr

from redub.core.metric import Absent, Interval
from redub.evaluation.alignment import warp
from redub.evaluation.inputs import Doubles, Ints, MetricInputError, checked_array
from redub.evaluation.takes import RESYNTHESIS, LineFigures, TakeSignals, mean_of_takes

DECIBELS = 10.0 * math.sqrt(2.0) / math.log(10.0)  # 6.141851463713754
ORDER = 13

PUBLISHED_RATE_HZ = 22_050
PUBLISHED_FFT = 512
PUBLISHED_PERIOD_MS = 5.0
PUBLISHED_ALPHA = 0.65
PUBLISHED_FLOOR = 1e-8


class Distortion(NamedTuple):
    """The three distortions of one utterance, in dB."""

    mcd: float
    mcd_dtw: float
    mcd_dtw_sl: float


def mel_cepstrum(log_mel: Any, *, order: int = ORDER) -> Doubles:
    """Compute the cosine coefficients of every log-mel frame.

    c_0 is the mean over channels and c_m = 2/C Σ_k log_mel_k cos(π m (k + ½) / C). So the frame is
    c_0 + Σ c_m cos(…), and a gain of g adds ln g to c_0 and does not change the other coefficients.

    Args:
        log_mel: (T, C) natural log of mel amplitudes.
        order: highest coefficient M, below C.

    Returns:
        (T, M + 1) float64.

    Raises:
        MetricInputError: bad values, or an order out of range.
    """
    frames = checked_array(log_mel, what="log-mel", dimensions=2)
    channels = frames.shape[1]
    if not 0 < order < channels:
        raise MetricInputError(f"log-mel: {channels} channels have no cepstrum of order {order}")
    places = (np.arange(channels) + 0.5) * np.pi / channels
    cosines = np.cos(np.outer(places, np.arange(order + 1))) * (2.0 / channels)  # (C, M + 1)
    cosines[:, 0] /= 2.0
    cepstra: Doubles = frames @ cosines
    return cepstra


def mel_distortion(
    reference_log_mel: Any, generated_log_mel: Any, *, order: int = ORDER
) -> Distortion:
    """Compute MCD, MCD-DTW and MCD-DTW-SL of two log-mel spectrograms, redub's definition.

    Args:
        reference_log_mel: (T, C) natural log of mel amplitudes, T >= 1.
        generated_log_mel: (T', C), T' >= 1, same frame rate and mel scale.

    Raises:
        MetricInputError: bad values, no frames, or an order out of range.
    """
    one = mel_cepstrum(reference_log_mel, order=order)[:, 1:]
    other = mel_cepstrum(generated_log_mel, order=order)[:, 1:]
    path = warp(one, other).path
    shorter, longer = sorted((len(one), len(other)))
    warped = _mean_over(path, one, other)
    plain = float(_distances(one[:shorter], other[:shorter]).mean())
    return Distortion(plain, warped, warped * (longer / shorter))


def _distances(one: Doubles, other: Doubles) -> Doubles:
    distances: Doubles = DECIBELS * np.linalg.norm(one - other, axis=1)
    return distances


def _mean_over(path: Ints, one: Doubles, other: Doubles) -> float:
    return float(_distances(one[path[:, 0]], other[path[:, 1]]).mean())


def published_distortion(reference: Any, generated: Any, *, sample_rate_hz: int) -> Distortion:
    """Compute MCD, MCD-DTW and MCD-DTW-SL of two waveforms as the dubbing papers do.

    For plain MCD the shorter waveform is padded with silence; for the other two it is not.

    Args:
        reference: (S,) samples in [-1, 1]; at least 25 ms.
        generated: (S',) at the same rate.
        sample_rate_hz: sample rate of both; they are resampled to 22.05 kHz.

    Raises:
        MetricInputError: a value that is not finite, or less than 25 ms.
    """
    one = _at_published_rate(reference, sample_rate_hz, "reference")
    other = _at_published_rate(generated, sample_rate_hz, "generated")
    longest = max(len(one), len(other))
    padded = [np.pad(wave, (0, longest - len(wave))) for wave in (one, other)]
    plain = float(_distances(*(world_mel_cepstrum(wave) for wave in padded)).mean())
    cepstra, hats = world_mel_cepstrum(one), world_mel_cepstrum(other)
    warped = _mean_over(warp(cepstra[:, 1:], hats[:, 1:]).path, cepstra, hats)
    shorter, longer = sorted((len(cepstra), len(hats)))
    return Distortion(plain, warped, warped * (longer / shorter))


def _at_published_rate(waveform: Any, sample_rate_hz: int, what: str) -> Doubles:
    samples = checked_array(waveform, what=what, dimensions=1)
    if len(samples) < sample_rate_hz // 40:
        raise MetricInputError(f"{what}: {len(samples)} samples are less than 25 ms")
    if sample_rate_hz == PUBLISHED_RATE_HZ:
        return samples
    resampled: Doubles = soxr.resample(samples, sample_rate_hz, PUBLISHED_RATE_HZ, quality="HQ")
    return resampled


def world_mel_cepstrum(waveform: Doubles) -> Doubles:
    """Compute mel-cepstra of the WORLD envelope of (S,) samples at 22.05 kHz.

    Returns:
        (T, 14) float64, c_0 … c_13, one frame per 5 ms.
    """
    rate, samples = PUBLISHED_RATE_HZ, np.ascontiguousarray(waveform, dtype=np.float64)
    f0, times = pyworld.dio(samples, rate, frame_period=PUBLISHED_PERIOD_MS)
    f0 = pyworld.stonemask(samples, f0, times, rate)
    envelope = pyworld.cheaptrick(samples, f0, times, rate, fft_size=PUBLISHED_FFT)  # (T, F) power
    # The published code squares the power envelope once more, then adds its floor.
    return warped_cepstrum(envelope**2 + PUBLISHED_FLOOR, alpha=PUBLISHED_ALPHA, order=ORDER)


def warped_cepstrum(power: Doubles, *, alpha: float, order: int) -> Doubles:
    """Compute mel-cepstra of power spectra on the frequency scale of an all-pass filter.

    Args:
        power: (T, F) positive, F = fft / 2 + 1 bins from 0 to half the sample rate.
        alpha: warping of the filter, in (-1, 1); 0 keeps the linear scale.

    Returns:
        (T, order + 1) float64, cepstra of the log amplitude √power.
    """
    cepstra = np.fft.irfft(np.log(power), axis=1)[:, : power.shape[1]]  # (T, F)
    cepstra[:, [0, -1]] /= 2.0
    warped: Doubles = cepstra @ _warping(power.shape[1], alpha, order)
    return warped


def _warping(quefrencies: int, alpha: float, order: int) -> Doubles:
    """Build the (F, order + 1) matrix that maps cepstra to warped cepstra.

    With w the delay of the warped scale, z⁻¹ = (w + α) / (1 + α w). Row n holds the coefficients of
    w⁰ … w^order in the power series of z⁻ⁿ.
    """
    delay = np.zeros(order + 1)
    delay[0] = alpha
    delay[1:] = (1.0 - alpha**2) * (-alpha) ** np.arange(order)
    rows = np.zeros((quefrencies, order + 1))
    rows[0, 0] = 1.0
    for n in range(1, quefrencies):
        rows[n] = np.convolve(rows[n - 1], delay)[: order + 1]
    return rows


def mcd(reference_log_mel: Any, generated_log_mel: Any) -> float:
    """Compute plain MCD of two log-mel spectrograms, in dB; see :func:`mel_distortion`."""
    return mel_distortion(reference_log_mel, generated_log_mel).mcd


def mcd_dtw(reference_log_mel: Any, generated_log_mel: Any) -> float:
    """Compute MCD-DTW of two log-mel spectrograms, in dB; see :func:`mel_distortion`."""
    return mel_distortion(reference_log_mel, generated_log_mel).mcd_dtw


def mcd_dtw_sl(reference_log_mel: Any, generated_log_mel: Any) -> float:
    """Compute MCD-DTW-SL of two log-mel spectrograms, in dB; see :func:`mel_distortion`."""
    return mel_distortion(reference_log_mel, generated_log_mel).mcd_dtw_sl


def mcd_dtw_of_sound(take: TakeSignals) -> float:
    """MCD-DTW of a take's sound."""
    return mel_distortion(take.recorded_mel, take.sound_mel).mcd_dtw


def mcd_dtw_of_mel(take: TakeSignals) -> float:
    """MCD-DTW of a take's mel before the vocoder."""
    return mel_distortion(take.recorded_mel, take.mel).mcd_dtw


def mean_before_vocoder(
    name: str, takes: Sequence[LineFigures], resamples: int
) -> Interval | Absent:
    """Mean over takes; absent for the resynthesis, whose mel is the recorded one."""
    if takes and takes[0].system == RESYNTHESIS:
        return Absent("E-EVAL-RECORDED", "the resynthesis has the mel of the recording")
    return mean_of_takes(name, takes, resamples)
