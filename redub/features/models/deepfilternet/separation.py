"""Separate speech from what else is heard, by DeepFilterNet 3.

The network suppresses noise. It was not trained to separate music, and it takes some shouting or
crying voices for noise (figures: ``docs/extractors/deepfilternet.md``).

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

ERASED_DB = -10.0
"""A clip has words. Where less than this part of its sound is left, the speech was taken for
noise."""

START_S = 60.0
SLOWEST = 10.0  # seconds of work per second of sound on a busy machine, at most


def speech_of_clip(sound: Waveform, weights: WeightFolder) -> tuple[Waveform, str]:
    """Return the speech in the sound of a clip with words, and a note or an empty text.

    Where the network erases the speech, that is the sound as it is, with a note. Raises as
    :func:`speech_of_sound`.
    """
    speech = speech_of_sound(sound, weights)
    left_db = power_ratio_db(speech, sound)
    if left_db >= ERASED_DB:
        return speech, ""
    return sound, (
        f"the separation left {left_db:.0f} dB of the sound, so it took the speech for noise; the "
        "sound is used as it is"
    )


def power_ratio_db(part: Waveform, whole: Waveform) -> float:
    """Power of a part of a sound over that of the whole, in dB; 0 for silence, at least -100."""
    power = float(np.square(whole.samples, dtype=np.float64).sum())
    if power == 0.0:
        return 0.0
    left = float(np.square(part.samples, dtype=np.float64).sum()) / power
    return 10 * float(np.log10(max(left, 1e-10)))


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
