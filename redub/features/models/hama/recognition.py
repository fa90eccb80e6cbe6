"""Phone probabilities of speech by hama, in windows of at most 30 s.

Letters: S samples, F frames of the network.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from redub.core.types import FloatArray
from redub.features.models.hama.library import MOST_FRAMES, STEP
from redub.features.models.hama.phones import phone_scores
from redub.features.models.native.child import shared_child
from redub.features.sound.speech_input import RATE_HZ
from redub.features.weights.folder import WeightFolder

PACKAGE = "hama"
PEAK = 0.5
"""Every utterance is scaled to this peak, so that its loudness does not matter."""

CONTEXT = 50  # frames; 1 s of sound on both sides of a window, which its neighbours answer for
START_S = 60.0
SLOWEST = 10.0  # seconds of work per second of sound on a busy machine, at most


class Window(NamedTuple):
    """Samples that the network sees at once, and the rows of its answer that are kept."""

    samples: slice
    kept: slice


def frame_count(samples: int) -> int:
    """Frames of the network in a number of samples at 16 kHz; at least one."""
    return samples // STEP + 1


def windows(samples: int) -> list[Window]:
    """Cut sound into windows whose kept rows are the frames of the whole, each once.

    Args:
        samples: S; sound of up to 30 s is one window.
    """
    frames = frame_count(samples)
    if frames <= MOST_FRAMES:
        return [Window(slice(0, samples), slice(0, frames))]
    own = MOST_FRAMES - 2 * CONTEXT
    cut = []
    for first in range(0, frames, own):
        last = min(first + own, frames)
        begins = max(first - CONTEXT, 0)
        ends = min((last + CONTEXT) * STEP, samples)
        cut.append(Window(slice(begins * STEP, ends), slice(first - begins, last - begins)))
    return cut


def recognise(speech: FloatArray, weights: WeightFolder) -> NDArray[np.float64]:
    """Compute (F, 40) log-probabilities of phones; columns as :func:`phone_scores`.

    Args:
        speech: (S,) samples at 16 kHz, any length; frame ``f`` is centred on sample ``320 · f``.

    Raises:
        ModelRefusedError: E-MODEL-CHANGED or E-MODEL-FILE, the weights or the library.
        ClipError: E-MODEL-CRASH or E-MODEL-TIMEOUT, the library on this sound.
    """
    peak = float(np.abs(speech).max(initial=0.0))
    scaled = np.asarray(speech * (PEAK / peak) if peak > 0 else speech, dtype=np.float32)
    child = shared_child(PACKAGE, weights)
    rows = []
    for window in windows(len(scaled)):
        seen = scaled[window.samples]
        wall_s = START_S + SLOWEST * len(seen) / RATE_HZ
        rows.append(phone_scores(child.run(seen, wall_s=wall_s)[window.kept]))
    return np.concatenate(rows)
