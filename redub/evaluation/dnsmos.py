"""DNSMOS P.835: listeners' ratings of speech, predicted from the sound alone.

A network of Microsoft's DNS Challenge predicts three ratings from 1 to 5: of the speech (SIG), of
the background (BAK), and of both together (OVRL). It was trained on noisy recordings of telephone
talk, so it rates noise and distortion, and neither the emotion nor the likeness of a voice. Its
weights come from the package ``speechmos`` (`redub weights get dnsmos`); OpenCV runs them.

Source: Reddy, Gopal, Cutler, "DNSMOS P.835" (ICASSP 2022). The network's outputs are mapped to the
scale of the ratings by the polynomials of the published script.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from redub.core.metric import Absent
from redub.core.types import FloatArray, Waveform
from redub.evaluation.inputs import sound_at
from redub.evaluation.takes import TakeSignals, without_weights
from redub.features.weights.folder import WeightFolder

PACKAGE = "dnsmos"
NETWORK = "sig_bak_ovr.onnx"
RATE_HZ = 16_000
WINDOW = 144_160  # samples, 9.01 s; a shorter utterance is repeated until it is so long
_HOP = RATE_HZ

# Of the published script, from the highest power; they map an output to the scale of the ratings.
_SPEECH = (-0.08397278, 1.22083953, 0.0052439)
_BACKGROUND = (-0.13166888, 1.60915514, -0.39604546)
_OVERALL = (-0.06766283, 1.11546468, 0.04602535)

_LOCK = threading.Lock()


class Ratings(NamedTuple):
    """Predicted mean opinion scores, 1 to 5."""

    speech: float
    background: float
    overall: float


def dnsmos(samples: FloatArray, sample_rate_hz: int, weights: WeightFolder) -> Ratings:
    """Predict the ratings of (S,) samples; full scale is 1.

    The ratings depend on the level: a quiet utterance is rated lower.

    Args:
        weights: the folder with ``sig_bak_ovr.onnx``.

    Raises:
        MetricInputError: no sample, or one that is not finite.
    """
    network = _network(str(weights.path / NETWORK))
    sound = sound_at(RATE_HZ, samples, sample_rate_hz)
    if len(sound) < WINDOW:
        sound = np.tile(sound, -(-WINDOW // len(sound)))[:WINDOW]
    windows = range(0, len(sound) - WINDOW + 1, _HOP)
    with _LOCK:  # a network of OpenCV keeps the state of one call
        raw = np.array([_outputs(network, sound[start : start + WINDOW]) for start in windows])
    speech, background, overall = raw.T
    return Ratings(
        float(np.polyval(_SPEECH, speech).mean()),
        float(np.polyval(_BACKGROUND, background).mean()),
        float(np.polyval(_OVERALL, overall).mean()),
    )


def _outputs(network: Any, window: FloatArray) -> FloatArray:
    network.setInput(window[None])
    outputs: FloatArray = network.forward()[0]
    return outputs


@lru_cache(maxsize=1)
def _network(path: str) -> Any:
    import cv2

    return cv2.dnn.readNetFromONNX(path)


def overall_of(take: TakeSignals) -> float | Absent:
    """The overall rating of a take."""
    return _rating(take, "overall")


def speech_of(take: TakeSignals) -> float | Absent:
    """The rating of a take's speech."""
    return _rating(take, "speech")


def background_of(take: TakeSignals) -> float | Absent:
    """The rating of a take's background."""
    return _rating(take, "background")


def _rating(take: TakeSignals, name: str) -> float | Absent:
    weights = take.weights.get(PACKAGE)
    if weights is None:
        return without_weights(PACKAGE)
    if not _LAST or _LAST[0][0] is not take.waveform:
        sound = take.waveform
        _LAST[:] = [(sound, dnsmos(sound.samples, sound.sample_rate_hz, weights))]
    rating: float = getattr(_LAST[0][1], name)
    return rating


_LAST: list[tuple[Waveform, Ratings]] = []
"""The last rated sound and its ratings: the three metrics of a take ask one after the other."""
