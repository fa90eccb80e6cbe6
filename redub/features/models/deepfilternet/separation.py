"""Separate speech from what else is heard, by DeepFilterNet 3.

The network suppresses noise. It was not trained to separate music: much of a sustained chord stays
in the speech (figures: ``docs/extractors/deepfilternet.md``). Speech and background add up to the
sound.

Source: Schröter et al., "DeepFilterNet: Perceptually Motivated Real-Time Speech Enhancement"
(Interspeech 2023).
"""

from __future__ import annotations

import numpy as np
import soxr

from redub.core.types import FloatArray, Waveform
from redub.features.models.deepfilternet.library import RATE_HZ
from redub.features.models.native.child import shared_child
from redub.features.weights.folder import WeightFolder

PACKAGE = "deepfilternet"
VERSION = 1
"""Part of the keys of all sound features of separated sound; raise it if the samples change."""

LEVEL_DBFS = -25.0
"""Level (RMS) that the network hears: at -48 dBFS it takes speech in noise for noise."""

LEAD_IN = RATE_HZ
"""Samples of mirrored sound before the first one: the network needs a second to learn the level of
the noise."""

START_S = 60.0
SLOWEST = 10.0  # seconds of work per second of sound on a busy machine, at most


def speech_of_sound(sound: Waveform, weights: WeightFolder) -> Waveform:
    """Return the speech in a sound: (S,) float32 at the same rate; equal input gives equal bytes.

    Raises:
        ModelRefusedError: E-MODEL-CHANGED or E-MODEL-FILE, the weights or the library.
        ClipError: E-MODEL-CRASH or E-MODEL-TIMEOUT, the library on this sound.
    """
    if not np.any(sound.samples):
        return sound
    level = float(np.sqrt(np.mean(np.square(sound.samples, dtype=np.float64))))
    gain = 10 ** (LEVEL_DBFS / 20) / level
    at_48_khz = _resampled(sound.samples * np.float32(gain), sound.sample_rate_hz, RATE_HZ)
    lead_in = at_48_khz[1 : LEAD_IN + 1][::-1]
    wall_s = START_S + SLOWEST * sound.duration_s
    speech = shared_child(PACKAGE, weights).run(
        np.concatenate([lead_in, at_48_khz]), wall_s=wall_s
    )[len(lead_in) :]
    samples = _resampled(speech, RATE_HZ, sound.sample_rate_hz) / np.float32(gain)
    fitted = np.zeros(len(sound.samples), np.float32)
    kept = min(len(samples), len(fitted))
    fitted[:kept] = samples[:kept]
    return Waveform(fitted, sound.sample_rate_hz)


def _resampled(samples: FloatArray, rate_hz: int, wanted_hz: int) -> FloatArray:
    wanted: FloatArray = np.asarray(
        soxr.resample(np.asarray(samples, np.float32), rate_hz, wanted_hz, quality="HQ"), np.float32
    )
    return wanted
